//! The store and the transition table agree, whatever happens to a run.
//!
//! Random events go through the store, over whichever method they come in production, and through
//! [`step`](mainspring_engine::domain::transition::step) in memory. After each one the stored run must be the one the table
//! says. This is what holds the narrow statements (lease, success, waking) to the table.

use std::{collections::HashMap, num::NonZeroU32, time::Duration};

use mainspring_engine::{
    domain::{
        attempt::{AttemptKey, Outcome},
        ids::{RunId, WorkerId},
        instant::Instant,
        limit::{Concurrency, Pace},
        policy::{Delivery, RunPolicy},
        run::{Lifecycle, RunState},
        transition::{Change, Context, Event, Refusal, step},
    },
    ports::{
        broker::Pointer,
        store::{Applied, Apply, LeaseResult, NewRun, Owner, Report, ReportAnswer},
    },
};
use proptest::{
    prelude::*,
    strategy::ValueTree,
    test_runner::{Config, TestRunner},
};

use super::world::{World, failure, secs};

/// Something that happens, in words that fit any run: attempts and generations relative to the run's own.
#[derive(Clone, Debug)]
enum Happening {
    Pass(u64),
    Due,
    Lease { behind: i64 },
    Start { behind: i64 },
    Rejected { behind: i64 },
    Silent { behind: i64 },
    Unlisted { behind: i64 },
    Absent { behind: i64 },
    Adopt { behind: i64, other: bool },
    Expire,
    Report { behind: i64, outcome: usize, log_lines: Option<u64> },
    Cancel,
    Deadline,
    JobDeleted,
}

fn behind() -> impl Strategy<Value = i64> {
    prop_oneof![9 => Just(0), 1 => Just(1), 1 => Just(-1)]
}

fn report() -> impl Strategy<Value = Happening> {
    let report = |(behind, outcome, log_lines)| Happening::Report { behind, outcome, log_lines };
    (behind(), 0..5_usize, prop::option::of(0_u64..3)).prop_map(report)
}

fn happening() -> impl Strategy<Value = Happening> {
    use Happening as H;
    prop_oneof![
        4 => (1_u64..40).prop_map(H::Pass),
        4 => Just(H::Due),
        8 => behind().prop_map(|behind| H::Lease { behind }),
        3 => behind().prop_map(|behind| H::Start { behind }),
        1 => behind().prop_map(|behind| H::Rejected { behind }),
        1 => behind().prop_map(|behind| H::Silent { behind }),
        1 => behind().prop_map(|behind| H::Unlisted { behind }),
        1 => behind().prop_map(|behind| H::Absent { behind }),
        3 => (behind(), any::<bool>()).prop_map(|(behind, other)| H::Adopt { behind, other }),
        3 => Just(H::Expire),
        8 => report(),
        1 => Just(H::Cancel),
        3 => Just(H::Deadline),
        1 => Just(H::JobDeleted),
    ]
}

fn policy() -> impl Strategy<Value = RunPolicy> {
    let times = (prop::option::of(1_u64..60), prop::option::of(1_u64..60), prop::option::of(20_u64..200));
    (any::<bool>(), 1_u32..4, 1_u32..4, times, any::<bool>()).prop_map(
        |(once, max_attempts, max_losses, (queue, execution, total), retry_timeouts)| {
            let mut policy = RunPolicy::default();
            policy.retry.max_attempts = if once { 1 } else { max_attempts };
            policy.retry.max_losses = max_losses;
            policy.retry.retry_timeouts = retry_timeouts;
            policy.delivery = if once { Delivery::AtMostOnce } else { Delivery::AtLeastOnce };
            policy.timeouts.queue = queue.map(secs);
            policy.timeouts.execution = execution.map(secs);
            policy.timeouts.total = total.map(secs);
            policy
        },
    )
}

const MICROSECOND: Duration = Duration::from_micros(1);

/// One run, in memory and in the store.
struct Twin {
    id: RunId,
    policy: RunPolicy,
    life: Lifecycle,
}

impl Twin {
    fn event(&self, w: &World, worker: WorkerId, stranger: WorkerId, happening: &Happening) -> Option<Event> {
        let attempt = |behind: &i64| self.life.attempt - behind;
        Some(match happening {
            Happening::Pass(_) => return None,
            Happening::Due => Event::Due,
            Happening::Lease { behind } => Event::Lease { worker, generation: self.life.generation - behind },
            Happening::Start { behind } => Event::Start { attempt: attempt(behind), start_time: w.now },
            Happening::Rejected { behind } => Event::Rejected { attempt: attempt(behind) },
            Happening::Silent { behind } => Event::Silent { attempt: attempt(behind) },
            Happening::Unlisted { behind } => Event::Unlisted { attempt: attempt(behind) },
            Happening::Absent { behind } => Event::Absent { attempt: attempt(behind) },
            Happening::Adopt { behind, other } => {
                Event::Adopt { attempt: attempt(behind), worker: if *other { stranger } else { worker } }
            }
            Happening::Expire => Event::Expire,
            Happening::Report { behind, outcome, log_lines } => {
                let outcome = match outcome {
                    0 | 1 => Outcome::Succeeded,
                    2 => Outcome::Failed(failure("X")),
                    3 => Outcome::Cancelled,
                    _ => Outcome::Interrupted,
                };
                let (attempt, start_time) = (attempt(behind), Some(w.now));
                Event::Report { attempt, outcome, start_time, log_lines: *log_lines }
            }
            Happening::Cancel => Event::Cancel { reason: "no".into(), grace: None },
            Happening::Deadline => Event::Deadline,
            Happening::JobDeleted => Event::JobDeleted,
        })
    }

    fn step(&mut self, w: &World, event: &Event) -> Result<Change, Refusal> {
        let (policy, rules, now) = (&self.policy, &w.rules, w.now);
        let context = Context { run: self.id, policy, rules, now, retry_until: None, job_deleted: false };
        let change = step(&self.life, event, context);
        if let Ok(change) = &change {
            self.life = change.next.clone();
        }
        change
    }

    async fn agrees(&self, w: &World, after: &str) {
        let stored = w.store.run(&w.scope, self.id).await.unwrap().unwrap();
        assert_eq!(stored.life, self.life, "after {after}");
        // Its deadline is stored beside it, where the stage that keeps deadlines finds it.
        let found = async |at| w.store.past_deadline(at, usize::MAX).await.unwrap().contains(&self.id);
        match self.life.deadline(&self.policy) {
            Some(at) => assert!(found(at).await && !found(at.minus(MICROSECOND)).await, "after {after}"),
            None => assert!(!found(Instant::MAX).await, "after {after}"),
        }
    }
}

async fn twin(w: &World, policy: RunPolicy, later: bool, concurrency: Option<&Concurrency>) -> Twin {
    let due = if later { w.now.plus(secs(5)) } else { w.now };
    let run = NewRun { policy: policy.clone(), due, concurrency: concurrency.cloned(), ..w.new_run() };
    let id = run.id;
    w.submit(vec![run]).await;
    Twin { id, policy, life: Lifecycle::new(w.now, due) }
}

/// Sends an event to the store the way it comes in production; whether it changed the run.
async fn send(w: &World, owner: Owner, twin: &Twin, event: &Event) -> bool {
    match event {
        Event::Lease { generation, .. } => {
            let pointer = Pointer { run: twin.id, generation: *generation };
            matches!(w.lease_all(owner, vec![pointer]).await[0], LeaseResult::Leased(_))
        }
        Event::Report { attempt, outcome, start_time, log_lines } => {
            let key = AttemptKey { run: twin.id, attempt: *attempt };
            let (start_time, log_lines) = (*start_time, *log_lines);
            let report = Report { start_time, log_lines, ..w.report_of(key, outcome.clone()) };
            let answer = w.store.report(w.now, vec![report]).await.unwrap().remove(0);
            matches!(answer, ReportAnswer::Applied(_))
        }
        // Runs of earlier rounds may wait for their time as well.
        Event::Due => w.store.wake(w.now, usize::MAX).await.unwrap().iter().any(|moved| moved.run == twin.id),
        event => matches!(w.apply(twin.id, event.clone()).await, Applied::Changed(_)),
    }
}

/// Draws a value from a strategy; the runner's seed is fixed, so that a failure repeats.
fn draw<S: Strategy>(runner: &mut TestRunner, strategy: &S) -> S::Value {
    strategy.new_tree(runner).unwrap().current()
}

fn runner() -> TestRunner {
    TestRunner::new_with_rng(
        Config::default(),
        proptest::test_runner::TestRng::deterministic_rng(proptest::test_runner::RngAlgorithm::ChaCha),
    )
}

pub async fn the_store_agrees_with_the_table(mut w: World) {
    let mut runner = runner();
    let owner = w.connect().await;
    let stranger = WorkerId::new(w.now);
    let mut ends: HashMap<RunState, usize> = HashMap::new();
    for _ in 0..90 {
        let (policy, later) = draw(&mut runner, &(policy(), any::<bool>()));
        let happenings = draw(&mut runner, &prop::collection::vec(happening(), 5..40));
        let mut twin = twin(&w, policy, later, None).await;
        for (place, happening) in happenings.iter().enumerate() {
            if let Happening::Pass(seconds) = happening {
                w.pass(secs(*seconds));
            }
            let Some(event) = twin.event(&w, owner.worker, stranger, happening) else { continue };
            let mine = twin.life.clone();
            let change = twin.step(&w, &event);
            let changed = send(&w, owner, &twin, &event).await;
            // A repeated lease is answered like the first, though nothing changes.
            let repeat = matches!(event, Event::Lease { generation, .. }
                if mine.state.is_active() && mine.generation == generation);
            let told = format!("{:?} of {happenings:?}", &happenings[..=place]);
            assert_eq!(changed, change.is_ok() || repeat, "{change:?} after {told}");
            twin.agrees(&w, &told).await;
        }
        *ends.entry(twin.life.state).or_default() += 1;
    }
    for state in [RunState::Succeeded, RunState::Failed, RunState::Cancelled, RunState::TimedOut] {
        assert!(ends.contains_key(&state), "the events reach {state:?}: {ends:?}");
    }
}

pub async fn batches_agree_with_the_table(w: World) {
    batches(w, None).await;
}

/// Runs of a concurrency key that has room for all of them go another way to the same end.
pub async fn batches_of_a_key_agree_with_the_table(w: World) {
    let concurrency = Concurrency { key: "k".parse().unwrap(), limit: NonZeroU32::new(1_000), pace: Pace::Kept };
    batches(w, Some(&concurrency)).await;
}

async fn batches(mut w: World, concurrency: Option<&Concurrency>) {
    let mut runner = runner();
    let owner = w.connect().await;
    let stranger = WorkerId::new(w.now);
    let mut twins = Vec::new();
    for _ in 0..90 {
        let (policy, later) = draw(&mut runner, &(policy(), any::<bool>()));
        twins.push(twin(&w, policy, later, concurrency).await);
    }
    for _ in 0..12 {
        let seconds = draw(&mut runner, &(1_u64..30));
        w.pass(secs(seconds));
        wakes(&w, &mut twins).await;
        leases(&mut w, owner, &mut twins, &mut runner).await;
        reports(&mut w, owner, stranger, &mut twins, &mut runner).await;
        events(&mut w, owner, stranger, &mut twins, &mut runner).await;
        for twin in &twins {
            twin.agrees(&w, "a batch").await;
        }
    }
}

/// Everything whose time has come.
async fn wakes(w: &World, twins: &mut [Twin]) {
    let mut wanted: Vec<_> = twins
        .iter_mut()
        .filter_map(|twin| {
            let (before, change) = (twin.life.clone(), twin.step(w, &Event::Due).ok()?);
            let Lifecycle { state, generation, attempt, worker, reason, .. } = change.next.clone();
            let deadline = change.next.deadline(&twin.policy);
            let told = (generation, attempt, worker, reason.unwrap_or_default(), deadline);
            Some((before.wake_time, twin.id, (before.state, state), told))
        })
        .collect();
    wanted.sort_by_key(|(wake, run, ..)| (*wake, *run));
    let woken = w.store.wake(w.now, usize::MAX).await.unwrap().into_iter().map(|moved| {
        let told = (moved.generation, moved.attempt, moved.worker, moved.reason, moved.deadline);
        (moved.run, (moved.from.unwrap(), moved.to), told)
    });
    let wanted: Vec<_> = wanted.into_iter().map(|(_, run, states, told)| (run, states, told)).collect();
    assert_eq!(woken.collect::<Vec<_>>(), wanted);
}

/// A batch of leases, of which some name a run twice.
async fn leases(w: &mut World, owner: Owner, twins: &mut [Twin], runner: &mut TestRunner) {
    let mut pointers = Vec::new();
    let mut wanted = Vec::new();
    for twin in twins {
        let (times, behind) = draw(runner, &(0..3_usize, behind()));
        let pointer = Pointer { run: twin.id, generation: twin.life.generation - behind };
        for _ in 0..times {
            let lease = Event::Lease { worker: owner.worker, generation: pointer.generation };
            let repeat = twin.life.state.is_active() && twin.life.generation == pointer.generation;
            pointers.push(pointer);
            wanted.push(twin.step(w, &lease).is_ok() || repeat);
        }
    }
    let results = w.lease_all(owner, pointers).await;
    let granted: Vec<_> = results.iter().map(|result| matches!(result, LeaseResult::Leased(_))).collect();
    assert_eq!(granted, wanted);
}

/// A batch of reports.
async fn reports(w: &mut World, owner: Owner, stranger: WorkerId, twins: &mut [Twin], runner: &mut TestRunner) {
    let mut reports = Vec::new();
    let mut wanted = Vec::new();
    for twin in twins {
        let (reported, happening) = draw(runner, &(any::<bool>(), report()));
        let Some(event) = twin.event(w, owner.worker, stranger, &happening).filter(|_| reported) else { continue };
        let Event::Report { attempt, outcome, start_time, log_lines } = &event else { continue };
        let key = AttemptKey { run: twin.id, attempt: *attempt };
        let (start_time, log_lines) = (*start_time, *log_lines);
        reports.push(Report { start_time, log_lines, ..w.report_of(key, outcome.clone()) });
        wanted.push(twin.step(w, &event).is_ok());
    }
    let answers = w.store.report(w.now, reports).await.unwrap();
    let applied: Vec<_> = answers.iter().map(|answer| matches!(answer, ReportAnswer::Applied(_))).collect();
    assert_eq!(applied, wanted);
}

/// A batch of any other events, several for some runs.
async fn events(w: &mut World, owner: Owner, stranger: WorkerId, twins: &mut [Twin], runner: &mut TestRunner) {
    let mut steps = Vec::new();
    let mut wanted = Vec::new();
    for twin in twins {
        for happening in draw(runner, &prop::collection::vec(happening(), 0..3)) {
            let Some(event) = twin.event(w, owner.worker, stranger, &happening) else { continue };
            wanted.push(twin.step(w, &event).err());
            steps.push(Apply { run: twin.id, event, owner: None, scope: None });
        }
    }
    let answers = w.store.apply(w.now, steps).await.unwrap();
    let refused = answers.iter().map(|answer| match answer {
        Applied::Changed(_) => None,
        Applied::Refused(refusal) => Some(*refusal),
        other => panic!("{other:?}"),
    });
    assert_eq!(refused.collect::<Vec<_>>(), wanted);
}
