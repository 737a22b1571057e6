//! What a schedule says beside its rule: how its starts are spread, how many runs it makes, and what comes after the last.

use mainspring_cron::{At, Rule, Zone};
use mainspring_engine::{
    domain::{
        attempt::Outcome,
        catch_up::CatchUp,
        instant::Instant,
        job::{Job, JobSpec, JobState, OnCompleted},
        ledger::Fate,
        overlap::Overlap,
        run::RunState,
        schedule::ScheduleSpec,
        supersede::Pending,
    },
    ports::store::{Fired, JobChange, RetentionPolicy, UpdateJob},
};

use super::world::{World, every, failure, fired, pointer, secs, spec};

async fn edit(w: &World, name: &str, change: impl FnOnce(JobSpec) -> JobSpec) -> Job {
    let job = w.job(name).await.unwrap();
    let (scope, revision) = (w.scope.clone(), job.revision);
    let update = UpdateJob {
        scope,
        name: job.name,
        revision,
        spec: change(job.spec),
        pending: Pending::Keep,
        actor: "ops".into(),
    };
    match w.store.update_job(w.now, update).await.unwrap() {
        JobChange::Done(job) => job,
        other => panic!("{other:?}"),
    }
}

/// Fates of a job's instants, in order: (fate, count).
async fn fates(w: &World, job: &Job) -> Vec<(Fate, u64)> {
    let ranges = w.ledger(job.uid, Instant::MIN, Instant::MAX).await;
    ranges.into_iter().map(|range| (range.range.fate, range.range.count)).collect()
}

pub async fn a_spread_run_waits_for_its_time(mut w: World) {
    let spread = ScheduleSpec { jitter: secs(60), ..every("main", 60) };
    let job = w.create("report", spec(vec![spread.clone()])).await;
    let shard = w.own().await;
    let nominal = w.pass(secs(60));
    let run = fired(&w.fire_due(shard).await[0])[0].clone();
    let due = spread.due(job.uid, nominal, Some(nominal.plus(secs(60))));
    assert!(nominal < due && due < nominal.plus(secs(60)));
    assert_eq!((run.to, run.wake_time), (RunState::Scheduled, Some(due)));
    let view = w.store.run(&w.scope, run.run).await.unwrap().unwrap();
    assert_eq!((view.nominal_time, view.due_time, view.late), (Some(nominal), due, false));
    assert_eq!(fates(&w, &job).await, [(Fate::Fired, 1)]);
    w.now = due;
    assert_eq!(w.store.wake(w.now, 10).await.unwrap()[0].to, RunState::Queued);
}

pub async fn a_schedule_is_done_with_its_last_run(mut w: World) {
    let twice = ScheduleSpec { max_runs: Some(2), ..every("main", 10) };
    let job = w.create("report", spec(vec![twice])).await;
    let shard = w.own().await;
    // Three are due at once; the third is none of its instants.
    w.pass(secs(30));
    let answers = w.fire_due(shard).await;
    assert!(matches!(&answers[0], Fired::Done { runs, completed: true } if runs.len() == 2), "{answers:?}");
    let over = w.job("report").await.unwrap();
    assert_eq!((over.state, over.run_counts, over.next_times), (JobState::Completed, vec![2], vec![None]));
    assert_eq!(over.last_times, [Some(w.now.minus(secs(10)))]);
    assert_eq!(fates(&w, &job).await, [(Fate::Fired, 2)]);
    assert_eq!(w.store.next_due(w.now).await.unwrap().schedule, None);
    // An edit keeps the count, whether it makes room or not.
    let renamed = edit(&w, "report", |spec| JobSpec { owner: "ada".into(), ..spec }).await;
    assert_eq!((renamed.state, renamed.run_counts), (JobState::Completed, vec![2]));
    let more = ScheduleSpec { max_runs: Some(3), ..every("main", 10) };
    let more = edit(&w, "report", |spec| JobSpec { schedules: vec![more], ..spec }).await;
    assert_eq!((more.state, more.run_counts), (JobState::Active, vec![2]));
    w.pass(secs(20));
    assert!(matches!(&w.fire_due(shard).await[0], Fired::Done { runs, completed: true } if runs.len() == 1));
}

pub async fn what_became_no_run_does_not_count(mut w: World) {
    let twice = ScheduleSpec { max_runs: Some(2), ..every("main", 10) };
    let job = w.create("report", JobSpec { overlap: Overlap::Skip, ..spec(vec![twice]) }).await;
    let shard = w.own().await;
    let owner = w.connect().await;
    w.pass(secs(30));
    let first = pointer(&fired(&w.fire_due(shard).await[0])[0]);
    assert_eq!(w.job("report").await.unwrap().run_counts, [1]);
    let key = w.lease(owner, first).await.key;
    w.report(key, Outcome::Succeeded).await;
    w.pass(secs(10));
    assert!(matches!(w.fire_due(shard).await[0], Fired::Done { completed: true, .. }));
    assert_eq!(fates(&w, &job).await, [(Fate::Fired, 1), (Fate::SkippedOverlap, 2), (Fate::Fired, 1)]);
}

pub async fn handlers_are_told_the_last_instant_that_succeeded(mut w: World) {
    let asks = JobSpec { previous_success: true, ..spec(vec![every("main", 10)]) };
    let told = w.create("report", asks).await;
    w.create("other", spec(vec![every("main", 10)])).await;
    let shard = w.own().await;
    let owner = w.connect().await;
    let mut seen = Vec::new();
    for outcome in [Outcome::Succeeded, Outcome::Failed(failure("BUSY")), Outcome::Succeeded, Outcome::Succeeded] {
        w.pass(secs(10));
        let runs: Vec<_> = w.fire_due(shard).await.iter().flat_map(|answer| fired(answer).to_vec()).collect();
        for run in runs {
            let attempt = w.lease(owner, pointer(&run)).await;
            match attempt.job.as_ref().is_some_and(|(job, ..)| *job == told.uid) {
                true => seen.push(attempt.previous_success.map(|at| at.since(w.now.minus(secs(100))).as_secs())),
                false => assert_eq!(attempt.previous_success, None),
            }
            w.report(attempt.key, outcome.clone()).await;
        }
    }
    assert_eq!(seen, [None, Some(90), Some(80), Some(90)]);
}

pub async fn a_one_shot_that_has_passed_fires_late_and_once(mut w: World) {
    let at = w.now.minus(secs(100));
    let once = ScheduleSpec { rule: Rule::At(At::new(at.timestamp())), ..every("main", 10) };
    let within = |length| CatchUp { max_lateness: Some(secs(length)), ..CatchUp::default() };
    let job = w.create("report", JobSpec { catch_up: within(100), ..spec(vec![once.clone()]) }).await;
    assert_eq!(job.next_times, [Some(at)]);
    let shard = w.own().await;
    let runs = w.fire_due(shard).await;
    let run = w.store.run(&w.scope, fired(&runs[0])[0].run).await.unwrap().unwrap();
    assert_eq!((run.nominal_time, run.due_time, run.late), (Some(at), w.now, true));
    // What has its fate keeps it, whatever is edited.
    let same = edit(&w, "report", |spec| JobSpec { owner: "ada".into(), ..spec }).await;
    assert_eq!((same.state, same.next_times), (JobState::Completed, vec![None]));
    // One that nobody could fire until it was too late.
    let lost = w.create("lost", JobSpec { catch_up: within(100), ..spec(vec![once]) }).await;
    w.pass(secs(1));
    let shard = w.own().await;
    assert!(fired(&w.fire_due(shard).await[0]).is_empty());
    assert_eq!(fates(&w, &lost).await, [(Fate::Missed, 1)]);
    // Another one takes the place of a rule that has fired before it.
    let later = w.now.minus(secs(50));
    let other = ScheduleSpec { rule: Rule::At(At::new(later.timestamp())), ..every("main", 10) };
    let again = edit(&w, "report", |spec| JobSpec { schedules: vec![other], ..spec }).await;
    assert_eq!((again.state, again.next_times), (JobState::Active, vec![Some(later)]));
    assert_eq!(fired(&w.fire_due(shard).await[0]).len(), 1);
    assert_eq!(fates(&w, &job).await, [(Fate::Fired, 1), (Fate::Fired, 1)]);
}

pub async fn a_completed_job_expires_once_its_runs_are_over(mut w: World) {
    let once = ScheduleSpec { max_runs: Some(1), ..every("main", 10) };
    let on_completed = OnCompleted::Delete { after: secs(60) };
    w.create("kept", spec(vec![once.clone()])).await;
    let job = w.create("report", JobSpec { on_completed, ..spec(vec![once]) }).await;
    let shard = w.own().await;
    let owner = w.connect().await;
    w.pass(secs(10));
    let answers = w.fire_due(shard).await;
    assert_eq!(w.store.next_end(w.now).await.unwrap(), Some(w.now.plus(secs(60))));
    w.pass(secs(60));
    assert_eq!(w.store.next_end(w.now).await.unwrap(), None);
    assert_eq!(w.store.expired_jobs(w.now, 10).await.unwrap(), []);
    for run in answers.iter().flat_map(fired) {
        let key = w.lease(owner, pointer(run)).await.key;
        w.report(key, Outcome::Succeeded).await;
    }
    let over = w.job("report").await.unwrap();
    assert_eq!(w.store.expired_jobs(w.now.minus(secs(1)), 10).await.unwrap(), []);
    assert_eq!(w.store.expired_jobs(w.now, 10).await.unwrap(), [(w.scope.clone(), job.name.clone(), over.revision)]);
    // An edit that gives it something to do takes that back, and one that does not begins anew.
    edit(&w, "report", |spec| JobSpec { owner: "ada".into(), ..spec }).await;
    assert_eq!(w.store.next_end(w.now).await.unwrap(), Some(w.now.plus(secs(60))));
    edit(&w, "report", |spec| JobSpec { schedules: vec![every("other", 10)], ..spec }).await;
    assert_eq!(w.store.next_end(w.now).await.unwrap(), None);
}

pub async fn what_a_clock_change_takes_is_kept_by_the_change(mut w: World) {
    let change: Instant = "2027-03-28T01:00:00Z".parse().unwrap();
    let berlin = |name: &str, rule: &str| ScheduleSpec {
        zone: Zone::parse("Europe/Berlin").unwrap(),
        rule: serde_json::from_str(rule).unwrap(),
        ..every(name, 1)
    };
    let quarter = berlin("quarter", r#"{"kind": "cron", "expr": "*/15 * * * *"}"#);
    let night = berlin("night", r#"{"kind": "cron", "expr": "30 2 * * *", "gap": "SKIP"}"#);
    w.now = change.minus(secs(3_000));
    let job = w.create("report", spec(vec![quarter, night])).await;
    let shard = w.own().await;
    let taken = async |w: &World, from| {
        let part = w.store.ledger(job.uid, from, Instant::MAX, 1_000).await.unwrap();
        let told = part
            .skipped
            .into_iter()
            .map(|(schedule, walls)| (schedule.to_string(), walls.first.to_string(), walls.count));
        told.collect::<Vec<_>>()
    };
    w.now = change.plus(secs(1_200));
    w.fire_due(shard).await;
    w.fire_due(shard).await;
    let of_quarter = ("quarter".to_owned(), "2027-03-28T02:00:00".to_owned(), 4);
    assert_eq!(taken(&w, change).await, std::slice::from_ref(&of_quarter));
    assert_eq!(taken(&w, change.plus(secs(1))).await, []);
    // What no instant has come after yet is not lost by an edit.
    edit(&w, "report", |spec| JobSpec { schedules: vec![every("other", 10)], ..spec }).await;
    assert_eq!(taken(&w, change).await, [("night".into(), "2027-03-28T02:30:00".into(), 1), of_quarter]);
    let policy = RetentionPolicy::default();
    w.now = change.plus(policy.ledger);
    w.store.sweep(w.now, policy, 1_000).await.unwrap();
    assert_eq!(taken(&w, change).await.len(), 2);
    w.pass(secs(1));
    w.store.sweep(w.now, policy, 1_000).await.unwrap();
    assert_eq!(taken(&w, change).await, []);
}
