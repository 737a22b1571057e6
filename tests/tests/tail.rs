//! A log that is followed ends when its last line is there, by the number that the result told. The server's clock stands
//! still wherever a test does not move it, so nothing here ends because it was quiet for a while.

#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap like the tests themselves")]

use std::time::Duration;

use mainspring_proto::{
    common::v1::Failure,
    scheduler::v1::{LogPosition, Run, RunState, TailLogsRequest, TailLogsResponse},
    worker::v1::{
        AttemptFailed, AttemptRef, AttemptResult, AttemptSucceeded, CapacityUpdate, LogAck, LogBatch, LogEntry,
        QueueCapacity, ReportAttemptResultRequest, ResultDisposition, attempt_result::Outcome,
        worker_stream_request::Message as Say, worker_stream_response::Message as Heard,
    },
};
use mainspring_tests::harness::{
    client::{Client, work},
    host::{self, PATIENCE},
    session::{BareWorker, Session},
    timed::TimedServer,
};
use serde_json::json;
use tonic::Streaming;

/// The lease of a server with the default settings.
const LEASE: Duration = Duration::from_secs(30);

/// A reader of a run's log.
struct Reader(Streaming<TailLogsResponse>);

impl Reader {
    async fn open(client: &Client, run: &str) -> Self {
        Self::after(client, run, None).await
    }

    async fn after(client: &Client, run: &str, after: Option<LogPosition>) -> Self {
        let request = TailLogsRequest { run_id: run.into(), after, ..TailLogsRequest::default() };
        Self(client.scheduler().tail_logs(request).await.unwrap().into_inner())
    }

    async fn next(&mut self) -> TailLogsResponse {
        host::within(PATIENCE, "more of the log", self.0.message()).await.unwrap().unwrap().expect("the log ended")
    }

    /// So many further lines, as (attempt, offset).
    async fn lines(&mut self, count: usize) -> Vec<(i64, i64)> {
        let mut lines = Vec::new();
        while lines.len() < count {
            let TailLogsResponse { entries, run } = self.next().await;
            assert_eq!(run, None, "it ended after {lines:?}");
            lines.extend(entries.iter().map(|entry| (entry.attempt, entry.offset)));
        }
        lines
    }

    /// Its end, with nothing before it.
    async fn end(&mut self) -> Run {
        let TailLogsResponse { entries, run } = self.next().await;
        assert_eq!(entries, []);
        assert!(self.0.message().await.unwrap().is_none());
        run.unwrap()
    }
}

fn lines(attempt: &AttemptRef, first_offset: i64, count: i64) -> LogBatch {
    let line = |offset| LogEntry { message: format!("line {offset}"), ..LogEntry::default() };
    let entries = (first_offset..first_offset + count).map(line).collect();
    LogBatch { attempt: Some(attempt.clone()), first_offset, entries, dropped_count: 0 }
}

/// Logs, and waits until it is stored.
async fn log(session: &mut Session, batch: LogBatch) -> LogAck {
    let attempt = batch.attempt.clone();
    session.say(Say::LogBatch(batch)).await.unwrap();
    let stored = |heard: &Heard| match heard {
        Heard::LogAck(ack) if ack.attempt == attempt => Some(ack.clone()),
        _ => None,
    };
    session.until("a LogAck", stored).await.unwrap()
}

fn result(attempt: &AttemptRef, outcome: Outcome, next_log_offset: Option<i64>) -> AttemptResult {
    let (attempt, outcome) = (Some(attempt.clone()), Some(outcome));
    AttemptResult { attempt, outcome, next_log_offset, ..AttemptResult::default() }
}

/// Reports, and waits until it is applied.
async fn report(session: &mut Session, attempt: &AttemptRef, outcome: Outcome, next_log_offset: Option<i64>) {
    session.say(Say::Result(result(attempt, outcome, next_log_offset))).await.unwrap();
    let ack = session.result_ack(attempt).await.unwrap();
    assert_eq!(ack.disposition(), ResultDisposition::Applied, "{ack:?}");
}

fn success() -> Outcome {
    Outcome::Succeeded(AttemptSucceeded::default())
}

/// A run that a worker has taken.
async fn taken(client: &Client) -> (Session, AttemptRef) {
    taken_by(&mut BareWorker::new(&["t.noop"], 1), client).await
}

async fn taken_by(worker: &mut BareWorker, client: &Client) -> (Session, AttemptRef) {
    let run = client.submit(work("t.noop", &json!(null))).await.unwrap();
    let mut session = worker.connect(client).await.unwrap();
    let attempt = session.dispatch().await.unwrap().attempt.unwrap();
    assert_eq!(attempt.run_id, run);
    session.accept(&attempt).await.unwrap();
    (session, attempt)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_line_is_sent_though_the_last_ones_come_long_after_the_result() {
    let server = TimedServer::start(|_| {}).await.unwrap();
    let client = server.client().unwrap();
    let (mut session, attempt) = taken(&client).await;
    let mut reader = Reader::open(&client, &attempt.run_id).await;
    log(&mut session, lines(&attempt, 0, 2)).await;
    assert_eq!(reader.lines(2).await, [(1, 0), (1, 1)]);

    report(&mut session, &attempt, success(), Some(5)).await;
    client.succeeded(&attempt.run_id, PATIENCE).await.unwrap();
    server.pass(Duration::from_secs(10)).await.unwrap();
    log(&mut session, lines(&attempt, 2, 3)).await;
    assert_eq!(reader.lines(3).await, [(1, 2), (1, 3), (1, 4)]);
    assert_eq!(reader.end().await.state(), RunState::Succeeded);

    // Whoever comes later, or goes on from a line, waits for nothing either.
    let mut late = Reader::open(&client, &attempt.run_id).await;
    assert_eq!(late.lines(5).await.len(), 5);
    late.end().await;
    let mut resumed = Reader::after(&client, &attempt.run_id, Some(LogPosition { attempt: 1, offset: 3 })).await;
    assert_eq!(resumed.lines(1).await, [(1, 4)]);
    resumed.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_that_were_dropped_are_not_waited_for() {
    let server = TimedServer::start(|_| {}).await.unwrap();
    let client = server.client().unwrap();
    let (mut session, attempt) = taken(&client).await;
    let mut reader = Reader::open(&client, &attempt.run_id).await;
    report(&mut session, &attempt, success(), Some(5)).await;
    log(&mut session, LogBatch { dropped_count: 4, ..lines(&attempt, 4, 1) }).await;
    assert_eq!(reader.lines(1).await, [(1, 4)]);
    reader.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_lines_of_an_attempt_come_before_those_of_the_next() {
    let server = TimedServer::start(|_| {}).await.unwrap();
    let client = server.client().unwrap();
    let mut worker = BareWorker::new(&["t.noop"], 1);
    let (mut first, attempt) = taken_by(&mut worker, &client).await;
    let mut reader = Reader::open(&client, &attempt.run_id).await;
    log(&mut first, lines(&attempt, 0, 2)).await;
    let full = vec![QueueCapacity { queue: String::new(), max_in_flight: 0 }];
    first.say(Say::CapacityUpdate(CapacityUpdate { capacity: full })).await.unwrap();
    let failure = AttemptFailed { failure: Some(Failure { reason: "BROKEN".into(), ..Failure::default() }) };
    report(&mut first, &attempt, Outcome::Failed(failure), Some(3)).await;

    let mut second = BareWorker::new(&["t.noop"], 1).connect(&client).await.unwrap();
    server.pass(Duration::from_secs(2)).await.unwrap();
    let again = second.dispatch().await.unwrap().attempt.unwrap();
    assert_eq!((&again.run_id, again.attempt), (&attempt.run_id, 2));
    second.accept(&again).await.unwrap();
    log(&mut second, lines(&again, 0, 2)).await;
    report(&mut second, &again, success(), Some(2)).await;
    // The attempt is not this worker's any more, but the line is, on whichever stream it comes.
    worker.slots = 0;
    let mut back = worker.connect(&client).await.unwrap();
    assert_eq!(log(&mut back, lines(&attempt, 2, 1)).await.next_offset, 3);

    assert_eq!(reader.lines(5).await, [(1, 0), (1, 1), (1, 2), (2, 0), (2, 1)]);
    let run = reader.end().await;
    assert_eq!((run.state(), run.attempt), (RunState::Succeeded, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_that_never_come_are_given_up_with_the_lease_of_their_worker() {
    let server = TimedServer::start(|_| {}).await.unwrap();
    let client = server.client().unwrap();
    let (mut session, attempt) = taken(&client).await;
    let mut reader = Reader::open(&client, &attempt.run_id).await;
    report(&mut session, &attempt, success(), Some(5)).await;
    server.pass(LEASE - Duration::from_secs(1)).await.unwrap();
    log(&mut session, lines(&attempt, 0, 2)).await;
    assert_eq!(reader.lines(2).await, [(1, 0), (1, 1)]);
    server.pass(LEASE).await.unwrap();
    assert_eq!(reader.end().await.state(), RunState::Succeeded);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_no_result_told_a_number_a_quiet_log_ends_the_reading() {
    let server = TimedServer::start(|_| {}).await.unwrap();
    let client = server.client().unwrap();
    let (mut session, attempt) = taken(&client).await;
    let mut reader = Reader::open(&client, &attempt.run_id).await;
    log(&mut session, lines(&attempt, 0, 2)).await;
    assert_eq!(reader.lines(2).await, [(1, 0), (1, 1)]);
    let alone =
        ReportAttemptResultRequest { namespace: String::new(), result: Some(result(&attempt, success(), None)) };
    client.worker().report_attempt_result(alone).await.unwrap();
    // This one has seen the end before it hands out its first lines, and does not believe it yet.
    let mut late = Reader::open(&client, &attempt.run_id).await;
    assert_eq!(late.lines(2).await, [(1, 0), (1, 1)]);
    log(&mut session, lines(&attempt, 2, 1)).await;
    assert_eq!((reader.lines(1).await, late.lines(1).await), (vec![(1, 2)], vec![(1, 2)]));
    server.pass(Duration::from_secs(1)).await.unwrap();
    assert_eq!(reader.end().await.state(), RunState::Succeeded);
    late.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_never_began_ends_at_once() {
    let server = TimedServer::start(|_| {}).await.unwrap();
    let client = server.client().unwrap();
    let run = client.submit(work("t.noop", &json!(null))).await.unwrap();
    let mut reader = Reader::open(&client, &run).await;
    let cancel = mainspring_proto::scheduler::v1::CancelRunRequest { run_id: run, ..Default::default() };
    client.scheduler().cancel_run(cancel).await.unwrap();
    assert_eq!(reader.end().await.state(), RunState::Cancelled);
}
