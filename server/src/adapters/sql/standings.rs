//! How slots stand: the runs of a job, or of a concurrency key, that are not over.
//!
//! Asked in the transaction that makes runs, by [`super::submit`] and [`super::fire`], each for what its batch is about.

use std::collections::HashMap;

use mainspring_engine::{
    domain::{
        ids::{JobUid, RunId},
        names::ConcurrencyKey,
        overlap::{Overlap, Standing},
    },
    ports::store::StoreResult,
};
use sea_orm::Value;
use uuid::Uuid;

use super::{
    keys::{self, Name},
    statement::{Cells, chunks, query},
    writer::Tx,
};

/// Whose slot it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum SlotOf {
    /// That of a job.
    Job(JobUid),
    /// That of a concurrency key.
    Key(Name),
}

impl SlotOf {
    /// The slot of a key, by its namespace's number.
    pub(super) fn key(namespace: i32, key: &ConcurrencyKey) -> Self {
        Self::Key((namespace, key.clone()))
    }
}

/// How a slot stands, and a run of it that is not over.
pub(super) type Stands = (Standing, Option<RunId>);

/// How slots stand, as far as their policies ask. One without any run is not there.
pub(super) async fn standings(
    tx: &Tx,
    slots: impl IntoIterator<Item = (SlotOf, Overlap)>,
) -> StoreResult<HashMap<SlotOf, Stands>> {
    // Versions of one job, and jobs of one key, may ask for more or less.
    let (mut jobs, mut named): (HashMap<JobUid, i64>, HashMap<Name, i64>) = Default::default();
    for (of, overlap) in slots.into_iter().filter(|(_, overlap)| overlap.looks()) {
        let most = match of {
            SlotOf::Job(job) => jobs.entry(job).or_default(),
            SlotOf::Key(name) => named.entry(name).or_default(),
        };
        *most = rows_of(overlap).max(*most);
    }
    let mut found: HashMap<SlotOf, Stands> = HashMap::new();
    let jobs: Vec<(JobUid, i64)> = jobs.into_iter().collect();
    for piece in chunks(&jobs) {
        let values = piece.iter().flat_map(|(job, most)| [job.uuid().into(), (*most).into()]).collect();
        let of = |cells: &mut Cells<'_>| Ok(Some(SlotOf::Job(JobUid::from_uuid(cells.next::<Uuid>()?))));
        count(tx, unfinished_sql(piece.len()), values, of, &mut found).await?;
    }
    let names: Vec<Name> = named.keys().cloned().collect();
    // A key that is new has no run yet.
    let numbers = keys::numbers(tx, &names).await?;
    let keys: Vec<(&Name, i32, i64)> =
        numbers.iter().filter_map(|(name, number)| Some((name, *number, *named.get(name)?))).collect();
    for piece in chunks(&keys) {
        let values = piece.iter().flat_map(|(_, number, most)| [(*number).into(), (*most).into()]).collect();
        let of = |cells: &mut Cells<'_>| {
            let number: i32 = cells.next()?;
            Ok(piece.iter().find(|(_, key, _)| *key == number).map(|(name, ..)| SlotOf::Key((*name).clone())))
        };
        count(tx, unfinished_of_keys_sql(piece.len()), values, of, &mut found).await?;
    }
    Ok(found)
}

async fn count(
    tx: &Tx,
    sql: String,
    values: Vec<Value>,
    of: impl Fn(&mut Cells<'_>) -> StoreResult<Option<SlotOf>>,
    found: &mut HashMap<SlotOf, Stands>,
) -> StoreResult<()> {
    for row in query(tx, sql, values).await? {
        let mut cells = Cells::of(&row);
        let Some(of) = of(&mut cells)? else { continue };
        let (standing, busy) = found.entry(of).or_default();
        busy.get_or_insert(RunId::from_uuid(cells.next()?));
        match cells.next::<bool>()? {
            true => standing.buffered += 1,
            false => standing.holding += 1,
        }
    }
    Ok(())
}

/// So many runs of a slot are looked at for its policy.
fn rows_of(overlap: Overlap) -> i64 {
    i64::from(match overlap {
        Overlap::Allow { max } => max.unwrap_or(0),
        // Those that hold the slot come among those that wait; somebody may have forced some.
        Overlap::BufferAll { max } => max + Overlap::MOST,
        Overlap::Skip | Overlap::BufferOne | Overlap::CancelOther | Overlap::TerminateOther => 1,
    })
}

/// Some rows a job, whichever: asked for the smallest ids or for all jobs at once, the planner walks through every run that
/// the jobs ever had.
pub(super) fn unfinished_sql(count: usize) -> String {
    let some = "SELECT * FROM (SELECT job_uid, id, buffer IS NOT NULL FROM run WHERE job_uid = ? AND end_time IS NULL \
                AND NOT apart LIMIT ?)";
    vec![some; count].join(" UNION ALL ")
}

/// The same of keys.
pub(super) fn unfinished_of_keys_sql(count: usize) -> String {
    let some = "SELECT * FROM (SELECT key_id, id, buffer IS NOT NULL FROM run WHERE key_id = ? AND end_time IS NULL \
                AND NOT apart LIMIT ?)";
    vec![some; count].join(" UNION ALL ")
}
