//! `queue`: the lanes runs wait in.

use clap::{ArgGroup, Subcommand};
use mainspring_proto::scheduler::v1::{
    EventTopic, GetQueueRequest, ListQueuesRequest, ListQueuesResponse, ListWorkersRequest, PauseQueueRequest, Queue,
    ResumeQueueRequest, UpdateQueueRequest, event::Detail,
};
use prost_types::FieldMask;

use super::{examples, job::describe::runs};
use crate::{
    connection::Server,
    exit::Exit,
    failure::Failure,
    named,
    output::Part,
    rate::{self, Rate},
    session::{LimitArgs, Session},
    watch::{self, Seen, Subject, WatchArgs},
};

/// How many of each belong to a page.
const SHOWN: i32 = 5;

/// See, limit, pause and resume queues
#[derive(Debug, Subcommand)]
#[command(before_help = examples![
    "mainspring queue list",
    "mainspring queue set default --concurrency 20",
    "mainspring queue pause default --note 'deploying'",
])]
pub(crate) enum QueueCommand {
    /// List queues by name
    #[command(before_help = examples![
        "mainspring queue list",
        "mainspring queue list --filter 'paused = true' -o json",
    ])]
    List {
        /// FIELD OP VALUE joined by AND, OR, NOT (`mainspring help filters`); fields: queue, paused, concurrency_limit
        #[arg(long, value_name = "FILTER", conflicts_with = "watch")]
        filter: Option<String>,
        #[command(flatten)]
        limit: LimitArgs,
        #[command(flatten)]
        watch: WatchArgs,
    },
    /// Show everything about a queue
    #[command(before_help = examples!["mainspring queue get default", "mainspring queue get default -o json"])]
    Get {
        /// The queue
        #[arg(value_parser = named::queue)]
        queue: String,
        #[command(flatten)]
        watch: WatchArgs,
    },
    /// Show a queue with the workers that serve it and its newest runs
    #[command(before_help = examples!["mainspring queue describe default", "mainspring queue describe default -o json"])]
    Describe {
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
    /// Change the limits of a queue
    #[command(group = limits(), before_help = examples![
        "mainspring queue set default --concurrency 20",
        "mainspring queue set reports --concurrency 2 --create",
        "mainspring queue set default --rate 100/1m --burst 10",
    ])]
    Set {
        /// The queue
        #[arg(value_parser = named::queue)]
        queue: String,
        /// At most so many of its runs are at workers at once; 0 means no limit
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..))]
        concurrency: Option<i32>,
        /// So many are released in so long, one after the other: 100/1m; `none` means no limit
        #[arg(long, value_name = "N/LENGTH")]
        rate: Option<Rate>,
        /// So many may go at once after none went for long [default: 1]
        #[arg(long, value_name = "N", requires = "rate", value_parser = clap::value_parser!(i32).range(1..=1_000_000))]
        burst: Option<i32>,
        /// Create it where there is none
        #[arg(long)]
        create: bool,
        /// Only if it is still this one (`etag` of `queue get -o json`)
        #[arg(long, value_name = "ETAG")]
        etag: Option<String>,
    },
}

/// One limit at least; 0 and `none` are limits too. As a group, what is missing is told with all of its names.
fn limits() -> ArgGroup {
    ArgGroup::new("limits").args(["concurrency", "rate"]).multiple(true).required(true)
}

pub(super) async fn run(command: QueueCommand, session: &Session) -> Result<Exit, Failure> {
    let server = session.server().await?;
    let namespace = server.namespace();
    let mut queues = server.queues();
    match command {
        QueueCommand::List { filter, limit, watch } => {
            let filter = filter.unwrap_or_default();
            let list = async || listed(&server, &filter, limit).await;
            if watch.watch {
                return watched(&server, session, async || Ok(list().await?.queues), None).await;
            }
            session.out.list(list().await?)?;
        }
        QueueCommand::Get { queue, watch } => {
            if watch.watch {
                let this = async || Ok(vec![got(&server, &queue).await?]);
                return watched(&server, session, this, Some(&queue)).await;
            }
            session.out.show(&got(&server, &queue).await?)?;
        }
        QueueCommand::Describe { queue } => describe(&queue, &server, session).await?,
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
        QueueCommand::Set { queue, concurrency, rate, burst, create, etag } => {
            let mut paths = Vec::new();
            paths.extend(concurrency.map(|_| "concurrency_limit".to_owned()));
            paths.extend(rate.map(|_| "rate_limit".to_owned()));
            let queue = Queue {
                queue,
                concurrency_limit: concurrency.unwrap_or_default(),
                rate_limit: rate.and_then(|rate| rate.limit(burst)),
                etag: etag.unwrap_or_default(),
                ..Queue::default()
            };
            let request = UpdateQueueRequest {
                namespace,
                queue: Some(queue),
                update_mask: Some(FieldMask { paths }),
                allow_missing: create,
                validate_only: false,
            };
            let queue = queues.update_queue(request).await?.into_inner().queue.unwrap_or_default();
            let limit = match queue.concurrency_limit {
                0 => "no limit".to_owned(),
                limit => format!("at most {limit} runs at workers"),
            };
            let rate = queue.rate_limit.as_ref().map(|limit| format!(", {}", rate::told(limit))).unwrap_or_default();
            session.out.did(&format!("queue/{}: {limit}{rate}", queue.queue), &queue)?;
        }
    }
    Ok(Exit::Done)
}

async fn listed(server: &Server, filter: &str, limit: LimitArgs) -> Result<ListQueuesResponse, Failure> {
    let mut queues = server.queues();
    let pages = limit.pages(async |page_size, page_token| {
        let request = ListQueuesRequest {
            namespace: server.namespace(),
            filter: filter.to_owned(),
            page_size,
            page_token,
            ..ListQueuesRequest::default()
        };
        Ok(queues.list_queues(request).await?.into_inner())
    });
    pages.await
}

async fn got(server: &Server, queue: &str) -> Result<Queue, Failure> {
    let request = GetQueueRequest { namespace: server.namespace(), queue: queue.into() };
    Ok(server.queues().get_queue(request).await?.into_inner().queue.unwrap_or_default())
}

async fn describe(queue: &str, server: &Server, session: &Session) -> Result<(), Failure> {
    let look = session.out.look();
    let found = got(server, queue).await?;
    let request = ListWorkersRequest {
        namespace: server.namespace(),
        filter: format!("queue = \"{queue}\""),
        ..ListWorkersRequest::default()
    };
    let workers = server.queues().list_workers(request).await?.into_inner().workers;
    let runs = runs(server, format!("queue = \"{queue}\""), "", SHOWN).await?;
    let mut parts = vec![
        Part::page("queue", &found, look),
        Part::list("workers", "Workers", &workers, look),
        Part::list("runs", "Newest runs", &runs, look),
    ];
    if found.depth > 0 && workers.is_empty() {
        let sentence = "no connected worker takes runs from it";
        parts.push(Part::text("waiting", "Waiting", &format!("{sentence}\n"), sentence));
    }
    session.out.describe(&format!("queue/{queue}"), parts)
}

/// Stays with queues. What waits in them and how much is at work is told with every change of theirs, and not by itself.
async fn watched(
    server: &Server,
    session: &Session,
    list: impl AsyncFnMut() -> Result<Vec<Queue>, Failure>,
    only: Option<&str>,
) -> Result<Exit, Failure> {
    let subject = Subject { topics: vec![EventTopic::Queues], filter: String::new() };
    let read = async |detail: &Detail| match detail {
        Detail::Queue(event) if only.is_none_or(|only| only == event.queue) => {
            Ok(Seen::Changed(got(server, &event.queue).await?))
        }
        Detail::Queue(_)
        | Detail::Run(_)
        | Detail::Progress(_)
        | Detail::Job(_)
        | Detail::Schedule(_)
        | Detail::Sink(_)
        | Detail::Server(_)
        | Detail::Worker(_)
        | Detail::Bookmark(_) => Ok(Seen::Other),
    };
    watch::watch(server, &session.out, subject, list, read, |_| false).await
}
