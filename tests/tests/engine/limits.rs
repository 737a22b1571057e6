//! Limits under the dispatcher's eyes: what is parked comes at once when there is room, and nothing else waits for it.

use std::num::NonZeroU32;

use mainspring_engine::{
    domain::{
        attempt::{AttemptKey, Outcome},
        ids::RunId,
        limit::Concurrency,
        run::RunState,
    },
    ports::store::NewRun,
};
use mainspring_tests::engine::{Stage, Worker};

async fn submit(stage: &Stage, key: Option<&str>, limit: u32, priority: u8) -> RunId {
    let concurrency = key.map(|key| Concurrency { key: key.parse().unwrap(), limit: NonZeroU32::new(limit) });
    stage.submit(NewRun { concurrency, priority, ..stage.world().new_run() }).await
}

/// The next so many, which stay at the worker.
async fn given(worker: &mut Worker, many: usize) -> Vec<RunId> {
    let mut given = Vec::new();
    for _ in 0..many {
        given.push(worker.accepted().await.run);
    }
    given
}

/// Time stands still here: nothing comes because somebody looked again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_parked_goes_when_there_is_room() {
    let stage = Stage::judging().await;
    let mut worker = stage.connect(10).await;
    let mut ids = Vec::new();
    for _ in 0..6 {
        ids.push(submit(&stage, Some("host"), 2, 5).await);
    }
    let plain = submit(&stage, None, 0, 1).await;
    let urgent = submit(&stage, Some("host"), 0, 9).await;
    let first = given(&mut worker, 3).await;
    assert_eq!(first, [ids[0], ids[1], plain], "the others are behind a full key, and hold up nobody");
    stage.clock.settled().await;
    for (done, next) in [(ids[0], urgent), (ids[1], ids[2]), (urgent, ids[3]), (ids[2], ids[4]), (ids[3], ids[5])] {
        let attempt = stage.run(done).await.life.attempt;
        worker.reported(AttemptKey { run: done, attempt }, Outcome::Succeeded).await;
        assert_eq!(given(&mut worker, 1).await, [next]);
    }
    assert_eq!(stage.run(plain).await.life.open, Some(1));
}

/// A worker that is lost holds its place until its runs are given to another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_worker_frees_the_key_by_the_next() {
    let stage = Stage::judging().await;
    let mut lost = stage.connect(1).await;
    let first = submit(&stage, Some("host"), 1, 5).await;
    let second = submit(&stage, Some("host"), 1, 5).await;
    assert_eq!(given(&mut lost, 1).await, [first]);
    lost.sever();
    stage.pass(stage.rules.lease_ttl * 2).await;
    assert_eq!(stage.state(first).await, RunState::Queued);
    let mut worker = stage.connect(4).await;
    let again = worker.accepted().await;
    assert_eq!((again.run, again.attempt), (first, 2));
    worker.reported(again, Outcome::Succeeded).await;
    assert_eq!(given(&mut worker, 1).await, [second]);
}
