//! Overlap policies, from the instants to what workers get to run. Where the clock stands still, nobody looks: what goes
//! on then was told.

use std::{num::NonZeroU32, time::Duration};

use mainspring_engine::{
    domain::{
        attempt::{AttemptKey, Outcome},
        ids::{JobUid, RunId},
        instant::Instant,
        job::{Job, JobSpec},
        limit::{Concurrency, Pace},
        names::Scope,
        overlap::{Overlap, OverlapScope},
        run::RunState::{self, Cancelled, Running, Scheduled},
    },
    flow::stream::messages::ToWorker,
    ports::store::{CreateJob, NewJob, NewRun},
};
use mainspring_tests::{
    conformance::world::{every, spec},
    engine::{Stage, Worker},
};

/// Short beside a lease: nobody is lost while a test looks on.
const PERIOD: Duration = Duration::from_secs(2);

/// A job that is due every period, and a worker that has taken its first run.
struct Busy {
    stage: Stage,
    began: Instant,
    job: Job,
    worker: Worker,
    first: AttemptKey,
}

impl Busy {
    async fn with(overlap: Overlap) -> Self {
        let stage = Stage::set().await;
        let began = stage.engine.now();
        let job = NewJob {
            scope: Scope::default(),
            uid: JobUid::new(began),
            name: "report".parse().unwrap(),
            spec: JobSpec { overlap, ..spec(vec![every("main", PERIOD.as_secs())]) },
            request: None,
        };
        let CreateJob::Created(job) = stage.engine.jobs().create(job).await.unwrap() else { panic!("it is there") };
        let mut worker = stage.connect(5).await;
        stage.pass(PERIOD).await;
        let first = worker.accepted().await;
        Self { stage, began, job, worker, first }
    }

    /// So many further instants come.
    async fn instants(&self, count: u32) {
        self.stage.pass(PERIOD * count).await;
    }

    /// The run of an instant, counted from 1.
    async fn run(&self, number: u32) -> Option<(RunId, RunState)> {
        let at = self.began.plus(PERIOD * number);
        let runs = self.stage.engine.store().scheduled_runs(self.job.uid, &[at]).await.unwrap();
        runs.first().map(|(_, run, state)| (*run, *state))
    }

    async fn states(&self, count: u32) -> Vec<Option<RunState>> {
        let mut states = Vec::new();
        for number in 1..=count {
            states.push(self.run(number).await.map(|(_, state)| state));
        }
        states
    }

    async fn succeeds(&mut self, key: AttemptKey) {
        self.worker.reported(key, Outcome::Succeeded).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn skip_starts_nothing_beside_it() {
    let mut busy = Busy::with(Overlap::Skip).await;
    busy.instants(2).await;
    assert_eq!(busy.states(3).await, [Some(Running), None, None]);
    busy.succeeds(busy.first).await;
    busy.instants(1).await;
    assert_eq!(Some(busy.worker.accepted().await.run), busy.run(4).await.map(|(run, _)| run));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn allow_starts_as_many_as_it_says() {
    let mut busy = Busy::with(Overlap::Allow { max: Some(2) }).await;
    busy.instants(2).await;
    let second = busy.worker.accepted().await;
    assert_eq!(Some(second.run), busy.run(2).await.map(|(run, _)| run));
    assert_eq!(busy.run(3).await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn buffer_one_runs_the_newest_next() {
    let mut busy = Busy::with(Overlap::BufferOne).await;
    busy.instants(3).await;
    // Whoever takes the places of older ones is told of the newest, and the clock does not wait for that.
    for number in [2, 3] {
        let (run, _) = busy.run(number).await.unwrap();
        busy.stage.until(run, Cancelled).await;
    }
    assert_eq!(busy.states(4).await, [Some(Running), Some(Cancelled), Some(Cancelled), Some(Scheduled)]);
    busy.succeeds(busy.first).await;
    assert_eq!(Some(busy.worker.accepted().await.run), busy.run(4).await.map(|(run, _)| run));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn buffer_all_runs_one_after_the_other() {
    let mut busy = Busy::with(Overlap::BufferAll { max: 2 }).await;
    busy.instants(3).await;
    assert_eq!(busy.states(4).await, [Some(Running), Some(Scheduled), Some(Scheduled), None]);
    let mut key = busy.first;
    for number in [2, 3] {
        busy.succeeds(key).await;
        key = busy.worker.accepted().await;
        assert_eq!(Some(key.run), busy.run(number).await.map(|(run, _)| run));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancel_other_and_terminate_other_make_room() {
    for overlap in [Overlap::CancelOther, Overlap::TerminateOther] {
        let mut busy = Busy::with(overlap).await;
        busy.instants(1).await;
        let first = busy.first;
        busy.worker
            .until("to be told to stop", |said| match said {
                ToWorker::Cancel(key, _) if *key == first => Some(()),
                _ => None,
            })
            .await;
        assert_eq!(busy.states(2).await, [Some(Running), Some(Scheduled)]);
        busy.worker.reported(first, Outcome::Cancelled).await;
        assert_eq!(Some(busy.worker.accepted().await.run), busy.run(2).await.map(|(run, _)| run));
        assert_eq!(busy.states(1).await, [Some(Cancelled)]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_a_key_goes_on_when_its_run_is_over() {
    let stage = Stage::set().await;
    let concurrency = Some(Concurrency { key: "db".parse().unwrap(), limit: NonZeroU32::new(9), pace: Pace::Kept });
    let waits = JobSpec {
        overlap: Overlap::BufferOne,
        overlap_scope: OverlapScope::Key,
        concurrency: Some(Concurrency { key: "db".parse().unwrap(), limit: NonZeroU32::new(9), pace: Pace::Kept }),
        ..spec(vec![every("main", PERIOD.as_secs())])
    };
    // A run of no job holds the key.
    let first = stage.submit(NewRun { concurrency, ..stage.world().new_run() }).await;
    let mut worker = stage.connect(5).await;
    let holder = worker.accepted().await;
    assert_eq!(holder.run, first);
    let (job, began) = (stage.create("report", waits).await, stage.engine.now());
    stage.pass(PERIOD).await;
    let at = began.plus(PERIOD);
    let runs = stage.engine.store().scheduled_runs(job.uid, &[at]).await.unwrap();
    assert_eq!(runs[0].2, Scheduled);
    worker.reported(holder, Outcome::Succeeded).await;
    assert_eq!(worker.accepted().await.run, runs[0].1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_told_is_found_by_looking() {
    let mut busy = Busy::with(Overlap::BufferOne).await;
    busy.instants(1).await;
    let first = busy.first.run.uuid().simple();
    // Another server ended it, and its hint was lost.
    let now = busy.stage.engine.now().as_micros();
    busy.stage
        .sql(format!(
            "UPDATE run SET state = 6, open_token = NULL, end_time = {now}, deadline_time = NULL WHERE id = x'{first}'"
        ))
        .await;
    busy.stage.pass(Duration::from_secs(2)).await;
    assert_eq!(Some(busy.worker.accepted().await.run), busy.run(2).await.map(|(run, _)| run));
}
