//! From Hello to the result.

use std::{collections::HashSet, sync::mpsc, time::Duration};

use mainspring_proto::{
    common::v1::{RetryDecision, payload::Data},
    worker::v1::{
        AttemptPhase, AttemptResult, AttemptSucceeded, Dispatch, DispatchReply, RejectReason, ResultDisposition,
        attempt_result::Outcome as Ended, dispatch_reply::Outcome as Reply, worker_stream_request::Message as Said,
        worker_stream_response::Message as Heard,
    },
};
use mainspring_worker::{Ctx, Disposition, Error, HandlerService, JobError, Observed, Outcome, Payload, Run, State};
use tower::{ServiceExt as _, layer::layer_fn};

use crate::{
    server::{Rules, Server, dispatch, spawn},
    worker::{Gate, Whispers, run, worker},
};

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Numbers {
    left: i64,
    right: i64,
}

async fn add(Payload(numbers): Payload<Numbers>) -> Result<i64, JobError> {
    Ok(numbers.left + numbers.right)
}

pub(crate) async fn nothing() -> Result<(), JobError> {
    Ok(())
}

pub(crate) fn run_of(result: &AttemptResult) -> &str {
    &result.attempt.as_ref().unwrap().run_id
}

fn failure(result: AttemptResult) -> mainspring_proto::common::v1::Failure {
    match result.outcome {
        Some(Ended::Failed(failed)) => failed.failure.unwrap(),
        other => panic!("not failed but {other:?}"),
    }
}

#[tokio::test]
async fn a_run_goes_from_dispatch_to_an_acknowledged_result() {
    let mut server = Server::start().await;
    let worker = worker(&server).api_key("secret").slots(2).label("zone", "a").build_id("b7").handle("add", add);
    let id = worker.id();
    let mut running = run(worker);
    let (mut session, hello) = server.session().await;
    assert_eq!(session.authorization.as_deref(), Some("Bearer secret"));
    assert_eq!((hello.worker_instance_id, hello.worker_name.as_str(), hello.connect_sequence), (id, "test", 1));
    assert_eq!((hello.handlers[0].job_type.as_str(), hello.handlers[0].queue.as_str()), ("add", "default"));
    let properties = |schema: &str| -> serde_json::Value { serde_json::from_str(schema).unwrap() };
    assert_eq!(properties(&hello.handlers[0].input_schema)["properties"]["left"]["type"], "integer");
    assert_eq!(properties(&hello.handlers[0].output_schema)["type"], "integer");
    assert_eq!(
        (hello.capacity[0].max_in_flight, hello.build_id.as_str(), hello.labels["zone"].as_str()),
        (2, "b7", "a")
    );

    session.dispatch("r1", "add", r#"{"left":2,"right":3}"#);
    let Some(Reply::Accepted(accepted)) = session.reply().await.outcome else { panic!("not accepted") };
    assert_eq!(accepted.phase(), AttemptPhase::Running);
    let result = session.result().await;
    assert!(result.start_time.is_some() && result.finish_time.is_some());
    let Some(Ended::Succeeded(succeeded)) = &result.outcome else { panic!("{result:?}") };
    let output = succeeded.output.as_ref().unwrap();
    assert_eq!((output.content_type.as_str(), &output.data), ("application/json", &Some(Data::Inline(b"5".to_vec()))));
    session.ack(&result, ResultDisposition::Applied);

    let (run_id, attempt) = ("r1".to_owned(), 1);
    assert_eq!(running.event().await, Observed::Start { run_id: run_id.clone(), attempt });
    assert_eq!(running.event().await, Observed::End { run_id: run_id.clone(), attempt, outcome: Outcome::Succeeded });
    assert_eq!(running.event().await, Observed::Acked { run_id, attempt, disposition: Disposition::Applied });
}

#[tokio::test]
async fn a_handler_sees_its_run() {
    let mut server = Server::start().await;
    let whispers = Whispers::new();
    let say = whispers.clone();
    let _running = run(worker(&server).handle("t", move |ctx: Ctx| {
        let say = say.clone();
        async move {
            say.say(format!(
                "{} {} {:?} {} {} {}",
                ctx.run_id(),
                ctx.attempt(),
                ctx.job(),
                ctx.queue(),
                ctx.idempotency_key(),
                ctx.is_last_attempt()
            ));
            say.say(format!("{:?} {:?}", ctx.nominal_time(), ctx.headers().get("traceparent")));
            Ok(())
        }
    }));
    let (session, _) = server.session().await;
    let mut traced = dispatch("r1", "t", "");
    traced.headers.insert("traceparent".into(), "00-1".into());
    session.say(Heard::Dispatch(traced));
    assert_eq!(whispers.next().await, "r1 1 Some(\"nightly\") default key-r1 false");
    assert_eq!(whispers.next().await, "None Some(\"00-1\")");
}

#[tokio::test]
async fn a_repeated_dispatch_starts_nothing_and_one_beyond_its_window_goes_back() {
    let mut server = Server::start().await;
    let gate = Gate::new();
    let wait = gate.clone();
    let mut running = run(worker(&server).handle("t", move || {
        let wait = wait.clone();
        async move {
            wait.pass().await;
            Ok(())
        }
    }));
    let mut session = server.stream().await;
    let hello = session.hello().await;
    let start_window = Duration::from_millis(400);
    session.welcome(&hello, &Rules { start_window, ..Rules::default() });
    for _ in 0..2 {
        session.dispatch("r1", "t", "");
        assert!(matches!(session.reply().await.outcome, Some(Reply::Accepted(_))));
    }
    // Twelve heartbeats take longer than the window, whatever their jitter.
    let mut newest = 0;
    while newest < 12 {
        newest = session.heartbeat().await.sequence;
    }
    session.dispatch("stale", "t", "");
    let Some(Reply::Rejected(rejected)) = session.reply().await.outcome else { panic!("not rejected") };
    assert_eq!(rejected.reason(), RejectReason::Stale);
    let mut fresh = dispatch("fresh", "t", "");
    fresh.basis_sequence = session.heartbeat().await.sequence;
    session.say(Heard::Dispatch(fresh));
    assert!(matches!(session.reply().await.outcome, Some(Reply::Accepted(_))));
    gate.open();
    gate.open();
    let runs = [session.result().await, session.result().await].map(|result| run_of(&result).to_owned());
    assert_eq!(HashSet::from(runs), HashSet::from(["r1".to_owned(), "fresh".to_owned()]));
    let mut starts = 0;
    for _ in 0..4 {
        starts += usize::from(matches!(running.event().await, Observed::Start { .. }));
    }
    assert_eq!(starts, 2);
}

#[tokio::test]
async fn what_cannot_be_handled_is_said_so() {
    let mut server = Server::start().await;
    let panics = || async {
        if std::hint::black_box(true) {
            panic!("no luck today");
        }
        Ok(())
    };
    let fails = || async { Err::<(), _>(JobError::from(std::io::Error::other("disk full"))) };
    let later = || async { Err::<(), _>(JobError::retryable("busy").retry_after(Duration::from_secs(9))) };
    let huge = || async { Ok("x".repeat(2 << 20)) };
    let _running = run(worker(&server)
        .handle("add", add)
        .handle("panics", panics)
        .handle("fails", fails)
        .handle("later", later)
        .handle("huge", huge));
    let (mut session, _) = server.session().await;

    session.dispatch("r1", "add", r#"{"left":2,"right":"three"}"#);
    let mismatch = failure(session.result().await);
    assert_eq!(mismatch.reason, "PAYLOAD_MISMATCH");
    assert!(mismatch.message.contains("`add`") && mismatch.message.contains("`right`"), "{}", mismatch.message);
    assert_eq!(mismatch.retry_hint.unwrap().decision(), RetryDecision::DoNotRetry);

    session.dispatch("r2", "panics", "");
    let panic = failure(session.result().await);
    assert_eq!((panic.reason.as_str(), panic.message.as_str()), ("PANIC", "no luck today"));
    assert!(panic.stack_trace.contains("work.rs"), "{}", panic.stack_trace);
    assert!(panic.retry_hint.is_none());

    session.dispatch("r3", "fails", "");
    let error = failure(session.result().await);
    assert_eq!((error.reason.as_str(), error.message.as_str()), ("HANDLER_ERROR", "disk full"));

    session.dispatch("r4", "later", "");
    let hint = failure(session.result().await).retry_hint.unwrap();
    assert_eq!((hint.decision(), hint.next_retry_delay.unwrap().seconds), (RetryDecision::Unspecified, 9));

    session.dispatch("r5", "huge", "");
    assert_eq!(failure(session.result().await).reason, "OUTPUT_TOO_LARGE");

    session.dispatch("r6", "unheard of", "");
    session
        .wait_for(|said| match said {
            Said::DispatchReply(reply) => match reply.outcome.as_ref()? {
                Reply::Rejected(rejected) => (rejected.reason() == RejectReason::UnknownJobType).then_some(()),
                Reply::Accepted(_) => None,
            },
            _ => None,
        })
        .await;
}

#[tokio::test]
async fn a_computing_handler_does_not_hold_up_heartbeats() {
    let mut server = Server::start().await;
    let (release, blocked) = mpsc::channel::<()>();
    let blocked = std::sync::Arc::new(std::sync::Mutex::new(blocked));
    let worker = worker(&server).handle("computes", move || {
        let blocked = blocked.clone();
        async move {
            // Blocks the only thread of the worker's runtime.
            blocked.lock().unwrap().recv()?;
            Ok(())
        }
    });
    #[expect(clippy::disallowed_methods, reason = "a runtime that is blocked needs a thread of its own")]
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(worker.run_until(std::future::pending::<()>()))
    });
    let (mut session, _) = server.session().await;
    session.dispatch("r1", "computes", "");
    let Some(Reply::Accepted(_)) = session.reply().await.outcome else { panic!("not accepted") };
    session.dispatch("r2", "computes", "");
    // The second cannot begin on that runtime, and is told as such in time.
    let Some(Reply::Accepted(accepted)) = session.reply().await.outcome else { panic!("not accepted") };
    assert_eq!(accepted.phase(), AttemptPhase::Reserved);
    let first = session.heartbeat().await.sequence;
    for expected in first + 1..first + 10 {
        assert_eq!(session.heartbeat().await.sequence, expected);
    }
    release.send(()).unwrap();
    release.send(()).unwrap();
    let runs = [session.result().await, session.result().await].map(|result| run_of(&result).to_owned());
    assert_eq!(runs, ["r1", "r2"]);
    drop(thread);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_thousand_dispatches_at_once_come_back_as_five_thousand_results() {
    const RUNS: usize = 5_000;
    let mut server = Server::start().await;
    let mut running = run(worker(&server).slots(5_000).handle("t", nothing));
    let (mut session, _) = server.session().await;
    for number in 0..RUNS {
        session.dispatch(&number.to_string(), "t", "");
    }
    // The server reads nothing until every handler has run: ten thousand small messages wait meanwhile.
    let mut ends = 0;
    while ends < RUNS {
        ends += usize::from(matches!(running.event().await, Observed::End { .. }));
    }
    let mut results = HashSet::new();
    while results.len() < RUNS {
        let result = session.result().await;
        assert!(results.insert(run_of(&result).to_owned()), "twice: {}", run_of(&result));
        session.ack(&result, ResultDisposition::Applied);
    }
    let mut heartbeat = session.heartbeat().await;
    while !heartbeat.in_flight.is_empty() {
        heartbeat = session.heartbeat().await;
    }
}

#[tokio::test]
async fn one_type_can_come_from_several_queues() {
    let mut server = Server::start().await;
    let says = |word: &'static str| move || async move { Ok::<_, JobError>(word) };
    let worker = worker(&server).handle("t", says("slowly")).handle_in("urgent", "t", says("at once"));
    let _running = run(worker.handle_in("urgent", "u", nothing));
    let (mut session, hello) = server.session().await;
    let mut lanes: Vec<_> = hello.handlers.iter().map(|it| (it.queue.as_str(), it.job_type.as_str())).collect();
    lanes.sort_unstable();
    assert_eq!(lanes, [("default", "t"), ("urgent", "t"), ("urgent", "u")]);

    for (run, queue, word) in [("r1", "urgent", "at once"), ("r2", "default", "slowly"), ("r3", "", "slowly")] {
        session.say(Heard::Dispatch(Dispatch { queue: queue.into(), ..dispatch(run, "t", "") }));
        let result = session.result().await;
        let Some(Ended::Succeeded(AttemptSucceeded { output: Some(output) })) = &result.outcome else {
            panic!("{result:?}")
        };
        assert_eq!((run_of(&result), &output.data), (run, &Some(Data::Inline(format!("{word:?}").into_bytes()))));
        session.ack(&result, ResultDisposition::Applied);
    }
    session.dispatch("r4", "u", "");
    let refused = |said: &Said| match said {
        Said::DispatchReply(DispatchReply { outcome: Some(Reply::Rejected(rejected)), .. }) => Some(rejected.reason()),
        _ => None,
    };
    assert_eq!(session.wait_for(refused).await, RejectReason::UnknownJobType);
}

#[tokio::test]
async fn a_layer_is_around_every_handler() {
    let mut server = Server::start().await;
    let whispers = Whispers::new();
    let say = whispers.clone();
    // It may be added before the handlers or after them.
    let noting = layer_fn(move |inner: HandlerService| {
        let say = say.clone();
        inner.map_request(move |run: Run| {
            say.say(run.ctx().job_type());
            run
        })
    });
    let worker = worker(&server).handle("early", nothing).layer(noting).handle("late", nothing);
    let _running = run(worker);
    let (mut session, _) = server.session().await;
    for (run, job_type) in [("r1", "early"), ("r2", "late")] {
        session.dispatch(run, job_type, "");
        assert!(matches!(session.result().await.outcome, Some(Ended::Succeeded(_))));
        assert_eq!(whispers.next().await, job_type);
    }
}

#[tokio::test]
async fn mistakes_are_told_before_connecting() {
    let server = Server::start().await;
    let ended =
        |worker: mainspring_worker::Worker| async { spawn(worker.run_until(std::future::pending())).await.unwrap() };
    assert!(matches!(ended(worker(&server)).await, Err(Error::NoHandler)));
    let twice = worker(&server).handle("t", nothing).handle_in("default", "t", nothing);
    assert_eq!(
        ended(twice).await.unwrap_err().to_string(),
        "two handlers for the job type `t` from the queue `default`: there is one for each"
    );
    let without = worker(&server).state(1u8).handle("t", async |State(_): State<String>| Ok::<_, JobError>(()));
    let error = ended(without).await.unwrap_err().to_string();
    assert!(error.contains("`t`") && error.contains("alloc::string::String"), "{error}");
    let again = worker(&server).state(1u8).state(2u8).handle("t", nothing);
    assert!(matches!(ended(again).await, Err(Error::DuplicateState("u8"))));
    let unused = worker(&server).handle("t", nothing).queue("nobody's", 3);
    assert!(ended(unused).await.unwrap_err().to_string().contains("nobody's"));
    let none = worker(&server).handle("t", nothing).slots(0);
    assert!(matches!(ended(none).await, Err(Error::Setting { name, .. }) if name == "slots"));
}
