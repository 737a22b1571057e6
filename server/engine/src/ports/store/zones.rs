//! Zone data: which are in force, and what others make of schedules.

use async_trait::async_trait;
use mainspring_cron::Zones;

use super::StoreResult;
use crate::domain::{
    ids::JobUid,
    instant::Instant,
    job::JobState,
    ledger::Range,
    names::{JobName, NamespaceName, ScheduleName},
    retime::Retiming,
};

/// What a step of retiming came to.
#[derive(Clone, Debug, Default)]
pub struct Retimed {
    /// What there is to tell, of schedules for which the data changed anything.
    pub told: Vec<RetimedSchedule>,
    /// There are more.
    pub more: bool,
}

/// A schedule for which other zone data changed something.
#[derive(Clone, Debug)]
pub struct RetimedSchedule {
    /// Its job's namespace.
    pub namespace: NamespaceName,
    /// Its job's name.
    pub job: JobName,
    /// Its job's version.
    pub version: i64,
    /// Which schedule of it.
    pub schedule: ScheduleName,
    /// What.
    pub told: Told,
}

/// What other zone data changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// The instants that are to come.
    Moved(Retiming),
    /// It cannot be evaluated by them: its job is in ERROR. Where they do not have its zone it fires again once some do, and nothing
    /// is decided on the instant that was announced; where its rule is broken that one has fate ERROR, and only an edit helps.
    Failed(Range),
    /// They have its zone again; the state of its job.
    Found(JobState),
}

/// Zone data.
#[async_trait]
pub trait ZoneData: Send + Sync {
    /// The data in force.
    fn zones(&self) -> Zones;

    /// Puts other data in force: every definition that is read from then on counts with them, and what was evaluated with those
    /// before is not committed to a schedule that was retimed. They are noted by their version, so that runs can name it.
    async fn use_zones(&self, zones: Zones) -> StoreResult<()>;

    /// Brings schedules whose next instant was named by other data to those in force, at most so many jobs in one step; of these
    /// jobs alone where some are named. The instants that the ledger has until now are named by the data until now for ever. One
    /// that cannot be evaluated is its job's error, and stops no other.
    async fn retime(&self, now: Instant, jobs: Option<Vec<JobUid>>, most: usize) -> StoreResult<Retimed>;
}
