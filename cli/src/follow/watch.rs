//! The three sources about a run: truth, hints, logs. Each stays connected by itself until it has nothing more to
//! say; a server that is away is waited for, up to a minute.

use std::time::Duration;

use mainspring_proto::{
    common::v1::LogLevel,
    scheduler::v1::{
        EventTopic, GetRunRequest, ListAttemptsRequest, LogPosition, Progress, Run, RunState, RunView, StoredLogEntry,
        TailLogsRequest, WaitRunRequest, WaitRunResponse, WatchEventsRequest, event::Detail,
    },
};
use tokio::sync::mpsc;
use tonic::Request;

use super::is_over;
use crate::{
    clock,
    connection::{ANSWER_WITHIN, Server},
    exit::Exit,
    failure::Failure,
    pauses::Pauses,
    times::Length,
};

/// A run that still waits after this is asked why.
const SOON: Duration = Duration::from_secs(2);
/// How long the server holds back its answer after that.
const LATER: Duration = Duration::from_secs(30);

/// What a source saw.
#[derive(Debug)]
pub(super) enum Seen {
    /// The run as it stands.
    Run(Box<Snapshot>),
    /// What the attempt said of itself.
    Progress(Progress),
    /// Lines, in order.
    Logs(Vec<StoredLogEntry>),
    /// There will be no more lines.
    LogsEnded,
    /// Something about the watching itself.
    Note(String),
}

/// A run, and what people call its worker.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) run: Run,
    /// The name of its worker, else the worker's id, else nothing.
    pub(super) worker: String,
}

/// All three; ends when the truth is that the run is over, and its log was told.
pub(super) async fn all(server: &Server, run_id: &str, tell: mpsc::Sender<Seen>) -> Result<(), Failure> {
    let logs = async {
        let result = logs(server, run_id, LogLevel::Unspecified, Pauses::new(), tell.clone()).await;
        if let Err(failure) = result {
            // Whoever may trigger may still not be allowed to read logs.
            send(&tell, Seen::Note(format!("note: no logs: {} ({})", failure.message(), failure.reason()))).await;
            send(&tell, Seen::LogsEnded).await;
        }
    };
    let told = async {
        let (truth, ()) = tokio::join!(truth(server, run_id, &tell), logs);
        truth
    };
    tokio::select! {
        result = told => result,
        never = hints(server, run_id, &tell) => match never {},
    }
}

/// The truth: the run whenever the server answers, until it is over.
async fn truth(server: &Server, run_id: &str, tell: &mpsc::Sender<Seen>) -> Result<(), Failure> {
    let mut hold = SOON;
    loop {
        let answer = patiently(async || waited(server, run_id, hold).await).await?;
        let run = answer.run.unwrap_or_default();
        let over = answer.done || is_over(run.state());
        // Only GetRun tells why a run still waits.
        let run = if over { named(server, run).await } else { get(server, run_id).await? };
        send(tell, Seen::Run(Box::new(run))).await;
        if over {
            return Ok(());
        }
        hold = LATER;
    }
}

/// Hints: every event about the run makes it read again. Never ends; whoever may not watch lives without hints.
async fn hints(server: &Server, run_id: &str, tell: &mpsc::Sender<Seen>) -> std::convert::Infallible {
    let mut pauses = Pauses::new();
    let mut cursor = String::new();
    loop {
        match hints_once(server, run_id, tell, &mut cursor, &mut pauses).await {
            Err(failure) if failure.reason() == "CURSOR_EXPIRED" => cursor.clear(),
            Err(failure) if !server.may_go_on(&failure) => std::future::pending().await,
            Ok(()) | Err(_) => {}
        }
        clock::pause(pauses.next(clock::tick())).await;
    }
}

async fn hints_once(
    server: &Server,
    run_id: &str,
    tell: &mpsc::Sender<Seen>,
    cursor: &mut String,
    pauses: &mut Pauses,
) -> Result<(), Failure> {
    let request = WatchEventsRequest {
        namespace: server.namespace(),
        topics: vec![EventTopic::Runs.into(), EventTopic::Progress.into()],
        cursor: cursor.clone(),
        filter: format!("run_id = {run_id}"),
    };
    let mut stream = server.scheduler().watch_events(request).await?.into_inner();
    // What happened before the stream was open has no event in it.
    send(tell, Seen::Run(Box::new(get(server, run_id).await?))).await;
    while let Some(message) = stream.message().await? {
        pauses.reset();
        let Some(event) = message.event else { continue };
        *cursor = event.cursor;
        match event.detail {
            Some(Detail::Run(_)) => send(tell, Seen::Run(Box::new(get(server, run_id).await?))).await,
            Some(Detail::Progress(event)) => {
                if let Some(progress) = event.progress {
                    send(tell, Seen::Progress(progress)).await;
                }
            }
            Some(
                Detail::Job(_)
                | Detail::Schedule(_)
                | Detail::Sink(_)
                | Detail::Server(_)
                | Detail::Worker(_)
                | Detail::Queue(_)
                | Detail::Bookmark(_),
            )
            | None => {}
        }
    }
    Ok(())
}

/// The log from its first line, each line once, until the run is over and everything was sent.
pub(super) async fn logs(
    server: &Server,
    run_id: &str,
    min_level: LogLevel,
    mut pauses: Pauses,
    tell: mpsc::Sender<Seen>,
) -> Result<(), Failure> {
    let mut after: Option<LogPosition> = None;
    loop {
        let ended = logs_once(server, run_id, min_level, &tell, &mut after, &mut pauses).await;
        match ended {
            Ok(true) => return Ok(()),
            Err(failure) if !server.may_go_on(&failure) => return Err(failure),
            // The stream broke off; it goes on right after the last line.
            Ok(false) | Err(_) => {
                if pauses.is_exhausted(clock::tick()) {
                    return Err(gone(run_id, ended.err()));
                }
                if pauses.is_first() {
                    send(&tell, Seen::Note("note: lost the server, trying again".into())).await;
                }
                clock::pause(pauses.next(clock::tick())).await;
            }
        }
    }
}

/// True when the stream said the run's last word.
async fn logs_once(
    server: &Server,
    run_id: &str,
    min_level: LogLevel,
    tell: &mpsc::Sender<Seen>,
    after: &mut Option<LogPosition>,
    pauses: &mut Pauses,
) -> Result<bool, Failure> {
    let request = TailLogsRequest {
        namespace: server.namespace(),
        run_id: run_id.into(),
        after: *after,
        min_level: min_level.into(),
    };
    let mut stream = server.scheduler().tail_logs(request).await?.into_inner();
    pauses.answered();
    let mut over = false;
    while let Some(message) = stream.message().await? {
        pauses.reset();
        if let Some(last) = message.entries.last() {
            // Lines of a new attempt may be here before the hint that it runs; its beginning is told first.
            if after.is_none_or(|before| before.attempt < last.attempt)
                && let Ok(run) = get(server, run_id).await
            {
                send(tell, Seen::Run(Box::new(run))).await;
            }
            *after = Some(LogPosition { attempt: last.attempt, offset: last.offset });
            send(tell, Seen::Logs(message.entries)).await;
        }
        if let Some(run) = message.run {
            over = true;
            send(tell, Seen::Run(Box::new(named(server, run).await))).await;
        }
    }
    if over {
        send(tell, Seen::LogsEnded).await;
    }
    Ok(over)
}

async fn get(server: &Server, run_id: &str) -> Result<Snapshot, Failure> {
    let request = GetRunRequest { namespace: server.namespace(), run_id: run_id.into(), view: RunView::Full.into() };
    let run = patiently(async || Ok(server.scheduler().get_run(request.clone()).await?.into_inner().run)).await?;
    Ok(named(server, run.unwrap_or_default()).await)
}

/// The run beside the name of its worker: people know names.
async fn named(server: &Server, run: Run) -> Snapshot {
    let mut worker = run.worker_id.clone();
    if !worker.is_empty() && (run.state() == RunState::Running || is_over(run.state())) {
        let request = ListAttemptsRequest {
            namespace: server.namespace(),
            run_id: run.run_id.clone(),
            ..ListAttemptsRequest::default()
        };
        // Where it cannot be had, the id stands.
        if let Ok(answer) = server.scheduler().list_attempts(request).await {
            let attempts = answer.into_inner().attempts;
            let name = attempts.into_iter().find(|attempt| attempt.attempt == run.attempt).map(|a| a.worker_name);
            worker = name.filter(|name| !name.is_empty()).unwrap_or(worker);
        }
    }
    Snapshot { run, worker }
}

/// The run when it is over, or after so long. The server holds its answer back until then, and is given the usual time on top.
pub(super) async fn waited(server: &Server, run_id: &str, hold: Duration) -> Result<WaitRunResponse, Failure> {
    let mut request = Request::new(WaitRunRequest {
        namespace: server.namespace(),
        run_id: run_id.into(),
        timeout: Some(Length(hold).to_proto()),
    });
    request.set_timeout(hold + ANSWER_WITHIN);
    Ok(server.scheduler().wait_run(request).await?.into_inner())
}

/// Repeats a read while the server is away, as long as that is worth it.
pub(super) async fn patiently<T>(mut call: impl AsyncFnMut() -> Result<T, Failure>) -> Result<T, Failure> {
    let mut pauses = Pauses::new();
    loop {
        match call().await {
            Err(failure) if failure.is_passing() && !pauses.is_exhausted(clock::tick()) => {
                clock::pause(pauses.next(clock::tick())).await;
            }
            result => return result,
        }
    }
}

/// Nobody listens where the story is no longer told.
async fn send(tell: &mpsc::Sender<Seen>, seen: Seen) {
    drop(tell.send(seen).await);
}

fn gone(run_id: &str, failure: Option<Failure>) -> Failure {
    failure
        .unwrap_or_else(|| Failure::new(Exit::Unreachable, "SERVER_UNREACHABLE", "the server ended the stream of logs"))
        .hint(format!("the run goes on without us; `mainspring logs {run_id} -f` continues"))
}
