//! `run`: what was made to run, and what became of it.

mod describe;

use clap::{ArgGroup, Subcommand};
use mainspring_proto::scheduler::v1::{
    CancelRunRequest, CancelRunsRequest, CancelRunsResponse, CancelledRun, EventTopic, GetRunRequest, ListRunsRequest,
    ListRunsResponse, ReplayRunRequest, RetriedRun, RetryRunRequest, RetryRunsRequest, RetryRunsResponse, Run,
    RunState, RunView, event::Detail,
};

use super::{
    bulk::{self, Asked, BulkArgs, Doing, Told, many},
    examples, logs,
    passes::PassArgs,
    policy::PayloadArgs,
};
use crate::{
    connection::Server,
    exit::Exit,
    failure::Failure,
    follow::{self, FollowArgs},
    named,
    resource::state_word,
    session::{LimitArgs, Session},
    times::Length,
    watch::{self, Seen, Subject, WatchArgs},
};

/// Runs that can be cancelled, and runs that can be retried.
const NOT_OVER: &str = "state = SCHEDULED OR state = QUEUED OR state = LEASED OR state = RUNNING OR state = RETRY_WAIT";
const OVER: &str = "state = SUCCEEDED OR state = FAILED OR state = CANCELLED OR state = TIMED_OUT";

/// See, cancel, retry and wait for runs
#[derive(Debug, Subcommand)]
#[command(before_help = examples![
    "mainspring run list --limit 10",
    "mainspring run get $RUN",
    "mainspring run wait $RUN --timeout 5m",
])]
pub(crate) enum RunCommand {
    /// List runs, newest first
    #[command(before_help = examples![
        "mainspring run list",
        "mainspring run list --filter 'state = FAILED AND job = demo.flaky' --limit 0",
        "mainspring run list --filter 'create_time > now-1h' -o jsonl",
    ])]
    List {
        /// FIELD OP VALUE joined by AND, OR, NOT (`mainspring help filters`); fields: run_id, state, job, job_uid, job_type, queue, origin, reason,
        /// priority, fairness_key, concurrency_key, unique_key, resolution, fingerprint, at_worker, create_time, nominal_time, end_time. `job` is a name, and finds the runs of every job
        /// that has or had it; `job_uid` is one job's (`mainspring job get NAME -o json`)
        #[arg(long, value_name = "FILTER")]
        filter: Option<String>,
        /// Oldest first
        #[arg(long)]
        oldest: bool,
        #[command(flatten)]
        limit: LimitArgs,
        #[command(flatten)]
        watch: WatchArgs,
    },
    /// Show everything about a run
    #[command(before_help = examples![
        "mainspring run get $RUN",
        "mainspring run get $RUN -o json --fields state,output",
        "mainspring run get $RUN --watch",
    ])]
    Get {
        /// The run
        #[arg(value_parser = named::run)]
        run: String,
        #[command(flatten)]
        watch: WatchArgs,
    },
    /// Show a run with its attempts, the end of its log, and why it waits
    #[command(before_help = examples!["mainspring run describe $RUN", "mainspring run describe $RUN -o yaml"])]
    Describe {
        /// The run
        #[arg(value_parser = named::run)]
        run: String,
    },
    /// Show the log of a run, as `mainspring logs` does
    #[command(before_help = examples!["mainspring run logs $RUN", "mainspring run logs $RUN -f"])]
    Logs(logs::LogArgs),
    /// Cancel a run that is not over, all that a filter finds, or all there are
    #[command(group = which(), group = many(), before_help = examples![
        "mainspring run cancel $RUN",
        "mainspring run cancel $RUN --note 'wrong month'",
        "mainspring run cancel --filter 'job = demo.sleep' --since 1h -y",
    ])]
    Cancel {
        /// The run
        #[arg(value_parser = named::run)]
        run: Option<String>,
        #[command(flatten)]
        bulk: BulkArgs,
        /// Why, for the handler and for people
        #[arg(long, value_name = "TEXT", alias = "reason")]
        note: Option<String>,
    },
    /// Make a new run like one that is over, like all that a filter finds, or like all there are
    #[command(group = which(), group = many(), before_help = examples![
        "mainspring run retry $RUN --follow",
        "mainspring run retry $RUN --note 'the mail server is back' --wait=1m",
        "mainspring run retry --filter 'state = FAILED' --since 1h --dry-run",
    ])]
    Retry {
        /// The run that is over
        #[arg(value_parser = named::run)]
        run: Option<String>,
        #[command(flatten)]
        bulk: BulkArgs,
        /// Why, for whoever looks at the run later
        #[arg(long, value_name = "TEXT")]
        note: Option<String>,
        /// Makes a repeated call harmless: the same id answers with the same run for 24 h
        #[arg(long, value_name = "ID", conflicts_with = "many")]
        request_id: Option<String>,
        #[command(flatten)]
        passes: PassArgs,
        #[command(flatten)]
        follow: FollowArgs,
    },
    /// Make a new run like one that is over, however it ended, with another payload where one is given
    #[command(before_help = examples![
        "mainspring run replay $RUN",
        "mainspring run replay $RUN -d name=Grace --follow",
        "mainspring run replay $RUN --request-id order-4711 --note 'once more' -o json",
    ])]
    Replay {
        /// The run that is over
        #[arg(value_parser = named::run)]
        run: String,
        #[command(flatten)]
        payload: PayloadArgs,
        /// Why, for whoever looks at the run later
        #[arg(long, value_name = "TEXT")]
        note: Option<String>,
        /// Makes a repeated call harmless: the same id answers with the same run for 24 h
        #[arg(long, value_name = "ID")]
        request_id: Option<String>,
        #[command(flatten)]
        passes: PassArgs,
        #[command(flatten)]
        follow: FollowArgs,
    },
    /// Wait until a run is over; the exit code tells how it ended
    #[command(before_help = examples!["mainspring run wait $RUN", "mainspring run wait $RUN --timeout 30s -o json"])]
    Wait {
        /// The run
        #[arg(value_parser = named::run)]
        run: String,
        /// Give up after this (exit code 6) [default: never]
        #[arg(long, value_name = "LENGTH", allow_hyphen_values = true)]
        timeout: Option<Length>,
    },
}

/// One run, or many. As a group, what is missing is told with all of its names.
fn which() -> ArgGroup {
    ArgGroup::new("which").args(["run", "filter", "all"]).required(true)
}

pub(super) async fn run(command: RunCommand, session: &Session) -> Result<Exit, Failure> {
    match command {
        RunCommand::List { filter, oldest, limit, watch } => {
            let server = session.server().await?;
            let filter = filter.unwrap_or_default();
            let order_by = if oldest { "create_time" } else { "" };
            let list = async || listed(&server, &filter, order_by, limit).await;
            if watch.watch {
                let subject = Subject { topics: vec![EventTopic::Runs], filter: filter.clone() };
                let all = async || Ok(list().await?.runs);
                let watched = watched(&server, session, subject, all, false).await;
                return watched.map_err(|failure| match failure.reason() {
                    "FILTER_INVALID" => failure.hint(
                        "with --watch a filter is about what events know: job, job_type, queue, worker_id and state",
                    ),
                    _ => failure,
                });
            }
            session.out.list(list().await?)?;
        }
        RunCommand::Get { run, watch } => {
            let server = session.server().await?;
            if watch.watch {
                let subject = Subject { topics: vec![EventTopic::Runs], filter: format!("run_id = {run}") };
                let this = async || Ok(vec![got(&server, &run).await?]);
                return watched(&server, session, subject, this, true).await;
            }
            session.out.show(&got(&server, &run).await?)?;
        }
        RunCommand::Describe { run } => describe::describe(&run, &session.server().await?, session).await?,
        RunCommand::Logs(args) => return logs::show(args, &session.server().await?, session).await,
        RunCommand::Cancel { run, bulk, note } => {
            let is_many = bulk.is_asked()?;
            let server = session.server().await?;
            let note = note.unwrap_or_default();
            if is_many {
                let doing = Doing { verb: "cancel", only: NOT_OVER };
                let cancel = async |asked: Asked| cancelled_all(&server, asked, &note).await;
                return bulk::run(&bulk, &server, session, doing, cancel).await;
            }
            let (sentence, run) = cancelled(&server, &run.unwrap_or_default(), &note).await?;
            session.out.did(&sentence, &run)?;
        }
        RunCommand::Retry { run, bulk, note, request_id, passes, follow } => {
            let note = note.unwrap_or_default();
            if bulk.is_asked()? {
                let server = session.server().await?;
                let doing = Doing { verb: "retry", only: OVER };
                let retry = async |asked: Asked| retried_all(&server, asked, &note, passes).await;
                return bulk::run(&bulk, &server, session, doing, retry).await;
            }
            let (run, request_id) = (run.unwrap_or_default(), request_id.unwrap_or_default());
            let PassArgs { force, while_paused } = passes;
            let retry = async |server: &Server| {
                let (namespace, run_id) = (server.namespace(), run.clone());
                let (note, request_id) = (note.clone(), request_id.clone());
                let request = RetryRunRequest { namespace, run_id, note, request_id, force, while_paused };
                Ok(server.scheduler().retry_run(request).await?.into_inner().run.unwrap_or_default())
            };
            return follow::made(session, follow, retry).await;
        }
        RunCommand::Replay { run, payload, note, request_id, passes, follow } => {
            let payload = payload.payload()?;
            let replay = async |server: &Server| {
                let request = ReplayRunRequest {
                    namespace: server.namespace(),
                    run_id: run,
                    payload,
                    note: note.unwrap_or_default(),
                    request_id: request_id.unwrap_or_default(),
                    force: passes.force,
                    while_paused: passes.while_paused,
                };
                Ok(server.scheduler().replay_run(request).await?.into_inner().run.unwrap_or_default())
            };
            return follow::made(session, follow, replay).await;
        }
        RunCommand::Wait { run, timeout } => {
            return follow::wait(session, run, timeout).await;
        }
    }
    Ok(Exit::Done)
}

async fn listed(server: &Server, filter: &str, order_by: &str, limit: LimitArgs) -> Result<ListRunsResponse, Failure> {
    let mut scheduler = server.scheduler();
    let pages = limit.pages(async |page_size, page_token| {
        let request = ListRunsRequest {
            namespace: server.namespace(),
            filter: filter.to_owned(),
            page_size,
            page_token,
            order_by: order_by.into(),
            view: RunView::Basic.into(),
        };
        Ok(scheduler.list_runs(request).await?.into_inner())
    });
    pages.await
}

async fn got(server: &Server, run: &str) -> Result<Run, Failure> {
    let request = GetRunRequest { namespace: server.namespace(), run_id: run.into(), view: RunView::Full.into() };
    Ok(server.scheduler().get_run(request).await?.into_inner().run.unwrap_or_default())
}

/// Asks, and says in a sentence what came of it.
async fn cancelled(server: &Server, run: &str, note: &str) -> Result<(String, Run), Failure> {
    let request = CancelRunRequest { namespace: server.namespace(), run_id: run.into(), note: note.into() };
    let run = server.scheduler().cancel_run(request).await?.into_inner().run.unwrap_or_default();
    Ok((cancel_sentence(&run), run))
}

fn cancel_sentence(run: &Run) -> String {
    match run.state() {
        RunState::Cancelled => format!("run/{} cancelled", run.run_id),
        state if follow::is_over(state) => format!("run/{} was over already: {}", run.run_id, state_word(state)),
        _ => format!("run/{} is asked to stop", run.run_id),
    }
}

async fn cancelled_all(server: &Server, asked: Asked, note: &str) -> Result<Told, Failure> {
    let Asked { selection, expected_count, validate_only } = asked;
    let (namespace, note) = (server.namespace(), note.into());
    let request = CancelRunsRequest { namespace, selection, note, expected_count, validate_only };
    let CancelRunsResponse { count, runs } = server.scheduler().cancel_runs(request).await?.into_inner();
    let told = runs.into_iter().map(|CancelledRun { run_id, state }| {
        let run = Run { run_id, state, ..Run::default() };
        (cancel_sentence(&run), run)
    });
    Ok(Told { count, done: told.collect(), refusals: Vec::new() })
}

async fn retried_all(server: &Server, asked: Asked, note: &str, passes: PassArgs) -> Result<Told, Failure> {
    let Asked { selection, expected_count, validate_only } = asked;
    let PassArgs { force, while_paused } = passes;
    let request = RetryRunsRequest {
        namespace: server.namespace(),
        selection,
        note: note.into(),
        request_id: String::new(),
        expected_count,
        validate_only,
        force,
        while_paused,
    };
    let RetryRunsResponse { count, runs, refusals } = server.scheduler().retry_runs(request).await?.into_inner();
    let told = runs.into_iter().map(|RetriedRun { run_id, new_run_id }| {
        let sentence = format!("run/{run_id} is tried again as run/{new_run_id}");
        (sentence, Run { run_id: new_run_id, ..Run::default() })
    });
    Ok(Told { count, done: told.collect(), refusals })
}

/// Stays with runs; with one alone, until it is over.
async fn watched(
    server: &Server,
    session: &Session,
    subject: Subject,
    list: impl AsyncFnMut() -> Result<Vec<Run>, Failure>,
    until_over: bool,
) -> Result<Exit, Failure> {
    let read = async |detail: &Detail| match detail {
        Detail::Run(event) => Ok(Seen::Changed(got(server, &event.run_id).await?)),
        Detail::Job(_)
        | Detail::Progress(_)
        | Detail::Worker(_)
        | Detail::Queue(_)
        | Detail::Schedule(_)
        | Detail::Sink(_)
        | Detail::Server(_)
        | Detail::Bookmark(_) => Ok(Seen::Other),
    };
    let is_last = |run: &Run| until_over && follow::is_over(run.state());
    watch::watch(server, &session.out, subject, list, read, is_last).await
}
