//! `namespace`: what is said for all of a namespace's jobs and runs.

use clap::Subcommand;
use mainspring_proto::{
    common::v1::Timeouts,
    scheduler::v1::{GetNamespaceRequest, Namespace, NamespaceSettings, UpdateNamespaceRequest},
};
use prost_types::FieldMask;

use super::{examples, retry::TimeoutArgs};
use crate::{connection::Server, exit::Exit, failure::Failure, session::Session};

/// See and change what is said for all jobs and runs of a namespace
#[derive(Debug, Subcommand)]
#[command(before_help = examples![
    "mainspring namespace get",
    "mainspring namespace set --timeout 5m",
    "mainspring namespace set --strict-schedules true",
])]
pub(crate) enum NamespaceCommand {
    /// Show what the namespace says (`--namespace` names another than `default`)
    #[command(before_help = examples!["mainspring namespace get", "mainspring namespace get -o json"])]
    Get,
    /// Change what the namespace says; what is not named stays, and so do jobs and runs that are there
    #[command(before_help = examples![
        "mainspring namespace set --timeout 5m --queue-timeout 1h",
        "mainspring namespace set --strict-schedules true",
    ])]
    Set {
        #[command(flatten)]
        timeouts: TimeoutArgs,
        /// Refuse cron expressions that do not say how their day of month and day of week count together
        #[arg(long, value_name = "BOOL")]
        strict_schedules: Option<bool>,
        /// Only if it is still this one (`etag` of `namespace get -o json`)
        #[arg(long, value_name = "ETAG")]
        etag: Option<String>,
    },
}

pub(super) async fn run(command: NamespaceCommand, session: &Session) -> Result<Exit, Failure> {
    let server = session.server().await?;
    let mut admin = server.admin();
    match command {
        NamespaceCommand::Get => session.out.show(&got(&server).await?)?,
        NamespaceCommand::Set { timeouts, strict_schedules, etag } => {
            let stored = got(&server).await?;
            let settings = stored.settings.unwrap_or_default();
            let timeouts = timeouts.over(settings.default_timeouts.unwrap_or_else(Timeouts::default));
            let mut paths = Vec::new();
            paths.extend(timeouts.as_ref().map(|_| "default_timeouts".to_owned()));
            paths.extend(strict_schedules.map(|_| "strict_schedules".to_owned()));
            if paths.is_empty() {
                return Err(
                    Failure::usage("nothing is to be changed").hint("name what is; `mainspring help namespace set`")
                );
            }
            let request = UpdateNamespaceRequest {
                namespace: server.namespace(),
                settings: Some(NamespaceSettings {
                    default_timeouts: timeouts,
                    strict_schedules: strict_schedules.unwrap_or_default(),
                }),
                update_mask: Some(FieldMask { paths }),
                etag: etag.unwrap_or(stored.etag),
                validate_only: false,
            };
            let namespace = admin.update_namespace(request).await?.into_inner().namespace.unwrap_or_default();
            session.out.did(&format!("namespace/{} updated", namespace.namespace), &namespace)?;
        }
    }
    Ok(Exit::Done)
}

async fn got(server: &Server) -> Result<Namespace, Failure> {
    let request = GetNamespaceRequest { namespace: server.namespace() };
    Ok(server.admin().get_namespace(request).await?.into_inner().namespace.unwrap_or_default())
}
