//! `admin`: keys and copies, for whoever looks after a server.

mod key;

use std::path::PathBuf;

use clap::Subcommand;
use mainspring_proto::scheduler::v1::BackupDatabaseRequest;

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
    /// Write a consistent copy of an embedded server's database, while it runs
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
    let answer = server.admin().backup_database(BackupDatabaseRequest { path }).await?.into_inner();
    session.out.did(&format!("{} written, {} bytes", answer.path, answer.size_bytes), &answer)?;
    Ok(Exit::Done)
}
