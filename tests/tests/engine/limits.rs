//! Limits under the dispatcher's eyes: what is parked comes at once when there is room, what has to wait for its token comes
//! on time, and nothing else waits for either.

use std::{collections::VecDeque, num::NonZeroU32, time::Duration};

use mainspring_engine::{
    domain::{
        attempt::{AttemptKey, Outcome},
        ids::{RunId, WorkerId},
        limit::{Concurrency, Pace},
        names::{Lane, Scope},
        rate::Rate,
        run::RunState,
    },
    flow::stream::messages::ToWorker,
    ports::store::{NewRun, QueueChange, QueueSettings},
};
use mainspring_tests::{
    conformance::world::failure,
    engine::{Stage, Worker},
    harness::host::{self, PATIENCE},
};

async fn submit(stage: &Stage, key: Option<&str>, limit: u32, priority: u8) -> RunId {
    let concurrency =
        key.map(|key| Concurrency { key: key.parse().unwrap(), limit: NonZeroU32::new(limit), pace: Pace::Kept });
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

/// So of queues, whichever of its types the next run is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_finds_its_queue_full_goes_when_there_is_room() {
    let stage = Stage::judging().await;
    let lane = stage.world().new_run().lane;
    let settings = QueueSettings { concurrency_limit: Some(2), allow_missing: true, ..QueueSettings::default() };
    assert_eq!(stage.engine.update_queue(&Scope::default(), &lane.queue, settings).await.unwrap(), QueueChange::Done);
    let mut hello = stage.world().hello(WorkerId::new(stage.world().now), 10, &[]);
    let mut other = hello.handlers[0].clone();
    other.job_type = "t.other".parse().unwrap();
    let apart = Lane { job_type: other.job_type.clone(), ..lane.clone() };
    hello.handlers.push(other);
    let mut worker = stage.connect_with(hello).await.unwrap();
    let mut held = VecDeque::new();
    for place in 0..12 {
        let lane = if place % 3 == 0 { apart.clone() } else { lane.clone() };
        stage.submit(NewRun { lane, ..stage.world().new_run() }).await;
    }
    for ended in 0..12 {
        while held.len() < 2 && ended + held.len() < 12 {
            held.push_back(worker.accepted().await);
        }
        stage.clock.settled().await;
        assert!(!worker.heard(|message| matches!(message, ToWorker::Dispatch { .. })), "the queue has room for two");
        let over = held.pop_front().unwrap();
        worker.reported(over, if ended % 2 == 0 { Outcome::Succeeded } else { Outcome::Failed(failure("X")) }).await;
    }
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

async fn pace(stage: &Stage, rate: Option<(u32, u64, u32)>) {
    let number = |number| NonZeroU32::new(number).unwrap();
    let rate = rate.map(|(count, seconds, burst)| Rate {
        count: number(count),
        per: Duration::from_secs(seconds),
        burst: number(burst),
    });
    let settings = QueueSettings { rate: Some(rate), allow_missing: true, ..QueueSettings::default() };
    let queue = stage.world().new_run().lane.queue;
    assert_eq!(stage.engine.update_queue(&Scope::default(), &queue, settings).await.unwrap(), QueueChange::Done);
}

/// So many come, and no more; they are over at once.
async fn exactly(stage: &Stage, worker: &mut Worker, many: usize) {
    for _ in 0..many {
        let key = worker.accepted().await;
        worker.reported(key, Outcome::Succeeded).await;
    }
    worker.renew(&[]).await;
    stage.clock.settled().await;
    assert!(!worker.heard(|message| matches!(message, ToWorker::Dispatch { .. })), "more than {many} came");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_goes_as_fast_as_it_may() {
    let stage = Stage::judging().await;
    // Before anybody looks: a look that is under way when a queue gets its rate knows nothing of it.
    pace(&stage, Some((2, 10, 3))).await;
    for _ in 0..12 {
        submit(&stage, None, 0, 5).await;
    }
    let mut worker = stage.connect(100).await;
    // A burst, and then one after the other.
    exactly(&stage, &mut worker, 3).await;
    let lane = stage.world().new_run().lane;
    let (next, _) = stage.engine.paced(&lane).unwrap();
    assert_eq!(next, stage.world().now.plus(Duration::from_secs(5)));
    stage.pass(Duration::from_micros(4_999_999)).await;
    exactly(&stage, &mut worker, 0).await;
    // To the instant, though the stage looks once a second.
    stage.pass(Duration::from_micros(1)).await;
    exactly(&stage, &mut worker, 1).await;
    // A run that comes has to wait like the others.
    submit(&stage, None, 0, 9).await;
    stage.pass(Duration::from_secs(4)).await;
    exactly(&stage, &mut worker, 0).await;
    stage.pass(Duration::from_secs(6)).await;
    exactly(&stage, &mut worker, 2).await;
    // Another rate holds at once, and makes no burst; none lets all go.
    pace(&stage, Some((1, 1, 100))).await;
    let learned = async {
        while stage.engine.paced(&lane).is_none_or(|(_, rate)| rate.burst.get() != 100) {
            tokio::task::yield_now().await;
        }
    };
    host::within(PATIENCE, "the rate to be learned", learned).await.unwrap();
    stage.pass(Duration::from_secs(2)).await;
    exactly(&stage, &mut worker, 2).await;
    pace(&stage, None).await;
    exactly(&stage, &mut worker, 5).await;
    assert_eq!(stage.engine.paced(&lane), None);
}

/// A run of a key that is said to go so fast.
async fn paced(stage: &Stage, pace: Pace) -> RunId {
    let concurrency = Some(Concurrency { key: "api".parse().unwrap(), limit: None, pace });
    stage.submit(NewRun { concurrency, ..stage.world().new_run() }).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_goes_as_fast_as_it_may_and_holds_up_nobody() {
    let stage = Stage::judging().await;
    let number = |number| NonZeroU32::new(number).unwrap();
    let pace = Pace::At(Rate { count: number(2), per: Duration::from_secs(10), burst: number(3) });
    for _ in 0..8 {
        paced(&stage, pace).await;
    }
    let mut worker = stage.connect(100).await;
    exactly(&stage, &mut worker, 3).await;
    submit(&stage, None, 0, 1).await;
    exactly(&stage, &mut worker, 1).await;
    stage.pass(Duration::from_micros(4_999_999)).await;
    exactly(&stage, &mut worker, 0).await;
    // To the instant, though the stage looks once a second.
    stage.pass(Duration::from_micros(1)).await;
    exactly(&stage, &mut worker, 1).await;
    stage.pass(Duration::from_secs(10)).await;
    exactly(&stage, &mut worker, 2).await;
    // Without the rate, one goes after the other, as of every key.
    paced(&stage, Pace::Free).await;
    exactly(&stage, &mut worker, 3).await;
}

/// A queue without a rate beside one that has gone as fast as it may.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rate_holds_up_no_other_queue() {
    let stage = Stage::judging().await;
    pace(&stage, Some((1, 3_600, 1))).await;
    for _ in 0..3 {
        submit(&stage, None, 0, 5).await;
    }
    let mut lane = stage.world().new_run().lane;
    lane.queue = "other".parse().unwrap();
    let id = WorkerId::new(stage.world().now);
    let mut hello = stage.world().hello(id, 1, &[]);
    let mut other = hello.handlers[0].clone();
    other.queue = lane.queue.clone();
    hello.handlers.push(other);
    hello.capacity = [(hello.handlers[0].queue.clone(), 10), (lane.queue.clone(), 10)].into();
    let mut worker = stage.connect_with(hello).await.unwrap();
    exactly(&stage, &mut worker, 1).await;
    for _ in 0..4 {
        stage.submit(NewRun { lane: lane.clone(), ..stage.world().new_run() }).await;
    }
    exactly(&stage, &mut worker, 4).await;
}
