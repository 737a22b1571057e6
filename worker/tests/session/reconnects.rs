//! Streams that break, move or cannot be had.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use mainspring_proto::worker::v1::{
    AttemptPhase, ResultDisposition, ServerDrain, ServerDrainMode, attempt_result::Outcome as Ended,
    worker_stream_request::Message as Said, worker_stream_response::Message as Heard,
};
use mainspring_worker::{Backoff, Ctx, Disposition, Error, JobError, Observed, Worker};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::{
    server::{Rules, Server, attempt},
    work::{nothing, run_of},
    worker::{Gate, run, worker},
};

fn gated(worker: Worker, gate: &Gate) -> Worker {
    let gate = gate.clone();
    worker.handle("t", move || {
        let gate = gate.clone();
        async move {
            gate.pass().await;
            Ok::<_, JobError>(())
        }
    })
}

#[tokio::test]
async fn a_result_is_sent_again_when_the_stream_broke_before_its_acknowledgement() {
    let mut server = Server::start().await;
    let mut running = run(worker(&server).handle("t", nothing));
    let (mut session, _) = server.session().await;
    session.dispatch("r1", "t", "");
    session.result().await;
    session.fail(Status::internal("broken"));

    let (mut session, hello) = server.session().await;
    assert_eq!(hello.connect_sequence, 2);
    assert_eq!(hello.in_flight[0].attempt, attempt("r1"));
    assert_eq!(hello.in_flight[0].phase(), AttemptPhase::ResultPending);
    let result = session.result().await;
    session.ack(&result, ResultDisposition::Duplicate);
    loop {
        if let Observed::Acked { disposition, .. } = running.event().await {
            assert_eq!(disposition, Disposition::Duplicate);
            break;
        }
    }
    assert!(session.heartbeat().await.in_flight.is_empty());
}

#[tokio::test]
async fn work_goes_on_while_there_is_no_server() {
    let mut server = Server::start().await;
    let gate = Gate::new();
    let mut running = run(gated(worker(&server), &gate));
    let (mut session, _) = server.session().await;
    session.dispatch("r1", "t", "");
    session.reply().await;
    drop(session);
    let (mut session, hello) = server.session().await;
    assert_eq!(hello.in_flight[0].phase(), AttemptPhase::Running);
    gate.open();
    assert!(matches!(session.result().await.outcome, Some(Ended::Succeeded(_))));
    assert!(matches!(running.event().await, Observed::Start { .. }));
    assert!(matches!(running.event().await, Observed::End { .. }));
}

#[tokio::test]
async fn results_go_by_calls_while_no_stream_is_to_be_had() {
    let mut server = Server::start().await;
    let gate = Gate::new();
    let mut running = run(gated(worker(&server), &gate));
    let (mut session, _) = server.session().await;
    session.dispatch("r1", "t", "");
    session.reply().await;
    server.refuse(Some(Status::unavailable("no more streams"))).await;
    session.fail(Status::unavailable("no more streams"));
    gate.open();
    assert_eq!(run_of(&server.report().await), "r1");
    loop {
        if let Observed::Acked { disposition, .. } = running.event().await {
            assert_eq!(disposition, Disposition::Applied);
            break;
        }
    }
    server.refuse(None).await;
    let (_, hello) = server.session().await;
    assert!(hello.in_flight.is_empty());
}

#[tokio::test]
async fn a_silent_server_is_left() {
    let mut server = Server::start().await;
    let _running = run(worker(&server).handle("t", nothing));
    let mut silent = server.stream().await;
    let hello = silent.hello().await;
    silent.welcome(&hello, &Rules { silence: Duration::from_millis(200), ..Rules::default() });
    let (_session, hello) = server.session().await;
    assert_eq!(hello.connect_sequence, 2);
}

#[tokio::test]
async fn a_drained_server_is_left_without_a_gap() {
    let mut server = Server::start().await;
    let gate = Gate::new();
    let mut running = run(gated(worker(&server), &gate));
    let (mut old, _) = server.session().await;
    old.dispatch("kept", "t", "");
    old.reply().await;
    let drain = ServerDrain { mode: ServerDrainMode::Reconnect.into(), ..ServerDrain::default() };
    old.say(Heard::Drain(drain));

    let mut new = server.stream().await;
    let hello = new.hello().await;
    assert_eq!(hello.in_flight[0].phase(), AttemptPhase::Running);
    // Both are open. The old one is still alive, and its dispatches no longer count.
    old.dispatch("too late", "t", "");
    let read_since = old.heartbeat().await.sequence;
    while old.heartbeat().await.sequence < read_since + 3 {}
    assert!(!old.has_skipped(|said| matches!(said, Said::DispatchReply(_))));
    new.welcome(&hello, &Rules::default());
    while old.next().await.is_some() {}
    drop(old);
    gate.open();
    let result = new.result().await;
    assert_eq!(run_of(&result), "kept");
    new.ack(&result, ResultDisposition::Applied);
    new.dispatch("next", "t", "");
    gate.open();
    assert_eq!(run_of(&new.result().await), "next");
    let mut started = Vec::new();
    while started.len() < 2 {
        if let Observed::Start { run_id, .. } = running.event().await {
            started.push(run_id);
        }
    }
    assert_eq!(started, ["kept", "next"]);
}

#[tokio::test]
async fn the_server_can_send_a_worker_home() {
    let mut server = Server::start().await;
    let running = run(worker(&server).handle("t", nothing));
    let (mut session, _) = server.session().await;
    session.say(Heard::Drain(ServerDrain { mode: ServerDrainMode::Terminate.into(), ..ServerDrain::default() }));
    while session.next().await.is_some() {}
    drop(session);
    running.left().await.unwrap();
}

pub(crate) fn refusal(code: Code, reason: &str) -> Status {
    Status::with_error_details(code, "go away", ErrorDetails::with_error_info(reason, "mainspring.dev", HashMap::new()))
}

#[tokio::test]
async fn a_refused_worker_delivers_what_it_has_done_by_calls() {
    let mut server = Server::start().await;
    for reports_are_refused in [false, true] {
        // Told to leave, it finishes.
        let running = run(worker(&server).handle("t", async |ctx: Ctx| {
            ctx.cancelled().await;
            Ok::<_, JobError>(())
        }));
        let (mut session, _) = server.session().await;
        session.dispatch("r1", "t", "");
        session.reply().await;
        let missing = refusal(Code::PermissionDenied, "PERMISSION_MISSING");
        server.refuse_reports(reports_are_refused.then(|| missing.clone())).await;
        server.refuse(Some(missing.clone())).await;
        session.fail(missing);
        let error = running.left().await.unwrap_err();
        let Error::Refused { undelivered, .. } = &error else { panic!("{error:?}") };
        assert_eq!(undelivered.count, usize::from(reports_are_refused));
        assert_eq!(error.to_string().contains("left with 1 results"), reports_are_refused, "{error}");
        if !reports_are_refused {
            assert_eq!(run_of(&server.report().await), "r1");
        }
        server.refuse(None).await;
    }
}

#[tokio::test]
async fn what_cannot_be_mended_ends_the_worker_with_the_reason() {
    let server = Server::start().await;
    for (code, reason, advice) in [
        (Code::FailedPrecondition, "PROTOCOL_VERSION_UNSUPPORTED", ""),
        (Code::PermissionDenied, "PERMISSION_MISSING", "the permission worker.serve"),
        (Code::PermissionDenied, "WHAT_A_NEWER_SERVER_SAYS", "--role worker"),
        (Code::Unauthenticated, "TOKEN_MISSING", "set MAINSPRING_API_KEY"),
        (Code::Unauthenticated, "TOKEN_INVALID", "is MAINSPRING_API_KEY right"),
        (Code::Unauthenticated, "TOKEN_REVOKED", "no longer counts"),
        (Code::Unauthenticated, "TOKEN_EXPIRED", "no longer counts"),
    ] {
        server.refuse(Some(refusal(code, reason))).await;
        // One try is all there is: it does not come to a second.
        let patient = Backoff::between(Duration::from_secs(3_600), Duration::from_secs(3_600));
        let running = run(worker(&server).reconnect(patient).handle("t", nothing));
        match running.left().await {
            Err(Error::Refused { refusal, undelivered }) if undelivered.count == 0 => {
                assert_eq!((refusal.code, refusal.reason.as_str()), (code, reason));
                let told = Error::Refused { refusal, undelivered }.to_string();
                assert!(told.contains("go away") && told.contains(reason) && told.contains(advice), "{told}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_credential_refused_later_is_waited_for() {
    let mut server = Server::start().await;
    let worker = worker(&server).handle("t", nothing);
    let id = worker.id();
    let _running = run(worker);
    let (session, _) = server.session().await;
    server.refuse(Some(refusal(Code::Unauthenticated, "TOKEN_INVALID"))).await;
    session.fail(Status::unavailable("restarted"));
    server.refused().await;
    server.refused().await;
    server.refuse(None).await;
    let (_session, hello) = server.session().await;
    assert_eq!(hello.worker_instance_id, id);
}

#[tokio::test]
async fn a_key_that_was_replaced_is_read_again_at_once() {
    let mut server = Server::start().await;
    let keys = Arc::new(Mutex::new("old"));
    let source = keys.clone();
    // A wait would outlast the test.
    let patient = Backoff::between(Duration::from_secs(3_600), Duration::from_secs(3_600));
    let worker = worker(&server).reconnect(patient).handle("t", nothing);
    let running = run(worker.api_key_from(move || Some((*source.lock().unwrap()).to_owned())));
    let (session, _) = server.session().await;
    assert_eq!(session.authorization.as_deref(), Some("Bearer old"));

    *keys.lock().unwrap() = "new";
    server.refuse(Some(refusal(Code::Unauthenticated, "TOKEN_REVOKED"))).await;
    session.fail(refusal(Code::Unauthenticated, "TOKEN_REVOKED"));
    assert_eq!(server.refused().await.as_deref(), Some("Bearer new"));
    running.abort();
}
