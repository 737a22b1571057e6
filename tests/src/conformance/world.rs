//! What a test needs of a store: a family's factory, and short ways to make things in it.

use std::{collections::BTreeMap, fmt::Debug, time::Duration};

use async_trait::async_trait;
use mainspring_cron::{Anchor, Interval, Rule, Zone};
use mainspring_engine::{
    domain::{
        attempt::{AttemptKey, Outcome},
        auto_disable::AutoDisable,
        catch_up::CatchUp,
        fire::{Evaluation, MAX_INSTANTS, evaluate},
        ids::{JobUid, RunId, ServerId, SessionId, WorkerId},
        instant::Instant,
        job::{Job, JobSpec, OnCompleted},
        keyed::KeyTemplate,
        ledger::FateReason,
        names::{FairnessKey, JobName, Lane, Scope},
        overlap::{Overlap, OverlapScope},
        payload::{Failure, Payload},
        policy::{Delivery, RunPolicy},
        rules::LeaseRules,
        run::{RunOrigin, RunState},
        schedule::ScheduleSpec,
        selector::Selector,
        transition::Event,
        worker::{Handler, Held, Hello, Phase},
    },
    ports::{
        broker::Pointer,
        store::{
            Applied, Apply, CreateJob, Dispatchable, DueSchedule, Fired, Firing, HelloAnswer, InstantRange, JobRef,
            LeaseAnswer, LeaseBatch, LeaseResult, LedgerPart, Look, Moved, NewJob, NewRun, Owner, Page, Renewal,
            Report, ReportAnswer, ShardLease, SharedStore, Submitted, Verdict,
        },
    },
};

/// Makes stores of one family. Each is empty; [`Family::again`] opens what was closed.
#[async_trait]
pub trait Family: Debug + Send + Sync {
    /// A store with nothing in it.
    async fn fresh(&self, rules: LeaseRules) -> Opened;
}

/// A store that was opened, with what keeps it alive.
#[derive(Debug)]
pub struct Opened {
    /// The store.
    pub store: SharedStore,
    /// A directory, a container, …
    pub home: Box<dyn Debug + Send + Sync>,
}

/// One test's world: a store, and a time that passes only when the test says so.
#[derive(Debug)]
pub struct World {
    /// The store.
    pub store: SharedStore,
    /// Now.
    pub now: Instant,
    /// The namespace most things are in.
    pub scope: Scope,
    /// The rules the store was opened with.
    pub rules: LeaseRules,
    _home: Box<dyn Debug + Send + Sync>,
}

/// A page that holds everything.
pub fn all() -> Page {
    page(None, 1_000)
}

/// A page of so many entries after one.
pub fn page(after: Option<String>, limit: usize) -> Page {
    Page { after, limit, bytes: 64 << 20 }
}

/// Seconds.
pub const fn secs(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// The lane of most runs.
pub fn lane() -> Lane {
    lane_of("default", "default", "test.job")
}

/// A lane by its names.
pub fn lane_of(namespace: &str, queue: &str, job_type: &str) -> Lane {
    let (namespace, queue, job_type) = (namespace.parse().unwrap(), queue.parse().unwrap(), job_type.parse().unwrap());
    Lane { namespace, queue, job_type, selector: Selector::default() }
}

/// Something a handler failed with.
pub fn failure(reason: &str) -> Failure {
    Failure { reason: reason.into(), message: "it broke".into(), ..Failure::default() }
}

/// A policy that lets a run start once.
pub fn at_most_once() -> RunPolicy {
    let mut policy = RunPolicy { delivery: Delivery::AtMostOnce, ..RunPolicy::default() };
    policy.retry.max_attempts = 1;
    policy
}

/// A schedule every so many seconds.
pub fn every(name: &str, seconds: u64) -> ScheduleSpec {
    let micros = i64::try_from(seconds).unwrap() * 1_000_000;
    let rule = Rule::Interval(Interval::new(micros, Anchor::Epoch { phase_us: 0 }).unwrap());
    ScheduleSpec::new(name.parse().unwrap(), rule, Zone::utc())
}

/// A definition with these schedules.
pub fn spec(schedules: Vec<ScheduleSpec>) -> JobSpec {
    let Lane { queue, job_type, .. } = lane();
    JobSpec {
        display_name: "Report".into(),
        description: String::new(),
        owner: "ops".into(),
        labels: BTreeMap::from([("team".into(), "blue".into())]),
        job_type,
        queue,
        payload: Payload { content_type: "application/json".into(), data: b"{\"a\":1}".to_vec() },
        schedules,
        overlap: Overlap::Allow { max: None },
        overlap_scope: OverlapScope::Job,
        required_labels: BTreeMap::new(),
        previous_success: false,
        overlap_ignores_manual: false,
        catch_up: CatchUp::default(),
        policy: RunPolicy::default(),
        priority: 5,
        fairness_key: KeyTemplate::default(),
        on_completed: OnCompleted::Keep,
        concurrency: None,
        auto_disable: AutoDisable::default(),
    }
}

impl World {
    /// Opens a fresh store of a family.
    pub async fn new(family: &dyn Family) -> Self {
        let rules = LeaseRules::default();
        let Opened { store, home } = family.fresh(rules).await;
        Self::over(store, Instant::from_micros(1_800_000_000_000_000), home)
    }

    /// Over a store that is open already, with the default rules.
    pub fn over(store: SharedStore, now: Instant, home: Box<dyn Debug + Send + Sync>) -> Self {
        Self { store, now, scope: Scope::default(), rules: LeaseRules::default(), _home: home }
    }

    /// Lets time pass.
    pub fn pass(&mut self, length: Duration) -> Instant {
        self.now = self.now.plus(length);
        self.now
    }

    /// A run to be stored, due now.
    pub fn new_run(&self) -> NewRun {
        NewRun {
            id: RunId::new(self.now),
            lane: lane(),
            job: None,
            origin: RunOrigin::Submit,
            due: self.now,
            priority: 5,
            fairness_key: FairnessKey::default(),
            labels: BTreeMap::new(),
            payload: Payload { content_type: "application/json".into(), data: b"{}".to_vec() },
            policy: RunPolicy::default(),
            request: None,
            note: String::new(),
            parent: None,
            headers: BTreeMap::new(),
            overlap: None,
            by_key: false,
            apart: false,
            concurrency: None,
            unique: None,
        }
    }

    /// A run of a job.
    pub fn run_of(&self, job: &Job) -> NewRun {
        let reference = JobRef { uid: job.uid, name: job.name.clone(), version: job.version };
        NewRun { job: Some(reference), origin: RunOrigin::Trigger, ..self.new_run() }
    }

    /// Stores runs that nothing is in the way of.
    pub async fn submit(&self, runs: Vec<NewRun>) -> Vec<Moved> {
        let answers = self.store.submit(self.now, runs).await.unwrap();
        let stored = answers.into_iter().map(|answer| match answer {
            Submitted::Stored(stored) => stored.moved,
            other => panic!("{other:?}"),
        });
        stored.collect()
    }

    /// Stores one run that is due now.
    pub async fn submit_one(&self) -> Pointer {
        pointer(&self.submit(vec![self.new_run()]).await[0])
    }

    /// Stores one run with a policy.
    pub async fn submit_with(&self, policy: RunPolicy) -> Pointer {
        pointer(&self.submit(vec![NewRun { policy, ..self.new_run() }]).await[0])
    }

    /// A worker's Hello.
    pub fn hello(&self, worker: WorkerId, epoch: i64, holds: &[AttemptKey]) -> Hello {
        let Lane { namespace, queue, job_type, selector: _ } = lane();
        Hello {
            worker,
            epoch,
            name: "w".into(),
            namespace,
            labels: BTreeMap::new(),
            sdk: "test/1".into(),
            build_id: "b1".into(),
            handlers: vec![Handler {
                job_type,
                queue: queue.clone(),
                description: "tests".into(),
                input_schema: String::new(),
                output_schema: String::new(),
            }],
            capacity: BTreeMap::from([(queue, 10)]),
            in_flight: holds.iter().map(|key| Held { key: *key, phase: Phase::Running }).collect(),
            max_message: 4 << 20,
            credential: "key".into(),
        }
    }

    /// When a lease that is renewed now ends.
    pub fn lease_end(&self) -> Instant {
        self.now.plus(self.rules.lease_ttl)
    }

    /// Opens a session.
    pub async fn say_hello(&self, hello: &Hello) -> HelloAnswer {
        let session = SessionId::new(self.now);
        self.store.hello(self.now, ServerId::new(self.now), session, hello, self.lease_end()).await.unwrap()
    }

    /// A worker with its first session.
    pub async fn connect(&self) -> Owner {
        let worker = WorkerId::new(self.now);
        self.reconnect(worker, 1, &[]).await;
        Owner { worker, epoch: 1 }
    }

    /// Another session of a worker; its verdicts, and what moved.
    pub async fn reconnect(
        &self,
        worker: WorkerId,
        epoch: i64,
        holds: &[AttemptKey],
    ) -> (Vec<(AttemptKey, Verdict)>, Vec<Moved>) {
        match self.say_hello(&self.hello(worker, epoch, holds)).await {
            HelloAnswer::Welcome { verdicts, moved, .. } => (verdicts, moved),
            refused @ (HelloAnswer::Superseded | HelloAnswer::Foreign | HelloAnswer::Full(_)) => panic!("{refused:?}"),
        }
    }

    /// Leases pointers to an owner.
    pub async fn lease_all(&self, owner: Owner, pointers: Vec<Pointer>) -> Vec<LeaseResult> {
        let answers = self.store.lease(self.now, vec![LeaseBatch { owner, pointers }]).await.unwrap();
        match answers.into_iter().next().unwrap() {
            LeaseAnswer::Results(results) => results,
            LeaseAnswer::SessionGone => panic!("the session is gone"),
        }
    }

    /// Leases one pointer that can be leased.
    pub async fn lease(&self, owner: Owner, pointer: Pointer) -> Box<Dispatchable> {
        match self.lease_all(owner, vec![pointer]).await.remove(0) {
            LeaseResult::Leased(attempt) => attempt,
            other => panic!("{other:?}"),
        }
    }

    /// A fresh run, leased to an owner.
    pub async fn leased(&self, owner: Owner) -> AttemptKey {
        let pointer = self.submit_one().await;
        self.lease(owner, pointer).await.key
    }

    /// A fresh run with a policy, leased to an owner and started.
    pub async fn running(&self, owner: Owner, policy: RunPolicy) -> AttemptKey {
        let pointer = self.submit_with(policy).await;
        let key = self.lease(owner, pointer).await.key;
        self.apply(key.run, Event::Start { attempt: key.attempt, start_time: self.now }).await;
        key
    }

    /// A report of an attempt.
    pub fn report_of(&self, key: AttemptKey, outcome: Outcome) -> Report {
        let (scope, start_time) = (self.scope.clone(), Some(self.now));
        Report { scope, key, outcome, output: None, start_time, log_lines: None }
    }

    /// Reports one attempt.
    pub async fn report(&self, key: AttemptKey, outcome: Outcome) -> ReportAnswer {
        self.store.report(self.now, vec![self.report_of(key, outcome)]).await.unwrap().remove(0)
    }

    /// Reports one attempt which succeeded with an output.
    pub async fn succeed_with(&self, key: AttemptKey, output: Payload) -> ReportAnswer {
        let report = Report { output: Some(output), ..self.report_of(key, Outcome::Succeeded) };
        self.store.report(self.now, vec![report]).await.unwrap().remove(0)
    }

    /// Applies one event.
    pub async fn apply(&self, run: RunId, event: Event) -> Applied {
        let step = Apply { run, event, owner: None, scope: None };
        self.store.apply(self.now, vec![step]).await.unwrap().remove(0)
    }

    /// What waits in a lane, best first.
    pub async fn queued(&self, lane: &Lane) -> Vec<Pointer> {
        let look = Look { lane: lane.clone(), limit: 1_000, turns: Vec::new(), known: Vec::new() };
        let head = self.store.queued(&[look]).await.unwrap().remove(0);
        head.runs.into_iter().map(|waiting| waiting.pointer).collect()
    }

    /// How a run stands.
    pub async fn state(&self, run: RunId) -> RunState {
        self.store.run(&self.scope, run).await.unwrap().expect("there is such a run").life.state
    }

    /// A job that is there now.
    pub async fn create(&self, name: &str, spec: JobSpec) -> Job {
        let job = NewJob {
            scope: self.scope.clone(),
            uid: JobUid::new(self.now),
            name: name.parse().unwrap(),
            spec,
            request: None,
        };
        match self.store.create_job(self.now, job).await.unwrap() {
            CreateJob::Created(job) => job,
            other => panic!("{other:?}"),
        }
    }

    /// A job as it is now.
    pub async fn job(&self, name: &str) -> Option<Job> {
        self.store.job(&self.scope, &job_name(name)).await.unwrap()
    }

    /// A job's ledger, all of it that reaches into `[from, to)`.
    pub async fn ledger(&self, job: JobUid, from: Instant, to: Instant) -> Vec<InstantRange> {
        let LedgerPart { ranges, skipped: _, lapsed: _, until } =
            self.store.ledger(job, from, to, 1_000).await.unwrap();
        assert_eq!(until, to);
        ranges
    }

    /// Takes the shard.
    pub async fn own(&self) -> ShardLease {
        self.store.take_shard(self.now).await.unwrap()
    }

    /// Evaluates what is due, as the engine does.
    pub async fn evaluate(&self, shard: ShardLease) -> Vec<Firing> {
        let due = self.store.due(self.now, None, 1_000).await.unwrap();
        due.ready.into_iter().map(|due| self.firing(due, shard)).collect()
    }

    /// Evaluates one schedule.
    pub fn firing(&self, due: DueSchedule, shard: ShardLease) -> Firing {
        let schedule = due.spec.schedules.iter().find(|schedule| schedule.name == due.schedule).unwrap();
        let evaluation: Evaluation =
            evaluate(due.job, schedule, &due.position, due.spec.catch_up, shard.since, self.now, MAX_INSTANTS);
        let run_ids = evaluation.entries.iter().map(|_| RunId::new(self.now)).collect();
        Firing { due, evaluation, run_ids }
    }

    /// Notes that a schedule cannot be evaluated.
    pub async fn fail(&self, due: &DueSchedule) {
        let why = FateReason::RuleBroken;
        self.store.fail_schedule(self.now, due.job, &due.schedule, &due.position, why).await.unwrap();
    }

    /// A heartbeat of an owner, to be recorded.
    pub fn renewal(&self, owner: Owner) -> Renewal {
        Renewal { owner, expire_time: self.lease_end(), draining: false, capacity: None }
    }

    /// Fires whatever is due.
    pub async fn fire_due(&self, shard: ShardLease) -> Vec<Fired> {
        let firings = self.evaluate(shard).await;
        self.store.fire(self.now, shard, firings).await.unwrap()
    }
}

/// The pointer of a run that waits.
pub fn pointer(moved: &Moved) -> Pointer {
    assert_eq!(moved.to, RunState::Queued);
    Pointer { run: moved.run, generation: moved.generation }
}

/// A job's name.
pub fn job_name(name: &str) -> JobName {
    name.parse().unwrap()
}

/// The runs that a firing made.
pub fn fired(answer: &Fired) -> &[Moved] {
    match answer {
        Fired::Done { runs, .. } => runs,
        other @ (Fired::Overtaken | Fired::NotOwner) => panic!("{other:?}"),
    }
}

/// What changed.
pub fn changed(answer: Applied) -> Moved {
    match answer {
        Applied::Changed(moved) => *moved,
        other => panic!("{other:?}"),
    }
}

/// What was applied.
pub fn applied(answer: ReportAnswer) -> Moved {
    match answer {
        ReportAnswer::Applied(moved) => *moved,
        other => panic!("{other:?}"),
    }
}
