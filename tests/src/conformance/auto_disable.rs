//! Jobs that fail and fail are paused by themselves, and what counts for that.

use std::{num::NonZeroU32, time::Duration};

use mainspring_engine::{
    domain::{
        attempt::Outcome,
        auto_disable::AutoDisable,
        catch_up::Mode,
        instant::Instant,
        job::{Job, JobSpec, JobState},
        ledger::Fate,
        payload::{Failure, RetryHint},
        transition::Event,
    },
    ports::store::{JobChange, Owner, Resume},
};

use super::world::{World, every, failure, fired, job_name, pointer, secs, spec};

fn after(failures: u32, cooldown: Option<Duration>) -> AutoDisable {
    let failures = NonZeroU32::new(failures).unwrap();
    AutoDisable::After { failures, window: secs(60), cooldown }
}

async fn job(w: &World, auto_disable: AutoDisable) -> Job {
    w.create("report", JobSpec { auto_disable, ..spec(vec![every("main", 60)]) }).await
}

/// A run of a job ends.
async fn ends(w: &World, owner: Owner, job: &Job, well: bool) {
    let run = w.submit(vec![w.run_of(job)]).await;
    let key = w.lease(owner, pointer(&run[0])).await.key;
    let hint = Some(RetryHint { retry: Some(false), delay: None });
    let last = Failure { hint, ..failure("X") };
    w.report(key, if well { Outcome::Succeeded } else { Outcome::Failed(last) }).await;
}

async fn failing(w: &World) -> bool {
    w.store.is_failing(w.now, &w.scope, &job_name("report")).await.unwrap()
}

async fn disable(w: &World) -> JobChange {
    w.store.disable_job(w.now, &w.scope, &job_name("report")).await.unwrap()
}

pub async fn so_many_failures_in_a_row_pause_a_job(mut w: World) {
    let job = job(&w, after(3, None)).await;
    let (owner, shard) = (w.connect().await, w.own().await);
    for _ in 0..2 {
        ends(&w, owner, &job, false).await;
        w.pass(secs(1));
    }
    assert!(!failing(&w).await && matches!(disable(&w).await, JobChange::Unchanged(_)));
    ends(&w, owner, &job, false).await;
    assert!(failing(&w).await);
    let JobChange::Done(disabled) = disable(&w).await else { panic!("it is not disabled") };
    let pause = disabled.pause.clone().unwrap();
    assert_eq!((disabled.state, pause.time, pause.until), (JobState::AutoDisabled, w.now, None));
    assert_eq!((pause.note.as_str(), pause.actor.as_str()), ("3 runs in a row failed", "mainspring"));
    assert_eq!(w.job("report").await.unwrap(), disabled);
    // It is disabled once, and fires nothing.
    assert!(!failing(&w).await && matches!(disable(&w).await, JobChange::Unchanged(_)));
    w.pass(secs(120));
    assert!(w.fire_due(shard).await.iter().all(|answer| fired(answer).is_empty()));
    let fates: Vec<_> = w.ledger(job.uid, Instant::MIN, Instant::MAX).await.iter().map(|r| r.range.fate).collect();
    assert_eq!(fates, [Fate::Paused]);
}

pub async fn a_success_begins_the_row_anew_and_a_cancel_does_not_count(mut w: World) {
    let job = job(&w, after(2, None)).await;
    let owner = w.connect().await;
    for well in [false, true, false] {
        w.pass(secs(1));
        ends(&w, owner, &job, well).await;
    }
    assert!(!failing(&w).await);
    let run = w.submit(vec![w.run_of(&job)]).await[0].run;
    w.apply(run, Event::Cancel { reason: String::new(), grace: None }).await;
    assert!(!failing(&w).await);
    w.pass(secs(1));
    ends(&w, owner, &job, false).await;
    assert!(failing(&w).await);
}

pub async fn what_failed_before_the_window_does_not_count(mut w: World) {
    let job = job(&w, after(2, None)).await;
    let owner = w.connect().await;
    ends(&w, owner, &job, false).await;
    w.pass(secs(60));
    let owner = w.connect().await;
    ends(&w, owner, &job, false).await;
    assert!(!failing(&w).await);
    w.pass(secs(59));
    let owner = w.connect().await;
    ends(&w, owner, &job, false).await;
    assert!(failing(&w).await);
}

pub async fn a_resume_begins_the_row_anew(mut w: World) {
    let job = job(&w, after(2, Some(secs(30)))).await;
    let owner = w.connect().await;
    let fail_twice = async |w: &mut World| {
        for _ in 0..2 {
            w.pass(secs(1));
            ends(w, owner, &job, false).await;
        }
    };
    fail_twice(&mut w).await;
    assert!(matches!(disable(&w).await, JobChange::Done(_)));
    // The cooldown is a pause that ends by itself.
    let until = w.now.plus(secs(30));
    assert_eq!(w.store.next_end(w.now).await.unwrap(), Some(until));
    assert_eq!(w.store.pauses_over(until, 9).await.unwrap(), [(w.scope.clone(), job.name.clone())]);
    let resume = Resume::Asked(Mode::None);
    let resumed = w.store.resume_job(w.now, &w.scope, &job.name, resume).await.unwrap();
    assert!(matches!(resumed, JobChange::Done(Job { state: JobState::Active, pause: None, .. })), "{resumed:?}");
    assert!(!failing(&w).await);
    w.pass(secs(1));
    ends(&w, owner, &job, false).await;
    assert!(!failing(&w).await, "those before do not count");
    w.pass(secs(1));
    ends(&w, owner, &job, false).await;
    assert!(failing(&w).await);
}

pub async fn a_job_that_says_so_is_never_paused_by_itself(w: World) {
    let job = job(&w, AutoDisable::Off).await;
    let owner = w.connect().await;
    for _ in 0..9 {
        ends(&w, owner, &job, false).await;
    }
    assert!(!failing(&w).await && matches!(disable(&w).await, JobChange::Unchanged(_)));
}
