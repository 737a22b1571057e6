//! Calendars as people define them.

use async_trait::async_trait;

use super::StoreResult;
use crate::domain::{
    calendar::{CalendarSpec, NamedCalendar},
    ids::{CalendarUid, JobUid},
    instant::Instant,
    job::Job,
    names::{CalendarName, JobName, Scope},
};

/// A calendar to be created.
#[derive(Clone, Debug)]
pub struct NewCalendar {
    /// Where.
    pub scope: Scope,
    /// Its identity.
    pub uid: CalendarUid,
    /// Its name.
    pub name: CalendarName,
    /// What it is and holds.
    pub spec: CalendarSpec,
}

/// A change of a calendar.
#[derive(Clone, Debug)]
pub struct UpdateCalendar {
    /// Where.
    pub scope: Scope,
    /// Which.
    pub name: CalendarName,
    /// Only if it is still this version.
    pub version: i64,
    /// What it is and holds from now on.
    pub spec: CalendarSpec,
}

/// What became of a change of a calendar.
#[derive(Clone, Debug)]
pub enum CalendarChange {
    /// It is as asked; of a change, the jobs that use it are to follow ([`Calendars::pin_jobs`]).
    Done(NamedCalendar),
    /// It was so already.
    Unchanged(NamedCalendar),
    /// There is no such calendar.
    Missing,
    /// Another one has the name.
    NameTaken,
    /// It has changed since it was read.
    VersionMismatch,
    /// So many jobs leave its time out, some of which are told.
    InUse(u64, Vec<CalendarUser>),
}

/// A job that leaves the time of a calendar out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CalendarUser {
    /// Which.
    pub job: JobName,
    /// It is deleted, and would leave it out again if it was brought back.
    pub is_deleted: bool,
}

/// What a step did of bringing jobs to the version of a calendar that is in force.
#[derive(Clone, Debug, Default)]
pub struct Pinned {
    /// These have a new version that counts with it.
    pub jobs: Vec<Job>,
    /// Instants of these are due and not evaluated yet. Evaluate them, then go on.
    pub unsettled: Vec<JobUid>,
    /// There may be more; otherwise the change is complete.
    pub more: bool,
}

/// Calendars.
#[async_trait]
pub trait Calendars: Send + Sync {
    /// Creates a calendar with version 1.
    async fn create_calendar(&self, now: Instant, calendar: NewCalendar) -> StoreResult<CalendarChange>;

    /// Those of these names that there are.
    async fn calendars_named(&self, scope: &Scope, names: &[CalendarName]) -> StoreResult<Vec<NamedCalendar>>;

    /// Calendars by name, after one.
    async fn calendars(
        &self,
        scope: &Scope,
        after: Option<CalendarName>,
        limit: usize,
    ) -> StoreResult<Vec<NamedCalendar>>;

    /// Replaces what a calendar is and holds: version + 1. A definition that is stored from now on counts with it; jobs that
    /// are there follow in steps, and the calendar is half updated until the last of them has.
    async fn update_calendar(&self, now: Instant, update: UpdateCalendar) -> StoreResult<CalendarChange>;

    /// Makes versions of jobs that leave its time out and count with an older version of it, of at most so many: they count
    /// with the one in force. One of whose schedules never fires then goes to ERROR; one that cannot be read is passed over.
    async fn pin_jobs(&self, now: Instant, calendar: CalendarUid, most: usize) -> StoreResult<Pinned>;

    /// Calendars whose change is not complete.
    async fn half_updated(&self, limit: usize) -> StoreResult<Vec<CalendarUid>>;

    /// Deletes a calendar that no job uses, deleted ones that can be brought back among them. With `version`, only if it is
    /// still that one.
    async fn delete_calendar(
        &self,
        now: Instant,
        scope: &Scope,
        name: &CalendarName,
        version: Option<i64>,
    ) -> StoreResult<CalendarChange>;
}
