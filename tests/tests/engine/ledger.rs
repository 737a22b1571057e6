//! What the database says became of a job's instants, read without the product's code.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use mainspring_engine::domain::{ids::JobUid, instant::Instant, ledger::Fate};
use mainspring_tests::engine::Stage;
use sqlx::{Row as _, SqliteConnection};

use crate::crew::database;

/// The ledger and the runs of a job.
pub(crate) struct Kept {
    pub(crate) ranges: Ranges,
    /// The nominal times of its runs that a schedule made, in order; one that comes twice is there twice.
    pub(crate) runs: Vec<Instant>,
    /// Of those that are over, when they ended.
    pub(crate) ends: BTreeMap<Instant, Instant>,
    /// The nominal times of those that an edit dropped before they began.
    pub(crate) dropped: BTreeSet<Instant>,
}

/// What a run says that an edit dropped.
pub(crate) const DROPPED: &str = "an edit of its job dropped it before it began";

/// Ranges of instants with one fate.
#[derive(Default)]
pub(crate) struct Ranges(Vec<Range>);

#[derive(Debug)]
struct Range {
    first: Instant,
    last: Instant,
    count: usize,
    fate: Fate,
}

impl Ranges {
    /// The instants of the ranges in `(after, until]`, which are so far apart.
    pub(crate) fn steps(&self, delay: Duration, after: Instant, until: Instant) -> Vec<Instant> {
        let mut found = Vec::new();
        for range in self.0.iter().filter(|range| range.first > after && range.first <= until) {
            let at = |place: usize| range.first.plus(delay * u32::try_from(place).unwrap());
            assert_eq!(at(range.count - 1), range.last, "{range:?} does not go by steps of {delay:?}");
            found.extend((0..range.count).map(at));
        }
        found.sort_unstable();
        found
    }

    /// The fate of each instant that a range covers, and the instants that more than one covers. Panics where a range counts
    /// other instants than the ones that the rule names.
    pub(crate) fn fates(&self, instants: &[Instant]) -> (BTreeMap<Instant, Fate>, Vec<Instant>) {
        let (mut fates, mut doubled) = (BTreeMap::new(), Vec::new());
        for range in &self.0 {
            let from = instants.partition_point(|at| *at < range.first);
            let until = instants.partition_point(|at| *at <= range.last);
            assert_eq!(until - from, range.count, "{range:?} counts other instants than the rule names");
            for at in &instants[from..until] {
                if fates.insert(*at, range.fate).is_some() {
                    doubled.push(*at);
                }
            }
        }
        (fates, doubled)
    }
}

/// Reads it, of the job of this name.
pub(crate) async fn kept(stage: &Stage, job: &str) -> Kept {
    let mut db = database(stage).await;
    let uid = sqlx::query("SELECT uid FROM job WHERE name = ?1 AND delete_time IS NULL").bind(job);
    let uid = uid.fetch_one(&mut db).await.unwrap().get(0);
    read(&mut db, uid).await
}

/// Reads it, of a job that may have been deleted.
pub(crate) async fn kept_of(stage: &Stage, job: JobUid) -> Kept {
    let mut db = database(stage).await;
    read(&mut db, job.uuid().as_bytes().to_vec()).await
}

async fn read(db: &mut SqliteConnection, uid: Vec<u8>) -> Kept {
    let ranges = "SELECT first_time, last_time, count, fate FROM ledger WHERE job_uid = ?1 UNION ALL \
                  SELECT open_first, open_last, open_count, open_fate FROM schedule WHERE job_uid = ?1 AND open_count > 0";
    let ranges = sqlx::query(ranges).bind(&uid).fetch_all(&mut *db).await.unwrap();
    let runs = "SELECT nominal_time, end_time, cancel_reason IS ?2 FROM run WHERE job_uid = ?1 AND origin = 1 \
                ORDER BY nominal_time";
    let runs = sqlx::query(runs).bind(&uid).bind(DROPPED).fetch_all(db).await.unwrap();
    let nominal = |row: &sqlx::sqlite::SqliteRow| Instant::from_micros(row.get(0));
    let end = |row: &sqlx::sqlite::SqliteRow| row.get::<Option<i64>, _>(1).map(Instant::from_micros);
    let range = |row: &sqlx::sqlite::SqliteRow| Range {
        first: Instant::from_micros(row.get(0)),
        last: Instant::from_micros(row.get(1)),
        count: usize::try_from(row.get::<i64, _>(2)).unwrap(),
        fate: Fate::from_code(row.get(3)).unwrap(),
    };
    Kept {
        ranges: Ranges(ranges.iter().map(range).collect()),
        runs: runs.iter().map(nominal).collect(),
        ends: runs.iter().filter_map(|row| Some((nominal(row), end(row)?))).collect(),
        dropped: runs.iter().filter(|row| row.get(2)).map(nominal).collect(),
    }
}
