//! What the engine counts: runs by job type and outcome, how long they waited and took, how late schedules fired, and how
//! many items shared a step of the store.

use std::{collections::HashMap, sync::Arc, time::Duration};

use mainspring_engine::{
    domain::{
        names::{JobType, Lane, NamespaceName},
        run::RunState,
    },
    ports::meter::Meter,
};
use parking_lot::RwLock;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::Registry,
};

use super::OTHER;

/// So many job types have numbers of their own, in the order in which they came: the page must not grow with what somebody
/// submits.
const MOST_TYPES: usize = 200;
/// From what is at once to what takes an hour.
const LENGTHS: [f64; 17] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 1_200.0, 3_600.0];
const LATENESS: [f64; 14] = [0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 10.0, 60.0];
const ITEMS: [f64; 11] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1_024.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Type {
    namespace: String,
    job_type: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TypeAndOutcome {
    namespace: String,
    job_type: String,
    outcome: &'static str,
}

type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

/// Counts runs.
#[derive(Debug)]
pub(crate) struct RunMeter {
    made: Family<Type, Counter>,
    over: Family<TypeAndOutcome, Counter>,
    waited: Histograms<Type>,
    took: Histograms<Type>,
    late: Histogram,
    steps: Histograms<[(&'static str, &'static str); 1]>,
    types: RwLock<HashMap<(NamespaceName, JobType), Arc<OfType>>>,
}

/// What is counted of one job type.
#[derive(Debug)]
struct OfType {
    made: Counter,
    succeeded: Counter,
    failed: Counter,
    cancelled: Counter,
    timed_out: Counter,
    waited: Histogram,
    took: Histogram,
}

impl RunMeter {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let lengths = || Family::new_with_constructor((|| Histogram::new(LENGTHS)) as fn() -> Histogram);
        let meter = Self {
            made: Family::default(),
            over: Family::default(),
            waited: lengths(),
            took: lengths(),
            late: Histogram::new(LATENESS),
            steps: Family::new_with_constructor((|| Histogram::new(ITEMS)) as fn() -> Histogram),
            types: RwLock::default(),
        };
        registry.register("mainspring_runs_created", "Runs that were stored", meter.made.clone());
        registry.register("mainspring_runs_finished", "Runs that came to their end, by outcome", meter.over.clone());
        let help = "How long runs had waited in their queue when a worker was given them";
        registry.register("mainspring_run_wait_seconds", help, meter.waited.clone());
        let help = "How long attempts took, from the start of the worker's code to its stored result";
        registry.register("mainspring_attempt_seconds", help, meter.took.clone());
        let help = "How long after its instant a schedule's run was stored";
        registry.register("mainspring_schedule_lateness_seconds", help, meter.late.clone());
        let help = "How many items shared a step of the store, by step";
        registry.register("mainspring_store_step_items", help, meter.steps.clone());
        meter
    }

    fn of(&self, lane: &Lane) -> Arc<OfType> {
        let key = (lane.namespace.clone(), lane.job_type.clone());
        let is_full = {
            let types = self.types.read();
            if let Some(known) = types.get(&key) {
                return known.clone();
            }
            types.len() >= MOST_TYPES
        };
        if is_full {
            return Arc::new(self.labelled(OTHER, OTHER));
        }
        let of = Arc::new(self.labelled(key.0.as_str(), key.1.as_str()));
        self.types.write().entry(key).or_insert(of).clone()
    }

    fn labelled(&self, namespace: &str, job_type: &str) -> OfType {
        let labels = Type { namespace: namespace.into(), job_type: job_type.into() };
        let over = |state: RunState| {
            let (namespace, job_type) = (namespace.into(), job_type.into());
            self.over.get_or_create_owned(&TypeAndOutcome { namespace, job_type, outcome: state.name() })
        };
        OfType {
            made: self.made.get_or_create_owned(&labels),
            succeeded: over(RunState::Succeeded),
            failed: over(RunState::Failed),
            cancelled: over(RunState::Cancelled),
            timed_out: over(RunState::TimedOut),
            waited: self.waited.get_or_create_owned(&labels),
            took: self.took.get_or_create_owned(&labels),
        }
    }
}

impl Meter for RunMeter {
    fn made(&self, lane: &Lane) {
        self.of(lane).made.inc();
    }

    fn fired(&self, late: Duration) {
        self.late.observe(late.as_secs_f64());
    }

    fn leased(&self, lane: &Lane, waited: Duration) {
        self.of(lane).waited.observe(waited.as_secs_f64());
    }

    fn reported(&self, lane: &Lane, took: Duration) {
        self.of(lane).took.observe(took.as_secs_f64());
    }

    fn over(&self, lane: &Lane, state: RunState) {
        let of = self.of(lane);
        match state {
            RunState::Succeeded => of.succeeded.inc(),
            RunState::Failed => of.failed.inc(),
            RunState::Cancelled => of.cancelled.inc(),
            RunState::TimedOut => of.timed_out.inc(),
            RunState::Scheduled | RunState::Queued | RunState::Leased | RunState::Running | RunState::RetryWait => 0,
        };
    }

    fn step(&self, name: &'static str, items: usize) {
        let items = u32::try_from(items).unwrap_or(u32::MAX);
        self.steps.get_or_create(&[("step", name)]).observe(items.into());
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::prometheus_text;

    use super::*;

    /// Whoever may submit must not be able to make the page as large as he likes.
    #[test]
    fn job_types_are_bounded_and_none_is_lost() {
        let mut registry = Registry::default();
        let meter = RunMeter::register(&mut registry);
        let lane = |number: usize| Lane {
            namespace: NamespaceName::default(),
            queue: Default::default(),
            job_type: format!("t{number}").parse().unwrap(),
            selector: Default::default(),
        };
        for number in 0..2 * MOST_TYPES {
            meter.made(&lane(number));
            meter.over(&lane(number), RunState::Succeeded);
        }
        let mut text = String::new();
        prometheus_text::encode(&mut text, &registry).unwrap();
        let made: Vec<_> = text.lines().filter(|line| line.starts_with("mainspring_runs_created_total{")).collect();
        assert_eq!(made.len(), MOST_TYPES + 1);
        let other = format!("{{namespace=\"{OTHER}\",job_type=\"{OTHER}\"}} {MOST_TYPES}");
        assert!(made.iter().any(|line| line.ends_with(&other)), "{made:?}");
    }
}
