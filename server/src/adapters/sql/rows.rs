//! Rows to domain values and back; nothing else in the adapter knows how a value is stored.
//!
//! Both directions name every field: a new one does not compile until it has a place.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Display,
    num::NonZeroU32,
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use mainspring_engine::{
    domain::{
        ids::WorkerId,
        instant::Instant,
        overlap::Buffer,
        place::Place,
        policy::RunPolicy,
        rate::Rate,
        run::{Lifecycle, RunState},
    },
    ports::store::{StoreError, StoreResult},
};
use parking_lot::Mutex;
use sea_orm::Value;
use serde::{Serialize, de::DeserializeOwned};
use uuid::Uuid;

use super::statement::Cells;

/// What can be read, or why it cannot: a row that is damaged holds up nobody else. What fails otherwise fails for all.
pub(super) fn readable<T>(read: StoreResult<T>) -> StoreResult<Result<T, String>> {
    match read {
        Ok(found) => Ok(Ok(found)),
        Err(StoreError::Corrupt(why)) => Ok(Err(why)),
        Err(
            error @ (StoreError::Unavailable(_)
            | StoreError::Unwritable { .. }
            | StoreError::Conflict(_)
            | StoreError::TooSlow),
        ) => Err(error),
    }
}

/// A name or id that was checked when it was stored.
pub(super) fn name<T>(text: String) -> StoreResult<T>
where
    T: FromStr,
    T::Err: Display,
{
    text.parse().map_err(|error| StoreError::Corrupt(format!("`{text}`: {error}")))
}

/// An instant for a column.
pub(super) fn time(at: Instant) -> Value {
    at.as_micros().into()
}

/// An instant for a column that may be NULL.
pub(super) fn maybe_time(at: Option<Instant>) -> Value {
    at.map(Instant::as_micros).into()
}

/// Reads a column that may be NULL.
pub(super) fn maybe(at: Option<i64>) -> Option<Instant> {
    at.map(Instant::from_micros)
}

/// A number of things for a column that may be NULL. One that no column holds is as good as unknown.
pub(super) fn maybe_count(count: Option<u64>) -> Value {
    count.and_then(|count| i64::try_from(count).ok()).into()
}

/// Reads a number of things from a column that may be NULL.
pub(super) fn read_count(cells: &mut Cells<'_>) -> StoreResult<Option<u64>> {
    cells.parse("a count", |number: &Option<i64>| match number {
        Some(number) => u64::try_from(*number).ok().map(Some),
        None => Some(None),
    })
}

/// Ids are made a little before their rows.
pub(super) const ID_SLACK: Duration = Duration::from_secs(3_600);

/// The smallest id of an instant's millisecond: ids sort by when they were made.
pub(super) fn first_id(at: Instant) -> Uuid {
    let millis = u128::try_from(at.as_micros() / 1_000).unwrap_or(0).min((1 << 48) - 1);
    Uuid::from_u128(millis << 80)
}

/// JSON for a column.
pub(super) fn json<T: Serialize>(value: &T) -> StoreResult<String> {
    serde_json::to_string(value).map_err(|error| StoreError::Corrupt(error.to_string()))
}

/// Reads JSON from a column.
pub(super) fn read_json<T: DeserializeOwned>(text: &str) -> StoreResult<T> {
    serde_json::from_str(text).map_err(|error| StoreError::Corrupt(format!("stored JSON: {error}")))
}

/// Labels or headers; NULL where there are none.
pub(super) fn labels(labels: &BTreeMap<String, String>) -> StoreResult<Option<String>> {
    if labels.is_empty() { Ok(None) } else { json(labels).map(Some) }
}

/// Reads labels or headers.
pub(super) fn read_labels(text: Option<String>) -> StoreResult<BTreeMap<String, String>> {
    text.map_or_else(|| Ok(BTreeMap::new()), |text| read_json(&text))
}

/// A policy; NULL where it is the default.
pub(super) fn policy(policy: &RunPolicy) -> StoreResult<Option<String>> {
    if *policy == RunPolicy::default() { Ok(None) } else { json(policy).map(Some) }
}

/// Policies that were read lately. Runs of one job share theirs, and a text is longer to parse than to look up.
#[derive(Debug)]
pub(super) struct Policies {
    default: Arc<RunPolicy>,
    read: Mutex<HashMap<String, Arc<RunPolicy>>>,
}

impl Default for Policies {
    fn default() -> Self {
        Self { default: Arc::new(RunPolicy::default()), read: Mutex::default() }
    }
}

impl Policies {
    /// Reads a policy.
    pub(super) fn read(&self, text: Option<String>) -> StoreResult<Arc<RunPolicy>> {
        let Some(text) = text else { return Ok(Arc::clone(&self.default)) };
        let mut known = self.read.lock();
        if let Some(policy) = known.get(&text) {
            return Ok(Arc::clone(policy));
        }
        let policy = Arc::new(read_json::<RunPolicy>(&text)?);
        if known.len() > 1_000 {
            known.clear();
        }
        known.insert(text, Arc::clone(&policy));
        Ok(policy)
    }
}

/// The columns of [`life`], in order.
pub(super) const LIFE: &str = "state, attempt, open_token, decided_token, worker_id, generation, cancel_requested, \
     stop_timeout, stop_deadline, failures, losses, returns, reason, create_time, queue_time, lease_time, start_time, \
     end_time, wake_time, buffer, cancel_time, cancel_reason, log_lines";

/// A column of a state, as its code.
pub(super) fn run_state(cells: &mut Cells<'_>) -> StoreResult<RunState> {
    cells.parse("a run's state", |code: &i32| RunState::from_code(*code))
}

/// Reads the columns of [`LIFE`].
pub(super) fn life(cells: &mut Cells<'_>) -> StoreResult<Lifecycle> {
    Ok(Lifecycle {
        state: run_state(cells)?,
        attempt: cells.next()?,
        open: cells.next()?,
        decided: cells.next()?,
        worker: cells.next::<Option<Uuid>>()?.map(WorkerId::from_uuid),
        generation: cells.next()?,
        cancel_requested: cells.next()?,
        stop_timeout: cells.next()?,
        stop_deadline: maybe(cells.next()?),
        failures: count(cells)?,
        losses: count(cells)?,
        returns: count(cells)?,
        reason: cells.next()?,
        create_time: Instant::from_micros(cells.next()?),
        queue_time: maybe(cells.next()?),
        lease_time: maybe(cells.next()?),
        start_time: maybe(cells.next()?),
        end_time: maybe(cells.next()?),
        wake_time: maybe(cells.next()?),
        buffer: cells.parse("how a run waits", |code: &Option<i32>| match code {
            Some(code) => Buffer::from_code(*code).map(Some),
            None => Some(None),
        })?,
        cancel_time: maybe(cells.next()?),
        cancel_reason: cells.next()?,
        log_lines: read_count(cells)?,
    })
}

/// Reads a priority, a fairness key and when a run was due.
pub(super) fn place(cells: &mut Cells<'_>) -> StoreResult<Place> {
    let priority = cells.parse("a priority", |number: &i32| u8::try_from(*number).ok())?;
    Ok(Place { priority, key: name(cells.next()?)?, due: Instant::from_micros(cells.next()?) })
}

/// Reads the rate of a queue: its number, its length, its burst.
pub(super) fn rate(cells: &mut Cells<'_>) -> StoreResult<Option<Rate>> {
    let mut number = || {
        cells.parse("a part of a rate", |number: &Option<i64>| match number {
            Some(number) => u64::try_from(*number).ok().map(Some),
            None => Some(None),
        })
    };
    let (count, per, burst) = (number()?, number()?, number()?);
    let small = |number: Option<u64>| NonZeroU32::new(u32::try_from(number?).ok()?);
    let rate = small(count).zip(per).zip(small(burst));
    Ok(rate.map(|((count, per), burst)| Rate { count, per: Duration::from_micros(per), burst }))
}

fn count(cells: &mut Cells<'_>) -> StoreResult<u32> {
    cells.parse("a count", |number: &i64| u32::try_from(*number).ok())
}

/// The values of [`LIFE`], in order, without `create_time`, which never changes.
pub(super) fn life_values(life: &Lifecycle) -> [Value; 22] {
    let Lifecycle {
        state,
        attempt,
        open,
        decided,
        worker,
        generation,
        cancel_requested,
        stop_timeout,
        stop_deadline,
        failures,
        losses,
        returns,
        reason,
        create_time: _,
        queue_time,
        lease_time,
        start_time,
        end_time,
        wake_time,
        buffer,
        cancel_time,
        cancel_reason,
        log_lines,
    } = life;
    [
        state.code().into(),
        (*attempt).into(),
        (*open).into(),
        (*decided).into(),
        worker.map(WorkerId::uuid).into(),
        (*generation).into(),
        (*cancel_requested).into(),
        (*stop_timeout).into(),
        maybe_time(*stop_deadline),
        i64::from(*failures).into(),
        i64::from(*losses).into(),
        i64::from(*returns).into(),
        reason.clone().into(),
        maybe_time(*queue_time),
        maybe_time(*lease_time),
        maybe_time(*start_time),
        maybe_time(*end_time),
        maybe_time(*wake_time),
        buffer.map(Buffer::code).into(),
        maybe_time(*cancel_time),
        cancel_reason.clone().into(),
        maybe_count(*log_lines),
    ]
}
