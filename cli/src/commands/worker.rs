//! `worker`: the processes that run the user's code.

#[cfg(unix)]
mod exec;

use clap::Subcommand;
use mainspring_proto::scheduler::v1::{DrainWorkerRequest, ListWorkersRequest};

use super::examples;
use crate::{
    exit::Exit,
    failure::Failure,
    named,
    session::{LimitArgs, Session},
};

/// See and drain workers, and be one with any program
#[derive(Debug, Subcommand)]
#[command(before_help = examples![
    "mainspring worker list",
    "mainspring worker drain $WORKER",
    "mainspring worker exec --type report.build -- ./build-report.sh",
])]
pub(crate) enum WorkerCommand {
    #[cfg(unix)]
    Exec(Box<exec::ExecArgs>),
    /// List workers, newest first
    #[command(before_help = examples!["mainspring worker list", "mainspring worker list --all -o jsonl"])]
    List {
        /// Also those that are lost or left
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        limit: LimitArgs,
    },
    /// Tell a worker to take no more work; there is no way back
    #[command(before_help = examples![
        "mainspring worker drain $WORKER",
        "mainspring worker drain $WORKER --terminate -o json",
    ])]
    Drain {
        /// The worker's id
        #[arg(value_parser = named::worker)]
        worker: String,
        /// The process also leaves when its runs are done
        #[arg(long)]
        terminate: bool,
    },
}

pub(super) async fn run(command: WorkerCommand, session: &Session) -> Result<Exit, Failure> {
    #[cfg(unix)]
    let command = match command {
        WorkerCommand::Exec(args) => return exec::run(*args, session).await,
        command => command,
    };
    let server = session.server().await?;
    let namespace = server.namespace();
    let mut queues = server.queues();
    match command {
        #[cfg(unix)]
        WorkerCommand::Exec(_) => {}
        WorkerCommand::List { all, limit } => {
            let listed = limit
                .pages(async |page_size, page_token| {
                    let request = ListWorkersRequest {
                        namespace: namespace.clone(),
                        page_size,
                        page_token,
                        include_gone: all,
                        ..ListWorkersRequest::default()
                    };
                    Ok(queues.list_workers(request).await?.into_inner())
                })
                .await?;
            session.out.list(listed)?;
        }
        WorkerCommand::Drain { worker, terminate } => {
            let request = DrainWorkerRequest { namespace, worker_id: worker, terminate };
            let worker = queues.drain_worker(request).await?.into_inner().worker.unwrap_or_default();
            session.out.did(&format!("worker/{} drains", worker.worker_id), &worker)?;
        }
    }
    Ok(Exit::Done)
}
