//! Staying with a run until it is over.
//!
//! Three sources tell about it ([`watch`]): events are hints that wake, `WaitRun` and `GetRun` are the truth, `TailLogs`
//! has every line from the first. They are read side by side in one task; [`story`] turns what they say, in whatever
//! order and however often, into lines that each appear once; [`screen`] prints them. Nothing is missed between the
//! call that made the run and the first watch, because the story is told from the run's own times, not from the events.

mod screen;
mod story;
mod watch;

use std::{cell::OnceCell, time::Duration};

use clap::Args;
use futures::future::{Fuse, FutureExt as _};
use mainspring_proto::{
    common::v1::LogLevel,
    scheduler::v1::{Run, RunState},
};
use tokio::{pin, select, signal, sync::mpsc};

use self::{
    screen::Screen,
    story::Story,
    watch::{Seen, Snapshot},
};
pub(crate) use self::{
    screen::{LogLine, interrupted},
    story::outcome,
};
use crate::{
    clock, connection::Server, exit::Exit, failure::Failure, output::Output, pauses::Pauses, resource,
    session::Session, times::Length,
};

/// The logs of a run that is over are stored a moment after its end; longer than this is not worth waiting.
const LOGS_WITHIN: Duration = Duration::from_secs(10);
/// A log line may be here before the server has written down that its attempt runs; the line waits this long for it.
const BEGINS_WITHIN: Duration = Duration::from_secs(1);
/// A log line is here so long after it was written: the worker gathers lines, the server stores them. A line about progress
/// waits for those that were written before it.
const SETTLES_WITHIN: Duration = Duration::from_millis(500);
/// What the server allows for one `WaitRun`.
const ONE_WAIT: Duration = Duration::from_secs(60);

/// Whether to stay.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct FollowArgs {
    /// Stay until it is over: state changes, logs and progress
    #[arg(short, long)]
    follow: bool,
    /// Stay silently until it is over, or for so long, the call itself included (then exit code 6)
    #[arg(long, value_name = "LENGTH", num_args = 0..=1, require_equals = true)]
    wait: Option<Option<Length>>,
}

/// Makes a run, then says so or stays with it, as the arguments ask. The limit of `--wait` holds for all of it.
pub(crate) async fn made(
    session: &Session,
    args: FollowArgs,
    make: impl AsyncFnOnce(&Server) -> Result<Run, Failure>,
) -> Result<Exit, Failure> {
    let run_id = OnceCell::new();
    let all = async {
        let server = session.server().await?;
        let run = make(&server).await?;
        run_id.get_or_init(|| run.run_id.clone());
        stay(&server, &session.out, run, args).await
    };
    within(args.wait.flatten(), &run_id, all).await
}

async fn stay(server: &Server, out: &Output, run: Run, args: FollowArgs) -> Result<Exit, Failure> {
    if args.follow {
        return follow(server, out, run).await;
    }
    if args.wait.is_some() {
        return ended(server, out, run.run_id).await;
    }
    out.did(&format!("run/{} {}", run.run_id, resource::state_word(run.state())), &run)?;
    Ok(Exit::Done)
}

/// Whether nothing will change about a run any more.
pub(crate) fn is_over(state: RunState) -> bool {
    match state {
        RunState::Succeeded | RunState::Failed | RunState::Cancelled | RunState::TimedOut => true,
        RunState::Unspecified
        | RunState::Scheduled
        | RunState::Queued
        | RunState::Leased
        | RunState::Running
        | RunState::RetryWait => false,
    }
}

/// Waits until a run that is there is over, then tells how it ended. The limit holds for all of it.
pub(crate) async fn wait(session: &Session, run_id: String, limit: Option<Length>) -> Result<Exit, Failure> {
    let known = OnceCell::from(run_id.clone());
    let all = async {
        let server = session.server().await?;
        // A server that goes away is waited for; one that has not answered yet is told of, as by any other call.
        watch::waited(&server, &run_id, Duration::ZERO).await?;
        ended(&server, &session.out, run_id).await
    };
    within(limit, &known, all).await
}

async fn ended(server: &Server, out: &Output, run_id: String) -> Result<Exit, Failure> {
    let ending = async {
        loop {
            let answer = watch::patiently(async || watch::waited(server, &run_id, ONE_WAIT).await).await?;
            if answer.done {
                return Ok::<_, Failure>(answer.run.unwrap_or_default());
            }
        }
    };
    let run = select! {
        run = ending => run?,
        _ = signal::ctrl_c() => return Ok(interrupted(out, &run_id)),
    };
    out.did(&story::ending(&run), &run)?;
    Ok(Exit::of_run(run.state()))
}

/// Stays with a run, telling what happens to it.
async fn follow(server: &Server, out: &Output, run: Run) -> Result<Exit, Failure> {
    let run_id = run.run_id.clone();
    let run = select! {
        run = tell(server, out, run) => run?,
        _ = signal::ctrl_c() => return Ok(interrupted(out, &run_id)),
    };
    if out.is_for_programs() {
        out.did("", &run)?;
    }
    Ok(Exit::of_run(run.state()))
}

/// The story of a run from its first line to its last.
async fn tell(server: &Server, out: &Output, run: Run) -> Result<Run, Failure> {
    let mut screen = Screen::new(out);
    let mut story = Story::new(run.run_id.clone());
    let (tell, mut told) = mpsc::channel(64);
    screen.lines(story.advance(&run, ""))?;

    let sources = watch::all(server, &run.run_id, tell);
    pin!(sources);
    let mut watching = true;
    let mut last: Option<Run> = None;
    let mut logs_ended = false;
    // What an attempt said before its beginning was told, and when that is told no matter what.
    let mut early: Vec<Seen> = Vec::new();
    let begun = Fuse::terminated();
    pin!(begun);
    let settled = Fuse::terminated();
    pin!(settled);
    while last.is_none() || !logs_ended {
        let next = async {
            match last {
                None => told.recv().await,
                Some(_) => clock::within(LOGS_WITHIN, told.recv()).await.flatten(),
            }
        };
        let seen = select! {
            seen = next => seen,
            result = &mut sources, if watching => {
                watching = false;
                result?;
                continue;
            }
            () = &mut begun => {
                screen.said(&std::mem::take(&mut early))?;
                continue;
            }
            () = &mut settled => {
                screen.release()?;
                continue;
            }
        };
        let held = screen.holds();
        match seen {
            Some(Seen::Run(snapshot)) => {
                let Snapshot { run, worker } = *snapshot;
                screen.lines(story.advance(&run, &worker))?;
                let over = is_over(run.state());
                if over || story.is_running() {
                    screen.said(&std::mem::take(&mut early))?;
                    begun.set(Fuse::terminated());
                    if let Some(progress) = &run.progress {
                        screen.progress(progress)?;
                    }
                }
                if over {
                    last = Some(run);
                }
            }
            Some(said @ (Seen::Progress(_) | Seen::Logs(_))) => {
                if last.is_some() || story.is_running() {
                    screen.said(&[said])?;
                } else {
                    if early.is_empty() {
                        begun.set(clock::pause(BEGINS_WITHIN).fuse());
                    }
                    early.push(said);
                }
            }
            Some(Seen::LogsEnded) => logs_ended = true,
            Some(Seen::Note(note)) => screen.note(&note),
            None => break,
        }
        if screen.holds() && !held {
            settled.set(clock::pause(SETTLES_WITHIN).fuse());
        }
    }
    let run =
        last.ok_or_else(|| Failure::new(Exit::Unreachable, "SERVER_UNREACHABLE", "the server stopped answering"))?;
    if !logs_ended {
        screen.note("note: the log may not be complete yet; `mainspring logs` shows what is stored");
    }
    screen.end(&story::ending(&run))?;
    Ok(run)
}

/// The log of a run as it comes, until the run is over.
pub(crate) async fn logs(server: &Server, out: &Output, run_id: &str, min_level: LogLevel) -> Result<Exit, Failure> {
    let (tell, mut told) = mpsc::channel(64);
    let source = watch::logs(server, run_id, min_level, Pauses::once_answered(), tell);
    let print = async {
        let mut all = resource::TailLogsResponse::default();
        while let Some(seen) = told.recv().await {
            match seen {
                Seen::Logs(entries) if out.is_jsonl() => entries.iter().try_for_each(|entry| out.line_of(entry))?,
                Seen::Logs(entries) if out.is_one_document() => all.entries.extend(entries),
                Seen::Logs(entries) => {
                    for entry in &entries {
                        out.line_for_people(&LogLine::new(entry, out.look()).to_string())?;
                    }
                }
                Seen::Run(snapshot) => all.run = Some(snapshot.run),
                Seen::Note(note) => out.note(note),
                Seen::Progress(_) | Seen::LogsEnded => {}
            }
        }
        Ok::<_, Failure>(all)
    };
    let both = async {
        let (all, ()) = futures::future::try_join(print, source).await?;
        Ok::<_, Failure>(all)
    };
    let all = select! {
        all = both => all?,
        _ = signal::ctrl_c() => return Ok(Exit::Interrupted),
    };
    if out.is_one_document() {
        out.did("", &all)?;
    }
    let run = all.run.unwrap_or_default();
    out.remark(story::ending(&run));
    Ok(Exit::of_run(run.state()))
}

/// Gives up after the limit; the run goes on, once there is one.
async fn within<T>(
    limit: Option<Length>,
    run_id: &OnceCell<String>,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let Some(Length(limit)) = limit else { return work.await };
    if let Some(done) = clock::within(limit, work).await {
        return done;
    }
    let took = crate::times::took(limit);
    let failed = |message: String| Failure::new(Exit::Unreachable, "WAIT_TIMEOUT", message);
    Err(match run_id.get() {
        Some(run_id) => failed(format!("run/{run_id} is not over after {took}"))
            .hint(format!("it goes on; `mainspring run wait {run_id}` waits again")),
        None => failed(format!("the server did not answer within {took}"))
            .hint("the run may have been made all the same: `mainspring run list` shows the newest"),
    })
}
