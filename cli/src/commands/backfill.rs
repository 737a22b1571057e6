//! `backfill`: runs that are made of instants that have passed, as they go on. `job backfill` begins one.

use clap::Subcommand;
use mainspring_proto::scheduler::v1::{
    Backfill, BackfillState, CancelBackfillRequest, EventTopic, GetBackfillRequest, ListBackfillsRequest,
    ListRunsRequest, RunView, event::Detail,
};

use super::examples;
use crate::{
    connection::Server,
    exit::Exit,
    failure::Failure,
    named,
    output::Part,
    session::{LimitArgs, Session},
    watch::{self, Seen, Subject},
};

/// How many runs belong to a page.
const NEWEST: i32 = 10;

/// See, watch and cancel runs that are made of instants that have passed
#[derive(Debug, Subcommand)]
#[command(before_help = examples![
    "mainspring job backfill demo.hello --from now-1h --to now-30m --dry-run",
    "mainspring backfill list",
    "mainspring backfill cancel $BACKFILL",
])]
pub(crate) enum BackfillCommand {
    /// List backfills, the newest first
    #[command(before_help = examples!["mainspring backfill list", "mainspring backfill list demo.hello -o jsonl"])]
    List {
        /// Only those of this job
        #[arg(value_parser = named::job)]
        job: Option<String>,
        #[command(flatten)]
        limit: LimitArgs,
    },
    /// Show a backfill with its newest runs
    #[command(before_help = examples![
        "mainspring backfill describe $BACKFILL",
        "mainspring backfill describe $BACKFILL -o json",
    ])]
    Describe {
        /// The backfill
        #[arg(value_parser = named::backfill)]
        backfill: String,
    },
    /// Stay with a backfill until it is over; ends with 1 where runs of it failed
    #[command(before_help = examples!["mainspring backfill watch $BACKFILL", "mainspring backfill watch $BACKFILL -o jsonl"])]
    Watch {
        /// The backfill
        #[arg(value_parser = named::backfill)]
        backfill: String,
    },
    /// Cancel a backfill as a whole: no more runs, and those that wait are cancelled
    #[command(before_help = examples![
        "mainspring backfill cancel $BACKFILL",
        "mainspring backfill cancel $BACKFILL --running --note 'the report was wrong'",
    ])]
    Cancel {
        /// The backfill
        #[arg(value_parser = named::backfill)]
        backfill: String,
        /// Those at workers are asked to stop, too
        #[arg(long)]
        running: bool,
        /// Why, for the handlers and for people
        #[arg(long, value_name = "TEXT")]
        note: Option<String>,
    },
}

pub(super) async fn run(command: BackfillCommand, session: &Session) -> Result<Exit, Failure> {
    let server = session.server().await?;
    let namespace = server.namespace();
    let mut scheduler = server.scheduler();
    match command {
        BackfillCommand::List { job, limit } => {
            let job = job.unwrap_or_default();
            let pages = limit.pages(async |page_size, page_token| {
                let (namespace, job) = (namespace.clone(), job.clone());
                let request = ListBackfillsRequest { namespace, job, page_size, page_token };
                Ok(scheduler.list_backfills(request).await?.into_inner())
            });
            session.out.list(pages.await?)?;
        }
        BackfillCommand::Describe { backfill } => describe(&backfill, &server, session).await?,
        BackfillCommand::Watch { backfill } => return watch(&backfill, &server, session).await,
        BackfillCommand::Cancel { backfill, running, note } => {
            let note = note.unwrap_or_default();
            let request = CancelBackfillRequest { namespace, backfill_id: backfill, note, cancel_running: running };
            let cancelled = scheduler.cancel_backfill(request).await?.into_inner().backfill.unwrap_or_default();
            let open = match (cancelled.state(), cancelled.open_count) {
                (BackfillState::Completed, _) => ", it was over already".to_owned(),
                (_, 0) => String::new(),
                (_, open) => format!(", {open} of its runs at workers"),
            };
            session.out.did(&format!("backfill/{} cancelled{open}", cancelled.backfill_id), &cancelled)?;
        }
    }
    Ok(Exit::Done)
}

async fn got(server: &Server, id: &str) -> Result<Backfill, Failure> {
    let request = GetBackfillRequest { namespace: server.namespace(), backfill_id: id.into() };
    Ok(server.scheduler().get_backfill(request).await?.into_inner().backfill.unwrap_or_default())
}

async fn describe(id: &str, server: &Server, session: &Session) -> Result<(), Failure> {
    let look = session.out.look();
    let backfill = got(server, id).await?;
    let request = ListRunsRequest {
        namespace: server.namespace(),
        filter: format!("backfill_id = {}", backfill.backfill_id),
        page_size: NEWEST,
        view: RunView::Basic.into(),
        ..ListRunsRequest::default()
    };
    let runs = server.scheduler().list_runs(request).await?.into_inner().runs;
    let parts = vec![Part::page("backfill", &backfill, look), Part::list("runs", "Newest runs", &runs, look)];
    session.out.describe(&format!("backfill/{}", backfill.backfill_id), parts)
}

/// Stays with a backfill until it is over.
pub(super) async fn watch(id: &str, server: &Server, session: &Session) -> Result<Exit, Failure> {
    let first = got(server, id).await?;
    let topics = vec![EventTopic::Runs, EventTopic::Jobs];
    let subject = Subject { topics, filter: format!("job = \"{}\"", first.job) };
    let mut last = Backfill::default();
    let read = async |detail: &Detail| match detail {
        Detail::Run(_) | Detail::Job(_) => {
            let now = got(server, id).await?;
            // Other runs of the job say nothing of it.
            if now == last {
                return Ok(Seen::Other);
            }
            last = now.clone();
            Ok(Seen::Changed(now))
        }
        Detail::Progress(_)
        | Detail::Worker(_)
        | Detail::Queue(_)
        | Detail::Schedule(_)
        | Detail::Sink(_)
        | Detail::Server(_)
        | Detail::Bookmark(_) => Ok(Seen::Other),
    };
    let list = async || Ok(vec![got(server, id).await?]);
    let exit = watch::watch(server, &session.out, subject, list, read, |backfill| backfill.end_time.is_some()).await?;
    if exit != Exit::Done {
        return Ok(exit);
    }
    let over = got(server, id).await?;
    let is_well = over.state() == BackfillState::Completed && over.failed_count == 0;
    Ok(if is_well { Exit::Done } else { Exit::Failed })
}
