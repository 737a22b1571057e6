//! Changes of calendars, whoever is there to complete them.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use mainspring_cron::Calendar;
use mainspring_engine::{
    domain::{
        attempt::Outcome,
        auto_disable::AutoDisable,
        calendar::{CalendarSpec, Exclusion, NamedCalendar},
        event::{Detail, JobChange},
        ids::CalendarUid,
        instant::Instant,
        job::{JobSpec, JobState},
        ledger::Fate,
        names::Scope,
        schedule::ScheduleSpec,
    },
    ports::store::{CalendarChange, NewCalendar, UpdateCalendar},
};
use mainspring_tests::{
    conformance::world::{every, failure, secs, spec},
    engine::Stage,
    harness::host::{self, PATIENCE},
};

use crate::ledger::kept_of;

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watchers_are_told_of_a_schedule_that_a_change_starves() {
    let stage = Stage::set().await;
    let now = stage.engine.now();
    let calendar = create(&stage, holding(now.plus(secs(100)), now.plus(secs(200)))).await;
    let keeps = |name| ScheduleSpec { exclude: vec![Exclusion::from(&calendar)], ..every(name, 60) };
    // One that has made all its runs has nothing to be starved of.
    let done = ScheduleSpec { max_runs: Some(1), ..keeps("done") };
    stage.create("report", spec(vec![every("free", 7_200), keeps("kept"), done])).await;
    stage.create("other", spec(vec![every("main", 60)])).await;
    stage.pass(secs(60)).await;
    let mut watch = stage.engine.events().watch(None).unwrap();
    let (scope, name, version) = (Scope::default(), calendar.name.clone(), calendar.version);
    let all = holding(Instant::EPOCH, Instant::CALENDAR_MAX);
    let (_, followed) =
        stage.engine.calendars().update(UpdateCalendar { scope, name, version, spec: all }).await.unwrap();
    assert_eq!(followed, 1);
    // Something that comes after whatever is told of it.
    let marker = stage.create("marker", spec(Vec::new())).await.name;
    let mut told = Vec::new();
    let heard = async {
        loop {
            match &watch.next().await.unwrap().1.detail {
                Detail::NeverFires { job, schedule } => told.push((job.to_string(), schedule.to_string())),
                Detail::Job { job, .. } if *job == marker => return,
                _ => {}
            }
        }
    };
    host::within(PATIENCE, "the marker to be told", heard).await.unwrap();
    assert_eq!(told, [("report".to_owned(), "kept".to_owned())]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_is_paused_by_itself_keeps_to_its_calendar_and_follows_it() {
    let stage = Stage::set().await;
    let began = stage.engine.now();
    let at = |second| began.plus(secs(second));
    let calendar = create(&stage, holding(at(30), at(35))).await;
    let two = NonZeroU32::new(2).unwrap();
    let auto_disable = AutoDisable::After { failures: two, window: secs(3_600), cooldown: Some(secs(10)) };
    let kept = ScheduleSpec { exclude: vec![Exclusion::from(&calendar)], ..every("main", 5) };
    let mut definition = JobSpec { auto_disable, ..spec(vec![kept]) };
    definition.policy.retry.max_attempts = 1;
    let job = stage.create("report", definition).await;
    let mut watch = stage.engine.events().watch(None).unwrap();
    let mut worker = stage.connect(1).await;
    for _ in 0..2 {
        stage.pass(secs(5)).await;
        let key = worker.accepted().await;
        worker.reported(key, Outcome::Failed(failure("BUSY"))).await;
    }
    let disabled = async {
        while !matches!(watch.next().await.unwrap().1.detail, Detail::Job { change: JobChange::AutoDisabled, .. }) {}
    };
    host::within(PATIENCE, "the job to be paused by itself", disabled).await.unwrap();
    // It is still as it was, and follows what is decided meanwhile.
    stage.pass(secs(2)).await;
    let (scope, name, version) = (Scope::default(), calendar.name.clone(), calendar.version);
    let longer = UpdateCalendar { scope, name, version, spec: holding(at(15), at(35)) };
    let (_, followed) = stage.engine.calendars().update(longer).await.unwrap();
    let there = stage.world().job("report").await.unwrap();
    assert_eq!((followed, there.state), (1, JobState::AutoDisabled));
    assert_eq!(there.pause.as_ref().and_then(|pause| pause.until), Some(at(20)));
    for _ in 0..4 {
        stage.pass(secs(7)).await;
        worker.renew(&[]).await;
    }
    let again = worker.accepted().await;
    let run = stage.run(again.run).await;
    assert_eq!((run.nominal_time, run.job.map(|of| of.version)), (Some(at(35)), Some(2)));
    assert_eq!(stage.world().job("report").await.unwrap().state, JobState::Active);
    let instants: Vec<_> = (1..=8).map(|number| at(5 * number)).collect();
    let (fates, doubled) = kept_of(&stage, job.uid).await.ranges.fates(&instants);
    assert_eq!(doubled, []);
    let expected = [
        (Fate::Fired, 5..=10),
        // A pause comes before a calendar, as long as it lasts.
        (Fate::Paused, 15..=15),
        (Fate::Excluded, 20..=30),
        (Fate::Fired, 35..=40),
    ];
    let of = |second: u64| expected.iter().find(|(_, seconds)| seconds.contains(&second)).map(|(fate, _)| *fate);
    for (number, instant) in (1_u64..).zip(&instants) {
        assert_eq!(fates.get(instant).copied(), of(5 * number), "at {}", 5 * number);
    }
}
