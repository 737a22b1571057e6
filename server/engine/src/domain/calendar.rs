//! Calendars: time that is set apart, kept under names, in versions.
//!
//! A schedule names the calendars whose time it leaves out. What a calendar holds is the time rules' own
//! ([`mainspring_cron::Calendar`]); here is which version of it a definition counts with. A change of a calendar makes a new
//! version of each job that uses it, so that an instant is judged by one and the same version for ever.

use std::{collections::BTreeMap, sync::Arc};

use mainspring_cron::Calendar;
use serde::{Deserialize, Serialize};

use super::{ids::CalendarUid, instant::Instant, job::JobSpec, names::CalendarName};

/// A calendar as stored.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedCalendar {
    /// Its identity through all versions.
    pub uid: CalendarUid,
    /// Its name.
    pub name: CalendarName,
    /// Grows by one with every change: the etag.
    pub version: i64,
    /// What it is and holds.
    pub spec: CalendarSpec,
    /// When it was created.
    pub create_time: Instant,
    /// When it last changed.
    pub update_time: Instant,
}

/// What a user defines.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CalendarSpec {
    /// What it is for.
    pub description: String,
    /// What it holds.
    pub calendar: Arc<Calendar>,
}

/// A calendar whose time a schedule leaves out, or keeps to, in the version that it counts with.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Exclusion {
    /// Its name.
    pub name: CalendarName,
    /// Which.
    pub uid: CalendarUid,
    /// In which version.
    pub version: i64,
    /// What it holds; it is stored once for all that use it, and nothing is left out before it is read.
    #[serde(skip)]
    pub calendar: Option<Arc<Calendar>>,
}

impl PartialEq for Exclusion {
    fn eq(&self, other: &Self) -> bool {
        let Self { name, uid, version, calendar: _ } = self;
        (name, uid, version) == (&other.name, &other.uid, &other.version)
    }
}

impl From<&NamedCalendar> for Exclusion {
    fn from(calendar: &NamedCalendar) -> Self {
        let NamedCalendar { uid, name, version, spec, create_time: _, update_time: _ } = calendar;
        let calendar = Some(Arc::clone(&spec.calendar));
        Self { name: name.clone(), uid: *uid, version: *version, calendar }
    }
}

impl JobSpec {
    /// The calendars that its schedules leave out, or keep to.
    pub fn exclusions(&self) -> impl Iterator<Item = &Exclusion> {
        self.schedules.iter().flat_map(|schedule| schedule.exclude.iter().chain(&schedule.only))
    }

    /// The same, to be changed.
    pub fn exclusions_mut(&mut self) -> impl Iterator<Item = &mut Exclusion> {
        self.schedules.iter_mut().flat_map(|schedule| schedule.exclude.iter_mut().chain(&mut schedule.only))
    }

    /// Counts with these versions of its calendars from now on; those that are not among them stay.
    pub fn pin(&mut self, calendars: &BTreeMap<CalendarUid, Exclusion>) {
        for exclusion in self.exclusions_mut() {
            if let Some(pinned) = calendars.get(&exclusion.uid) {
                *exclusion = pinned.clone();
            }
        }
    }
}
