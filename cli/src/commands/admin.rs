//! `admin`: keys and copies, for whoever looks after a server.

pub(super) mod key;

use std::path::PathBuf;

use clap::Subcommand;
use mainspring_proto::scheduler::v1::{BackupDatabaseRequest, backup_database_response::Step};

use super::examples;
use crate::{exit::Exit, failure::Failure, session::Session};

/// Look after a server
#[derive(Debug, Subcommand)]
#[command(before_help = examples![
    "mainspring admin key create ci --role operator",
    "mainspring admin backup ./mainspring-copy.db",
])]
pub(crate) enum AdminCommand {
    #[command(subcommand, alias = "keys")]
    Key(key::KeyCommand),
    /// Write a consistent copy of an embedded server's database, without log lines, while it runs
    #[command(before_help = examples![
        "mainspring admin backup ./mainspring-copy.db",
        "mainspring admin backup ./another-copy.db -o json",
    ])]
    Backup {
        /// A file that does not exist yet, on the server's machine
        file: PathBuf,
    },
}

pub(super) async fn run(command: AdminCommand, session: &Session) -> Result<Exit, Failure> {
    match command {
        AdminCommand::Key(command) => key::run(command, session).await,
        AdminCommand::Backup { file } => backup(file, session).await,
    }
}

async fn backup(file: PathBuf, session: &Session) -> Result<Exit, Failure> {
    // The server wants an absolute path; a relative one is meant from here, which is right where it runs here too.
    let path = std::path::absolute(&file)?;
    let path = path.to_str().ok_or_else(|| Failure::usage("the path is not UTF-8"))?.to_owned();
    let server = session.server().await?;
    let mut steps = server.admin().backup_database(BackupDatabaseRequest { path }).await?.into_inner();
    // A large database takes minutes, and SQLite may sort for long without a word. That the server is there is seen by the
    // connection, and there is no time after which the copy should not go on.
    while let Some(message) = steps.message().await? {
        match message.step {
            Some(Step::Result(copy)) => {
                session.out.did(&format!("{} written, {} bytes", copy.path, copy.size_bytes), &copy)?;
                return Ok(Exit::Done);
            }
            Some(Step::Progress(_)) | None => {}
        }
    }
    Err(Failure::new(Exit::Unreachable, "SERVER_UNREACHABLE", "the server ended the copy without a word"))
}
