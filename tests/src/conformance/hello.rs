//! Hello and reconciliation: what a worker holds against what the rows say.

use mainspring_engine::{
    domain::{
        attempt::{AttemptKey, Outcome},
        ids::{RunId, WorkerId},
        policy::RunPolicy,
        run::RunState,
        transition::Event,
        worker::{AbandonReason, Drain, Hello},
    },
    ports::store::{HelloAnswer, LeaseResult, NewRun, Owner, Verdict},
};

use super::world::{World, failure, lane_of, pointer, secs};

fn abandoned(verdict: &Verdict) -> AbandonReason {
    match verdict {
        Verdict::Abandon(reason) => *reason,
        other => panic!("{other:?}"),
    }
}

pub async fn an_older_stream_is_superseded(w: World) {
    let worker = WorkerId::new(w.now);
    w.reconnect(worker, 5, &[]).await;
    for epoch in [4, 5] {
        assert!(matches!(w.say_hello(&w.hello(worker, epoch, &[])).await, HelloAnswer::Superseded));
    }
    w.reconnect(worker, 6, &[]).await;
}

pub async fn listed_attempts_are_kept(w: World) {
    let owner = w.connect().await;
    let key = w.leased(owner).await;
    let (verdicts, moved) = w.reconnect(owner.worker, 2, &[key]).await;
    assert!(moved.is_empty());
    let (listed, Verdict::Keep(held)) = &verdicts[0] else { panic!("{verdicts:?}") };
    assert_eq!((*listed, held.key), (key, key));
    assert!(held.payload.data.is_empty(), "the worker has it");
    assert_eq!(w.state(key.run).await, RunState::Leased);
}

pub async fn expired_attempts_are_adopted(mut w: World) {
    let owner = w.connect().await;
    let key = w.leased(owner).await;
    w.pass(secs(60));
    let (moved, _) = w.store.expire(w.now, w.now, 10).await.unwrap();
    assert_eq!(moved[0].to, RunState::Queued);
    let (verdicts, adopted) = w.reconnect(owner.worker, 2, &[key]).await;
    assert!(matches!(verdicts[0].1, Verdict::Keep(_)), "{verdicts:?}");
    assert_eq!((adopted[0].from, adopted[0].to), (Some(RunState::Queued), RunState::Running));
    let life = w.store.run(&w.scope, key.run).await.unwrap().unwrap().life;
    assert_eq!((life.losses, life.open), (0, Some(1)), "nothing is charged");
    // The pointer of the stay in the queue it was adopted out of is dead.
    let other = w.connect().await;
    let stale = pointer(&moved[0]);
    assert!(matches!(w.lease_all(other, vec![stale]).await[0], LeaseResult::Stale));
}

pub async fn moved_on_attempts_are_abandoned(mut w: World) {
    let owner = w.connect().await;
    let (over, returned, failed) = (w.leased(owner).await, w.leased(owner).await, w.leased(owner).await);
    w.report(over, Outcome::Succeeded).await;
    w.apply(returned.run, Event::Rejected { attempt: 1 }).await;
    w.report(failed, Outcome::Failed(failure("X"))).await;
    let mut policy = RunPolicy::default();
    policy.timeouts.execution = Some(secs(10));
    policy.retry.retry_timeouts = false;
    let late = w.running(owner, policy).await;
    w.pass(secs(10));
    w.apply(late.run, Event::Deadline).await;
    w.pass(secs(30));
    w.apply(late.run, Event::Deadline).await;
    let lost = w.leased(owner).await;
    w.pass(secs(60));
    let (moved, _) = w.store.expire(w.now, w.now, 10).await.unwrap();
    let next = w.connect().await;
    w.lease(next, pointer(&moved[0])).await;
    let unknown = AttemptKey { run: RunId::new(w.now), attempt: 1 };
    let future = AttemptKey { attempt: 9, ..lost };
    let listed = [over, returned, failed, late, lost, unknown, future];
    let (verdicts, moved) = w.reconnect(owner.worker, 2, &listed).await;
    assert!(moved.is_empty());
    assert_eq!(verdicts.iter().map(|(key, _)| *key).collect::<Vec<_>>(), listed, "in order");
    let reasons: Vec<_> = verdicts.iter().map(|(_, verdict)| abandoned(verdict)).collect();
    assert_eq!(
        reasons,
        [
            AbandonReason::AlreadyTerminal,
            AbandonReason::Returned,
            AbandonReason::LeaseExpired,
            AbandonReason::TimedOut,
            AbandonReason::LeaseExpired,
            AbandonReason::UnknownAttempt,
            AbandonReason::UnknownAttempt,
        ]
    );
}

pub async fn unlisted_leases_are_returned(w: World) {
    let owner = w.connect().await;
    let (kept, gone) = (w.leased(owner).await, w.leased(owner).await);
    let (_, moved) = w.reconnect(owner.worker, 2, &[kept]).await;
    assert_eq!(moved.len(), 1);
    assert_eq!((moved[0].run, moved[0].to), (gone.run, RunState::Queued));
    let life = w.store.run(&w.scope, gone.run).await.unwrap().unwrap().life;
    assert_eq!((life.returns, life.losses, life.open), (1, 0, None));
    assert_eq!(w.state(kept.run).await, RunState::Leased);
}

pub async fn unlisted_running_attempts_are_lost(w: World) {
    let owner = w.connect().await;
    let gone = w.running(owner, RunPolicy::default()).await;
    let (_, moved) = w.reconnect(owner.worker, 2, &[]).await;
    assert_eq!((moved[0].from, moved[0].to), (Some(RunState::Running), RunState::Queued));
    let life = w.store.run(&w.scope, gone.run).await.unwrap().unwrap().life;
    assert_eq!((life.returns, life.losses), (0, 1));
}

pub async fn stops_are_told(w: World) {
    let owner = w.connect().await;
    let key = w.leased(owner).await;
    w.apply(key.run, Event::Cancel { reason: "wrong input".into() }).await;
    let (verdicts, _) = w.reconnect(owner.worker, 2, &[key]).await;
    assert!(
        matches!(&verdicts[0].1, Verdict::Stop(held, why) if held.key == key && why == "wrong input"),
        "{verdicts:?}"
    );
}

pub async fn a_drain_survives_a_reconnect(w: World) {
    let owner = w.connect().await;
    assert!(w.store.drain_worker(w.now, &w.scope, owner.worker, Drain::Terminate).await.unwrap());
    assert!(!w.store.drain_worker(w.now, &w.scope, WorkerId::new(w.now), Drain::Quiesce).await.unwrap());
    let answer = w.say_hello(&w.hello(owner.worker, 2, &[])).await;
    assert!(matches!(answer, HelloAnswer::Welcome { drain: Some(Drain::Terminate), .. }), "{answer:?}");
}

pub async fn reconcile_needs_the_owner(w: World) {
    let owner = w.connect().await;
    let key = w.leased(owner).await;
    let old = Owner { epoch: 0, ..owner };
    assert!(w.store.reconcile(w.now, old, vec![key]).await.unwrap().is_none());
    let (verdicts, _) = w.store.reconcile(w.now, owner, vec![key]).await.unwrap().unwrap();
    assert!(matches!(verdicts[0].1, Verdict::Keep(_)));
}

pub async fn reconcile_takes_nothing_back(mut w: World) {
    let owner = w.connect().await;
    let (one, other) = (w.leased(owner).await, w.leased(owner).await);
    let (_, moved) = w.store.reconcile(w.now, owner, vec![one]).await.unwrap().unwrap();
    assert!(moved.is_empty());
    assert_eq!(w.state(other.run).await, RunState::Leased);
    w.pass(secs(60));
    w.store.expire(w.now, w.now, 10).await.unwrap();
    let (verdicts, moved) = w.store.reconcile(w.now, owner, vec![one]).await.unwrap().unwrap();
    assert!(matches!(verdicts[0].1, Verdict::Keep(_)));
    assert_eq!((moved.len(), moved[0].to), (1, RunState::Running));
}

pub async fn another_namespaces_attempts_are_unknown(w: World) {
    let there = NewRun { lane: lane_of("other", "default", "test.job"), ..w.new_run() };
    let moved = w.submit(vec![there]).await.remove(0);
    let owner = w.connect().await;
    let foreign = w.lease_all(owner, vec![pointer(&moved)]).await.remove(0);
    assert!(matches!(foreign, LeaseResult::Stale), "a worker leases nothing of another namespace");
    let theirs = Hello { namespace: "other".parse().unwrap(), ..w.hello(WorkerId::new(w.now), 1, &[]) };
    w.say_hello(&theirs).await;
    let key = w.lease(Owner { worker: theirs.worker, epoch: 1 }, pointer(&moved)).await.key;
    let (verdicts, _) = w.store.reconcile(w.now, owner, vec![key]).await.unwrap().unwrap();
    assert_eq!(abandoned(&verdicts[0].1), AbandonReason::UnknownAttempt);
    // Nor does a worker move from one namespace to another.
    let moved_over = Hello { namespace: w.scope.0.clone(), epoch: 2, ..theirs };
    assert!(matches!(w.say_hello(&moved_over).await, HelloAnswer::Superseded));
}
