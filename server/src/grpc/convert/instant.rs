//! Instants of the ledger, for people: what became of them, and what there is to say of one.

use mainspring_engine::domain::{
    explain::Explanation,
    lapse::{Ending, Lapse},
    ledger::{FateReason, InstantView},
    supersede::Dropped,
};
use mainspring_proto::scheduler::v1 as wire;

use super::{run::run_state, time};

/// An entry of the ledger.
pub(crate) fn instant(view: InstantView) -> wire::Instant {
    let sentence = view.sentence();
    let InstantView { schedule, nominal, fate, reason, run, due, walls, calendar, lapse, dropped } = view;
    let wall = |wall: jiff::civil::DateTime| wall.to_string();
    wire::Instant {
        schedule: schedule.into(),
        nominal_time: Some(time::timestamp(nominal)),
        fate: fate.code(),
        reason: reason.map_or(0, FateReason::code),
        sentence,
        run_id: run.map(|(run, _)| run.to_string()).unwrap_or_default(),
        run_state: run.map_or(0, |(_, state)| run_state(state)),
        due_time: due.map(time::timestamp),
        first_local_time: walls.map(|walls| wall(walls.first)).unwrap_or_default(),
        last_local_time: walls.map(|walls| wall(walls.last)).unwrap_or_default(),
        skipped_count: walls.map_or(0, |walls| i64::try_from(walls.count).unwrap_or(i64::MAX)),
        calendar: calendar.map(String::from).unwrap_or_default(),
        superseded: match (lapse, dropped) {
            (Some(lapse), _) => Some(superseded(*lapse)),
            (None, Some(dropped)) => cancelled(*dropped),
            (None, None) => None,
        },
    }
}

/// What took an instant.
fn superseded(lapse: Lapse) -> wire::Superseded {
    let Lapse { schedule: _, version: named_by_version, by, time: at, actor, first: _, shown: _, end: _ } = lapse;
    let version = match by {
        Ending::Edit { version } => version,
        Ending::Delete => 0,
    };
    wire::Superseded { time: Some(time::timestamp(at)), actor, version, named_by_version }
}

/// What cancelled the run of an instant, where that is known.
fn cancelled(dropped: Dropped) -> Option<wire::Superseded> {
    let Dropped { version: named_by_version, by, actor } = dropped;
    let (version, at) = by?;
    Some(wire::Superseded { time: Some(time::timestamp(at)), actor, version, named_by_version })
}

/// What there is to say of one instant. The first entry is the one that counts.
pub(crate) fn explanation(explanation: Explanation) -> wire::ExplainInstantResponse {
    let Explanation { finding, instants, sentence, backfilled, previous, next } = explanation;
    let instants: Vec<_> = instants.into_iter().map(instant).collect();
    let first = instants.first().cloned().unwrap_or_default();
    wire::ExplainInstantResponse {
        sentence,
        finding: finding.code(),
        fate: first.fate,
        reason: first.reason,
        run_id: first.run_id,
        run_state: first.run_state,
        instants,
        previous_time: previous.map(time::timestamp),
        next_time: next.map(time::timestamp),
        backfilled_runs: backfilled
            .into_iter()
            .map(|(run, state)| wire::BackfilledRun { run_id: run.to_string(), state: run_state(state) })
            .collect(),
        wait_sentence: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use mainspring_engine::domain::{
        explain::Finding,
        ledger::{Fate, sentence},
    };

    use super::*;

    /// The words of a name, without what joins them.
    fn words(name: &str, prefix: &str) -> String {
        name.strip_prefix(prefix).unwrap().replace('_', "")
    }

    #[test]
    fn codes_are_those_of_the_contract() {
        for finding in Finding::ALL {
            let name = wire::InstantFinding::try_from(finding.code()).unwrap().as_str_name();
            assert_eq!(words(name, "INSTANT_FINDING_"), format!("{finding:?}").to_ascii_uppercase());
        }
        for fate in Fate::ALL {
            let name = wire::Fate::try_from(fate.code()).unwrap().as_str_name();
            assert_eq!(words(name, "FATE_"), format!("{fate:?}").to_ascii_uppercase());
            for reason in FateReason::ALL.into_iter().map(Some).chain([None]) {
                assert!(sentence(fate, reason).ends_with('.'));
            }
        }
        for reason in FateReason::ALL {
            let name = wire::FateReason::try_from(reason.code()).unwrap().as_str_name();
            assert_eq!(name, format!("FATE_REASON_{}", reason.name()));
        }
    }
}
