//! `queue`: the lanes runs wait in.

use clap::Subcommand;
use mainspring_proto::scheduler::v1::{GetQueueRequest, ListQueuesRequest, PauseQueueRequest, ResumeQueueRequest};

use super::examples;
use crate::{
    exit::Exit,
    failure::Failure,
    named,
    session::{LimitArgs, Session},
};

/// See, pause and resume queues
#[derive(Debug, Subcommand)]
#[command(before_help = examples!["mainspring queue list", "mainspring queue pause default --note 'deploying'"])]
pub(crate) enum QueueCommand {
    /// List queues by name
    #[command(before_help = examples!["mainspring queue list", "mainspring queue list -o json"])]
    List {
        #[command(flatten)]
        limit: LimitArgs,
    },
    /// Show everything about a queue
    #[command(before_help = examples!["mainspring queue get default", "mainspring queue get default -o json"])]
    Get {
        /// The queue
        #[arg(value_parser = named::queue)]
        queue: String,
    },
    /// Stop releasing its runs; runs at workers go on
    #[command(before_help = examples![
        "mainspring queue pause default",
        "mainspring queue pause default --note 'deploying'",
    ])]
    Pause {
        /// The queue
        #[arg(value_parser = named::queue)]
        queue: String,
        /// Why
        #[arg(long, value_name = "TEXT")]
        note: Option<String>,
    },
    /// Release its runs again
    #[command(before_help = examples!["mainspring queue resume default", "mainspring queue resume default -o json"])]
    Resume {
        /// The queue
        #[arg(value_parser = named::queue)]
        queue: String,
    },
}

pub(super) async fn run(command: QueueCommand, session: &Session) -> Result<Exit, Failure> {
    let server = session.server().await?;
    let namespace = server.namespace();
    let mut queues = server.queues();
    match command {
        QueueCommand::List { limit } => {
            let listed = limit
                .pages(async |page_size, page_token| {
                    let namespace = namespace.clone();
                    let request =
                        ListQueuesRequest { namespace, page_size, page_token, ..ListQueuesRequest::default() };
                    Ok(queues.list_queues(request).await?.into_inner())
                })
                .await?;
            session.out.list(listed)?;
        }
        QueueCommand::Get { queue } => {
            let answer = queues.get_queue(GetQueueRequest { namespace, queue }).await?.into_inner();
            session.out.show(&answer.queue.unwrap_or_default())?;
        }
        QueueCommand::Pause { queue, note } => {
            let request = PauseQueueRequest { namespace, queue, note: note.unwrap_or_default() };
            let queue = queues.pause_queue(request).await?.into_inner().queue.unwrap_or_default();
            session.out.did(&format!("queue/{} paused", queue.queue), &queue)?;
        }
        QueueCommand::Resume { queue } => {
            let request = ResumeQueueRequest { namespace, queue };
            let queue = queues.resume_queue(request).await?.into_inner().queue.unwrap_or_default();
            session.out.did(&format!("queue/{} resumed", queue.queue), &queue)?;
        }
    }
    Ok(Exit::Done)
}
