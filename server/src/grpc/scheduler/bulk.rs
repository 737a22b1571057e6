//! Calls about many runs: which they are, and whether they are as many as the caller thinks.
//!
//! What is found is noted before anything is done, so that what a call makes is not found by it again. Then a piece at a
//! time is done, each in a transaction of its own, and each run is judged once more in it.

use mainspring_engine::{
    domain::{
        filter::{Filter, Op, Value},
        ids::RunId,
        names::Scope,
    },
    ports::store::{Direction, Page, RunView},
};
use mainspring_proto::scheduler::v1 as wire;

use super::runs::FIELDS;
use crate::grpc::{
    Api,
    convert::Check,
    filter_in,
    status::{Reason, Refusal},
};

/// Runs that are done in one transaction.
pub(super) const PIECE: usize = 100;
/// Runs that are looked for at once.
const LOOK: usize = 1_000;
/// Of runs with everything, about so many bytes are held at once.
const BYTES: usize = 3 << 20;
/// Refusals that an answer has room for.
pub(super) const TOLD: usize = 1_000;

/// Which runs a call is about, as it says.
pub(super) enum Selection {
    Filter(String),
    Runs(Vec<RunId>),
}

impl Check {
    /// Which runs a call is about. All there are is nothing that anybody says by leaving it out.
    pub(super) fn selection(&mut self, selection: Option<wire::RunSelection>) -> Option<Selection> {
        let Some(wire::RunSelection { filter, run_ids }) = selection else {
            self.refuse("selection", "is required");
            return None;
        };
        match (filter.trim().is_empty(), run_ids.is_empty()) {
            (false, true) => Some(Selection::Filter(filter)),
            (true, false) => {
                let runs = self
                    .under("selection", |check| check.each("run_ids", run_ids, |check, run| check.required("", &run)));
                Some(Selection::Runs(runs))
            }
            (true, true) | (false, false) => {
                self.refuse("selection", "needs either a `filter` or `run_ids`");
                None
            }
        }
    }
}

/// What a call wants to be about.
pub(super) struct Wanted {
    pub(super) selection: Selection,
    /// What can be done to runs at all.
    pub(super) only: Filter,
    /// More are refused.
    pub(super) most: usize,
    /// How many the caller thinks they are.
    pub(super) expected: Option<i64>,
}

/// Runs that are in one of these states, by the codes of a field.
pub(super) fn one_of(field: &'static str, codes: impl IntoIterator<Item = i32>) -> Filter {
    let tests = codes.into_iter().map(|code| Filter::Test { field, op: Op::Equal, value: Value::Number(code.into()) });
    Filter::Or(tests.collect())
}

/// The runs, the oldest first.
pub(super) async fn find(api: &Api, scope: &Scope, wanted: Wanted) -> Result<Vec<RunId>, Refusal> {
    let Wanted { selection, only, most, expected } = wanted;
    let filters = match selection {
        Selection::Filter(text) => {
            let typed = filter_in("selection.filter", &text, FIELDS, api.now())?;
            vec![Filter::And(vec![typed, only])]
        }
        Selection::Runs(runs) => {
            runs.chunks(PIECE).map(|piece| Filter::And(vec![these(piece), only.clone()])).collect()
        }
    };
    let mut found = Vec::new();
    for filter in filters {
        let mut after = None;
        loop {
            let runs = api.store().run_ids(scope, &filter, after, LOOK).await?;
            let more = runs.len() == LOOK;
            after = runs.last().copied();
            found.extend(runs);
            if found.len() > most {
                let message = format!("finds more than {most} runs, which is more than one call does; narrow it");
                return Err(Refusal::field("selection.filter", message));
            }
            if !more {
                break;
            }
        }
    }
    found.sort_unstable();
    found.dedup();
    let count = i64::try_from(found.len()).unwrap_or(i64::MAX);
    match expected {
        Some(expected) if expected != count => {
            let message = format!("{count} runs are found, and `expected_count` says {expected}; nothing was done");
            Err(Refusal::new(Reason::ExpectedCountMismatch, message)
                .with("count", count)
                .with("expected_count", expected)
                .because_of("RUN_COUNT", "runs"))
        }
        Some(_) | None => Ok(found),
    }
}

fn these(runs: &[RunId]) -> Filter {
    let test = |run: &RunId| Filter::Test { field: "run_id", op: Op::Equal, value: Value::Text(run.to_string()) };
    Filter::Or(runs.iter().map(test).collect())
}

/// Runs with everything, of those that are there: as many of the first as fit into memory, one at least; and how many of
/// `runs` that were.
pub(super) async fn full(api: &Api, scope: &Scope, runs: &[RunId]) -> Result<(Vec<RunView>, usize), Refusal> {
    let page = Page { after: None, limit: runs.len(), bytes: BYTES };
    let listed = api.store().runs(scope, &these(runs), Direction::Up, page, true).await?;
    let done = match listed.entries.last().filter(|_| listed.cut) {
        Some(last) => runs.iter().position(|run| *run == last.run).map_or(runs.len(), |at| at + 1),
        None => runs.len(),
    };
    Ok((listed.entries, done))
}

/// Why nothing was done with one of them.
pub(super) fn refusal(run: RunId, refusal: Refusal) -> wire::RunRefusal {
    let wire::SubmissionError { code, reason, message, .. } = refusal.into_submission_error();
    wire::RunRefusal { run_id: run.to_string(), code, reason, message }
}

/// A number of runs, for the wire.
pub(super) fn count(runs: usize) -> i64 {
    i64::try_from(runs).unwrap_or(i64::MAX)
}
