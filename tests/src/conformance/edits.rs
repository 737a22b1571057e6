//! Editing, pausing and deleting jobs.

use mainspring_engine::{
    domain::{
        attempt::Outcome,
        catch_up::Mode,
        ids::RunId,
        instant::Instant,
        job::{Job, JobSpec, JobState, Pause},
        ledger::Fate,
        policy::{RunPolicy, Timeouts},
        run::{RunState, reason},
        schedule::ScheduleSpec,
        stop::Running,
        supersede::Pending,
        transition::Event,
    },
    ports::store::{JobChange, JobRef, NewRun, Resume, UpdateJob},
};

use super::world::{World, applied, every, failure, fired, job_name, lane, pointer, secs, spec};

async fn update(w: &World, job: &Job, spec: JobSpec) -> JobChange {
    let update = UpdateJob {
        scope: w.scope.clone(),
        name: job.name.clone(),
        revision: job.revision,
        spec,
        pending: Pending::Keep,
        actor: "ops".into(),
    };
    w.store.update_job(w.now, update).await.unwrap()
}

fn done(change: JobChange) -> Job {
    match change {
        JobChange::Done(job) => job,
        other => panic!("{other:?}"),
    }
}

fn pause(w: &World, note: &str) -> Pause {
    Pause { note: note.into(), actor: "ops".into(), time: w.now, until: None }
}

pub async fn an_edit_makes_a_version(mut w: World) {
    let job = w.create("report", spec(vec![every("main", 60)])).await;
    w.pass(secs(5));
    let changed = done(update(&w, &job, spec(vec![every("main", 90)])).await);
    assert_eq!((changed.version, changed.revision), (2, 2));
    assert_eq!(changed.next_times, vec![every("main", 90).next_after(w.now)]);
    assert_eq!((changed.update_time, changed.define_time), (w.now, w.now));
    assert_eq!(w.job("report").await, Some(changed));
}

pub async fn an_edit_of_a_completed_job_leaves_it_so(mut w: World) {
    let once = |w: &World| ScheduleSpec { end: Some(w.now.plus(secs(61))), ..every("main", 60) };
    let job = w.create("report", spec(vec![once(&w)])).await;
    let shard = w.own().await;
    w.pass(secs(120));
    w.fire_due(shard).await;
    let over = w.job("report").await.unwrap();
    assert_eq!(over.state, JobState::Completed);
    let renamed = JobSpec { display_name: "Old report".into(), ..over.spec.clone() };
    assert_eq!(done(update(&w, &over, renamed).await).state, JobState::Completed);
    let over = w.job("report").await.unwrap();
    let again = JobSpec { schedules: vec![every("main", 60)], ..over.spec.clone() };
    assert_eq!(done(update(&w, &over, again).await).state, JobState::Active);
    assert_eq!(w.job("report").await.unwrap().uid, job.uid);
}

pub async fn an_equal_definition_changes_nothing(mut w: World) {
    let job = w.create("report", spec(vec![every("main", 60)])).await;
    w.pass(secs(5));
    let same = update(&w, &job, job.spec.clone()).await;
    assert!(matches!(same, JobChange::Unchanged(ref same) if *same == job), "{same:?}");
}

pub async fn a_stale_revision_is_refused(w: World) {
    let job = w.create("report", spec(vec![])).await;
    done(w.store.pause_job(w.now, &w.scope, &job.name, pause(&w, "x")).await.unwrap());
    assert!(matches!(update(&w, &job, spec(vec![every("main", 60)])).await, JobChange::RevisionMismatch));
    let deleted =
        w.store.delete_job(w.now, &w.scope, &job.name, Some(job.revision), Running::Detach, "ops").await.unwrap();
    assert!(matches!(deleted, JobChange::RevisionMismatch));
    assert!(matches!(
        w.store.resume_job(w.now, &w.scope, &job_name("nobody"), Resume::Asked(Mode::None)).await.unwrap(),
        JobChange::Missing
    ));
}

pub async fn an_unsettled_job_is_not_changed(mut w: World) {
    let job = w.create("report", spec(vec![every("main", 60)])).await;
    let shard = w.own().await;
    w.pass(secs(61));
    assert!(matches!(update(&w, &job, spec(vec![every("main", 90)])).await, JobChange::Unsettled));
    let paused = w.store.pause_job(w.now, &w.scope, &job.name, pause(&w, "x")).await.unwrap();
    assert!(matches!(paused, JobChange::Unsettled));
    let deleted = w.store.delete_job(w.now, &w.scope, &job.name, None, Running::Detach, "ops").await.unwrap();
    assert!(matches!(deleted, JobChange::Unsettled));
    w.fire_due(shard).await;
    done(w.store.pause_job(w.now, &w.scope, &job.name, pause(&w, "x")).await.unwrap());
}

pub async fn an_edit_keeps_cursor_and_open_range(mut w: World) {
    let job = w.create("report", spec(vec![every("main", 60)])).await;
    let shard = w.own().await;
    w.pass(secs(60));
    w.fire_due(shard).await;
    w.pass(secs(40));
    done(update(&w, &job, spec(vec![every("main", 45)])).await);
    // Instants of the new rule before the edit are nobody's.
    let next = every("main", 45).next_after(w.now).unwrap();
    w.now = next;
    let answers = w.fire_due(shard).await;
    assert_eq!(answers.iter().flat_map(fired).count(), 1);
    let ranges = w.ledger(job.uid, Instant::MIN, Instant::MAX).await;
    let told: Vec<_> = ranges.iter().map(|range| (range.range.version, range.range.fate, range.range.count)).collect();
    assert_eq!(told, [(1, Fate::Fired, 1), (2, Fate::Fired, 1)]);
}

pub async fn a_schedule_that_is_gone_keeps_its_ledger(mut w: World) {
    let job = w.create("report", spec(vec![every("main", 60), every("gone", 45)])).await;
    let shard = w.own().await;
    for _ in 0..4 {
        w.pass(secs(45));
        w.fire_due(shard).await;
    }
    let job = w.job(job.name.as_str()).await.unwrap();
    let before = w.ledger(job.uid, Instant::MIN, Instant::MAX).await.len();
    done(update(&w, &job, spec(vec![every("main", 60)])).await);
    let after = w.ledger(job.uid, Instant::MIN, Instant::MAX).await;
    assert_eq!(after.len(), before);
    assert!(after.iter().any(|range| range.schedule.as_str() == "gone"));
    assert!(
        w.store
            .due(Instant::MAX, Some(job.uid), 10)
            .await
            .unwrap()
            .ready
            .iter()
            .all(|due| due.schedule.as_str() == "main")
    );
}

pub async fn a_pause_shows_and_lifts(mut w: World) {
    let job = w.create("report", spec(vec![every("main", 60)])).await;
    let unpaused = w.store.resume_job(w.now, &w.scope, &job.name, Resume::Asked(Mode::None)).await.unwrap();
    assert!(matches!(unpaused, JobChange::Unchanged(_)));
    let paused = done(w.store.pause_job(w.now, &w.scope, &job.name, pause(&w, "broken")).await.unwrap());
    assert_eq!((paused.state, paused.revision, paused.version), (JobState::Paused, 2, 1));
    assert_eq!(paused.pause, Some(pause(&w, "broken")));
    w.pass(secs(1));
    let again = done(w.store.pause_job(w.now, &w.scope, &job.name, pause(&w, "still")).await.unwrap());
    assert_eq!((again.define_time, again.update_time), (job.define_time, w.now));
    assert_eq!((again.revision, again.pause.unwrap().note.as_str()), (3, "still"));
    let resumed = done(w.store.resume_job(w.now, &w.scope, &job.name, Resume::Asked(Mode::None)).await.unwrap());
    assert_eq!((resumed.state, resumed.pause, resumed.revision), (JobState::Active, None, 4));
    // An edit of a paused job leaves the pause.
    done(w.store.pause_job(w.now, &w.scope, &job.name, pause(&w, "x")).await.unwrap());
    let job = w.job("report").await.unwrap();
    let edited = done(update(&w, &job, spec(vec![every("main", 90)])).await);
    assert_eq!(edited.state, JobState::Paused);
    assert!(w.store.due(Instant::MAX, None, 1).await.unwrap().ready[0].position.pause.is_some());
}

pub async fn a_paused_job_in_error_resumes_in_error(mut w: World) {
    let job = w.create("report", spec(vec![every("main", 60)])).await;
    w.pass(secs(60));
    let due = w.store.due(w.now, None, 1).await.unwrap().ready.remove(0);
    w.fail(&due).await;
    assert_eq!(w.job("report").await.unwrap().state, JobState::Error);
    done(w.store.pause_job(w.now, &w.scope, &job.name, pause(&w, "x")).await.unwrap());
    let resumed = done(w.store.resume_job(w.now, &w.scope, &job.name, Resume::Asked(Mode::None)).await.unwrap());
    assert_eq!(resumed.state, JobState::Error);
    let edited = done(update(&w, &resumed, spec(vec![every("main", 90)])).await);
    assert_eq!(edited.state, JobState::Active);
    assert!(edited.next_times[0].is_some());
}

pub async fn a_deleted_name_is_free(mut w: World) {
    let job = w.create("report", spec(vec![every("main", 60)])).await;
    let run = w.submit(vec![w.run_of(&job)]).await.remove(0);
    let deleted =
        done(w.store.delete_job(w.now, &w.scope, &job.name, Some(job.revision), Running::Detach, "ops").await.unwrap());
    assert_eq!(deleted.uid, job.uid);
    assert_eq!(w.job("report").await, None);
    assert_eq!(
        w.store.deleted_job(&w.scope, &job.name).await.unwrap().map(|(job, at)| (job.uid, at)),
        Some((job.uid, w.now))
    );
    let again = w.create("report", spec(vec![])).await;
    assert_ne!(again.uid, job.uid);
    w.pass(secs(600));
    assert!(w.store.due(w.now, None, 10).await.unwrap().ready.is_empty());
    let view = w.store.run(&w.scope, run.run).await.unwrap().unwrap();
    assert_eq!(view.job, Some(JobRef { uid: job.uid, name: job.name.clone(), version: 1 }));
    // Of two that had the name, the one that was deleted last.
    done(w.store.delete_job(w.now, &w.scope, &job.name, None, Running::Detach, "ops").await.unwrap());
    let last = w.store.deleted_job(&w.scope, &job.name).await.unwrap();
    assert_eq!(last.map(|(job, at)| (job.uid, at)), Some((again.uid, w.now)));
    assert_eq!(w.store.deleted_job(&w.scope, &job_name("nobody")).await.unwrap(), None);
}

pub async fn waiting_runs_of_a_deleted_job_end(w: World) {
    let job = w.create("report", spec(vec![])).await;
    let owner = w.connect().await;
    let later = NewRun { due: w.now.plus(secs(60)), ..w.run_of(&job) };
    let runs = w.submit(vec![w.run_of(&job), w.run_of(&job), later]).await;
    let held = w.lease(owner, pointer(&runs[0])).await.key;
    done(w.store.delete_job(w.now, &w.scope, &job.name, None, Running::Detach, "ops").await.unwrap());
    let (first, more) = w.store.cancel_waiting(w.now, job.uid, 1).await.unwrap();
    assert_eq!((first.len(), more), (1, true));
    let (rest, more) = w.store.cancel_waiting(w.now, job.uid, 10).await.unwrap();
    assert_eq!((rest.len(), more), (1, false));
    assert!(
        first.iter().chain(&rest).all(|moved| moved.to == RunState::Cancelled && moved.reason == reason::JOB_DELETED)
    );
    assert_eq!(w.state(held.run).await, RunState::Leased);
}

pub async fn what_is_at_a_worker_finishes_and_starts_no_more_once_its_job_is_deleted(mut w: World) {
    let job = w.create("report", spec(vec![])).await;
    let owner = w.connect().await;
    let runs = w.submit((0..4).map(|_| w.run_of(&job)).collect()).await;
    let mut held = Vec::new();
    for run in &runs {
        held.push(w.lease(owner, pointer(run)).await.key);
    }
    done(w.store.delete_job(w.now, &w.scope, &job.name, None, Running::Detach, "ops").await.unwrap());
    assert!(w.store.cancel_waiting(w.now, job.uid, 10).await.unwrap().0.is_empty());
    let failed = applied(w.report(held[0], Outcome::Failed(failure("X"))).await);
    assert_eq!((failed.to, failed.reason.as_str()), (RunState::Failed, "X"));
    let stopped = applied(w.report(held[1], Outcome::Interrupted).await);
    assert_eq!((stopped.to, stopped.reason.as_str()), (RunState::Cancelled, reason::JOB_DELETED));
    assert_eq!(applied(w.report(held[2], Outcome::Succeeded).await).to, RunState::Succeeded);
    w.pass(secs(60));
    let moved = w.store.expire(w.now, w.now, 10).await.unwrap().moved;
    assert_eq!((moved[0].run, moved[0].to), (held[3].run, RunState::Cancelled));
    assert!(w.queued(&lane()).await.is_empty());
}

pub async fn only_what_waits_of_the_deleted_job_ends(w: World) {
    let (job, other) = (w.create("report", spec(vec![])).await, w.create("other", spec(vec![])).await);
    let owner = w.connect().await;
    let runs = w.submit(vec![w.run_of(&job), w.run_of(&job), w.run_of(&other), w.run_of(&job)]).await;
    // The oldest two are at a worker, and one of the others waits for its retry.
    let held = [0, 1].map(|place| pointer(&runs[place]));
    w.lease_all(owner, held.to_vec()).await;
    let key = w.lease(owner, pointer(&runs[3])).await.key;
    let failed = applied(w.report(key, Outcome::Failed(failure("X"))).await);
    assert_eq!(failed.to, RunState::RetryWait);
    done(w.store.delete_job(w.now, &w.scope, &job.name, None, Running::Detach, "ops").await.unwrap());
    let (moved, more) = w.store.cancel_waiting(w.now, job.uid, 1).await.unwrap();
    assert_eq!((moved.len(), moved[0].run, more), (1, key.run, false));
    assert_eq!(w.state(runs[2].run).await, RunState::Queued);
}

pub async fn a_delete_may_stop_what_is_at_workers(mut w: World) {
    let owner = w.connect().await;
    let long =
        RunPolicy { timeouts: Timeouts { stop_grace: Some(secs(600)), ..Timeouts::default() }, ..RunPolicy::default() };
    for (running, stopped, deadline) in [
        (Running::Detach, 0, None),
        (Running::Cancel, 1, Some(w.now.plus(secs(600)))),
        (Running::Terminate, 1, Some(w.now.plus(w.rules.lease_ttl))),
    ] {
        let job = w.create("report", spec(vec![])).await;
        let run = NewRun { policy: long.clone(), ..w.run_of(&job) };
        let runs = w.submit(vec![run.clone(), NewRun { id: RunId::new(w.now), ..run }]).await;
        let held = w.lease(owner, pointer(&runs[0])).await.key;
        done(w.store.delete_job(w.now, &w.scope, &job.name, None, running, "ops").await.unwrap());
        // The step is bounded by what it ends in all.
        let (first, more) = w.store.cancel_waiting(w.now, job.uid, 1).await.unwrap();
        assert_eq!((first.len(), first[0].run, more), (1, runs[1].run, stopped == 1), "{running:?}");
        let (rest, more) = w.store.cancel_waiting(w.now, job.uid, 10).await.unwrap();
        assert_eq!((rest.len(), more), (stopped, false), "{running:?}");
        let life = w.store.run(&w.scope, held.run).await.unwrap().unwrap().life;
        assert_eq!((life.state, life.stop_deadline), (RunState::Leased, deadline), "{running:?}");
        assert!(w.store.cancel_waiting(w.now, job.uid, 10).await.unwrap().0.is_empty(), "it was asked once");
        w.report(held, Outcome::Succeeded).await;
        assert!(w.store.half_deleted(w.now, 10).await.unwrap().is_empty());
    }
    // A shorter grace than the one that runs.
    let job = w.create("report", spec(vec![])).await;
    let runs = w.submit(vec![NewRun { policy: long, ..w.run_of(&job) }]).await;
    let held = w.lease(owner, pointer(&runs[0])).await.key;
    w.apply(held.run, Event::Cancel { reason: String::new(), grace: None }).await;
    w.pass(secs(1));
    done(w.store.delete_job(w.now, &w.scope, &job.name, None, Running::Terminate, "ops").await.unwrap());
    let (moved, more) = w.store.cancel_waiting(w.now, job.uid, 10).await.unwrap();
    assert_eq!((moved.len(), more), (1, false));
    let life = w.store.run(&w.scope, held.run).await.unwrap().unwrap().life;
    assert_eq!(life.stop_deadline, Some(w.now.plus(w.rules.lease_ttl)));
}

pub async fn a_pause_may_cancel_what_is_not_over(w: World) {
    let (job, other) = (w.create("report", spec(vec![])).await, w.create("other", spec(vec![])).await);
    let owner = w.connect().await;
    let later = NewRun { due: w.now.plus(secs(60)), ..w.run_of(&job) };
    let runs = w.submit(vec![w.run_of(&job), w.run_of(&job), later, w.run_of(&other)]).await;
    let held = w.lease(owner, pointer(&runs[0])).await.key;
    done(w.store.pause_job(w.now, &w.scope, &job.name, pause(&w, "x")).await.unwrap());
    let (moved, more) = w.store.cancel_paused(w.now, job.uid, false, 1).await.unwrap();
    assert_eq!((moved.len(), moved[0].to, more), (1, RunState::Cancelled, true));
    let (moved, more) = w.store.cancel_paused(w.now, job.uid, false, 10).await.unwrap();
    assert_eq!((moved.len(), moved[0].to, more), (1, RunState::Cancelled, false));
    assert_eq!((w.state(held.run).await, w.state(runs[3].run).await), (RunState::Leased, RunState::Queued));
    let (moved, more) = w.store.cancel_paused(w.now, job.uid, true, 10).await.unwrap();
    assert_eq!((moved.len(), moved[0].run, more), (1, held.run, false));
    let stops = applied(w.report(held, Outcome::Cancelled).await);
    assert_eq!((stops.to, stops.reason.as_str()), (RunState::Cancelled, reason::CANCELLED));
}
