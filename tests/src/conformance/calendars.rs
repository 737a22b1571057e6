//! Calendars, and what a change of one means for the jobs that use it.

use std::{slice::from_ref, sync::Arc};

use mainspring_cron::Calendar;
use mainspring_engine::{
    domain::{
        calendar::{CalendarSpec, Exclusion, NamedCalendar},
        catch_up::Mode,
        ids::CalendarUid,
        instant::Instant,
        job::{Job, JobError, JobSpec, JobState, Pause},
        ledger::{Fate, FateReason},
        schedule::ScheduleSpec,
        stop::Running,
        supersede::Pending,
    },
    ports::store::{
        CalendarChange, CalendarUser, JobChange, NewCalendar, Pinned, Resume, RetentionPolicy, StoreError, Undelete,
        UpdateCalendar, UpdateJob,
    },
};

use super::world::{World, every, fired, job_name, secs, spec};

/// A calendar that holds a stretch of time, in seconds from now.
fn holding(w: &World, from: u64, until: u64) -> CalendarSpec {
    let span = (w.now.plus(secs(from)).timestamp(), w.now.plus(secs(until)).timestamp());
    CalendarSpec {
        description: "apart".into(),
        calendar: Arc::new(Calendar { spans: vec![span], ..Calendar::default() }),
    }
}

async fn create(w: &World, name: &str, spec: CalendarSpec) -> NamedCalendar {
    let (scope, uid) = (w.scope.clone(), CalendarUid::new(w.now));
    let new = NewCalendar { scope, uid, name: name.parse().unwrap(), spec };
    match w.store.create_calendar(w.now, new).await.unwrap() {
        CalendarChange::Done(calendar) => calendar,
        other => panic!("{other:?}"),
    }
}

async fn update(w: &World, calendar: &NamedCalendar, spec: CalendarSpec) -> CalendarChange {
    let (scope, name, version) = (w.scope.clone(), calendar.name.clone(), calendar.version);
    w.store.update_calendar(w.now, UpdateCalendar { scope, name, version, spec }).await.unwrap()
}

async fn change(w: &World, calendar: &NamedCalendar, spec: CalendarSpec) -> NamedCalendar {
    match update(w, calendar, spec).await {
        CalendarChange::Done(calendar) => calendar,
        other => panic!("{other:?}"),
    }
}

/// The jobs that follow a change, all of which can.
async fn follow(w: &World, calendar: &NamedCalendar) -> Vec<Job> {
    let mut followed = Vec::new();
    loop {
        let Pinned { jobs, unsettled, more } = w.store.pin_jobs(w.now, calendar.uid, 10).await.unwrap();
        assert_eq!(unsettled, []);
        followed.extend(jobs);
        if !more {
            assert_eq!(w.store.half_updated(10).await.unwrap(), []);
            return followed;
        }
    }
}

fn without(calendar: &NamedCalendar, seconds: u64) -> JobSpec {
    spec(vec![ScheduleSpec { exclude: vec![Exclusion::from(calendar)], ..every("main", seconds) }])
}

async fn fates(w: &World, job: &Job) -> Vec<(i64, Fate, u64)> {
    let ranges = w.ledger(job.uid, Instant::MIN, Instant::MAX).await;
    ranges.into_iter().map(|found| (found.range.version, found.range.fate, found.range.count)).collect()
}

pub async fn calendars_read_back_by_name(w: World) {
    let held = holding(&w, 10, 20);
    let made = create(&w, "holidays", held.clone()).await;
    assert_eq!((made.version, &made.spec, made.create_time), (1, &held, w.now));
    let other = create(&w, "weekends", CalendarSpec::default()).await;
    let again =
        NewCalendar { scope: w.scope.clone(), uid: CalendarUid::new(w.now), name: made.name.clone(), spec: held };
    assert!(matches!(w.store.create_calendar(w.now, again).await.unwrap(), CalendarChange::NameTaken));
    let names = ["weekends".parse().unwrap(), "nobody".parse().unwrap()];
    assert_eq!(w.store.calendars_named(&w.scope, &names).await.unwrap(), from_ref(&other));
    assert_eq!(w.store.calendars(&w.scope, None, 10).await.unwrap(), [made.clone(), other.clone()]);
    assert_eq!(w.store.calendars(&w.scope, Some(made.name), 10).await.unwrap(), from_ref(&other));
    assert_eq!(w.store.calendars(&w.scope, None, 1).await.unwrap().len(), 1);
    assert!(matches!(update(&w, &other, CalendarSpec::default()).await, CalendarChange::Unchanged(_)));
    let stale = NamedCalendar { version: 7, ..other.clone() };
    assert!(matches!(update(&w, &stale, holding(&w, 1, 2)).await, CalendarChange::VersionMismatch));
}

pub async fn what_a_calendar_holds_makes_no_run(mut w: World) {
    let calendar = create(&w, "apart", holding(&w, 15, 35)).await;
    let job = w.create("report", without(&calendar, 10)).await;
    let shard = w.own().await;
    let mut runs = 0;
    for _ in 0..4 {
        w.pass(secs(10));
        runs += fired(&w.fire_due(shard).await[0]).len();
    }
    assert_eq!(runs, 2);
    assert_eq!(fates(&w, &job).await, [(1, Fate::Fired, 1), (1, Fate::Excluded, 2), (1, Fate::Fired, 1)]);
}

pub async fn people_see_the_next_instant_that_fires(w: World) {
    let calendar = create(&w, "apart", holding(&w, 5, 35)).await;
    let job = w.create("report", without(&calendar, 10)).await;
    assert_eq!(job.next_times, [Some(w.now.plus(secs(40)))]);
    // It is evaluated all the same, so that each instant has its fate.
    assert_eq!(w.store.next_due(w.now).await.unwrap().schedule, Some(w.now.plus(secs(10))));
}

pub async fn a_change_makes_a_version_of_each_job_that_uses_it(mut w: World) {
    let calendar = create(&w, "apart", holding(&w, 15, 25)).await;
    let job = w.create("report", without(&calendar, 10)).await;
    let other = w.create("other", spec(vec![every("main", 1_000)])).await;
    let shard = w.own().await;
    w.pass(secs(10));
    let changed = change(&w, &calendar, holding(&w, 15, 25)).await;
    // An instant that is due comes first.
    let step = w.store.pin_jobs(w.now, calendar.uid, 10).await.unwrap();
    assert_eq!((step.jobs.len(), step.unsettled, step.more), (0, vec![job.uid], true));
    w.fire_due(shard).await;
    let jobs = follow(&w, &changed).await;
    assert_eq!((changed.version, changed.uid), (2, calendar.uid));
    assert_eq!(jobs.iter().map(|job| (job.uid, job.version)).collect::<Vec<_>>(), [(job.uid, 2)]);
    assert_eq!(w.job("other").await.unwrap().version, other.version);
    // Of 20, 30 and 40 seconds it was the first that was held, and is the second now.
    for _ in 0..3 {
        w.pass(secs(10));
        w.fire_due(shard).await;
    }
    let told = [(1, Fate::Fired, 1), (2, Fate::Fired, 1), (2, Fate::Excluded, 1), (2, Fate::Fired, 1)];
    assert_eq!(fates(&w, &job).await, told);
    // Each range is told by the calendar that it was judged by.
    for found in w.ledger(job.uid, Instant::MIN, Instant::MAX).await {
        let rule = &found.spec.schedules[0];
        assert_eq!(rule.excluded(found.range.first).is_some(), found.range.fate == Fate::Excluded, "{found:?}");
    }
}

pub async fn jobs_follow_a_change_in_steps(w: World) {
    let calendar = create(&w, "apart", holding(&w, 5, 15)).await;
    for number in 0..5 {
        w.create(&format!("job-{number}"), without(&calendar, 10)).await;
    }
    assert_eq!(w.store.half_updated(10).await.unwrap(), []);
    let changed = change(&w, &calendar, holding(&w, 15, 25)).await;
    let mut steps = Vec::new();
    for _ in 0..4 {
        assert_eq!(w.store.half_updated(10).await.unwrap(), [calendar.uid]);
        let step = w.store.pin_jobs(w.now, calendar.uid, 2).await.unwrap();
        steps.push((step.jobs.len(), step.more));
    }
    assert_eq!(steps, [(2, true), (2, true), (1, true), (0, false)]);
    assert_eq!(w.store.half_updated(10).await.unwrap(), []);
    // What is stored between two changes counts with the last.
    let again = change(&w, &changed, holding(&w, 25, 35)).await;
    w.create("late", without(&again, 10)).await;
    assert_eq!(follow(&w, &again).await.len(), 5);
}

pub async fn a_calendar_that_holds_everything_brings_a_job_to_error(mut w: World) {
    let calendar = create(&w, "apart", holding(&w, 15, 25)).await;
    let job = w.create("report", without(&calendar, 10)).await;
    let shard = w.own().await;
    let days = (1..=7)
        .map(|day| (jiff::civil::Weekday::from_monday_one_offset(day).unwrap(), mainspring_cron::Hours::ALL_DAY));
    let always = Calendar { weekly: days.collect(), ..Calendar::default() };
    let always = CalendarSpec { description: String::new(), calendar: Arc::new(always) };
    let changed = change(&w, &calendar, always).await;
    let jobs = follow(&w, &changed).await;
    assert_eq!((jobs[0].state, jobs[0].next_times.clone()), (JobState::Error, vec![None]));
    let error = JobError { schedule: Some("main".parse().unwrap()), reason: FateReason::NeverFires };
    assert_eq!(jobs[0].error, Some(error.clone()));
    // A pause hides the state, and not why it fires nothing.
    let pause = Pause { note: String::new(), actor: "ops".into(), time: w.now, until: None };
    w.store.pause_job(w.now, &w.scope, &jobs[0].name, pause).await.unwrap();
    let paused = w.job("report").await.unwrap();
    assert_eq!((paused.state, paused.error), (JobState::Paused, Some(error)));
    w.store.resume_job(w.now, &w.scope, &jobs[0].name, Resume::Asked(Mode::None)).await.unwrap();
    // What its rule names meanwhile is left out by the calendar, instant by instant.
    for _ in 0..3 {
        w.pass(secs(10));
        w.fire_due(shard).await;
    }
    assert_eq!(fates(&w, &job).await, [(2, Fate::Excluded, 3)]);
    assert_eq!(w.job("report").await.unwrap().state, JobState::Error);
    let changed = change(&w, &changed, holding(&w, 15, 25)).await;
    let jobs = follow(&w, &changed).await;
    assert_eq!((jobs[0].state, jobs[0].next_times.clone()), (JobState::Active, vec![Some(w.now.plus(secs(10)))]));
    assert_eq!(jobs[0].error, None);
    w.pass(secs(10));
    w.fire_due(shard).await;
    assert_eq!(fates(&w, &job).await, [(2, Fate::Excluded, 3), (3, Fate::Fired, 1)]);
}

pub async fn versions_that_nobody_counted_with_go(w: World) {
    let policy = RetentionPolicy::default();
    let made = create(&w, "apart", holding(&w, 10, 20)).await;
    let job = w.create("report", without(&made, 10)).await;
    // Each change is followed by the job, but for one that nobody had a look at.
    let second = change(&w, &made, holding(&w, 20, 30)).await;
    let third = change(&w, &second, holding(&w, 30, 40)).await;
    assert_eq!(follow(&w, &third).await.len(), 1);
    let swept = w.store.sweep(w.now, policy, 100).await.unwrap().rows;
    assert_eq!(swept, 1, "the second version, that no definition counted with");
    assert_eq!(w.store.sweep(w.now, policy, 100).await.unwrap().rows, 0);
    // What its older definition named is still named by the first.
    let old = w.store.job_version(job.uid, 1).await.unwrap().unwrap();
    assert!(old.schedules[0].exclude[0].calendar.is_some());
}

pub async fn a_calendar_that_is_used_is_not_deleted(w: World) {
    let calendar = create(&w, "apart", holding(&w, 15, 25)).await;
    let job = w.create("report", without(&calendar, 10)).await;
    let delete = async |version| w.store.delete_calendar(w.now, &w.scope, &calendar.name, version).await.unwrap();
    match delete(None).await {
        CalendarChange::InUse(1, jobs) => {
            assert_eq!(jobs, [CalendarUser { job: job.name.clone(), is_deleted: false }]);
        }
        other => panic!("{other:?}"),
    }
    let update = UpdateJob {
        scope: w.scope.clone(),
        name: job.name.clone(),
        revision: job.revision,
        spec: spec(vec![every("main", 10)]),
        pending: Pending::Keep,
        actor: "ops".into(),
    };
    assert!(matches!(w.store.update_job(w.now, update).await.unwrap(), JobChange::Done(_)));
    assert!(matches!(delete(Some(7)).await, CalendarChange::VersionMismatch));
    assert!(matches!(delete(Some(1)).await, CalendarChange::Done(_)));
    assert!(matches!(delete(None).await, CalendarChange::Missing));
    assert_eq!(w.store.calendars(&w.scope, None, 10).await.unwrap(), []);
    // Whoever read it before comes too late.
    let late = mainspring_engine::ports::store::NewJob {
        scope: w.scope.clone(),
        uid: mainspring_engine::domain::ids::JobUid::new(w.now),
        name: job_name("late"),
        spec: without(&calendar, 10),
        request: None,
    };
    let late = w.store.create_job(w.now, late).await;
    assert!(matches!(late, Err(StoreError::Conflict(_))), "{late:?}");
}

pub async fn a_definition_counts_with_the_calendar_in_force(w: World) {
    let old = create(&w, "apart", holding(&w, 5, 15)).await;
    change(&w, &old, holding(&w, 15, 25)).await;
    // It was read before the change.
    let job = w.create("report", without(&old, 10)).await;
    assert_eq!(job.spec.schedules[0].exclude[0].version, 2);
    assert_eq!(job.next_times, [Some(w.now.plus(secs(10)))]);
}

pub async fn a_job_comes_back_with_the_calendar_in_force(w: World) {
    let calendar = create(&w, "apart", holding(&w, 15, 25)).await;
    let job = w.create("report", without(&calendar, 10)).await;
    w.store.delete_job(w.now, &w.scope, &job.name, None, Running::Detach, "ops").await.unwrap();
    w.store.cancel_waiting(w.now, job.uid, 10).await.unwrap();
    match w.store.delete_calendar(w.now, &w.scope, &calendar.name, None).await.unwrap() {
        CalendarChange::InUse(1, jobs) => {
            assert_eq!(jobs, [CalendarUser { job: job.name.clone(), is_deleted: true }]);
        }
        other => panic!("{other:?}"),
    }
    let changed = change(&w, &calendar, holding(&w, 5, 15)).await;
    assert!(follow(&w, &changed).await.is_empty(), "it is deleted");
    let Undelete::Done(back) = w.store.undelete_job(w.now, &w.scope, &job.name).await.unwrap() else { panic!("gone") };
    assert_eq!((back.version, back.spec.schedules[0].exclude[0].version), (2, 2));
    assert_eq!(back.next_times, [Some(w.now.plus(secs(20)))]);
}
