//! The workers and clients of examples/raw against the real server, in every language: what they do is counted once,
//! whatever dies or goes under them. What a real server does too seldom, a scripted one does.

#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap like the tests themselves")]

use std::time::Duration;

use mainspring_proto::{
    common::v1::{LeaseLossPolicy, RetryPolicy},
    scheduler::v1::{DrainWorkerRequest, EventTopic, ListLogsRequest, RunState, RunSubmission, WorkerState, event},
    worker::v1::{
        AttemptPhase, AttemptResult, DispatchReply, Heartbeat, RejectReason, ResultAck, ResultDisposition, ServerDrain,
        ServerDrainMode, attempt_result, dispatch_reply::Outcome, worker_stream_request::Message as Said,
        worker_stream_response::Message as Heard,
    },
};
use mainspring_tests::harness::{
    client::{Client, work},
    host::{self, PATIENCE},
    raw::{self, Language, RawWorker, Ready},
    script::{self, Script, first},
    server::{Server, Settings},
    terminal::text,
};
use rustix::process::Signal;
use serde_json::json;
use tempfile::TempDir;

/// Longer than a worker needs to be back.
const LEASE: Duration = Duration::from_secs(10);

/// Over soon, and longer than a worker needs to begin.
const SHORT_LEASE: Duration = Duration::from_secs(3);

async fn server() -> Server {
    let deadline = ("MAINSPRING_LIMITS__DRAIN_DEADLINE".to_owned(), "1500ms".to_owned());
    Server::start(Settings { more: vec![deadline], ..Settings::with_lease(LEASE) }).await.unwrap()
}

async fn worker(ready: &Ready, server: &Server) -> RawWorker {
    let folder = server.folder("workers").unwrap();
    let mut worker = ready.worker(&folder, server.address(), server.key()).await.unwrap();
    worker.up().await.unwrap();
    worker
}

async fn greet(client: &Client, name: &str, seconds: f64) -> String {
    client.submit(work("greet", &json!({"name": name, "seconds": seconds}))).await.unwrap()
}

async fn log(client: &Client, run: &str) -> Vec<String> {
    let request = ListLogsRequest { run_id: run.into(), ..ListLogsRequest::default() };
    let entries = client.scheduler().list_logs(request).await.unwrap().into_inner().entries;
    entries.into_iter().map(|entry| entry.message).collect()
}

/// What the client asks is done, what fails is told, and what is cancelled stops.
async fn work_is_done(language: Language) {
    let Some(ready) = language.ready().unwrap() else { return };
    let server = server().await;
    let mut worker = worker(&ready, &server).await;
    let client = server.client().unwrap();

    let args = ["greet", r#"{"name": "Zoë 東京", "seconds": 0.2}"#];
    let output = ready.client(server.address(), server.key(), &args).await.unwrap();
    let said = text(&output.stdout);
    assert!(output.status.success(), "{said}{}", text(&output.stderr));
    assert!(said.trim_end().ends_with("SUCCEEDED \"hello, Zoë 東京\""), "{said}");
    assert_eq!(said.contains("greeting Zoë 東京\n"), language.logs, "{said}");

    let once = RetryPolicy { max_attempts: Some(1), ..RetryPolicy::default() };
    let nobody = RunSubmission { retry_policy: Some(once), ..work("greet", &json!(["Noël"])) };
    let run = client.submit(nobody).await.unwrap();
    let run = client.over(&run, PATIENCE).await.unwrap();
    assert_eq!(run.state(), RunState::Failed, "{run:?}");
    assert!(!run.failure.unwrap().message.is_empty());

    let run = greet(&client, "Eve", 600.0).await;
    worker.greets("Eve").await.unwrap();
    client.cancel(&run).await.unwrap();
    let run = client.over(&run, PATIENCE).await.unwrap();
    assert_eq!((run.state(), run.attempt), (RunState::Cancelled, 1), "{run:?}");
    // Ended by the worker's word, not at the deadline without one.
    let asked = run.cancellation.unwrap().request_time.unwrap();
    assert!(run.end_time.unwrap().seconds < asked.seconds + 15);
}

/// Nobody has to wait for the end of a run that is followed.
async fn a_client_that_follows_can_be_stopped(language: Language) {
    let Some(ready) = language.ready().unwrap() else { return };
    let server = server().await;
    let folder = server.folder("clients").unwrap();
    for signal in [Signal::TERM, Signal::INT] {
        let args = ["nobody-does-this", "null"];
        let mut client = ready.follow(&folder, server.address(), server.key(), &args).await.unwrap();
        client.signal(signal).unwrap();
        assert!(!client.exit(PATIENCE).await.unwrap().success(), "{signal:?}");
    }
}

/// One run ends while there is nobody to tell, one goes on; neither is repeated, and neither loses its log.
async fn a_server_that_dies_or_goes_costs_nothing(language: Language) {
    let Some(ready) = language.ready().unwrap() else { return };
    let mut server = server().await;
    let mut worker = worker(&ready, &server).await;
    let client = server.client().unwrap();
    for dies in [true, false] {
        let names = [format!("short-{dies}"), format!("long-{dies}")];
        let runs = [greet(&client, &names[0], 0.8).await, greet(&client, &names[1], 4.0).await];
        // In either order.
        worker.greets("").await.unwrap();
        worker.greets("").await.unwrap();
        if dies {
            server.kill().await.unwrap();
            host::pass_time(Duration::from_secs(1), "a run ends while there is nobody to tell").await;
        } else {
            assert!(server.terminate(PATIENCE).await.unwrap().success());
        }
        server.restart().await.unwrap();
        for (run, name) in runs.iter().zip(&names) {
            let run = client.succeeded(run, PATIENCE).await.unwrap();
            assert_eq!((run.attempt, run.losses, run.returns, run.failures), (1, 0, 0, 0), "{run:?}");
            assert_eq!(worker.greeted(name).unwrap(), 1);
            let lines = if language.logs { vec![format!("greeting {name}")] } else { Vec::new() };
            assert_eq!(log(&client, &run.run_id).await, lines);
        }
    }
}

/// With a single slot, what ends while there is nobody to tell needs a test of its own.
async fn a_result_is_kept_while_the_server_is_dead(language: Language) {
    let Some(ready) = language.ready().unwrap() else { return };
    let mut server = server().await;
    let mut worker = worker(&ready, &server).await;
    let client = server.client().unwrap();
    let run = greet(&client, "Ida", 0.8).await;
    worker.greets("Ida").await.unwrap();
    server.kill().await.unwrap();
    host::pass_time(Duration::from_secs(1), "the run ends while there is nobody to tell").await;
    server.restart().await.unwrap();
    let run = client.succeeded(&run, PATIENCE).await.unwrap();
    assert_eq!((run.attempt, run.losses, run.returns, run.failures), (1, 0, 0, 0), "{run:?}");
    assert_eq!(worker.greeted("Ida").unwrap(), 1);
    // And its slot is free.
    let next = greet(&client, "Jim", 0.0).await;
    client.succeeded(&next, PATIENCE).await.unwrap();
}

/// An operator asks it to leave: it finishes what it has, takes nothing new, and goes in order.
async fn a_drained_worker_finishes_and_leaves(language: Language) {
    let Some(ready) = language.ready().unwrap() else { return };
    let server = server().await;
    let mut worker = worker(&ready, &server).await;
    let client = server.client().unwrap();
    let mut watch = client.watch(&[EventTopic::Workers], "", "").await.unwrap();
    let run = greet(&client, "Tim", 1.0).await;
    worker.greets("Tim").await.unwrap();
    let worker_id = worker.id().to_owned();
    let drain = DrainWorkerRequest { worker_id: worker_id.clone(), terminate: true, ..DrainWorkerRequest::default() };
    client.queues().drain_worker(drain).await.unwrap();
    let later = greet(&client, "Joe", 0.0).await;
    let run = client.succeeded(&run, PATIENCE).await.unwrap();
    assert_eq!((run.attempt, run.losses), (1, 0), "{run:?}");
    assert!(worker.exit(PATIENCE).await.unwrap().success());
    assert_eq!((client.run(&later).await.unwrap().state(), worker.greeted("Joe").unwrap()), (RunState::Queued, 0));
    let has_left = |detail: &event::Detail| matches!(detail, event::Detail::Worker(event) if event.worker_id == worker_id && event.state() == WorkerState::Gone);
    watch.run(has_left).await.unwrap();
}

/// A worker that cannot hand in what it holds, or does not want to wait for it, need not be killed.
async fn a_second_signal_ends_a_worker_at_once(language: Language) {
    let Some(ready) = language.ready().unwrap() else { return };
    let (folder, mut script) = (TempDir::new().unwrap(), Script::start().await.unwrap());
    let mut worker = ready.worker(folder.path(), script.address(), "key").await.unwrap();
    let (mut stream, hello) = script.stream().await.unwrap();
    stream.welcome(&hello, PATIENCE);
    stream.dispatch("r1", "greet", r#"{"name": "one", "seconds": 600}"#);
    let answer = stream.until("the answer to r1", reply).await.unwrap();
    assert!(matches!(answer.outcome, Some(Outcome::Accepted(_))), "{answer:?}");
    worker.signal(Signal::TERM).unwrap();
    let drain = |said| if let Said::Drain(drain) = said { Some(drain) } else { None };
    stream.until("that it leaves", drain).await.unwrap();
    worker.signal(Signal::TERM).unwrap();
    assert!(!worker.exit(PATIENCE).await.unwrap().success());
}

/// What a heartbeat lists, with how far it is.
fn listed(Heartbeat { in_flight, .. }: &Heartbeat) -> Vec<(String, AttemptPhase)> {
    in_flight.iter().map(|status| (status.attempt.clone().unwrap().run_id, status.phase())).collect()
}

fn result(said: Said) -> Option<AttemptResult> {
    if let Said::Result(result) = said { Some(result) } else { None }
}

fn heartbeat(said: Said) -> Option<Heartbeat> {
    if let Said::Heartbeat(heartbeat) = said { Some(heartbeat) } else { None }
}

fn reply(said: Said) -> Option<DispatchReply> {
    if let Said::DispatchReply(reply) = said { Some(reply) } else { None }
}

fn acknowledged(result: &AttemptResult) -> ResultAck {
    let disposition = ResultDisposition::Duplicate.into();
    ResultAck { attempt: result.attempt.clone(), disposition, message: String::new() }
}

/// Why the next attempt was not taken.
async fn refusal(stream: &mut script::Stream) -> RejectReason {
    let answer = stream.until("the answer to a dispatch", reply).await.unwrap();
    let Some(Outcome::Rejected(rejected)) = answer.outcome else { panic!("{answer:?}") };
    rejected.reason()
}

/// The new stream is up before the old one is closed; nothing starts by the old one meanwhile, nor too late; and a result
/// is sent until it is answered.
async fn it_changes_over_without_a_gap(language: Language) {
    let Some(ready) = language.ready().unwrap() else { return };
    let (folder, mut script) = (TempDir::new().unwrap(), Script::start().await.unwrap());
    let worker = ready.worker(folder.path(), script.address(), "key").await.unwrap();
    let (mut old, hello) = script.stream().await.unwrap();
    assert_eq!((hello.connect_sequence, hello.in_flight.len()), (1, 0));
    old.welcome(&hello, PATIENCE);
    old.dispatch("r1", "greet", r#"{"name": "one", "seconds": 1.5}"#);
    let answer = old.until("the answer to r1", reply).await.unwrap();
    assert!(matches!(answer.outcome, Some(Outcome::Accepted(_))), "{answer:?}");

    old.say(Heard::Drain(ServerDrain { mode: ServerDrainMode::Reconnect.into(), ..ServerDrain::default() }));
    let (new, hello) = script.stream().await.unwrap();
    assert_eq!((hello.connect_sequence, hello.in_flight[0].phase()), (2, AttemptPhase::Running));
    old.dispatch("r2", "greet", r#"{"name": "two"}"#);
    // Two, since one may have been on its way.
    for _ in 0..2 {
        let heartbeat = old.until("a heartbeat on the old stream", heartbeat).await.unwrap();
        assert_eq!(listed(&heartbeat), [("r1".to_owned(), AttemptPhase::Running)]);
    }
    new.welcome(&hello, PATIENCE);
    while old.heard().await.unwrap().is_some() {}
    the_result_is_sent_until_it_is_answered(&mut script, new).await;
    let greeted = ["one", "two", "three"].map(|name| worker.greeted(name).unwrap());
    assert_eq!(greeted, [1, 0, 0]);
}

/// The stream is closed in order before there is another, which is what a first worker does; the rest as above.
async fn it_changes_over_with_a_gap(language: Language) {
    let Some(ready) = language.ready().unwrap() else { return };
    let (folder, mut script) = (TempDir::new().unwrap(), Script::start().await.unwrap());
    let worker = ready.worker(folder.path(), script.address(), "key").await.unwrap();
    let (mut old, hello) = script.stream().await.unwrap();
    assert_eq!((hello.connect_sequence, hello.in_flight.len()), (1, 0));
    old.welcome(&hello, PATIENCE);
    old.dispatch("r1", "greet", r#"{"name": "one", "seconds": 1.5}"#);
    let answer = old.until("the answer to r1", reply).await.unwrap();
    assert!(matches!(answer.outcome, Some(Outcome::Accepted(_))), "{answer:?}");
    let more = old.until("a heartbeat", heartbeat).await.unwrap();
    assert_eq!(listed(&more), [("r1".to_owned(), AttemptPhase::Running)]);

    old.say(Heard::Drain(ServerDrain { mode: ServerDrainMode::Reconnect.into(), ..ServerDrain::default() }));
    while old.heard().await.unwrap().is_some() {}
    drop(old);
    let (new, hello) = script.stream().await.unwrap();
    assert_eq!((hello.connect_sequence, hello.in_flight[0].phase()), (2, AttemptPhase::Running));
    new.welcome(&hello, PATIENCE);
    the_result_is_sent_until_it_is_answered(&mut script, new).await;
    assert_eq!(["one", "three"].map(|name| worker.greeted(name).unwrap()), [1, 0]);
}

/// The result of r1 comes, and again on the next stream; r3 comes there too late.
async fn the_result_is_sent_until_it_is_answered(script: &mut Script, mut new: script::Stream) {
    let told = new.until("the result", result).await.unwrap();
    assert_eq!(told.attempt, Some(first("r1")));
    assert!(matches!(told.outcome, Some(attempt_result::Outcome::Succeeded(_))), "{told:?}");
    new.fail();

    let (mut last, hello) = script.stream().await.unwrap();
    assert_eq!((hello.connect_sequence, hello.in_flight[0].phase()), (3, AttemptPhase::ResultPending));
    last.welcome(&hello, Duration::from_nanos(1));
    assert_eq!(last.until("the result again", result).await.unwrap(), told);
    last.dispatch("r3", "greet", r#"{"name": "three"}"#);
    assert_eq!(refusal(&mut last).await, RejectReason::Stale);
    last.say(Heard::ResultAck(acknowledged(&told)));
    last.until("a heartbeat that lists nothing", |said| heartbeat(said).filter(|beat| listed(beat).is_empty()))
        .await
        .unwrap();
}

/// Without a lease nothing starts, what must not overlap ends, and the rest goes on.
async fn it_knows_when_its_lease_is_over(language: Language) {
    let Some(ready) = language.ready().unwrap() else { return };
    let (folder, mut script) = (TempDir::new().unwrap(), Script::start().await.unwrap());
    let worker = ready.worker(folder.path(), script.address(), "key").await.unwrap();
    let (mut stream, hello) = script.stream().await.unwrap();
    stream.welcome_for(&hello, SHORT_LEASE);
    stream.dispatch("r1", "greet", &json!({"name": "one", "seconds": SHORT_LEASE.as_secs_f64()}).to_string());
    let told = stream.until("the result of r1", result).await.unwrap();
    assert!(matches!(told.outcome, Some(attempt_result::Outcome::Succeeded(_))), "{told:?}");
    stream.say(Heard::ResultAck(acknowledged(&told)));
    stream.dispatch("r2", "greet", r#"{"name": "two"}"#);
    assert_eq!(refusal(&mut stream).await, RejectReason::Stale);
    stream.fail();

    let (mut stream, hello) = script.stream().await.unwrap();
    stream.welcome_for(&hello, SHORT_LEASE);
    stream.dispatch_by(LeaseLossPolicy::Stop, "r3", "greet", r#"{"name": "three", "seconds": 600}"#);
    let told = stream.until("the result of r3", result).await.unwrap();
    assert!(matches!(told.outcome, Some(attempt_result::Outcome::Interrupted(_))), "{told:?}");
    assert_eq!(["one", "two", "three"].map(|name| worker.greeted(name).unwrap()), [1, 0, 1]);
}

/// Every test, of a language.
macro_rules! tests {
    ($name:ident, $language:expr) => {
        mod $name {
            tests!(@ $language; work_is_done, a_server_that_dies_or_goes_costs_nothing,
                a_drained_worker_finishes_and_leaves, it_changes_over_without_a_gap, it_knows_when_its_lease_is_over,
                a_second_signal_ends_a_worker_at_once, a_client_that_follows_can_be_stopped);
        }
    };
    // It promises all but the new stream before the old one ends.
    ($name:ident, $language:expr; first) => {
        mod $name {
            tests!(@ $language; work_is_done, a_server_that_dies_or_goes_costs_nothing,
                a_result_is_kept_while_the_server_is_dead, a_drained_worker_finishes_and_leaves,
                it_changes_over_with_a_gap, it_knows_when_its_lease_is_over,
                a_second_signal_ends_a_worker_at_once);
        }
    };
    (@ $language:expr; $($test:ident),*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $test() {
            super::$test($language).await;
        }
    )*};
}

tests!(python, super::raw::PYTHON);
tests!(typescript, super::raw::TYPESCRIPT);
tests!(ruby, super::raw::RUBY);
tests!(first_python, super::raw::PYTHON_FIRST; first);
tests!(first_typescript, super::raw::TYPESCRIPT_FIRST; first);
tests!(first_ruby, super::raw::RUBY_FIRST; first);
