//! How soon a run whose worker was killed starts elsewhere: within one lease and a grace.

use crate::{
    evidence::Target,
    judge::Case,
    trail::{Fault, Start},
    verdict::{Kind, Redispatch, Rule, Spread},
};

const MILLISECOND: u64 = 1_000_000;

/// Every wait is measured, and those are judged in which nothing else was broken: the server answered all the while,
/// and the next attempt was the very next number, so that no other worker died over it. The promise is a lease and the
/// grace; how many waited longer is told, and the judge gives the grace twice, because here a busy machine runs the load,
/// the workers and the server at once. The test of a single kill, `kill_worker.rs`, gives it once.
pub(super) fn rule(case: &Case<'_>) -> (Rule, Redispatch) {
    let mut rule =
        Rule::new("I7", Kind::Broken, "a killed worker's run started elsewhere within a lease and twice the grace");
    let trail = case.trail;
    let promised = trail.lease_ms + trail.redispatch_grace_ms;
    let allowed = promised + trail.redispatch_grace_ms;
    let (mut clean, mut all) = (Vec::new(), Vec::new());
    for fault in trail.faults.iter().filter(|fault| fault.target == Target::Worker && fault.kind == "KILL") {
        let Some(worker) = &fault.worker else { continue };
        for (run, starts) in &trail.starts {
            for (before, next) in held(case, run, starts, worker, fault.t) {
                let waited = next.t.saturating_sub(fault.t) / MILLISECOND;
                all.push(waited);
                let alone = next.attempt == before.attempt + 1 && !server_was_down(case, fault, next.t);
                if alone && trail.lease_ms > 0 {
                    clean.push(waited);
                    rule.expect(waited <= allowed, || {
                        format!(
                            "run {run}: attempt {} started {waited} ms after the kill, allowed are {allowed}",
                            next.attempt
                        )
                    });
                }
            }
        }
    }
    let late = clean.iter().filter(|waited| **waited > promised).count() as u64;
    (rule, Redispatch { promised, late, clean: Spread::of(clean), all: Spread::of(all) })
}

/// The attempts of a run that were under way at the worker when it died, with the start that followed.
fn held<'a>(
    case: &'a Case<'_>,
    run: &'a str,
    starts: &'a [Start],
    worker: &'a str,
    killed: u64,
) -> impl Iterator<Item = (&'a Start, &'a Start)> {
    let under_way = move |start: &&Start| {
        let ended = case.trail.ends.get(&(run.to_owned(), start.attempt)).is_some_and(|end| end.t <= killed);
        start.worker == worker && start.t <= killed && !ended
    };
    let next = |start: &'a Start| starts.iter().filter(|other| other.attempt > start.attempt).min_by_key(|next| next.t);
    starts.iter().filter(under_way).filter_map(move |start| Some((start, next(start)?)))
}

/// Whether the server was away at any time between the fault and `until`.
fn server_was_down(case: &Case<'_>, fault: &Fault, until: u64) -> bool {
    let mut of_server = case.trail.faults.iter().filter(|other| other.target == Target::Server);
    of_server.any(|other| other.t <= until && other.back >= fault.t)
}
