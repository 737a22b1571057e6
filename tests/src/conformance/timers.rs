//! What time alone changes: waking runs, deadlines.

use mainspring_engine::{
    domain::{
        attempt::Outcome,
        payload::{Failure, RetryHint},
        policy::RunPolicy,
        run::{RunState, reason},
        stop::Running,
        transition::{Event, Tell},
        worker::AbandonReason,
    },
    ports::store::NewRun,
};

use super::world::{World, changed, failure, pointer, secs, spec};

pub async fn waking_moves_due_runs(mut w: World) {
    let due = w.now.plus(secs(10));
    let run = w.submit(vec![NewRun { due, ..w.new_run() }]).await.remove(0).run;
    assert!(w.store.wake(w.now, 10).await.unwrap().is_empty());
    w.pass(secs(10));
    let woken = w.store.wake(w.now, 10).await.unwrap();
    assert_eq!((woken[0].run, woken[0].from, woken[0].to), (run, Some(RunState::Scheduled), RunState::Queued));
    assert_eq!((woken[0].generation, woken[0].wake_time), (1, None));
    assert!(w.store.wake(w.now, 10).await.unwrap().is_empty());
}

pub async fn waking_is_earliest_first(mut w: World) {
    let runs: Vec<_> = [30, 10, 20].map(|after| NewRun { due: w.now.plus(secs(after)), ..w.new_run() }).into();
    let ids: Vec<_> = w.submit(runs).await.iter().map(|moved| moved.run).collect();
    w.pass(secs(60));
    let first: Vec<_> = w.store.wake(w.now, 2).await.unwrap().iter().map(|moved| moved.run).collect();
    assert_eq!(first, [ids[1], ids[2]]);
    assert_eq!(w.store.wake(w.now, 2).await.unwrap()[0].run, ids[0]);
}

pub async fn waking_reads_jobs_and_lets_nothing_of_a_deleted_one_start(mut w: World) {
    let owner = w.connect().await;
    let (kept, deleted) = (w.create("kept", spec(vec![])).await, w.create("deleted", spec(vec![])).await);
    let later = |job, after| NewRun { due: w.now.plus(secs(after)), ..w.run_of(job) };
    let scheduled = w.submit(vec![later(&kept, 3), later(&kept, 1)]).await;
    // What is at a worker when its job is deleted may fail there, and then waits for nothing any more.
    let failing = w.submit(vec![w.run_of(&deleted)]).await.remove(0);
    let key = w.lease(owner, pointer(&failing)).await.key;
    let again = Outcome::Failed(Failure { hint: Some(RetryHint { retry: Some(true), delay: None }), ..failure("X") });
    w.report(key, again).await;
    w.store.delete_job(w.now, &w.scope, &deleted.name, None, Running::Detach, "ops").await.unwrap();
    w.pass(secs(3_600));
    let woken = w.store.wake(w.now, 10).await.unwrap();
    let told: Vec<_> = woken.iter().map(|moved| (moved.run, moved.to, moved.job.clone())).collect();
    let wanted = [
        (scheduled[1].run, RunState::Queued, Some(kept.name.clone())),
        (scheduled[0].run, RunState::Queued, Some(kept.name)),
        (failing.run, RunState::Cancelled, Some(deleted.name)),
    ];
    assert_eq!(told, wanted);
    assert!(w.store.wake(w.now, 10).await.unwrap().is_empty());
}

pub async fn deadlines_are_found(mut w: World) {
    let policy = |queue| {
        let mut policy = RunPolicy::default();
        policy.timeouts.queue = Some(secs(queue));
        policy
    };
    let late = w.submit_with(policy(20)).await.run;
    let early = w.submit_with(policy(10)).await.run;
    w.submit_one().await;
    assert!(w.store.past_deadline(w.now, 10).await.unwrap().is_empty());
    w.pass(secs(10));
    assert_eq!(w.store.past_deadline(w.now, 10).await.unwrap(), [early]);
    w.pass(secs(10));
    assert_eq!(w.store.past_deadline(w.now, 10).await.unwrap(), [early, late]);
    assert_eq!(w.store.past_deadline(w.now, 1).await.unwrap(), [early]);
}

pub async fn an_execution_timeout_stops_then_ends(mut w: World) {
    let owner = w.connect().await;
    let mut policy = RunPolicy::default();
    policy.timeouts.execution = Some(secs(10));
    let key = w.running(owner, policy).await;
    w.pass(secs(10));
    assert_eq!(w.store.past_deadline(w.now, 10).await.unwrap(), [key.run]);
    let told = changed(w.apply(key.run, Event::Deadline).await);
    assert_eq!((told.to, told.tell), (RunState::Running, Some(Tell::Stop(1, reason::EXECUTION_TIMEOUT.into()))));
    assert_eq!(told.deadline, Some(w.now.plus(w.rules.stop_grace)));
    let stops = w.store.stops(w.now, &[owner]).await.unwrap();
    assert_eq!(stops, [(owner, key, reason::EXECUTION_TIMEOUT.to_owned())]);
    assert!(w.store.past_deadline(w.now, 10).await.unwrap().is_empty());
    w.pass(w.rules.stop_grace);
    assert_eq!(w.store.past_deadline(w.now, 10).await.unwrap(), [key.run]);
    let ended = changed(w.apply(key.run, Event::Deadline).await);
    assert_eq!((ended.to, ended.tell), (RunState::RetryWait, Some(Tell::Revoke(1, AbandonReason::TimedOut))));
}

pub async fn a_queue_timeout_ends_the_run(mut w: World) {
    let mut policy = RunPolicy::default();
    policy.timeouts.queue = Some(secs(10));
    let run = w.submit_with(policy).await.run;
    w.pass(secs(10));
    let ended = changed(w.apply(run, Event::Deadline).await);
    assert_eq!((ended.to, ended.reason.as_str()), (RunState::TimedOut, reason::QUEUE_TIMEOUT));
    assert!(w.store.past_deadline(w.now, 10).await.unwrap().is_empty());
    assert_eq!(w.store.next_deadline().await.unwrap(), None);
}

pub async fn next_deadline_is_the_earliest(w: World) {
    assert_eq!(w.store.next_deadline().await.unwrap(), None);
    let mut policy = RunPolicy::default();
    policy.timeouts.total = Some(secs(50));
    w.submit_with(policy.clone()).await;
    policy.timeouts.queue = Some(secs(5));
    w.submit_with(policy).await;
    assert_eq!(w.store.next_deadline().await.unwrap(), Some(w.now.plus(secs(5))));
}
