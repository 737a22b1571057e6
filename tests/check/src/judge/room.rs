//! Where there was room, and when: workers that could be given a run.
//!
//! By the evidence alone: a worker has room while the server answers, a stream of it is open, nothing is done to it, and
//! fewer handlers run than it has slots.

use std::collections::BTreeMap;

use crate::{judge::Case, trail::Process};

/// The load of every worker over time.
pub(super) struct Room<'a> {
    workers: Vec<(&'a str, &'a Process, Load)>,
}

/// How many handlers run from each moment on, in order.
type Load = Vec<(u64, i64)>;

impl<'a> Room<'a> {
    pub(super) fn of(case: &Case<'a>) -> Self {
        let mut changes: BTreeMap<&str, Load> = BTreeMap::new();
        for (run, start) in case.trail.all_starts() {
            let own = changes.entry(&start.worker).or_default();
            own.push((start.t, 1));
            if let Some(end) = case.trail.ends.get(&(run.clone(), start.attempt)) {
                own.push((end.t, -1));
            }
        }
        let workers = case.trail.workers.iter().map(|(name, process)| {
            let mut load = changes.remove(name.as_str()).unwrap_or_default();
            // Ends sort before starts of the same nanosecond.
            load.sort_unstable();
            let mut busy = 0;
            for (_, change) in &mut load {
                busy += *change;
                *change = busy;
            }
            (name.as_str(), process, load)
        });
        Self { workers: workers.collect() }
    }

    /// The most that each worker ran at once, and its slots.
    pub(super) fn most(&self) -> impl Iterator<Item = (&'a str, i64, i64)> {
        self.workers.iter().filter(|(.., load)| !load.is_empty()).map(|(name, process, load)| {
            let most = load.iter().map(|(_, busy)| *busy).max().unwrap_or(0);
            (*name, most, slots(process))
        })
    }

    /// Whether at every moment from one to another some worker had room.
    pub(super) fn throughout(&self, case: &Case<'_>, from: u64, to: u64) -> bool {
        let within = |t: &u64| (from..=to).contains(t);
        let mut moments = vec![from];
        for (_, process, load) in &self.workers {
            moments.extend(load.iter().map(|(t, _)| *t).filter(within));
            moments.extend(process.sessions.iter().map(|(t, _)| *t).filter(within));
        }
        moments.extend(case.trail.faults.iter().map(|fault| fault.t).filter(within));
        moments.into_iter().all(|moment| self.somewhere(case, moment))
    }

    fn somewhere(&self, case: &Case<'_>, moment: u64) -> bool {
        self.workers.iter().any(|(name, process, load)| {
            let before = load.partition_point(|(t, _)| *t <= moment);
            let busy = if before == 0 { 0 } else { load[before - 1].1 };
            busy < slots(process) && case.trail.in_touch(name, moment, moment)
        })
    }
}

fn slots(process: &Process) -> i64 {
    i64::try_from(process.slots).unwrap_or(i64::MAX)
}
