//! Calendars: changes of what jobs leave out, in order with the instants that they are about.
//!
//! A change of a calendar is a change of every job that uses it, and as with those ([`super::jobs`]) no instant may be due
//! that is not evaluated. There may be many such jobs, so they follow in steps, each of which is whole. Whoever changed the
//! calendar is answered when all have followed; what a crash leaves of it is found by [`finish_updates`].

use std::{sync::Arc, time::Duration};

use tokio::sync::oneshot;

use super::{Core, due};
use crate::{
    domain::{
        event::JobChange,
        ids::CalendarUid,
        names::{CalendarName, Scope},
    },
    ports::store::{CalendarChange, NewCalendar, Pinned, StoreError, StoreResult, UpdateCalendar},
};

/// Tries without anything done in between before a change gives up.
const TRIES: usize = 50;
/// Between two tries where another server evaluates.
const PAUSE: Duration = Duration::from_millis(20);
/// Jobs that follow in one step, so that no step holds the writer for long.
const BATCH: usize = 50;

/// Calendars, as the services change them.
#[derive(Debug)]
pub struct Calendars<'a> {
    core: &'a Arc<Core>,
}

impl<'a> Calendars<'a> {
    pub(super) fn new(core: &'a Arc<Core>) -> Self {
        Self { core }
    }

    /// Creates a calendar.
    pub async fn create(&self, calendar: NewCalendar) -> StoreResult<CalendarChange> {
        self.core.store.create_calendar(self.core.now(), calendar).await
    }

    /// Deletes a calendar.
    pub async fn delete(
        &self,
        scope: &Scope,
        name: &CalendarName,
        version: Option<i64>,
    ) -> StoreResult<CalendarChange> {
        self.core.store.delete_calendar(self.core.now(), scope, name, version).await
    }

    /// Replaces what a calendar holds; answers how many jobs followed.
    pub async fn update(&self, update: UpdateCalendar) -> StoreResult<(CalendarChange, u64)> {
        let change = self.core.store.update_calendar(self.core.now(), update).await?;
        let mut followed = 0;
        if let CalendarChange::Done(calendar) = &change {
            // Not in the caller's own future: it would stop with the call.
            let (core, uid) = (self.core.clone(), calendar.uid);
            let (answer, answered) = oneshot::channel();
            self.core.tasks.spawn("pin-jobs", async move {
                drop(answer.send(pin_jobs(&core, uid).await));
            });
            let stopped = || StoreError::Unavailable("the server is stopping".into());
            followed = answered.await.map_err(|_| stopped())??;
        }
        Ok((change, followed))
    }
}

/// Brings every job that uses a calendar to the version in force; how many there were.
async fn pin_jobs(core: &Core, calendar: CalendarUid) -> StoreResult<u64> {
    let mut timer = core.clock.timer("settle");
    let (mut followed, mut tries, mut overtaken) = (0, TRIES, false);
    while tries > 0 {
        let now = core.now();
        let Pinned { jobs, unsettled, more } = core.store.pin_jobs(now, calendar, BATCH).await?;
        jobs.iter().for_each(|job| core.news.job(now, job, Some(job.state), JobChange::Updated));
        followed += jobs.len() as u64;
        if !more {
            return Ok(followed);
        }
        let mut any = !jobs.is_empty();
        for job in unsettled {
            any |= due::settle(core, job).await?;
        }
        if any {
            overtaken = false;
        } else if core.shard.lock().is_some() && !overtaken {
            // The stage itself was faster, and there is nothing to wait for.
            overtaken = true;
        } else {
            tries -= 1;
            core.news.due.notify_one();
            timer.sleep_until(core.now().plus(PAUSE)).await;
        }
    }
    Err(StoreError::Conflict(format!("jobs that use calendar {calendar} are due, and nobody evaluates them")))
}

/// Completes the changes of calendars that were left half done.
pub(super) async fn finish_updates(core: &Core) -> StoreResult<()> {
    for calendar in core.store.half_updated(BATCH).await? {
        let followed = pin_jobs(core, calendar).await?;
        tracing::info!(%calendar, followed, "the change of a calendar was completed");
    }
    Ok(())
}
