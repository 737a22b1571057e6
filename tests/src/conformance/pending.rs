//! Starts that are pending when a job is edited, and the fate of their instants.

use std::sync::Arc;

use mainspring_cron::Calendar;
use mainspring_engine::{
    domain::{
        calendar::{CalendarSpec, Exclusion},
        ids::{CalendarUid, RunId},
        instant::Instant,
        job::{Job, JobSpec},
        ledger::Fate,
        limit::{Concurrency, Pace},
        overlap::Overlap,
        run::RunState,
        schedule::ScheduleSpec,
        supersede::{Dropped, Pending},
    },
    ports::store::{CalendarChange, DroppedRun, JobChange, JobRef, Moved, NewCalendar, RunView, ShardLease, UpdateJob},
};

use super::world::{World, every, fired, secs, spec};

/// Every so many seconds, and begun within as many.
fn spread(seconds: u64) -> ScheduleSpec {
    ScheduleSpec { jitter: secs(seconds), ..every("main", seconds) }
}

/// A job that has fired so often; its last start is pending, and with `all` those before are, too.
async fn fired_so_often(w: &mut World, count: u32, all: bool) -> (Job, ShardLease, Vec<RunId>) {
    let job = w.create("report", spec(vec![spread(10)])).await;
    let shard = w.own().await;
    let mut runs = Vec::new();
    for _ in 0..count {
        w.pass(secs(10));
        if !all {
            w.store.wake(w.now, 100).await.unwrap();
        }
        runs.push(fired(&w.fire_due(shard).await[0])[0].run);
    }
    (job, shard, runs)
}

async fn edit(w: &World, pending: Pending, change: impl FnOnce(JobSpec) -> JobSpec) -> (Job, Vec<Moved>) {
    let job = w.job("report").await.unwrap();
    let (scope, revision) = (w.scope.clone(), job.revision);
    let update = UpdateJob { scope, name: job.name, revision, spec: change(job.spec), pending, actor: "ops".into() };
    match w.store.update_job(w.now, update).await.unwrap() {
        JobChange::Done(job) => (job, Vec::new()),
        JobChange::DoneWith(job, moved) => (job, moved),
        other => panic!("{other:?}"),
    }
}

fn urgent(spec: JobSpec) -> JobSpec {
    let concurrency = Concurrency { key: "${labels.team}".parse().unwrap(), limit: None, pace: Pace::Kept };
    JobSpec { priority: 9, concurrency: Some(concurrency), ..spec }
}

async fn run(w: &World, run: RunId) -> RunView {
    w.store.run(&w.scope, run).await.unwrap().unwrap()
}

/// Fates of the job's instants, in order: (version, fate, count).
async fn fates(w: &World, job: &Job) -> Vec<(i64, Fate, u64)> {
    let ranges = w.ledger(job.uid, Instant::MIN, Instant::MAX).await;
    ranges.into_iter().map(|found| (found.range.version, found.range.fate, found.range.count)).collect()
}

pub async fn pending_starts_stay_unless_an_edit_says_otherwise(mut w: World) {
    let (job, _, runs) = fired_so_often(&mut w, 2, true).await;
    let (_, moved) = edit(&w, Pending::Keep, urgent).await;
    assert!(moved.is_empty());
    for id in runs {
        let kept = run(&w, id).await;
        assert_eq!((kept.life.state, kept.priority), (RunState::Scheduled, job.spec.priority));
    }
    assert_eq!(fates(&w, &job).await, [(1, Fate::Fired, 2)]);
}

pub async fn dropped_starts_are_superseded(mut w: World) {
    let (job, shard, mut runs) = fired_so_often(&mut w, 3, false).await;
    // One more under another version, so that some of it is closed.
    edit(&w, Pending::Keep, urgent).await;
    w.pass(secs(10));
    runs.push(fired(&w.fire_due(shard).await[0])[0].run);
    let (changed, moved) = edit(&w, Pending::Cancel, |spec| JobSpec { owner: "ada".into(), ..spec }).await;
    assert_eq!(
        moved.iter().map(|moved| (moved.run, moved.to)).collect::<Vec<_>>(),
        [(runs[2], RunState::Cancelled), (runs[3], RunState::Cancelled)]
    );
    assert!(run(&w, runs[3]).await.life.cancel_reason.unwrap().contains("edit"));
    // The edit took nothing from a schedule, so nobody knows who made it.
    let nominal = run(&w, runs[3]).await.nominal_time.unwrap();
    let dropped = Dropped { version: 2, by: Some((changed.version, w.now)), actor: String::new() };
    let dropped = DroppedRun { nominal, run: (runs[3], RunState::Cancelled), dropped };
    assert_eq!(w.store.dropped_runs(job.uid, &[nominal]).await.unwrap(), [dropped]);
    let told = [(1, Fate::Fired, 2), (1, Fate::Superseded, 1), (2, Fate::Superseded, 1)];
    assert_eq!(fates(&w, &job).await, told);
    // What has begun is left alone, and what comes then fires.
    assert_eq!(run(&w, runs[1]).await.life.state, RunState::Queued);
    w.pass(secs(10));
    assert_eq!(fired(&w.fire_due(shard).await[0]).len(), 1);
    assert_eq!(fates(&w, &job).await.last(), Some(&(changed.version, Fate::Fired, 1)));
}

pub async fn starts_of_a_schedule_that_is_gone_are_dropped_too(mut w: World) {
    let (job, _, runs) = fired_so_often(&mut w, 3, true).await;
    let (_, moved) = edit(&w, Pending::Recompute, |spec| JobSpec { schedules: vec![every("other", 10)], ..spec }).await;
    assert_eq!(moved.len(), 3);
    assert_eq!(run(&w, runs[0]).await.life.state, RunState::Cancelled);
    assert_eq!(fates(&w, &job).await, [(1, Fate::Superseded, 3)]);
}

pub async fn recomputed_starts_begin_by_the_new_definition(mut w: World) {
    let (job, _, runs) = fired_so_often(&mut w, 4, true).await;
    let nominal = w.now;
    let (changed, moved) =
        edit(&w, Pending::Recompute, |spec| JobSpec { schedules: vec![spread(20)], ..urgent(spec) }).await;
    // Of 10, 20, 30 and 40 seconds the new rule names two.
    assert_eq!(
        fates(&w, &job).await,
        [(1, Fate::Superseded, 1), (1, Fate::Fired, 1), (1, Fate::Superseded, 1), (1, Fate::Fired, 1)]
    );
    let anew = run(&w, runs[3]).await;
    let due = spread(20).due(job.uid, nominal, Some(nominal.plus(secs(20))));
    assert_eq!((anew.life.state, anew.nominal_time, anew.due_time), (RunState::Scheduled, Some(nominal), due));
    assert_eq!(anew.concurrency_key.as_ref().map(|key| key.as_str()), Some("blue"));
    assert_eq!((anew.priority, anew.job), (9, Some(JobRef { uid: job.uid, name: job.name, version: changed.version })));
    assert_eq!(
        moved.iter().find(|moved| moved.run == runs[3]).map(|moved| moved.from),
        Some(Some(RunState::Scheduled))
    );
    assert_eq!(run(&w, runs[2]).await.life.state, RunState::Cancelled);
}

pub async fn starts_that_a_calendar_leaves_out_from_now_on_are_dropped(mut w: World) {
    let (job, _, _) = fired_so_often(&mut w, 3, true).await;
    let (first, last) = (w.now.minus(secs(20)), w.now);
    let calendar =
        Calendar { spans: vec![(first.timestamp(), first.plus(secs(15)).timestamp())], ..Calendar::default() };
    let spec = CalendarSpec { description: String::new(), calendar: Arc::new(calendar) };
    let (scope, name) = (w.scope.clone(), "apart".parse().unwrap());
    let new = NewCalendar { scope, uid: CalendarUid::new(w.now), name, spec };
    let CalendarChange::Done(calendar) = w.store.create_calendar(w.now, new).await.unwrap() else {
        panic!("it is new")
    };
    let kept = ScheduleSpec { exclude: vec![Exclusion::from(&calendar)], ..spread(10) };
    let (_, moved) = edit(&w, Pending::Recompute, |spec| JobSpec { schedules: vec![kept], ..spec }).await;
    assert_eq!(fates(&w, &job).await, [(1, Fate::Superseded, 2), (1, Fate::Fired, 1)]);
    let mut anew = Vec::new();
    for moved in moved.iter().filter(|moved| moved.to == RunState::Scheduled) {
        anew.push(run(&w, moved.run).await.nominal_time);
    }
    assert_eq!(anew, [Some(last)]);
}

pub async fn what_waits_for_another_is_pending_as_well(mut w: World) {
    let buffering = JobSpec { overlap: Overlap::BufferAll { max: 5 }, ..spec(vec![every("main", 10)]) };
    let job = w.create("report", buffering).await;
    let shard = w.own().await;
    let mut runs = Vec::new();
    for _ in 0..3 {
        w.pass(secs(10));
        runs.push(fired(&w.fire_due(shard).await[0])[0].run);
    }
    edit(&w, Pending::Recompute, urgent).await;
    let anew = run(&w, runs[2]).await;
    assert_eq!((anew.life.state, anew.life.buffer.is_some(), anew.priority), (RunState::Scheduled, true, 9));
    assert_eq!(fates(&w, &job).await, [(1, Fate::Fired, 3)]);
    edit(&w, Pending::Cancel, |spec| JobSpec { priority: 1, ..spec }).await;
    assert_eq!(fates(&w, &job).await, [(1, Fate::Fired, 1), (1, Fate::Superseded, 2)]);
    assert_eq!(run(&w, runs[0]).await.life.state, RunState::Queued);
}
