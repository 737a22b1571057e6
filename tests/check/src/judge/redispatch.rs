//! How soon a run whose worker was killed starts elsewhere: within one lease and a grace.

use crate::{
    evidence::Target,
    judge::{Case, room::Room},
    trail::{Fault, Start},
    verdict::{Kind, Redispatch, Rule, Spread},
};

const MILLISECOND: u64 = 1_000_000;

/// Every wait is measured. Those are judged in which the promise could be kept: from the kill to the next start the server
/// answered and some worker had room, at every moment, and no attempt in between died with a worker of its own.
pub(super) fn rule(case: &Case<'_>, room: &Room<'_>) -> (Rule, Redispatch) {
    let mut rule =
        Rule::new("I7", Kind::Broken, "a killed worker's run started elsewhere within a lease and the grace");
    let trail = case.trail;
    let promised = trail.lease_ms + trail.redispatch_grace_ms;
    let (mut clean, mut all) = (Vec::new(), Vec::new());
    for fault in kills(case) {
        let Some(worker) = &fault.worker else { continue };
        for (run, starts) in &trail.starts {
            for (before, next) in held(case, run, starts, worker, fault.t) {
                let waited = next.t.saturating_sub(fault.t) / MILLISECOND;
                all.push(waited);
                let possible = trail.lease_ms > 0
                    && !died_in_between(case, run, before, next)
                    && room.throughout(case, fault.t, next.t);
                if possible {
                    clean.push(waited);
                    rule.expect(waited <= promised, || {
                        format!(
                            "run {run}: attempt {} started {waited} ms after the kill, allowed are {promised}",
                            next.attempt
                        )
                    });
                }
            }
        }
    }
    (rule, Redispatch { promised, clean: Spread::of(clean), all: Spread::of(all) })
}

fn kills<'a>(case: &'a Case<'_>) -> impl Iterator<Item = &'a Fault> {
    case.trail.faults.iter().filter(|fault| fault.target == Target::Worker && fault.kind == "KILL")
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

/// Whether an attempt between two was given to a worker that was killed before it could start it.
fn died_in_between(case: &Case<'_>, run: &str, before: &Start, next: &Start) -> bool {
    let between = case.db.ends.iter().filter(|end| end.run == run);
    let mut between = between.filter(|end| before.attempt < end.attempt && end.attempt < next.attempt);
    between.any(|end| {
        let killed = |fault: &Fault| fault.worker.is_some() && fault.worker == end.worker && fault.t <= next.t;
        kills(case).any(killed)
    })
}
