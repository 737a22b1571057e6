//! A worker that writes down what it does: START, END and ACK of every attempt, as the SDK's observer tells them.
//!
//! START is on disk before user code is called, and END before the result is sent, so what the file says holds whenever
//! the process is killed. It ends when its stdin does: a test that dies leaves no worker behind.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Result;
use clap::Parser;
use mainspring_tests::harness::{host, journal::Journal};
use mainspring_worker::{Backoff, Ctx, Disposition, JobError, Observed, Outcome, Payload, Worker};
use serde::Deserialize;
use serde_json::json;

#[derive(Parser)]
struct Args {
    /// How many runs to execute at once
    #[arg(long)]
    slots: u32,
    /// The file to write to
    #[arg(long)]
    evidence: PathBuf,
}

// A thread for each slot of a case: a START waits for the disk on the thread of its handler, and must hold up no other.
#[tokio::main(worker_threads = 10)]
async fn main() -> ExitCode {
    match run(Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> Result<()> {
    let journal = Journal::open(&args.evidence)?;
    let worker = Worker::from_env()?;
    let id = worker.id();
    journal.note(json!({"e": "UP", "worker": id, "slots": args.slots, "pid": std::process::id()}))?;
    println!("id {id}");
    host::end_with_parent();
    worker
        .slots(args.slots)
        .reconnect(Backoff::between(Duration::from_millis(50), Duration::from_millis(500)))
        .drain_within(Duration::from_secs(20))
        .observe(move |event| observe(&journal, &id, event))
        .handle("t.noop", noop)
        .handle("t.sleep", sleep)
        .handle("t.fail", fail)
        .handle("t.flaky", flaky)
        .handle("t.block", block)
        .run_until_signal()
        .await?;
    Ok(())
}

/// Evidence that cannot be written ends the worker: what it did from then on would be unknown.
fn observe(journal: &Journal, worker: &str, event: &Observed) {
    let written = match event {
        Observed::Start { run_id, attempt } => {
            journal.note_durably(json!({"e": "START", "worker": worker, "run": run_id, "attempt": attempt}))
        }
        Observed::End { run_id, attempt, outcome } => {
            let outcome = outcome_name(outcome);
            let line = json!({"e": "END", "worker": worker, "run": run_id, "attempt": attempt, "outcome": outcome});
            journal.note_durably(line)
        }
        Observed::Acked { run_id, attempt, disposition } => {
            let made = disposition_name(*disposition);
            let line = json!({"e": "ACK", "worker": worker, "run": run_id, "attempt": attempt, "disposition": made});
            journal.note(line)
        }
        Observed::Session { up, session_id, .. } => {
            println!("{} {session_id}", if *up { "up" } else { "down" });
            journal.note(json!({"e": "SESSION", "worker": worker, "up": up, "session": session_id}))
        }
        _ => Ok(()),
    };
    if let Err(error) = written {
        eprintln!("the evidence cannot be written: {error}");
        std::process::abort();
    }
}

fn outcome_name(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Succeeded => "SUCCEEDED",
        Outcome::Failed { .. } => "FAILED",
        Outcome::Cancelled => "CANCELLED",
        Outcome::Interrupted => "INTERRUPTED",
        Outcome::Discarded => "DISCARDED",
        other => unreachable!("an outcome the evidence has no word for: {other:?}"),
    }
}

fn disposition_name(disposition: Disposition) -> &'static str {
    match disposition {
        Disposition::Applied => "APPLIED",
        Disposition::Duplicate => "DUPLICATE",
        Disposition::Fenced => "FENCED",
        Disposition::Invalid => "INVALID",
        other => unreachable!("a disposition the evidence has no word for: {other:?}"),
    }
}

#[derive(Deserialize)]
struct Sleep {
    ms: u64,
}

async fn noop(_ctx: Ctx) -> Result<(), JobError> {
    Ok(())
}

async fn sleep(ctx: Ctx, Payload(Sleep { ms }): Payload<Sleep>) -> Result<u64, JobError> {
    tokio::select! {
        () = host::pass_time(Duration::from_millis(ms), "work takes its time") => Ok(ms),
        () = ctx.cancelled() => Err(JobError::Cancelled),
    }
}

async fn fail(_ctx: Ctx) -> Result<(), JobError> {
    Err(JobError::fatal("it always fails"))
}

/// Fails until it has failed once.
async fn flaky(ctx: Ctx) -> Result<(), JobError> {
    if ctx.failures() == 0 { Err(JobError::retryable("it fails at first")) } else { Ok(()) }
}

/// Runs until somebody cancels it.
async fn block(ctx: Ctx) -> Result<(), JobError> {
    ctx.cancelled().await;
    Err(JobError::Cancelled)
}
