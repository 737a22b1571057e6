//! Firing: one fate per instant, one run per instant, whoever evaluates it and how often.

use std::cell::Cell;

use mainspring_engine::{
    domain::{
        attempt::Outcome,
        catch_up::{CatchUp, Mode},
        instant::Instant,
        job::{JobError, JobSpec, JobState, Pause},
        ledger::{Fate, FateReason},
        overlap::Overlap,
        run::{RunOrigin, RunState},
        schedule::ScheduleSpec,
        stop::Running,
        supersede::Pending,
        transition::Event,
    },
    ports::store::{Fired, JobChange, JobRef, NewRun, NextDue, Resume, RetentionPolicy, Shares, StoreError, UpdateJob},
};

use super::world::{World, every, fired, lane, pointer, secs, spec};

/// Fates of a job's instants, in order: (fate, count).
async fn fates(w: &World, job: mainspring_engine::domain::ids::JobUid) -> Vec<(Fate, u64)> {
    let ranges = w.ledger(job, Instant::MIN, Instant::MAX).await;
    ranges.into_iter().map(|range| (range.range.fate, range.range.count)).collect()
}

fn skipping(schedules: Vec<ScheduleSpec>) -> JobSpec {
    JobSpec { overlap: Overlap::Skip, ..spec(schedules) }
}

pub async fn a_firing_makes_a_queued_run(mut w: World) {
    let job = w.create("report", spec(vec![every("main", 60)])).await;
    let shard = w.own().await;
    w.pass(secs(60));
    let answers = w.fire_due(shard).await;
    let run = &fired(&answers[0])[0];
    assert_eq!((run.from, run.to, &run.lane), (None, RunState::Queued, &lane()));
    let view = w.store.run(&w.scope, run.run).await.unwrap().unwrap();
    assert_eq!((view.origin, view.nominal_time, view.due_time), (RunOrigin::Schedule, Some(w.now), w.now));
    assert_eq!((view.schedule.unwrap().as_str(), view.late), ("main", false));
    let made_by = JobRef { uid: job.uid, name: job.name, version: job.version };
    assert_eq!((view.job, view.labels, view.priority), (Some(made_by), job.spec.labels, job.spec.priority));
    assert_eq!(view.detail.unwrap().payload, job.spec.payload);
    assert_eq!(fates(&w, job.uid).await, [(Fate::Fired, 1)]);
    let runs = w.store.scheduled_runs(job.uid, &[w.now]).await.unwrap();
    assert_eq!(runs, [(w.now, run.run, RunState::Queued)]);
}

pub async fn firing_twice_fires_once(mut w: World) {
    w.create("report", spec(vec![every("main", 60)])).await;
    let shard = w.own().await;
    w.pass(secs(60));
    let firings = w.evaluate(shard).await;
    let answers = w.store.fire(w.now, shard, [firings.clone(), firings.clone()].concat()).await.unwrap();
    assert_eq!(fired(&answers[0]).len(), 1);
    assert!(matches!(answers[1], Fired::Overtaken));
    let again = w.store.fire(w.now, shard, firings).await.unwrap();
    assert!(matches!(again[0], Fired::Overtaken));
    assert_eq!(w.queued(&lane()).await.len(), 1);
}

pub async fn f01_an_old_owner_commits_nothing(mut w: World) {
    let job = w.create("report", spec(vec![every("main", 60)])).await;
    let old = w.own().await;
    w.pass(secs(60));
    let firings = w.evaluate(old).await;
    let new = w.own().await;
    assert_eq!(new.epoch, old.epoch + 1);
    let answers = w.store.fire(w.now, old, firings.clone()).await.unwrap();
    assert!(matches!(answers[0], Fired::NotOwner));
    assert!(w.queued(&lane()).await.is_empty());
    assert!(fates(&w, job.uid).await.is_empty());
    assert_eq!(fired(&w.store.fire(w.now, new, firings).await.unwrap()[0]).len(), 1);
}

pub async fn f01_a_cursor_never_goes_back(mut w: World) {
    let job = w.create("report", spec(vec![every("main", 60)])).await;
    let shard = w.own().await;
    w.pass(secs(60));
    let early = w.evaluate(shard).await;
    w.pass(secs(60));
    w.fire_due(shard).await;
    // An evaluation from before, by whoever, finds the cursor elsewhere.
    let answers = w.store.fire(w.now, shard, early).await.unwrap();
    assert!(matches!(answers[0], Fired::Overtaken));
    assert!(w.store.due(w.now, None, 10).await.unwrap().ready.is_empty());
    let total: u64 = fates(&w, job.uid).await.iter().map(|(_, count)| count).sum();
    assert_eq!(total, 2);
}

pub async fn f02_retention_keeps_a_named_instant(mut w: World) {
    w.create("report", spec(vec![every("a", 60), every("b", 120)])).await;
    let shard = w.own().await;
    let owner = w.connect().await;
    w.pass(secs(120));
    // Only schedule a is evaluated; b is late.
    let firings = w.evaluate(shard).await;
    let of_a: Vec<_> = firings.iter().filter(|firing| firing.due.schedule.as_str() == "a").cloned().collect();
    let of_b: Vec<_> = firings.into_iter().filter(|firing| firing.due.schedule.as_str() == "b").collect();
    let runs = fired(&w.store.fire(w.now, shard, of_a).await.unwrap()[0]).to_vec();
    for run in &runs {
        let key = w.lease(owner, pointer(run)).await.key;
        w.report(key, Outcome::Succeeded).await;
    }
    w.pass(secs(3_600));
    let policy = RetentionPolicy { succeeded: secs(1), failed: secs(1), ..RetentionPolicy::default() };
    w.store.sweep(w.now, policy, 100).await.unwrap();
    let shared = runs.last().unwrap().run;
    assert!(w.store.run(&w.scope, shared).await.unwrap().is_some(), "b still names this instant");
    let answers = w.store.fire(w.now, shard, of_b).await.unwrap();
    assert!(fired(&answers[0]).is_empty(), "it had its run");
    w.store.sweep(w.now, policy, 100).await.unwrap();
    assert!(w.store.run(&w.scope, shared).await.unwrap().is_none());
}

pub async fn f03_a_second_schedule_is_united(mut w: World) {
    let job = w.create("report", spec(vec![every("a", 60), every("b", 60)])).await;
    let shard = w.own().await;
    w.pass(secs(60));
    let answers = w.fire_due(shard).await;
    assert_eq!(answers.iter().flat_map(fired).count(), 1);
    let mut told = fates(&w, job.uid).await;
    told.sort_unstable();
    assert_eq!(told, [(Fate::Fired, 1), (Fate::United, 1)]);
    // The same where the other schedule came in a transaction before.
    w.pass(secs(60));
    for firing in w.evaluate(shard).await {
        w.store.fire(w.now, shard, vec![firing]).await.unwrap();
    }
    assert_eq!(w.queued(&lane()).await.len(), 2);
    let mut told = fates(&w, job.uid).await;
    told.sort_unstable();
    assert_eq!(told, [(Fate::Fired, 2), (Fate::United, 2)]);
}

pub async fn f04_an_edit_stops_the_old_rule(mut w: World) {
    let job = w.create("report", spec(vec![every("main", 60)])).await;
    let shard = w.own().await;
    let due = w.store.due(Instant::MAX, Some(job.uid), 1).await.unwrap().ready.remove(0);
    let update = UpdateJob {
        scope: w.scope.clone(),
        name: job.name.clone(),
        revision: job.revision,
        spec: spec(vec![every("main", 3_600)]),
        pending: Pending::Keep,
        actor: "ops".into(),
    };
    assert!(matches!(w.store.update_job(w.now, update).await.unwrap(), JobChange::Done(_)));
    w.pass(secs(60));
    let stale = w.firing(due, shard);
    assert!(!stale.evaluation.entries.is_empty());
    let answers = w.store.fire(w.now, shard, vec![stale]).await.unwrap();
    assert!(matches!(answers[0], Fired::Overtaken));
    assert!(w.queued(&lane()).await.is_empty());
}

pub async fn f04_a_pause_stops_a_firing(mut w: World) {
    let job = w.create("report", spec(vec![every("main", 60)])).await;
    let shard = w.own().await;
    let due = w.store.due(Instant::MAX, Some(job.uid), 1).await.unwrap().ready.remove(0);
    let pause = Pause { note: "x".into(), actor: "ops".into(), time: w.now, until: None };
    w.store.pause_job(w.now, &w.scope, &job.name, pause).await.unwrap();
    w.pass(secs(60));
    let answers = w.store.fire(w.now, shard, vec![w.firing(due, shard)]).await.unwrap();
    assert!(matches!(answers[0], Fired::Overtaken));
}

pub async fn f05_a_refused_owner_fires_again_under_its_new_epoch(mut w: World) {
    w.create("report", spec(vec![every("main", 60)])).await;
    let old = w.own().await;
    w.pass(secs(60));
    let firings = w.evaluate(old).await;
    let new = w.own().await;
    assert!(matches!(w.store.fire(w.now, old, firings.clone()).await.unwrap()[0], Fired::NotOwner));
    // The refusal took nothing from the new epoch.
    assert_eq!(fired(&w.store.fire(w.now, new, firings).await.unwrap()[0]).len(), 1);
}

pub async fn overlap_skips_while_a_run_is_not_over(mut w: World) {
    let job = w.create("report", skipping(vec![every("main", 60)])).await;
    let shard = w.own().await;
    let owner = w.connect().await;
    w.pass(secs(60));
    let run = fired(&w.fire_due(shard).await[0])[0].clone();
    for _ in 0..2 {
        w.pass(secs(60));
        assert!(fired(&w.fire_due(shard).await[0]).is_empty());
    }
    let key = w.lease(owner, pointer(&run)).await.key;
    w.report(key, Outcome::Succeeded).await;
    w.pass(secs(60));
    assert_eq!(fired(&w.fire_due(shard).await[0]).len(), 1);
    assert_eq!(fates(&w, job.uid).await, [(Fate::Fired, 1), (Fate::SkippedOverlap, 2), (Fate::Fired, 1)]);
    // A run that somebody triggered counts as well.
    let by_hand = w.submit(vec![NewRun { due: w.now.plus(secs(900)), ..w.run_of(&job) }]).await;
    assert_eq!(by_hand[0].to, RunState::Scheduled);
    w.pass(secs(60));
    assert!(fired(&w.fire_due(shard).await[0]).is_empty());
}

pub async fn a_ledger_is_read_as_it_was_at_one_moment(mut w: World) {
    let job = w.create("report", skipping(vec![every("main", 60)])).await;
    let (shard, store, over) = (w.own().await, w.store.clone(), Cell::new(false));
    // Each firing closes a range: every second instant meets the run of the one before, which is ended then.
    let firing = async {
        for _ in 0..150 {
            w.pass(secs(60));
            let run = fired(&w.fire_due(shard).await[0])[0].run;
            w.pass(secs(60));
            assert!(fired(&w.fire_due(shard).await[0]).is_empty());
            w.apply(run, Event::Cancel { reason: String::new(), grace: None }).await;
        }
        over.set(true);
    };
    let reading = async {
        let mut reads = 0;
        while !over.get() {
            let ranges = store.ledger(job.uid, Instant::MIN, Instant::MAX, 1_000).await.unwrap().ranges;
            for pair in ranges.windows(2) {
                assert_eq!(pair[1].range.first, pair[0].range.last.plus(secs(60)), "an instant is in neither");
            }
            reads += 1;
        }
        reads
    };
    let ((), reads) = tokio::join!(firing, reading);
    assert!(reads > 100, "{reads} reads meet nothing");
}

pub async fn overlap_counts_the_same_firing(mut w: World) {
    let job = w.create("report", skipping(vec![every("main", 10)])).await;
    let shard = w.own().await;
    w.pass(secs(30));
    let made: Vec<_> = w.fire_due(shard).await.iter().flat_map(|answer| fired(answer).to_vec()).collect();
    assert_eq!(made.len(), 1, "three instants, one run");
    let total: u64 = fates(&w, job.uid).await.iter().map(|(_, count)| count).sum();
    assert_eq!(total, 3);
}

pub async fn paused_instants_get_their_fate(mut w: World) {
    let job = w.create("report", spec(vec![every("main", 60)])).await;
    let shard = w.own().await;
    let pause = Pause { note: "x".into(), actor: "ops".into(), time: w.now, until: None };
    w.store.pause_job(w.now, &w.scope, &job.name, pause).await.unwrap();
    w.pass(secs(120));
    assert!(fired(&w.fire_due(shard).await[0]).is_empty());
    assert_eq!(fates(&w, job.uid).await, [(Fate::Paused, 2)]);
    w.store.resume_job(w.now, &w.scope, &job.name, Resume::Asked(Mode::None)).await.unwrap();
    w.pass(secs(60));
    w.fire_due(shard).await;
    assert_eq!(fates(&w, job.uid).await, [(Fate::Paused, 2), (Fate::Fired, 1)]);
}

pub async fn a_pause_ends_by_itself_on_time(mut w: World) {
    let job = w.create("report", spec(vec![every("main", 10)])).await;
    let shard = w.own().await;
    let until = w.now.plus(secs(25));
    let pause = Pause { note: String::new(), actor: "ops".into(), time: w.now, until: Some(until) };
    w.store.pause_job(w.now, &w.scope, &job.name, pause.clone()).await.unwrap();
    assert_eq!(w.store.next_end(w.now).await.unwrap(), Some(until));
    assert_eq!(w.job("report").await.unwrap().pause, Some(pause));
    let end = Resume::TimeOver;
    let early = w.store.resume_job(w.now, &w.scope, &job.name, end).await.unwrap();
    assert!(matches!(early, JobChange::Unchanged(_)), "{early:?}");
    w.pass(secs(30));
    // Instants before its end are paused and the one after it is not, although nobody has ended it yet.
    assert!(matches!(w.store.resume_job(w.now, &w.scope, &job.name, end).await.unwrap(), JobChange::Unsettled));
    assert_eq!(fired(&w.fire_due(shard).await[0]).len(), 1);
    assert_eq!(fates(&w, job.uid).await, [(Fate::Paused, 2), (Fate::Fired, 1)]);
    assert_eq!(w.store.pauses_over(w.now, 10).await.unwrap(), [(w.scope.clone(), job.name.clone())]);
    let resumed = w.store.resume_job(w.now, &w.scope, &job.name, end).await.unwrap();
    assert!(matches!(resumed, JobChange::Done(job) if job.state == JobState::Active && job.pause.is_none()));
    assert_eq!(w.store.pauses_over(w.now, 10).await.unwrap(), []);
    assert_eq!(w.store.next_end(w.now).await.unwrap(), None);
}

pub async fn a_pause_is_caught_up_with(mut w: World) {
    for (mode, expected) in [
        (Mode::Latest, vec![(Fate::Fired, 1), (Fate::Coalesced, 2), (Fate::Fired, 2)]),
        (Mode::All, vec![(Fate::Fired, 1), (Fate::Fired, 4)]),
        (Mode::None, vec![(Fate::Fired, 1), (Fate::Paused, 3), (Fate::Fired, 1)]),
    ] {
        let name = format!("report-{}", mode.code());
        let job = w.create(&name, spec(vec![every("main", 10)])).await;
        let shard = w.own().await;
        w.pass(secs(10));
        w.fire_due(shard).await;
        let pause = Pause { note: String::new(), actor: "ops".into(), time: w.now, until: None };
        w.store.pause_job(w.now, &w.scope, &job.name, pause).await.unwrap();
        w.pass(secs(30));
        w.fire_due(shard).await;
        let resumed = w.store.resume_job(w.now, &w.scope, &job.name, Resume::Asked(mode)).await.unwrap();
        assert!(matches!(resumed, JobChange::Done(_)));
        w.fire_due(shard).await;
        w.pass(secs(10));
        w.fire_due(shard).await;
        assert_eq!(fates(&w, job.uid).await, expected, "{mode:?}");
        w.store.delete_job(w.now, &w.scope, &job.name, None, Running::Detach, "ops").await.unwrap();
    }
}

pub async fn what_an_edit_came_after_is_not_caught_up_with(mut w: World) {
    let job = w.create("report", spec(vec![every("main", 10)])).await;
    let shard = w.own().await;
    let pause = Pause { note: String::new(), actor: "ops".into(), time: w.now, until: None };
    w.store.pause_job(w.now, &w.scope, &job.name, pause).await.unwrap();
    w.pass(secs(20));
    w.fire_due(shard).await;
    let paused = w.job("report").await.unwrap();
    let edited = UpdateJob {
        scope: w.scope.clone(),
        name: job.name.clone(),
        revision: paused.revision,
        spec: JobSpec { priority: 9, ..paused.spec },
        pending: Pending::Keep,
        actor: "ops".into(),
    };
    assert!(matches!(w.store.update_job(w.now, edited).await.unwrap(), JobChange::Done(_)));
    w.pass(secs(20));
    w.fire_due(shard).await;
    w.store.resume_job(w.now, &w.scope, &job.name, Resume::Asked(Mode::All)).await.unwrap();
    w.fire_due(shard).await;
    assert_eq!(fates(&w, job.uid).await, [(Fate::Paused, 2), (Fate::Fired, 2)]);
}

pub async fn late_runs_are_due_at_their_pace(mut w: World) {
    let catch_up = CatchUp { mode: Mode::All, max: 3, pace: secs(60), max_lateness: None };
    let job = w.create("report", JobSpec { catch_up, ..spec(vec![every("main", 10)]) }).await;
    w.pass(secs(50));
    let shard = w.own().await;
    let runs = fired(&w.fire_due(shard).await[0]).to_vec();
    let states: Vec<_> = runs.iter().map(|run| (run.to, run.wake_time.map(|at| at.since(w.now)))).collect();
    let waits = |seconds| (RunState::Scheduled, Some(secs(seconds)));
    assert_eq!(states, [(RunState::Queued, None), waits(60), waits(120)]);
    assert_eq!(fates(&w, job.uid).await, [(Fate::Dropped, 2), (Fate::Fired, 3)]);
    let view = w.store.run(&w.scope, runs[1].run).await.unwrap().unwrap();
    assert_eq!(
        (view.late, view.nominal_time, view.due_time),
        (true, Some(w.now.minus(secs(10))), w.now.plus(secs(60)))
    );
}

pub async fn ledger_ranges_join_and_close(mut w: World) {
    let job = w.create("report", spec(vec![every("main", 60)])).await;
    let shard = w.own().await;
    for _ in 0..5 {
        w.pass(secs(60));
        w.fire_due(shard).await;
    }
    let ranges = w.ledger(job.uid, Instant::MIN, Instant::MAX).await;
    assert_eq!(ranges.len(), 1);
    assert_eq!((ranges[0].range.count, ranges[0].range.last), (5, w.now));
    assert_eq!(ranges[0].range.first, w.now.minus(secs(240)));
    // An outage: the older instants are coalesced into the newest, which closes the range twice.
    let shard = {
        w.pass(secs(600));
        w.own().await
    };
    w.fire_due(shard).await;
    assert_eq!(fates(&w, job.uid).await, [(Fate::Fired, 5), (Fate::Coalesced, 9), (Fate::Fired, 1)]);
    let part = w.ledger(job.uid, w.now, w.now.plus(secs(1))).await;
    assert_eq!(part.len(), 1);
    let late = w.store.scheduled_runs(job.uid, &[w.now]).await.unwrap();
    assert!(w.store.run(&w.scope, late[0].1).await.unwrap().unwrap().late);
}

pub async fn a_last_instant_completes_the_job(mut w: World) {
    let ending = ScheduleSpec { end: Some(w.now.plus(secs(70))), ..every("main", 60) };
    let job = w.create("report", spec(vec![ending])).await;
    let shard = w.own().await;
    w.pass(secs(60));
    let answers = w.fire_due(shard).await;
    assert!(matches!(answers[0], Fired::Done { completed: true, .. }), "{answers:?}");
    let job = (w.job("report").await.unwrap(), job);
    assert_eq!(job.0.state, JobState::Completed);
    assert_eq!(job.0.revision, job.1.revision + 1);
    assert_eq!(w.store.next_due(w.now).await.unwrap().first(), None);
}

pub async fn a_schedule_that_fails_harms_no_other(mut w: World) {
    let job = w.create("report", spec(vec![every("bad", 60), every("a-good", 60)])).await;
    let shard = w.own().await;
    w.pass(secs(60));
    let due = w.store.due(w.now, None, 10).await.unwrap();
    let bad = due.ready.into_iter().find(|due| due.schedule.as_str() == "bad").unwrap();
    w.fail(&bad).await;
    let broken = w.job("report").await.unwrap();
    let error = JobError { schedule: Some("bad".parse().unwrap()), reason: FateReason::RuleBroken };
    assert_eq!((broken.state, broken.error), (JobState::Error, Some(error)));
    let left = w.store.due(w.now, None, 10).await.unwrap();
    assert_eq!(left.ready.iter().map(|due| due.schedule.as_str()).collect::<Vec<_>>(), ["a-good"]);
    let answers = w.fire_due(shard).await;
    assert_eq!(answers.len(), 1);
    assert_eq!(fired(&answers[0]).len(), 1);
    let mut told = fates(&w, job.uid).await;
    told.sort_unstable();
    assert_eq!(told, [(Fate::Fired, 1), (Fate::Error, 1)]);
    // Noted once: what was evaluated before is overtaken.
    w.fail(&bad).await;
    assert_eq!(fates(&w, job.uid).await.len(), 2);
}

pub async fn next_due_is_the_earliest(w: World) {
    assert_eq!(w.store.next_due(w.now).await.unwrap().first(), None);
    w.create("report", spec(vec![every("main", 600)])).await;
    let by_rule = every("main", 600).next_after(w.now);
    assert_eq!(w.store.next_due(w.now).await.unwrap().first(), by_rule);
    let due = w.now.plus(secs(1));
    w.submit(vec![NewRun { due, ..w.new_run() }]).await;
    assert_eq!(w.store.next_due(w.now).await.unwrap().first(), Some(due));
    // Later ones of either kind change nothing.
    w.create("seldom", spec(vec![every("main", 3_600)])).await;
    w.submit(vec![NewRun { due: w.now.plus(secs(9)), ..w.new_run() }]).await;
    assert_eq!(w.store.next_due(w.now).await.unwrap(), NextDue { schedule: by_rule, run: Some(due) });
    // What is due already is not what comes next.
    let last = w.now.plus(secs(9));
    assert_eq!(w.store.next_due(due).await.unwrap(), NextDue { schedule: by_rule, run: Some(last) });
    assert_eq!(w.store.next_due(last).await.unwrap(), NextDue { schedule: by_rule, run: None });
    w.store.wake(last, 10).await.unwrap();
    assert_eq!(w.store.next_due(w.now).await.unwrap().first(), by_rule);
    assert_eq!(w.store.next_due(by_rule.unwrap()).await.unwrap().schedule, every("main", 3_600).next_after(w.now));
}

pub async fn jobs_of_one_instant_fire_apart(mut w: World) {
    let ending = ScheduleSpec { end: Some(w.now.plus(secs(70))), ..every("main", 60) };
    let (one, other) =
        (w.create("one", spec(vec![ending])).await, w.create("other", spec(vec![every("main", 60)])).await);
    let shard = w.own().await;
    w.pass(secs(60));
    let of_one = w.store.due(w.now, Some(one.uid), 10).await.unwrap().ready;
    assert_eq!(of_one.iter().map(|due| due.job).collect::<Vec<_>>(), [one.uid]);
    let firings = of_one.into_iter().map(|due| w.firing(due, shard)).collect();
    let answers = w.store.fire(w.now, shard, firings).await.unwrap();
    assert!(matches!(&answers[0], Fired::Done { runs, completed: true } if runs.len() == 1), "{answers:?}");
    // The other one has not moved, and does not find its instant taken.
    assert_eq!(w.job("other").await, Some(other.clone()));
    let answers = w.fire_due(shard).await;
    assert!(matches!(&answers[..], [Fired::Done { runs, completed: false }] if runs.len() == 1), "{answers:?}");
    assert_eq!(
        (fates(&w, one.uid).await, fates(&w, other.uid).await),
        (vec![(Fate::Fired, 1)], vec![(Fate::Fired, 1)])
    );
}

pub async fn a_deleted_job_fires_no_more(mut w: World) {
    let job = w.create("report", spec(vec![every("main", 60)])).await;
    let shard = w.own().await;
    let due = w.store.due(Instant::MAX, Some(job.uid), 1).await.unwrap().ready.remove(0);
    assert!(matches!(
        w.store.delete_job(w.now, &w.scope, &job.name, None, Running::Detach, "ops").await.unwrap(),
        JobChange::Done(_)
    ));
    w.pass(secs(60));
    let answers = w.store.fire(w.now, shard, vec![w.firing(due, shard)]).await.unwrap();
    assert!(matches!(answers[0], Fired::Overtaken));
    assert!(w.queued(&lane()).await.is_empty());
}

pub async fn what_is_on_time_comes_before_what_is_behind(mut w: World) {
    for (name, seconds) in [("old", 100), ("older", 50), ("now", 300), ("later", 1_000)] {
        w.create(name, spec(vec![every("main", seconds)])).await;
    }
    let began = w.now;
    w.pass(secs(300));
    let names = async |missed_until, live, missed| {
        let found = w.store.due_in_turn(missed_until, w.now, Shares { live, missed }).await.unwrap();
        let names: Vec<_> = found.due.ready.iter().map(|due| due.job_name.to_string()).collect();
        (names, found.more_live, found.more_missed)
    };
    let told = |names: &[&str], more_live, more_missed| {
        (names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>(), more_live, more_missed)
    };
    let missed_until = began.plus(secs(270));
    assert_eq!(names(missed_until, 5, 5).await, told(&["now", "older", "old"], false, false));
    assert_eq!(names(missed_until, 1, 1).await, told(&["now", "older"], true, true));
    assert_eq!(names(missed_until, 5, 0).await, told(&["now"], false, true));
    assert_eq!(names(began, 5, 5).await, told(&["older", "old", "now"], false, false));
    // What is behind the clock of the question is not due, however much is missed.
    let early = w.store.due_in_turn(w.now, began.plus(secs(60)), Shares { live: 5, missed: 5 }).await.unwrap();
    assert_eq!(early.due.ready.len(), 1);
}

pub async fn the_longest_due_fire_first(mut w: World) {
    let uids = [
        w.create("late", spec(vec![every("main", 90)])).await.uid,
        w.create("early", spec(vec![every("main", 60)])).await.uid,
    ];
    w.pass(secs(600));
    let first = w.store.due(w.now, None, 1).await.unwrap().ready;
    assert_eq!(first.iter().map(|due| due.job).collect::<Vec<_>>(), [uids[1]]);
}

pub async fn an_error_stays_when_the_last_instant_has_fired(mut w: World) {
    let ending = ScheduleSpec { end: Some(w.now.plus(secs(70))), ..every("good", 60) };
    w.create("report", spec(vec![ending, every("bad", 60)])).await;
    let shard = w.own().await;
    w.pass(secs(60));
    let due = w.store.due(w.now, None, 10).await.unwrap();
    let bad = due.ready.into_iter().find(|due| due.schedule.as_str() == "bad").unwrap();
    w.fail(&bad).await;
    let answers = w.fire_due(shard).await;
    assert!(matches!(&answers[..], [Fired::Done { runs, completed: false }] if runs.len() == 1), "{answers:?}");
    assert_eq!(w.job("report").await.unwrap().state, JobState::Error);
}

pub async fn a_firing_with_too_few_ids_is_refused_whole(mut w: World) {
    let job = w.create("report", spec(vec![every("main", 10)])).await;
    let shard = w.own().await;
    w.pass(secs(30));
    let mut firings = w.evaluate(shard).await;
    firings[0].run_ids.truncate(2);
    let refused = w.store.fire(w.now, shard, firings).await;
    assert!(matches!(refused, Err(StoreError::Corrupt(_))), "{refused:?}");
    assert!(w.queued(&lane()).await.is_empty() && fates(&w, job.uid).await.is_empty());
    assert_eq!(w.fire_due(shard).await.iter().flat_map(fired).count(), 3);
}
