//! Leases: one attempt at a time, named by a number that only grows.

use std::collections::BTreeMap;

use mainspring_engine::{
    domain::{
        attempt::{AttemptState, LossReason, Outcome},
        policy::{LeaseLossPolicy, RunPolicy},
        run::RunState,
        transition::Event,
    },
    ports::{
        broker::Pointer,
        store::{LeaseAnswer, LeaseBatch, LeaseResult, NewRun, Owner, ReportAnswer},
    },
};

use super::world::{World, all, applied, at_most_once, changed, failure, lane, pointer, secs, spec};

pub async fn a_lease_carries_the_run(mut w: World) {
    let job = w.create("report", spec(vec![])).await;
    let headers = BTreeMap::from([("traceparent".into(), "00-1".into())]);
    let run = NewRun { headers: headers.clone(), ..w.run_of(&job) };
    let moved = w.submit(vec![run.clone()]).await.remove(0);
    let owner = w.connect().await;
    w.pass(secs(2));
    let attempt = w.lease(owner, pointer(&moved)).await;
    assert_eq!((attempt.key.run, attempt.key.attempt), (run.id, 1));
    assert_eq!((&attempt.lane, &attempt.payload, &attempt.headers), (&run.lane, &run.payload, &headers));
    assert_eq!(attempt.job, Some((job.uid, job.name, 1)));
    assert_eq!((attempt.due_time, attempt.nominal_time), (run.due, None));
    assert_eq!((attempt.failures, attempt.max_attempts), (0, 3));
    assert_eq!(attempt.execution_timeout, Some(secs(3_600)));
    assert_eq!(attempt.lease_loss, LeaseLossPolicy::Continue);
    let life = w.store.run(&w.scope, run.id).await.unwrap().unwrap().life;
    assert_eq!((life.state, life.open, life.worker), (RunState::Leased, Some(1), Some(owner.worker)));
    assert_eq!(life.lease_time, Some(w.now));
}

pub async fn a_second_lease_is_stale(w: World) {
    let (one, other) = (w.connect().await, w.connect().await);
    let pointer = w.submit_one().await;
    w.lease(one, pointer).await;
    assert!(matches!(w.lease_all(other, vec![pointer]).await[0], LeaseResult::Stale));
    let life = w.store.run(&w.scope, pointer.run).await.unwrap().unwrap().life;
    assert_eq!((life.attempt, life.worker), (1, Some(one.worker)));
}

pub async fn a_lease_under_an_old_generation_is_stale(w: World) {
    let owner = w.connect().await;
    let pointer = w.submit_one().await;
    let key = w.lease(owner, pointer).await.key;
    let moved = changed(w.apply(key.run, Event::Rejected { attempt: 1 }).await);
    assert_eq!((moved.to, moved.generation), (RunState::Queued, pointer.generation + 1));
    assert!(matches!(w.lease_all(owner, vec![pointer]).await[0], LeaseResult::Stale));
    let current = Pointer { generation: moved.generation, ..pointer };
    assert_eq!(w.lease(owner, current).await.key.attempt, 2);
    let unknown = Pointer { run: mainspring_engine::domain::ids::RunId::new(w.now), generation: 1 };
    assert!(matches!(w.lease_all(owner, vec![unknown]).await[0], LeaseResult::Stale));
}

pub async fn v11_a_lease_under_an_old_epoch_changes_nothing(w: World) {
    let old = w.connect().await;
    let pointer = w.submit_one().await;
    w.reconnect(old.worker, 2, &[]).await;
    let batch = LeaseBatch { owner: old, pointers: vec![pointer] };
    let answers = w.store.lease(w.now, vec![batch]).await.unwrap();
    assert!(matches!(answers[0], LeaseAnswer::SessionGone));
    assert_eq!(w.queued(&lane()).await, [pointer], "and no pointer of it is stale");
}

pub async fn v12_a_repeated_lease_answers_leased(w: World) {
    let owner = w.connect().await;
    let pointer = w.submit_one().await;
    let first = w.lease(owner, pointer).await;
    let again = w.lease(owner, pointer).await;
    assert_eq!(first, again);
    let life = w.store.run(&w.scope, pointer.run).await.unwrap().unwrap().life;
    assert_eq!(life.attempt, 1);
    // In one batch as well.
    let twice = w.submit_one().await;
    let answers = w.lease_all(owner, vec![twice, twice]).await;
    let keys = answers.iter().map(|answer| match answer {
        LeaseResult::Leased(attempt) => attempt.key.attempt,
        other => panic!("{other:?}"),
    });
    assert_eq!(keys.collect::<Vec<_>>(), [1, 1]);
}

pub async fn v12_a_repeat_after_a_requeue_is_stale(w: World) {
    let owner = w.connect().await;
    let pointer = w.submit_one().await;
    let key = w.lease(owner, pointer).await.key;
    w.apply(key.run, Event::Silent { attempt: 1 }).await;
    // The old transaction lands only now: it must not lease what was given back.
    assert!(matches!(w.lease_all(owner, vec![pointer]).await[0], LeaseResult::Stale));
    assert_eq!(w.state(key.run).await, RunState::Queued);
}

pub async fn at_most_once_is_running_at_once(mut w: World) {
    let owner = w.connect().await;
    let pointer = w.submit_with(at_most_once()).await;
    w.pass(secs(1));
    let attempt = w.lease(owner, pointer).await;
    assert_eq!(attempt.lease_loss, LeaseLossPolicy::Stop);
    let life = w.store.run(&w.scope, pointer.run).await.unwrap().unwrap().life;
    assert_eq!((life.state, life.start_time), (RunState::Running, Some(w.now)));
    assert_eq!(w.lease(owner, pointer).await.key, attempt.key, "a repeat finds it as its own");
}

pub async fn the_attempt_grows_by_one(w: World) {
    let owner = w.connect().await;
    let mut pointer = w.submit_one().await;
    for number in 1..=5 {
        let key = w.lease(owner, pointer).await.key;
        assert_eq!(key.attempt, number);
        let moved = changed(w.apply(key.run, Event::Rejected { attempt: number }).await);
        pointer.generation = moved.generation;
    }
}

pub async fn a_lost_attempt_is_charged_at_the_next_lease(mut w: World) {
    let lost = w.connect().await;
    let key = w.running(lost, RunPolicy::default()).await;
    let started = w.now;
    w.pass(secs(60));
    let moved = w.store.expire(w.now, w.now, 10).await.unwrap().moved;
    let life = w.store.run(&w.scope, key.run).await.unwrap().unwrap().life;
    assert_eq!((life.losses, life.open), (0, Some(1)));
    let attempts = w.store.attempts(&w.scope, key.run, all()).await.unwrap().unwrap().entries;
    let told = (attempts[0].state, attempts[0].cause, attempts[0].end_time);
    assert_eq!(told, (AttemptState::Lost, Some(LossReason::Expired), None), "it may still be brought back");
    let next = w.connect().await;
    let again = w.lease(next, pointer(&moved[0])).await.key;
    let life = w.store.run(&w.scope, key.run).await.unwrap().unwrap().life;
    assert_eq!((again.attempt, life.losses, life.open), (2, 1, Some(2)));
    let attempts = w.store.attempts(&w.scope, key.run, all()).await.unwrap().unwrap().entries;
    let told: Vec<_> = attempts.iter().map(|attempt| (attempt.attempt, attempt.state, attempt.worker)).collect();
    assert_eq!(told, [(1, AttemptState::Lost, Some(lost.worker)), (2, AttemptState::Leased, Some(next.worker))]);
    let times = (attempts[0].lease_time, attempts[0].start_time, attempts[0].end_time);
    assert_eq!(times, (Some(started), Some(started), Some(w.now)), "of the attempt that was lost, not of the next");
    assert!(matches!(w.report(key, Outcome::Succeeded).await, ReportAnswer::Fenced));
}

pub async fn one_batch_of_many_owners(w: World) {
    let mut batches = Vec::new();
    let mut owners = Vec::new();
    for _ in 0..5 {
        let owner = w.connect().await;
        let pointers = w.submit((0..30).map(|_| w.new_run()).collect()).await.iter().map(pointer).collect();
        owners.push(owner);
        batches.push(LeaseBatch { owner, pointers });
    }
    batches[2].owner = Owner { epoch: 9, ..owners[2] };
    let answers = w.store.lease(w.now, batches.clone()).await.unwrap();
    for (place, (batch, answer)) in batches.iter().zip(answers).enumerate() {
        match answer {
            LeaseAnswer::SessionGone => assert_eq!(place, 2),
            LeaseAnswer::Results(results) => {
                for (pointer, result) in batch.pointers.iter().zip(results) {
                    assert!(matches!(result, LeaseResult::Leased(attempt) if attempt.key.run == pointer.run));
                }
            }
        }
    }
    assert_eq!(w.queued(&lane()).await.len(), 30);
}

pub async fn a_cancelled_run_is_not_leased(w: World) {
    let owner = w.connect().await;
    let pointer = w.submit_one().await;
    w.apply(pointer.run, Event::Cancel { reason: "no".into(), grace: None }).await;
    assert!(matches!(w.lease_all(owner, vec![pointer]).await[0], LeaseResult::Stale));
}

pub async fn a_lease_leaves_nothing_of_the_stay_before(mut w: World) {
    let (first, next) = (w.connect().await, w.connect().await);
    let mut policy = RunPolicy::default();
    policy.timeouts.queue = Some(secs(60));
    let pointer = w.submit_with(policy).await;
    let key = w.lease(first, pointer).await.key;
    let moved = applied(w.report(key, Outcome::Failed(failure("X"))).await);
    w.now = moved.wake_time.unwrap();
    let woken = w.store.wake(w.now, 10).await.unwrap().remove(0);
    assert_eq!(woken.deadline, Some(w.now.plus(secs(60))));
    w.pass(secs(1));
    let key = w.lease(next, super::world::pointer(&woken)).await.key;
    let life = w.store.run(&w.scope, key.run).await.unwrap().unwrap().life;
    assert_eq!((life.attempt, life.worker, life.lease_time), (2, Some(next.worker), Some(w.now)));
    assert_eq!((life.reason, life.start_time), (None, None), "what the first attempt left");
    assert_eq!(w.store.next_deadline().await.unwrap(), None, "it waits no more");
}
