//! `run`: what was made to run, and what became of it.

use clap::Subcommand;
use mainspring_proto::scheduler::v1::{
    CancelRunRequest, GetRunRequest, ListRunsRequest, RetryRunRequest, RunState, RunView,
};

use super::examples;
use crate::{
    exit::Exit,
    failure::Failure,
    follow::{self, FollowArgs},
    named,
    session::{LimitArgs, Session},
    times::Length,
};

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
        /// FIELD OP VALUE joined by AND, OR, NOT (`mainspring help filters`); fields: state, job, job_type, queue, origin, reason, priority,
        /// create_time, nominal_time, end_time
        #[arg(long, value_name = "FILTER")]
        filter: Option<String>,
        /// Oldest first
        #[arg(long)]
        oldest: bool,
        #[command(flatten)]
        limit: LimitArgs,
    },
    /// Show everything about a run
    #[command(before_help = examples!["mainspring run get $RUN", "mainspring run get $RUN -o json"])]
    Get {
        /// The run
        #[arg(value_parser = named::run)]
        run: String,
    },
    /// Cancel a run that is not over
    #[command(before_help = examples![
        "mainspring run cancel $RUN",
        "mainspring run cancel $RUN --note 'wrong month'",
    ])]
    Cancel {
        /// The run
        #[arg(value_parser = named::run)]
        run: String,
        /// Why, for the handler and for people
        #[arg(long, value_name = "TEXT", alias = "reason")]
        note: Option<String>,
    },
    /// Make a new run like one that is over
    #[command(before_help = examples![
        "mainspring run retry $RUN --follow",
        "mainspring run retry $RUN --note 'the mail server is back' --wait=1m",
    ])]
    Retry {
        /// The run that is over
        #[arg(value_parser = named::run)]
        run: String,
        /// Why, for whoever looks at the run later
        #[arg(long, value_name = "TEXT")]
        note: Option<String>,
        /// Makes a repeated call harmless: the same id answers with the same run for 24 h
        #[arg(long, value_name = "ID")]
        request_id: Option<String>,
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

pub(super) async fn run(command: RunCommand, session: &Session) -> Result<Exit, Failure> {
    let server = session.server().await?;
    let namespace = server.namespace();
    let mut scheduler = server.scheduler();
    match command {
        RunCommand::List { filter, oldest, limit } => {
            let order_by = if oldest { "create_time" } else { "" };
            let runs = limit
                .pages(async |page_size, page_token| {
                    let request = ListRunsRequest {
                        namespace: namespace.clone(),
                        filter: filter.clone().unwrap_or_default(),
                        page_size,
                        page_token,
                        order_by: order_by.into(),
                        view: RunView::Basic.into(),
                    };
                    Ok(scheduler.list_runs(request).await?.into_inner())
                })
                .await?;
            session.out.list(runs)?;
        }
        RunCommand::Get { run } => {
            let request = GetRunRequest { namespace, run_id: run, view: RunView::Full.into() };
            session.out.show(&scheduler.get_run(request).await?.into_inner().run.unwrap_or_default())?;
        }
        RunCommand::Cancel { run, note } => {
            let request = CancelRunRequest { namespace, run_id: run, note: note.unwrap_or_default() };
            let run = scheduler.cancel_run(request).await?.into_inner().run.unwrap_or_default();
            let sentence = match run.state() {
                RunState::Cancelled => format!("run/{} cancelled", run.run_id),
                state if follow::is_over(state) => {
                    format!("run/{} was over already: {}", run.run_id, crate::resource::state_word(state))
                }
                _ => format!("run/{} is asked to stop", run.run_id),
            };
            session.out.did(&sentence, &run)?;
        }
        RunCommand::Retry { run, note, request_id, follow } => {
            let request = RetryRunRequest {
                namespace,
                run_id: run,
                note: note.unwrap_or_default(),
                request_id: request_id.unwrap_or_default(),
            };
            let run = scheduler.retry_run(request).await?.into_inner().run.unwrap_or_default();
            return follow::started(&server, &session.out, run, follow).await;
        }
        RunCommand::Wait { run, timeout } => {
            return follow::wait(&server, &session.out, run, timeout).await;
        }
    }
    Ok(Exit::Done)
}
