//! What may go goes, a little at a time, and nothing else.

use mainspring_engine::{
    domain::{
        attempt::Outcome,
        instant::Instant,
        log::{Batch, Level, Line},
        payload::{Failure, RetryHint},
        run::RunState,
    },
    ports::store::{NewRun, RequestKey, RetentionPolicy, Submitted},
};

use super::world::{World, all, every, failure, secs, spec};

const DAY: u64 = 24 * 3_600;

fn policy() -> RetentionPolicy {
    RetentionPolicy::default()
}

async fn gone(w: &World, run: mainspring_engine::domain::ids::RunId) -> bool {
    w.store.run(&w.scope, run).await.unwrap().is_none()
}

/// Sweeps until there is nothing more.
async fn sweep(w: &World) -> u64 {
    let mut rows = 0;
    loop {
        let swept = w.store.sweep(w.now, policy(), 100).await.unwrap();
        rows += swept.rows;
        if !swept.more {
            return rows;
        }
    }
}

pub async fn ended_runs_go_after_their_time(mut w: World) {
    let owner = w.connect().await;
    let (good, bad) = (w.leased(owner).await, w.leased(owner).await);
    w.report(good, Outcome::Succeeded).await;
    let final_failure = Failure { hint: Some(RetryHint { retry: Some(false), delay: None }), ..failure("X") };
    w.report(bad, Outcome::Failed(final_failure)).await;
    w.pass(secs(30 * DAY));
    sweep(&w).await;
    assert!(!gone(&w, good.run).await, "not a moment before");
    w.pass(secs(1));
    sweep(&w).await;
    assert!(gone(&w, good.run).await && !gone(&w, bad.run).await);
    w.pass(secs(60 * DAY));
    sweep(&w).await;
    assert!(gone(&w, bad.run).await);
    assert!(w.store.attempts(&w.scope, bad.run, all()).await.unwrap().is_none());
}

pub async fn unfinished_runs_stay(mut w: World) {
    let owner = w.connect().await;
    let leased = w.leased(owner).await;
    let waits = w.submit_one().await;
    let later = w.submit(vec![NewRun { due: w.now.plus(secs(900 * DAY)), ..w.new_run() }]).await.remove(0);
    w.pass(secs(400 * DAY));
    sweep(&w).await;
    assert_eq!(w.state(leased.run).await, RunState::Leased);
    assert_eq!(w.state(waits.run).await, RunState::Queued);
    assert_eq!(w.state(later.run).await, RunState::Scheduled);
}

pub async fn a_sweep_is_bounded(mut w: World) {
    let owner = w.connect().await;
    for _ in 0..5 {
        let key = w.leased(owner).await;
        w.report(key, Outcome::Succeeded).await;
    }
    w.pass(secs(31 * DAY));
    let swept = w.store.sweep(w.now, policy(), 2).await.unwrap();
    assert!(swept.more && swept.rows >= 2);
    let left = w.store.stats(&w.scope, Instant::EPOCH, w.now).await.unwrap().runs;
    assert_eq!(left, [(RunState::Succeeded, 3)]);
    sweep(&w).await;
    assert!(w.store.stats(&w.scope, Instant::EPOCH, w.now).await.unwrap().runs.is_empty());
}

pub async fn a_round_begins_anew(mut w: World) {
    let owner = w.connect().await;
    let key = w.leased(owner).await;
    w.pass(secs(40 * DAY));
    sweep(&w).await;
    assert!(!gone(&w, key.run).await);
    // An old run that ended late is found in a later round.
    w.report(key, Outcome::Succeeded).await;
    w.pass(secs(31 * DAY));
    sweep(&w).await;
    assert!(gone(&w, key.run).await);
}

pub async fn ledger_requests_and_workers_go(mut w: World) {
    let job = w.create("report", spec(vec![every("main", 60)])).await;
    let shard = w.own().await;
    w.pass(secs(60));
    w.fire_due(shard).await;
    let request = RequestKey { call: "SubmitRun", id: "r1".into(), body: [1; 32] };
    let again = || NewRun { request: Some(request.clone()), ..w.new_run() };
    w.submit(vec![again()]).await;
    let left = w.connect().await;
    w.pass(secs(DAY + 1));
    w.store.expire(w.now, w.now, 10).await.unwrap();
    w.fire_due(w.own().await).await;
    sweep(&w).await;
    let again = NewRun { request: Some(request.clone()), ..w.new_run() };
    let answer = w.store.submit(w.now, vec![again]).await.unwrap().remove(0);
    assert!(matches!(answer, Submitted::Stored(_)), "{answer:?}");
    assert!(w.store.worker(&w.scope, left.worker).await.unwrap().is_some());
    w.pass(secs(7 * DAY));
    sweep(&w).await;
    assert!(w.store.worker(&w.scope, left.worker).await.unwrap().is_none());
    let ranges = w.store.ledger(job.uid, Instant::MIN, Instant::MAX).await.unwrap().len();
    assert_eq!(ranges, 3);
    w.pass(secs(90 * DAY));
    sweep(&w).await;
    let ranges = w.store.ledger(job.uid, Instant::MIN, Instant::MAX).await.unwrap();
    assert_eq!(ranges.len(), 1, "the open range stays with its schedule");
}

pub async fn logs_go(mut w: World) {
    let owner = w.connect().await;
    let key = w.leased(owner).await;
    let line = Line { time: w.now, level: Level::Info, message: "x".into(), fields: Default::default() };
    let batch = Batch { key, first_offset: 0, lines: vec![line], dropped: 0 };
    w.store.append(w.now, vec![batch]).await.unwrap();
    let count = async |w: &World| w.store.read(&w.scope, key.run, None, None, Level::Debug, 10).await.unwrap().len();
    w.pass(secs(14 * DAY));
    sweep(&w).await;
    assert_eq!(count(&w).await, 1);
    w.pass(secs(1));
    sweep(&w).await;
    assert_eq!(count(&w).await, 0);
}
