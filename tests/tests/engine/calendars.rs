//! Changes of calendars, whoever is there to complete them.

use std::{sync::Arc, time::Duration};

use mainspring_cron::Calendar;
use mainspring_engine::{
    domain::{
        calendar::{CalendarSpec, Exclusion, NamedCalendar},
        ids::CalendarUid,
        instant::Instant,
        names::Scope,
        schedule::ScheduleSpec,
    },
    ports::store::{CalendarChange, NewCalendar, UpdateCalendar},
};
use mainspring_tests::{
    conformance::world::{every, secs, spec},
    engine::Stage,
};

/// A calendar that holds everything from an instant up to another.
fn holding(from: Instant, until: Instant) -> CalendarSpec {
    let calendar = Calendar { spans: vec![(from.timestamp(), until.timestamp())], ..Calendar::default() };
    CalendarSpec { description: String::new(), calendar: Arc::new(calendar) }
}

async fn create(stage: &Stage, spec: CalendarSpec) -> NamedCalendar {
    let (scope, name) = (Scope::default(), "apart".parse().unwrap());
    let new = NewCalendar { scope, uid: CalendarUid::new(stage.engine.now()), name, spec };
    let CalendarChange::Done(calendar) = stage.engine.calendars().create(new).await.unwrap() else {
        panic!("it is there")
    };
    calendar
}

/// More jobs than one step takes, some of them due at every moment.
async fn with_jobs(stage: &Stage, calendar: &NamedCalendar) -> u64 {
    for number in 0..120_u64 {
        let schedule = ScheduleSpec { exclude: vec![Exclusion::from(calendar)], ..every("main", 1 + number % 3) };
        stage.create(&format!("job-{number}"), spec(vec![schedule])).await;
    }
    120
}

async fn versions(stage: &Stage) -> Vec<i64> {
    let mut versions = Vec::new();
    for number in 0..120 {
        let job = stage.world().job(&format!("job-{number}")).await.unwrap();
        versions.push(job.spec.schedules[0].exclude[0].version);
    }
    versions
}

fn change(stage: &Stage, calendar: &NamedCalendar) -> UpdateCalendar {
    let (scope, name, version) = (Scope::default(), calendar.name.clone(), calendar.version);
    let now = stage.engine.now();
    UpdateCalendar { scope, name, version, spec: holding(now.plus(secs(500)), now.plus(secs(600))) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_job_has_followed_when_a_change_is_answered() {
    let stage = Stage::set().await;
    let now = stage.engine.now();
    let calendar = create(&stage, holding(now.plus(secs(100)), now.plus(secs(200)))).await;
    let jobs = with_jobs(&stage, &calendar).await;
    stage.pass(secs(2)).await;
    let (changed, followed) = stage.engine.calendars().update(change(&stage, &calendar)).await.unwrap();
    assert!(matches!(changed, CalendarChange::Done(_)), "{changed:?}");
    assert_eq!((followed, versions(&stage).await), (jobs, vec![2; 120]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_definition_that_cannot_be_read_keeps_no_other_from_following() {
    let stage = Stage::set().await;
    let now = stage.engine.now();
    let calendar = create(&stage, holding(now.plus(secs(100)), now.plus(secs(200)))).await;
    let jobs = with_jobs(&stage, &calendar).await;
    stage.sql("UPDATE job_version SET spec = x'ff' WHERE job_uid = (SELECT uid FROM job WHERE name = 'job-60')").await;
    let (_, followed) = stage.engine.calendars().update(change(&stage, &calendar)).await.unwrap();
    assert_eq!((followed, stage.engine.store().half_updated(10).await.unwrap()), (jobs - 1, vec![]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_a_crash_left_half_done_is_completed() {
    let stage = Stage::set_with(Default::default(), Duration::from_secs(3_600)).await;
    let now = stage.engine.now();
    let calendar = create(&stage, holding(now.plus(secs(100)), now.plus(secs(200)))).await;
    with_jobs(&stage, &calendar).await;
    // What a server does before it is killed.
    let store = stage.engine.store();
    store.update_calendar(stage.engine.now(), change(&stage, &calendar)).await.unwrap();
    let step = store.pin_jobs(stage.engine.now(), calendar.uid, 7).await.unwrap();
    assert_eq!((step.jobs.len(), step.more), (7, true));
    let stage = stage.outage(secs(20)).await;
    assert_eq!(versions(&stage).await, vec![2; 120]);
    assert_eq!(stage.engine.store().half_updated(10).await.unwrap(), []);
}
