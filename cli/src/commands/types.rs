//! `type`: what workers say they can do.

use clap::Subcommand;
use mainspring_proto::scheduler::v1::ListJobTypesRequest;

use super::examples;
use crate::{
    exit::Exit,
    failure::Failure,
    session::{LimitArgs, Session},
};

/// See the job types that workers announce
#[derive(Debug, Subcommand)]
#[command(before_help = examples!["mainspring type list", "mainspring type list -o json"])]
pub(crate) enum TypeCommand {
    /// List job types by name
    #[command(before_help = examples!["mainspring type list", "mainspring type list -o jsonl"])]
    List {
        #[command(flatten)]
        limit: LimitArgs,
    },
}

pub(super) async fn run(command: TypeCommand, session: &Session) -> Result<Exit, Failure> {
    let server = session.server().await?;
    let mut queues = server.queues();
    match command {
        TypeCommand::List { limit } => {
            let listed = limit
                .pages(async |page_size, page_token| {
                    let request = ListJobTypesRequest {
                        namespace: server.namespace(),
                        page_size,
                        page_token,
                        ..ListJobTypesRequest::default()
                    };
                    Ok(queues.list_job_types(request).await?.into_inner())
                })
                .await?;
            session.out.list(listed)?;
        }
    }
    Ok(Exit::Done)
}
