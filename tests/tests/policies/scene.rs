//! A server on a clock that stands still, a worker on bare stubs, and what the tables ask of them.

use std::time::Duration;

use mainspring_proto::{
    common::v1::Timeouts,
    scheduler::v1::{
        Fate, GetRunRequest, Interval, Job, ListInstantsRequest, ListRunsRequest, Run, RunState, Schedule,
        schedule::Rule,
    },
    worker::v1::{AttemptPhase, AttemptRef, Dispatch},
};
use mainspring_tests::harness::{
    client::Client,
    session::{BareWorker, Session, held},
    timed::TimedServer,
};

/// An enum, a value of it, and what it says.
pub(crate) type Row = (&'static str, &'static str, &'static str);

/// Time for what was told to be done.
pub(crate) const MOMENT: Duration = Duration::from_millis(1);
/// Shorter than a lease, so that a worker is heard in time.
const STEP: Duration = Duration::from_secs(5);

pub(crate) struct Scene {
    pub(crate) server: TimedServer,
    pub(crate) client: Client,
    worker: Option<Session>,
    held: Vec<AttemptRef>,
}

impl Scene {
    /// Nobody takes any run.
    pub(crate) async fn bare() -> Self {
        let server = TimedServer::start(|_| {}).await.unwrap();
        let client = server.client().unwrap();
        Self { server, client, worker: None, held: Vec::new() }
    }

    /// A worker takes five runs at once.
    pub(crate) async fn with_worker() -> Self {
        let mut scene = Self::bare().await;
        scene.worker = Some(BareWorker::new(&["t.noop"], 5).connect(&scene.client).await.unwrap());
        scene
    }

    /// Lets time pass, in which the worker is heard.
    pub(crate) async fn pass(&mut self, length: Duration) {
        let mut left = length;
        while !left.is_zero() {
            let step = left.min(STEP);
            self.server.pass(step).await.unwrap();
            left -= step;
            if let Some(worker) = &mut self.worker {
                let held = self.held.iter().map(|attempt| held(attempt, AttemptPhase::Running)).collect();
                worker.renew(held).await.unwrap();
            }
        }
    }

    /// The worker is gone, with all that it holds.
    pub(crate) fn lose_worker(&mut self) {
        (self.worker, self.held) = (None, Vec::new());
    }

    /// The next run that the worker is given, which it begins.
    pub(crate) async fn take(&mut self) -> Dispatch {
        let worker = self.worker.as_mut().unwrap();
        let dispatch = worker.dispatch().await.unwrap();
        let attempt = dispatch.attempt.clone().unwrap();
        worker.accept(&attempt).await.unwrap();
        self.held.push(attempt);
        // What it holds is known once it was heard.
        let held = self.held.iter().map(|attempt| held(attempt, AttemptPhase::Running)).collect();
        worker.renew(held).await.unwrap();
        dispatch
    }

    /// A run that was taken ends well.
    pub(crate) async fn succeed(&mut self, dispatch: &Dispatch) {
        let attempt = dispatch.attempt.clone().unwrap();
        let worker = self.worker.as_mut().unwrap();
        worker.succeed(&attempt).await.unwrap();
        worker.result_ack(&attempt).await.unwrap();
        self.held.retain(|held| *held != attempt);
        self.server.pass(MOMENT).await.unwrap();
    }

    /// A run that was taken fails.
    pub(crate) async fn fail(&mut self, dispatch: &Dispatch) {
        let attempt = dispatch.attempt.clone().unwrap();
        let worker = self.worker.as_mut().unwrap();
        worker.fail(&attempt, "X").await.unwrap();
        worker.result_ack(&attempt).await.unwrap();
        self.held.retain(|held| *held != attempt);
        self.server.pass(MOMENT).await.unwrap();
    }

    /// Runs that a filter finds, by their nominal time.
    pub(crate) async fn runs(&self, filter: &str) -> Vec<Run> {
        let request = ListRunsRequest { filter: filter.into(), page_size: 1_000, ..ListRunsRequest::default() };
        let mut runs = self.client.scheduler().list_runs(request).await.unwrap().into_inner().runs;
        runs.sort_by_key(|run| run.nominal_time.map(|at| at.seconds));
        runs
    }

    /// How the runs of a job stand, by their nominal time.
    pub(crate) async fn states(&self, job: &str) -> Vec<RunState> {
        self.runs(&format!("job = {job}")).await.iter().map(Run::state).collect()
    }

    /// What became of the instants of a job.
    pub(crate) async fn fates(&self, job: &str) -> Vec<Fate> {
        let request = ListInstantsRequest { job: job.into(), ..ListInstantsRequest::default() };
        let told = self.client.scheduler().list_instants(request).await.unwrap().into_inner().instants;
        told.iter().map(mainspring_proto::scheduler::v1::Instant::fate).collect()
    }

    pub(crate) async fn run(&self, run_id: &str) -> Run {
        let request = GetRunRequest { run_id: run_id.into(), ..GetRunRequest::default() };
        self.client.scheduler().get_run(request).await.unwrap().into_inner().run.unwrap()
    }

    /// How long a run that was asked to stop may take, from when it was asked.
    pub(crate) async fn grace(&self, run_id: &str) -> Option<i64> {
        let cancellation = self.run(run_id).await.cancellation?;
        Some(cancellation.deadline?.seconds - cancellation.request_time?.seconds)
    }
}

/// A job that is due every so many seconds, and whose runs may take ten minutes to stop.
pub(crate) fn every(job: &str, seconds: i64) -> Job {
    let every = Some(prost_types::Duration { seconds, nanos: 0 });
    let rule = Some(Rule::Interval(Interval { every, ..Interval::default() }));
    let stop_grace = Some(prost_types::Duration { seconds: 600, nanos: 0 });
    Job {
        job: job.into(),
        job_type: "t.noop".into(),
        schedules: vec![Schedule { rule, ..Schedule::default() }],
        timeouts: Some(Timeouts { stop_grace, ..Timeouts::default() }),
        ..Job::default()
    }
}
