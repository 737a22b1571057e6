//! Cancelled, abandoned, shut down.

use std::time::Duration;

use mainspring_proto::{
    common::v1::LeaseLossPolicy,
    worker::v1::{
        AbandonReason, AttemptDirective, Cancel, CancelDirective, CancelDisposition, RejectReason, ResultDisposition,
        Revoke, WorkerState, attempt_directive::Directive, attempt_result::Outcome as Ended,
        dispatch_reply::Outcome as Reply, worker_stream_request::Message as Said,
        worker_stream_response::Message as Heard,
    },
};
use mainspring_worker::{Ctx, Handler, JobError, Observed, Outcome};

use crate::{
    server::{Rules, Server, attempt, dispatch, soon},
    work::{nothing, run_of},
    worker::{Gate, Whispers, run, worker},
};

/// A handler that waits to be told to stop, and says why it was.
fn obedient(whispers: &Whispers) -> impl Handler<(Ctx,)> + use<> {
    let whispers = whispers.clone();
    move |ctx: Ctx| {
        let whispers = whispers.clone();
        async move {
            ctx.cancelled().await;
            whispers.say(ctx.cancel_reason().map(ToString::to_string).unwrap_or_default());
            ctx.progress(1, 2, "half")?;
            Ok(())
        }
    }
}

fn directive() -> CancelDirective {
    CancelDirective { note: "by hand".into(), grace_period: None }
}

#[tokio::test]
async fn a_cancel_reaches_the_handler_and_is_reported() {
    let mut server = Server::start().await;
    let whispers = Whispers::new();
    let _running = run(worker(&server).handle("t", obedient(&whispers)));
    let (mut session, _) = server.session().await;
    session.dispatch("r1", "t", "");
    session.reply().await;
    session.say(Heard::Cancel(Cancel { attempt: attempt("r1"), cancel: Some(directive()) }));
    let disposition = session
        .wait_for(|said| if let Said::CancelReply(reply) = said { Some(reply.disposition()) } else { None })
        .await;
    assert_eq!(disposition, CancelDisposition::Cancelling);
    assert_eq!(whispers.next().await, "cancelled: by hand");
    assert!(matches!(session.result().await.outcome, Some(Ended::Cancelled(_))));
}

#[tokio::test]
async fn a_cancel_that_was_lost_comes_with_the_next_heartbeat() {
    let mut server = Server::start().await;
    let whispers = Whispers::new();
    let _running = run(worker(&server).handle("t", obedient(&whispers)));
    let (mut session, _) = server.session().await;
    session.dispatch("r1", "t", "");
    session.reply().await;
    let cancel = AttemptDirective { attempt: attempt("r1"), directive: Some(Directive::Cancel(directive())) };
    session.directives.push(cancel);
    assert!(matches!(session.result().await.outcome, Some(Ended::Cancelled(_))));
    assert_eq!(whispers.next().await, "cancelled: by hand");
}

#[tokio::test]
async fn an_abandoned_attempt_is_dropped_and_says_nothing() {
    let mut server = Server::start().await;
    let whispers = Whispers::new();
    let say = whispers.clone();
    let mut running = run(worker(&server).slots(1).handle("quick", nothing).handle("t", move || {
        let dropped = say.on_drop("dropped");
        async move {
            let _dropped = dropped;
            std::future::pending::<Result<(), JobError>>().await
        }
    }));
    let (mut session, _) = server.session().await;
    session.dispatch("r1", "t", "");
    session.reply().await;
    let reason = AbandonReason::LeaseExpired.into();
    session.say(Heard::Revoke(Revoke { attempt: attempt("r1"), reason }));
    assert_eq!(whispers.next().await, "dropped");
    assert!(matches!(running.event().await, Observed::Start { .. }));
    assert!(matches!(running.event().await, Observed::End { outcome: Outcome::Discarded, .. }));
    session.dispatch("r2", "quick", "");
    assert_eq!(run_of(&session.result().await), "r2");
    assert!(session.heartbeat().await.in_flight.iter().all(|status| status.attempt != attempt("r1")));
}

#[tokio::test]
async fn work_that_must_not_overlap_stops_when_the_lease_cannot_be_proven() {
    let mut server = Server::start().await;
    let whispers = Whispers::new();
    let _running = run(worker(&server).handle("t", obedient(&whispers)));
    let mut session = server.stream().await;
    let hello = session.hello().await;
    // The server hears the heartbeats and answers none.
    session.acks_heartbeats = false;
    session.welcome(&hello, &Rules { lease: Duration::from_secs(1), ..Rules::default() });
    let mut fragile = dispatch("r1", "t", "");
    fragile.lease_loss_policy = LeaseLossPolicy::Stop.into();
    session.say(Heard::Dispatch(fragile));
    assert_eq!(whispers.next().await, "the lease can no longer be proven");
    assert!(matches!(session.result().await.outcome, Some(Ended::Interrupted(_))));
}

#[tokio::test]
async fn a_worker_drains_before_it_leaves() {
    let mut server = Server::start().await;
    let gate = Gate::new();
    let wait = gate.clone();
    let running = run(worker(&server).slots(1).handle("t", move || {
        let wait = wait.clone();
        async move {
            wait.pass().await;
            Ok(())
        }
    }));
    let (mut session, _) = server.session().await;
    session.dispatch("r1", "t", "");
    session.reply().await;
    session.dispatch("reserved", "t", "");
    session.reply().await;
    running.stop.cancel();
    session.wait_for(|said| if let Said::Drain(drain) = said { drain.deadline.map(|_| ()) } else { None }).await;
    session.dispatch("late", "t", "");
    for run in ["reserved", "late"] {
        let reply = session.reply().await;
        assert_eq!(reply.attempt, attempt(run));
        let Some(Reply::Rejected(rejected)) = reply.outcome else { panic!("not rejected") };
        assert_eq!(rejected.reason(), RejectReason::Draining);
    }
    let mut heartbeat = session.heartbeat().await;
    while heartbeat.state() != WorkerState::Draining {
        heartbeat = session.heartbeat().await;
    }
    assert_eq!((heartbeat.capacity[0].max_in_flight, heartbeat.in_flight.len()), (0, 1));
    gate.open();
    let result = session.result().await;
    assert!(matches!(result.outcome, Some(Ended::Succeeded(_))));
    // Heartbeats go on until the result is acknowledged.
    session.heartbeat().await;
    session.ack(&result, ResultDisposition::Applied);
    while session.next().await.is_some() {}
    drop(session);
    running.left().await.unwrap();
}

#[tokio::test]
async fn what_does_not_finish_in_time_is_interrupted() {
    let mut server = Server::start().await;
    let whispers = Whispers::new();
    let deaf = || std::future::pending::<Result<(), JobError>>();
    let patience = Duration::from_millis(20);
    let worker = worker(&server).drain_within(patience).stop_within(patience);
    let running = run(worker.handle("obeys", obedient(&whispers)).handle("deaf", deaf));
    let (mut session, _) = server.session().await;
    session.dispatch("r1", "obeys", "");
    session.dispatch("r2", "deaf", "");
    session.reply().await;
    session.reply().await;
    running.stop.cancel();
    for _ in 0..2 {
        let result = session.result().await;
        assert!(matches!(result.outcome, Some(Ended::Interrupted(_))), "{result:?}");
        session.ack(&result, ResultDisposition::Applied);
    }
    assert_eq!(whispers.next().await, "the worker is shutting down");
    while session.next().await.is_some() {}
    drop(session);
    running.left().await.unwrap();
}

#[tokio::test]
async fn a_worker_whose_future_is_dropped_is_gone_at_once() {
    let mut server = Server::start().await;
    let whispers = Whispers::new();
    let say = whispers.clone();
    let running = run(worker(&server).handle("t", move || {
        let dropped = say.on_drop("dropped");
        async move {
            let _dropped = dropped;
            std::future::pending::<Result<(), JobError>>().await
        }
    }));
    let (mut session, _) = server.session().await;
    session.dispatch("r1", "t", "");
    session.reply().await;
    running.abort();
    assert_eq!(whispers.next().await, "dropped");
    soon("the end of the stream", async { while let Ok(Some(_)) = session.try_next().await {} }).await;
}
