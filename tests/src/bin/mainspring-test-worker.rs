//! A worker that writes down what it does: START, END and ACK of every attempt, as the SDK's observer tells them, and
//! TOLD when a handler learns that it is to stop.
//!
//! START is on disk before user code is called, and END before the result is sent, so what the file says holds whenever
//! the process is killed. Handlers log lines that name their own place, and END says how many. It ends when its stdin
//! does: a test that dies leaves no worker behind.

use std::{
    collections::HashMap, future::Future, path::PathBuf, pin::Pin, process::ExitCode, sync::Arc, time::Duration,
};

use anyhow::Result;
use clap::Parser;
use mainspring_tests::harness::{host, journal::Journal};
use mainspring_worker::{
    Backoff, Ctx, Disposition, JobError, Observed, Outcome, Payload, Worker, schemars::JsonSchema,
};
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::{Value, json};

/// How often a handler that sleeps logs a line, in milliseconds.
const LINE_EVERY: u64 = 150;

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
    let worker = Worker::from_env()?;
    let notes =
        Arc::new(Notes { journal: Journal::open(&args.evidence)?, worker: worker.id(), lines: Mutex::default() });
    let id = &notes.worker;
    notes.journal.note(json!({"e": "UP", "worker": id, "slots": args.slots, "pid": std::process::id()}))?;
    println!("id {id}");
    host::end_with_parent();
    let observer = notes.clone();
    let noted = |work| noted(&notes, work);
    worker
        .slots(args.slots)
        .reconnect(Backoff::between(Duration::from_millis(50), Duration::from_millis(500)))
        .drain_within(Duration::from_secs(20))
        .observe(move |event| observer.observe(event))
        .handle("t.noop", noted(Work::Nothing))
        .handle("t.sleep", noted(Work::Sleep))
        .handle("t.fail", noted(Work::Fail))
        .handle("t.flaky", noted(Work::FailOnce))
        .handle("t.block", noted(Work::Block))
        .run_until_signal()
        .await?;
    Ok(())
}

/// What there is to write to, from handlers and from the SDK's observer.
struct Notes {
    journal: Journal,
    worker: String,
    /// How many lines each attempt under way has logged.
    lines: Mutex<HashMap<(String, i64), u64>>,
}

impl Notes {
    fn observe(&self, event: &Observed) {
        match event {
            Observed::Start { run_id, attempt } => {
                self.lines.lock().insert((run_id.clone(), *attempt), 0);
                self.note(true, json!({"e": "START", "run": run_id, "attempt": attempt}));
            }
            Observed::End { run_id, attempt, outcome } => {
                let (outcome, lines) = (outcome_name(outcome), self.lines.lock().remove(&(run_id.clone(), *attempt)));
                let lines = lines.unwrap_or_default();
                let end = json!({"e": "END", "run": run_id, "attempt": attempt, "outcome": outcome, "lines": lines});
                self.note(true, end);
            }
            Observed::Acked { run_id, attempt, disposition } => {
                let made = disposition_name(*disposition);
                self.note(false, json!({"e": "ACK", "run": run_id, "attempt": attempt, "disposition": made}));
            }
            Observed::Session { up, session_id, .. } => {
                self.note(false, json!({"e": "SESSION", "up": up, "session": session_id}));
                println!("{} {session_id}", if *up { "up" } else { "down" });
            }
            _ => {}
        }
    }

    /// Evidence that cannot be written ends the worker: what it did from then on would be unknown.
    fn note(&self, durably: bool, mut event: Value) {
        event["worker"] = self.worker.as_str().into();
        let written = if durably { self.journal.note_durably(event) } else { self.journal.note(event) };
        if let Err(error) = written {
            eprintln!("the evidence cannot be written: {error}");
            std::process::abort();
        }
    }

    /// Logs a line that says where it belongs.
    fn line(&self, ctx: &Ctx) {
        if let Some(lines) = self.lines.lock().get_mut(&(ctx.run_id().to_owned(), ctx.attempt())) {
            ctx.info(format!("{} {} {lines}", ctx.run_id(), ctx.attempt()));
            *lines += 1;
        }
    }

    /// Returns once the attempt is told to stop.
    async fn told(&self, ctx: &Ctx) {
        ctx.cancelled().await;
        let why = ctx.cancel_reason().map(ToString::to_string);
        self.note(false, json!({"e": "TOLD", "run": ctx.run_id(), "attempt": ctx.attempt(), "why": why}));
        self.line(ctx);
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

/// What a handler does.
#[derive(Clone, Copy)]
enum Work {
    Nothing,
    /// Takes its time, unless somebody cancels it.
    Sleep,
    Fail,
    /// Fails until it has failed once.
    FailOnce,
    /// Runs until somebody cancels it.
    Block,
}

#[derive(Deserialize, JsonSchema)]
#[schemars(crate = "mainspring_worker::schemars")]
struct Input {
    ms: u64,
}

type Done = Pin<Box<dyn Future<Output = Result<Option<u64>, JobError>> + Send>>;

/// A handler that logs what it does.
fn noted(notes: &Arc<Notes>, work: Work) -> impl Fn(Ctx, Payload<Option<Input>>) -> Done + Send + Sync + 'static {
    let notes = notes.clone();
    move |ctx, Payload(input)| {
        let notes = notes.clone();
        Box::pin(async move {
            notes.line(&ctx);
            let done = match work {
                Work::Sleep => sleep(&notes, &ctx, input.map_or(0, |input| input.ms)).await,
                Work::Fail => Err(JobError::fatal("it always fails")),
                Work::FailOnce if ctx.failures() == 0 => Err(JobError::retryable("it fails at first")),
                Work::Nothing | Work::FailOnce => Ok(None),
                Work::Block => {
                    notes.told(&ctx).await;
                    Err(JobError::Cancelled)
                }
            };
            notes.line(&ctx);
            done
        })
    }
}

async fn sleep(notes: &Notes, ctx: &Ctx, ms: u64) -> Result<Option<u64>, JobError> {
    let mut left = ms;
    while left > 0 {
        let step = left.min(LINE_EVERY);
        tokio::select! {
            () = host::pass_time(Duration::from_millis(step), "work takes its time") => {}
            () = notes.told(ctx) => return Err(JobError::Cancelled),
        }
        notes.line(ctx);
        left -= step;
    }
    Ok(Some(ms))
}
