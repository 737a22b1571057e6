//! Schedules that count from the ends of their runs: what comes next, and what it takes for something to come.

use mainspring_cron::{FixedDelay, Rule};
use mainspring_engine::{
    domain::{
        attempt::Outcome,
        catch_up::{CatchUp, Mode},
        instant::Instant,
        job::{Job, JobSpec, JobState, Pause},
        ledger::Fate,
        overlap::Overlap,
        run::RunState,
        schedule::ScheduleSpec,
        supersede::Pending,
        transition::Event,
    },
    ports::store::{Fired, JobChange, Moved, Resume, UpdateJob},
};

use super::world::{World, applied, changed, every, failure, fired, pointer, secs, spec};

/// A schedule due so many seconds after the run before it ends.
fn after(name: &str, seconds: i64) -> ScheduleSpec {
    let rule = Rule::FixedDelay(FixedDelay::new(seconds * 1_000_000).unwrap());
    ScheduleSpec { rule, ..every(name, 1) }
}

async fn next(w: &World) -> Option<Instant> {
    w.job("report").await.unwrap().next_times[0]
}

/// Fires what is due, which makes one run.
async fn one(w: &World) -> Moved {
    let shard = w.own().await;
    let answers = w.fire_due(shard).await;
    let runs: Vec<_> = answers.iter().flat_map(fired).collect();
    assert_eq!(runs.len(), 1, "{answers:?}");
    runs[0].clone()
}

async fn fates(w: &World, job: &Job) -> Vec<(Fate, u64)> {
    let ranges = w.ledger(job.uid, Instant::MIN, Instant::MAX).await;
    ranges.into_iter().map(|range| (range.range.fate, range.range.count)).collect()
}

async fn edit(w: &World, change: impl FnOnce(JobSpec) -> JobSpec, pending: Pending) -> Job {
    let job = w.job("report").await.unwrap();
    let (scope, revision) = (w.scope.clone(), job.revision);
    let update = UpdateJob { scope, name: job.name, revision, spec: change(job.spec), pending, actor: "ops".into() };
    match w.store.update_job(w.now, update).await.unwrap() {
        JobChange::Done(job) | JobChange::DoneWith(job, _) => job,
        other => panic!("{other:?}"),
    }
}

pub async fn the_next_instant_follows_the_end_of_the_run(mut w: World) {
    let job = w.create("report", spec(vec![after("main", 10)])).await;
    assert_eq!(job.next_times, [Some(w.now.plus(secs(10)))]);
    let owner = w.connect().await;
    w.pass(secs(10));
    let run = pointer(&one(&w).await);
    // While the run is not over there is nothing to be due, to be missed or to be done with.
    w.pass(secs(1_000));
    assert_eq!((next(&w).await, w.store.next_due(w.now).await.unwrap().schedule), (None, None));
    assert_eq!(w.job("report").await.unwrap().state, JobState::Active);
    assert!(w.fire_due(w.own().await).await.is_empty());
    let key = w.lease(owner, run).await.key;
    w.pass(secs(7));
    let over = applied(w.report(key, Outcome::Succeeded).await);
    assert_eq!((over.to, over.wake_time), (RunState::Succeeded, Some(w.now)));
    assert_eq!(next(&w).await, Some(w.now.plus(secs(10))));
    w.pass(secs(9));
    assert!(w.fire_due(w.own().await).await.is_empty());
    w.pass(secs(1));
    let second = one(&w).await;
    assert_eq!(w.store.run(&w.scope, second.run).await.unwrap().unwrap().nominal_time, Some(w.now));
    assert_eq!(fates(&w, &job).await, [(Fate::Fired, 1), (Fate::Fired, 1)]);
}

pub async fn an_end_is_that_of_the_whole_run_whatever_it_is(mut w: World) {
    w.create("report", spec(vec![after("main", 10)])).await;
    let owner = w.connect().await;
    w.pass(secs(10));
    let run = pointer(&one(&w).await);
    let key = w.lease(owner, run).await.key;
    let waits = applied(w.report(key, Outcome::Failed(failure("BUSY"))).await);
    assert_eq!((waits.to, next(&w).await), (RunState::RetryWait, None));
    w.pass(secs(3));
    let cancel = Event::Cancel { reason: "enough".into(), grace: None };
    assert_eq!(changed(w.apply(run.run, cancel).await).to, RunState::Cancelled);
    assert_eq!(next(&w).await, Some(w.now.plus(secs(10))));
    w.pass(secs(10));
    // One that waits for its worker ends, too.
    let run = one(&w).await.run;
    w.pass(secs(5));
    let cancel = Event::Cancel { reason: "enough".into(), grace: None };
    w.apply(run, cancel).await;
    assert_eq!(next(&w).await, Some(w.now.plus(secs(10))));
}

pub async fn what_passes_while_nobody_is_there_is_one_late_run_or_none(mut w: World) {
    let job = w.create("report", spec(vec![after("main", 10)])).await;
    let named = w.now.plus(secs(10));
    w.pass(secs(1_005));
    let run = one(&w).await;
    let view = w.store.run(&w.scope, run.run).await.unwrap().unwrap();
    assert_eq!((view.nominal_time, view.late), (Some(named), true));
    assert_eq!((next(&w).await, fates(&w, &job).await), (None, vec![(Fate::Fired, 1)]));
    w.apply(run.run, Event::Cancel { reason: String::new(), grace: None }).await;
    let catch_up = CatchUp::default().in_mode(Mode::None);
    edit(&w, |spec| JobSpec { catch_up, ..spec }, Pending::Keep).await;
    w.pass(secs(1_005));
    let shard = w.own().await;
    assert!(fired(&w.fire_due(shard).await[0]).is_empty());
    assert_eq!(next(&w).await, Some(w.now.plus(secs(5))));
    assert_eq!(fates(&w, &job).await, [(Fate::Fired, 1), (Fate::Missed, 100)]);
}

pub async fn an_instant_without_a_run_is_followed_by_another(mut w: World) {
    let busy = JobSpec { overlap: Overlap::Skip, ..spec(vec![after("main", 10)]) };
    let job = w.create("report", busy).await;
    let trigger = w.run_of(&job);
    let other = w.submit(vec![trigger]).await[0].run;
    w.pass(secs(10));
    assert!(fired(&w.fire_due(w.own().await).await[0]).is_empty());
    assert_eq!(next(&w).await, Some(w.now.plus(secs(10))));
    // Looked at late: what was in its way then is not looked for instant by instant.
    w.pass(secs(25));
    assert!(fired(&w.fire_due(w.own().await).await[0]).is_empty());
    assert_eq!(next(&w).await, Some(w.now.plus(secs(10))));
    w.apply(other, Event::Cancel { reason: String::new(), grace: None }).await;
    assert_eq!(next(&w).await, Some(w.now.plus(secs(10))));
    w.pass(secs(10));
    one(&w).await;
    assert_eq!(fates(&w, &job).await, [(Fate::SkippedOverlap, 2), (Fate::Fired, 1)]);
}

pub async fn a_pause_goes_on_by_the_delay(mut w: World) {
    let job = w.create("report", spec(vec![after("main", 10)])).await;
    let pause = Pause { note: "x".into(), actor: "ada".into(), time: w.now, until: None };
    w.store.pause_job(w.now, &w.scope, &job.name, pause.clone()).await.unwrap();
    let first = w.now.plus(secs(10));
    w.pass(secs(35));
    assert!(fired(&w.fire_due(w.own().await).await[0]).is_empty());
    assert_eq!((next(&w).await, fates(&w, &job).await), (Some(w.now.plus(secs(5))), vec![(Fate::Paused, 3)]));
    // Caught up with, the first of them begins late, and what comes next follows from its end.
    w.store.resume_job(w.now, &w.scope, &job.name, Resume::Asked(Mode::Latest)).await.unwrap();
    let run = one(&w).await;
    let view = w.store.run(&w.scope, run.run).await.unwrap().unwrap();
    assert_eq!((view.nominal_time, view.late), (Some(first), true));
    assert_eq!((next(&w).await, fates(&w, &job).await), (None, vec![(Fate::Fired, 1)]));
    // A run that ends in a pause is counted from all the same.
    w.store.pause_job(w.now, &w.scope, &job.name, pause).await.unwrap();
    w.pass(secs(3));
    w.apply(run.run, Event::Cancel { reason: String::new(), grace: None }).await;
    assert_eq!(w.store.next_due(w.now).await.unwrap().schedule, Some(w.now.plus(secs(10))));
}

pub async fn a_delayed_schedule_comes_to_its_end(mut w: World) {
    let once = ScheduleSpec { max_runs: Some(1), ..after("main", 10) };
    w.create("once", spec(vec![once])).await;
    let bounded = ScheduleSpec { end: Some(w.now.plus(secs(25))), ..after("main", 10) };
    w.create("report", spec(vec![bounded])).await;
    w.pass(secs(10));
    let answers = w.fire_due(w.own().await).await;
    let completed = |answer: &Fired| matches!(answer, Fired::Done { runs, completed: true } if runs.len() == 1);
    assert_eq!(answers.iter().filter(|answer| completed(answer)).count(), 1, "{answers:?}");
    assert_eq!(w.job("once").await.unwrap().state, JobState::Completed);
    // What would come next lies behind the end.
    let run = w.store.scheduled_runs(w.job("report").await.unwrap().uid, &[w.now]).await.unwrap()[0].1;
    w.pass(secs(6));
    assert_eq!(w.job("report").await.unwrap().state, JobState::Active);
    w.apply(run, Event::Cancel { reason: String::new(), grace: None }).await;
    let answers = w.fire_due(w.own().await).await;
    assert!(matches!(&answers[..], [Fired::Done { runs, completed: true }] if runs.is_empty()), "{answers:?}");
    assert_eq!(w.job("report").await.unwrap().state, JobState::Completed);
}

pub async fn an_edit_keeps_what_a_delay_counts_from(mut w: World) {
    w.create("report", spec(vec![after("main", 10)])).await;
    let begin = w.now;
    w.pass(secs(4));
    edit(&w, |spec| JobSpec { owner: "ada".into(), ..spec }, Pending::Keep).await;
    assert_eq!(next(&w).await, Some(begin.plus(secs(10))));
    edit(&w, |spec| JobSpec { schedules: vec![after("main", 20)], ..spec }, Pending::Keep).await;
    assert_eq!(next(&w).await, Some(w.now.plus(secs(20))));
    w.pass(secs(20));
    let run = one(&w).await.run;
    let edited = edit(&w, |spec| JobSpec { schedules: vec![after("main", 30)], ..spec }, Pending::Keep).await;
    assert_eq!((edited.state, edited.next_times), (JobState::Active, vec![None]));
    w.pass(secs(1));
    w.apply(run, Event::Cancel { reason: String::new(), grace: None }).await;
    assert_eq!(next(&w).await, Some(w.now.plus(secs(30))));
    // One whose rule is another then waits for nothing; an end that comes later is nobody's.
    w.pass(secs(30));
    let run = one(&w).await.run;
    edit(&w, |spec| JobSpec { schedules: vec![every("main", 60)], ..spec }, Pending::Keep).await;
    let rhythm = next(&w).await;
    w.apply(run, Event::Cancel { reason: String::new(), grace: None }).await;
    assert!(rhythm.is_some() && next(&w).await == rhythm);
}

pub async fn a_delayed_start_that_an_edit_drops_is_counted_from(mut w: World) {
    let spread = ScheduleSpec { jitter: secs(9), ..after("main", 10) };
    let job = w.create("report", spec(vec![spread])).await;
    let shard = w.own().await;
    w.pass(secs(10));
    let run = fired(&w.fire_due(shard).await[0])[0].clone();
    assert_eq!(run.to, RunState::Scheduled);
    edit(&w, |spec| JobSpec { owner: "ada".into(), ..spec }, Pending::Recompute).await;
    assert_eq!((w.state(run.run).await, next(&w).await), (RunState::Scheduled, None));
    edit(&w, |spec| JobSpec { owner: "bob".into(), ..spec }, Pending::Cancel).await;
    assert_eq!(w.state(run.run).await, RunState::Cancelled);
    assert_eq!(next(&w).await, Some(w.now.plus(secs(10))));
    assert_eq!(fates(&w, &job).await, [(Fate::Superseded, 1)]);
    w.pass(secs(10));
    one(&w).await;
}
