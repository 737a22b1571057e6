//! Log lines across broken streams.

use std::collections::BTreeMap;

use mainspring_proto::{
    common::v1::LogLevel,
    worker::v1::{
        LogAck, LogBatch, ResultDisposition, worker_stream_request::Message as Said,
        worker_stream_response::Message as Heard,
    },
};
use mainspring_worker::{Ctx, JobError, Observed, RunLog};
use tonic::Status;
use tracing_subscriber::layer::SubscriberExt as _;

use crate::{
    server::{Server, Session, attempt},
    worker::{Gate, run, worker},
};

/// What a server keeps: lines by offset; what it has is dropped, a gap is a mistake.
#[derive(Default)]
struct Store(Vec<String>);

impl Store {
    fn keep(&mut self, batch: LogBatch) {
        assert_eq!((batch.attempt, batch.dropped_count), (attempt("r1"), 0));
        assert!(batch.first_offset as usize <= self.0.len(), "a gap before {}", batch.first_offset);
        let known = self.0.len() - batch.first_offset as usize;
        self.0.extend(batch.entries.into_iter().skip(known).map(|entry| entry.message));
    }

    fn ack(&self, session: &Session) {
        session.say(Heard::LogAck(LogAck { attempt: attempt("r1"), next_offset: self.0.len() as i64 }));
    }
}

async fn batch(session: &mut Session) -> LogBatch {
    session.wait_for(|said| if let Said::LogBatch(batch) = said { Some(batch.clone()) } else { None }).await
}

#[tokio::test]
async fn no_line_is_lost_or_doubled_when_the_stream_breaks() {
    const LINES: usize = 600;
    let mut server = Server::start().await;
    let gate = Gate::new();
    let wait = gate.clone();
    let _running = run(worker(&server).handle("t", move |ctx: Ctx| {
        let wait = wait.clone();
        async move {
            for number in 0..LINES {
                if number % 200 == 0 {
                    wait.pass().await;
                }
                ctx.info(format!("{number:0>500}"));
            }
            ctx.log(mainspring_worker::LogLevel::Error, "the end", BTreeMap::from([("code".into(), "7".into())]));
            Ok::<_, JobError>(())
        }
    }));
    let mut store = Store::default();

    // The first batch is stored and acknowledged, the second stored only, and whatever is on its way is lost.
    let (mut session, _) = server.session().await;
    session.dispatch("r1", "t", "");
    gate.open();
    store.keep(batch(&mut session).await);
    store.ack(&session);
    store.keep(batch(&mut session).await);
    session.fail(Status::unavailable("gone"));

    // Nothing is acknowledged: the worker stops at four batches.
    let (mut session, hello) = server.session().await;
    assert!(hello.in_flight[0].next_log_offset >= store.0.len() as i64);
    gate.open();
    let first = batch(&mut session).await;
    assert!(first.first_offset > 0 && (first.first_offset as usize) < store.0.len(), "it goes on from the ack");
    store.keep(first);
    session.fail(Status::unavailable("gone"));

    let (mut session, _) = server.session().await;
    gate.open();
    let mut last = None;
    while store.0.len() < LINES + 1 {
        let batch = batch(&mut session).await;
        last = batch.entries.last().cloned();
        store.keep(batch);
        store.ack(&session);
    }
    let expected: Vec<String> = (0..LINES).map(|number| format!("{number:0>500}")).chain(["the end".into()]).collect();
    assert_eq!(store.0, expected);
    let last = last.unwrap();
    assert_eq!((last.level(), last.fields["code"].as_str()), (LogLevel::Error, "7"));
    assert!(last.log_time.is_some());
    let result = session.result().await;
    assert_eq!(result.next_log_offset, Some(LINES as i64 + 1));
    session.ack(&result, ResultDisposition::Applied);
}

#[tokio::test]
async fn no_more_than_four_batches_are_on_their_way() {
    let mut server = Server::start().await;
    let _running = run(worker(&server).handle("t", |ctx: Ctx| async move {
        for _ in 0..100 {
            ctx.warn("x".repeat(10_000));
        }
        Ok(())
    }));
    let (mut session, _) = server.session().await;
    session.dispatch("r1", "t", "");
    session.result().await;
    for _ in 0..4 {
        batch(&mut session).await;
    }
    for _ in 0..5 {
        session.heartbeat().await;
    }
    assert!(!session.has_skipped(|said| matches!(said, Said::LogBatch(_))));
}

#[tokio::test]
async fn events_inside_a_run_are_lines_of_its_log_once() {
    let subscriber = tracing_subscriber::registry().with(RunLog::new());
    let _listening = tracing::subscriber::set_default(subscriber);
    let mut server = Server::start().await;
    let mut running = run(worker(&server).handle("t", async |ctx: Ctx| {
        ctx.info("one");
        tracing::warn!(number = 2, "two");
        Ok::<_, JobError>(())
    }));
    let (mut session, _) = server.session().await;
    session.dispatch("r1", "t", "");
    let result = session.result().await;
    assert_eq!(result.next_log_offset, Some(2));
    let mut lines = Vec::new();
    while lines.len() < 2 {
        lines.extend(batch(&mut session).await.entries);
    }
    assert_eq!((lines[0].message.as_str(), lines[0].level()), ("one", LogLevel::Info));
    assert_eq!((lines[1].message.as_str(), lines[1].level()), ("two", LogLevel::Warning));
    assert_eq!((lines[1].fields["number"].as_str(), lines[1].fields["target"].as_str()), ("2", "session::logs"));
    session.ack(&result, ResultDisposition::Applied);
    while !matches!(running.event().await, Observed::Acked { .. }) {}
}
