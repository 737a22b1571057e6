//! `worker`: the processes that run the user's code.

#[cfg(unix)]
mod exec;

use clap::Subcommand;
use mainspring_proto::scheduler::v1::{
    DrainWorkerRequest, EventTopic, GetWorkerRequest, ListWorkersRequest, ListWorkersResponse, Worker, WorkerState,
    event::Detail,
};

use super::{examples, job::describe::runs};
use crate::{
    connection::Server,
    exit::Exit,
    failure::Failure,
    named,
    output::Part,
    session::{LimitArgs, Session},
    watch::{self, Seen, Subject, WatchArgs},
};

/// So many runs at a worker are shown.
const SHOWN: i32 = 20;

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
    #[command(before_help = examples![
        "mainspring worker list",
        "mainspring worker list --all -o jsonl",
        "mainspring worker list --filter 'queue = default'",
    ])]
    List {
        /// Also those that are lost or left
        #[arg(long)]
        all: bool,
        /// FIELD OP VALUE joined by AND, OR, NOT (`mainspring help filters`); fields: name, state, job_type, queue, sdk, build_id,
        /// connect_time, last_heartbeat_time
        #[arg(long, value_name = "FILTER", conflicts_with = "watch")]
        filter: Option<String>,
        #[command(flatten)]
        limit: LimitArgs,
        #[command(flatten)]
        watch: WatchArgs,
    },
    /// Show everything about a worker
    #[command(before_help = examples!["mainspring worker get $WORKER", "mainspring worker get $WORKER -o json"])]
    Get {
        /// The worker's id
        #[arg(value_parser = named::worker)]
        worker: String,
        #[command(flatten)]
        watch: WatchArgs,
    },
    /// Show a worker with what it takes, and the runs it has
    #[command(before_help = examples!["mainspring worker describe $WORKER", "mainspring worker describe $WORKER -o json"])]
    Describe {
        /// The worker's id
        #[arg(value_parser = named::worker)]
        worker: String,
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
    match command {
        #[cfg(unix)]
        WorkerCommand::Exec(_) => {}
        WorkerCommand::List { all, filter, limit, watch } => {
            let filter = filter.unwrap_or_default();
            let list = async || listed(&server, &filter, all, limit).await;
            if watch.watch {
                return watched(&server, session, async || Ok(list().await?.workers), None).await;
            }
            session.out.list(list().await?)?;
        }
        WorkerCommand::Get { worker, watch } => {
            if watch.watch {
                let this = async || Ok(vec![got(&server, &worker).await?]);
                return watched(&server, session, this, Some(&worker)).await;
            }
            session.out.show(&got(&server, &worker).await?)?;
        }
        WorkerCommand::Describe { worker } => {
            let look = session.out.look();
            let found = got(&server, &worker).await?;
            let filter = format!("at_worker = {worker}");
            let runs = runs(&server, filter, "", SHOWN).await?;
            let parts = vec![Part::page("worker", &found, look), Part::list("runs", "Runs it has", &runs, look)];
            session.out.describe(&format!("worker/{worker}"), parts)?;
        }
        WorkerCommand::Drain { worker, terminate } => {
            let request = DrainWorkerRequest { namespace: server.namespace(), worker_id: worker, terminate };
            let worker = server.queues().drain_worker(request).await?.into_inner().worker.unwrap_or_default();
            session.out.did(&format!("worker/{} drains", worker.worker_id), &worker)?;
        }
    }
    Ok(Exit::Done)
}

async fn listed(server: &Server, filter: &str, all: bool, limit: LimitArgs) -> Result<ListWorkersResponse, Failure> {
    let mut queues = server.queues();
    let pages = limit.pages(async |page_size, page_token| {
        let request = ListWorkersRequest {
            namespace: server.namespace(),
            filter: filter.to_owned(),
            page_size,
            page_token,
            include_gone: all,
            ..ListWorkersRequest::default()
        };
        Ok(queues.list_workers(request).await?.into_inner())
    });
    pages.await
}

async fn got(server: &Server, worker: &str) -> Result<Worker, Failure> {
    let request = GetWorkerRequest { namespace: server.namespace(), worker_id: worker.into() };
    Ok(server.queues().get_worker(request).await?.into_inner().worker.unwrap_or_default())
}

/// Stays with workers; with one alone, until it has left.
async fn watched(
    server: &Server,
    session: &Session,
    list: impl AsyncFnMut() -> Result<Vec<Worker>, Failure>,
    only: Option<&str>,
) -> Result<Exit, Failure> {
    let subject = Subject { topics: vec![EventTopic::Workers], filter: String::new() };
    let read = async |detail: &Detail| match detail {
        Detail::Worker(event) if only.is_none_or(|only| only == event.worker_id) => {
            Ok(Seen::Changed(got(server, &event.worker_id).await?))
        }
        Detail::Worker(_)
        | Detail::Run(_)
        | Detail::Progress(_)
        | Detail::Job(_)
        | Detail::Queue(_)
        | Detail::Schedule(_)
        | Detail::Sink(_)
        | Detail::Server(_)
        | Detail::Bookmark(_) => Ok(Seen::Other),
    };
    let has_left = |worker: &Worker| matches!(worker.state(), WorkerState::Lost | WorkerState::Gone);
    watch::watch(server, &session.out, subject, list, read, |worker| only.is_some() && has_left(worker)).await
}
