//! Results and every other step, each applied once.

use mainspring_engine::{
    domain::{
        attempt::{AttemptKey, AttemptState, Outcome},
        names::Scope,
        payload::{Failure, Payload, RetryHint},
        policy::RunPolicy,
        run::{RunState, reason},
        transition::{Event, Refusal, Tell},
    },
    ports::store::{Applied, Apply, NewRun, Owner, Report, ReportAnswer},
};

use super::world::{World, all, applied, changed, failure, lane, lane_of, pointer, secs};

pub async fn success_ends_the_run(mut w: World) {
    let owner = w.connect().await;
    let key = w.leased(owner).await;
    let started = w.now;
    let report = Report { start_time: Some(started), ..w.report_of(key, Outcome::Succeeded) };
    w.pass(secs(3));
    let moved = applied(w.store.report(w.now, vec![report]).await.unwrap().remove(0));
    assert_eq!((moved.from, moved.to, moved.deadline), (Some(RunState::Leased), RunState::Succeeded, None));
    let life = w.store.run(&w.scope, key.run).await.unwrap().unwrap().life;
    assert_eq!((life.open, life.decided, life.end_time), (None, Some(1), Some(w.now)));
    assert_eq!((life.start_time, life.reason), (Some(started), None));
}

pub async fn v01_a_repeated_failure_is_charged_once(w: World) {
    let owner = w.connect().await;
    let key = w.leased(owner).await;
    let moved = applied(w.report(key, Outcome::Failed(failure("X"))).await);
    assert_eq!((moved.to, moved.reason.as_str()), (RunState::RetryWait, "X"));
    assert!(matches!(w.report(key, Outcome::Failed(failure("X"))).await, ReportAnswer::Duplicate));
    let life = w.store.run(&w.scope, key.run).await.unwrap().unwrap().life;
    assert_eq!((life.state, life.failures), (RunState::RetryWait, 1));
    // In one batch as well.
    let key = w.leased(owner).await;
    let report = w.report_of(key, Outcome::Failed(failure("X")));
    let answers = w.store.report(w.now, vec![report.clone(), report]).await.unwrap();
    assert!(matches!(answers[..], [ReportAnswer::Applied(_), ReportAnswer::Duplicate]), "{answers:?}");
}

pub async fn v02_a_repeated_result_is_a_duplicate(w: World) {
    let owner = w.connect().await;
    let key = w.leased(owner).await;
    applied(w.report(key, Outcome::Succeeded).await);
    assert!(matches!(w.report(key, Outcome::Succeeded).await, ReportAnswer::Duplicate));
    assert!(matches!(w.report(key, Outcome::Failed(failure("X"))).await, ReportAnswer::Duplicate));
    let key = w.leased(owner).await;
    let report = w.report_of(key, Outcome::Succeeded);
    let answers = w.store.report(w.now, vec![report.clone(), report]).await.unwrap();
    assert!(matches!(answers[..], [ReportAnswer::Applied(_), ReportAnswer::Duplicate]), "{answers:?}");
    // An attempt that the platform ended was never reported: a late word of it is no repeat.
    let key = w.leased(owner).await;
    w.apply(key.run, Event::Rejected { attempt: 1 }).await;
    assert!(matches!(w.report(key, Outcome::Succeeded).await, ReportAnswer::Fenced));
}

pub async fn a_fenced_result_changes_nothing(w: World) {
    let owner = w.connect().await;
    let key = w.leased(owner).await;
    let future = AttemptKey { attempt: 2, ..key };
    assert!(matches!(w.report(future, Outcome::Succeeded).await, ReportAnswer::Fenced));
    let unknown = AttemptKey { run: mainspring_engine::domain::ids::RunId::new(w.now), attempt: 1 };
    assert!(matches!(w.report(unknown, Outcome::Succeeded).await, ReportAnswer::Fenced));
    assert_eq!(w.state(key.run).await, RunState::Leased);
}

pub async fn a_result_of_another_namespace_is_fenced(w: World) {
    let owner = w.connect().await;
    let key = w.leased(owner).await;
    let report = Report { scope: Scope("other".parse().unwrap()), ..w.report_of(key, Outcome::Succeeded) };
    // Before that namespace has anything, and after.
    for _ in 0..2 {
        let answer = w.store.report(w.now, vec![report.clone()]).await.unwrap().remove(0);
        assert!(matches!(answer, ReportAnswer::Fenced), "{answer:?}");
        assert_eq!(w.state(key.run).await, RunState::Leased);
        w.submit(vec![NewRun { lane: lane_of("other", "default", "test.job"), ..w.new_run() }]).await;
    }
    let failed = Report { outcome: Outcome::Failed(failure("X")), ..report };
    let answer = w.store.report(w.now, vec![failed]).await.unwrap().remove(0);
    assert!(matches!(answer, ReportAnswer::Fenced), "{answer:?}");
    applied(w.report(key, Outcome::Succeeded).await);
}

pub async fn outputs_read_back(w: World) {
    let owner = w.connect().await;
    let mut kept = Vec::new();
    for size in [10, 100_000, 20, 2_000] {
        let key = w.leased(owner).await;
        let output = Payload { content_type: format!("text/{size}"), data: vec![b'x'; size] };
        let report = Report { output: Some(output.clone()), ..w.report_of(key, Outcome::Succeeded) };
        applied(w.store.report(w.now, vec![report]).await.unwrap().remove(0));
        kept.push((key.run, output));
    }
    // A failed attempt has no output, whatever its worker says: there may be another one.
    let hint = Some(RetryHint { retry: Some(true), delay: Some(secs(0)) });
    let mut key = w.leased(owner).await;
    for _ in 0..2 {
        let output = Some(Payload { content_type: "text/plain".into(), data: vec![b'x'; 2_000] });
        let failed = Outcome::Failed(Failure { hint, ..failure("X") });
        applied(w.store.report(w.now, vec![Report { output, ..w.report_of(key, failed) }]).await.unwrap().remove(0));
        let again = w.store.wake(w.now, 1).await.unwrap().remove(0);
        key = w.lease(owner, pointer(&again)).await.key;
    }
    assert_eq!(w.store.run(&w.scope, key.run).await.unwrap().unwrap().detail.unwrap().output, None);
    for (run, output) in kept {
        let detail = w.store.run(&w.scope, run).await.unwrap().unwrap().detail.unwrap();
        assert_eq!(detail.output, Some(output));
    }
}

pub async fn told_log_lines_are_kept(w: World) {
    let owner = w.connect().await;
    let large = Payload { content_type: "application/json".into(), data: vec![b'1'; 100_000] };
    for (outcome, output, log_lines) in [
        (Outcome::Succeeded, None, Some(3)),
        (Outcome::Succeeded, Some(large), Some(4)),
        (Outcome::Succeeded, None, Some(0)),
        (Outcome::Succeeded, None, None),
        (Outcome::Failed(failure("X")), None, Some(5)),
        (Outcome::Failed(failure("X")), None, None),
        (Outcome::Interrupted, None, Some(6)),
        (Outcome::Cancelled, None, Some(7)),
    ] {
        let key = w.leased(owner).await;
        let open = w.store.attempts(&w.scope, key.run, all()).await.unwrap().unwrap().entries;
        assert_eq!(open[0].log_lines, None);
        let told = format!("{log_lines:?} of {outcome:?}");
        let report = Report { output, log_lines, ..w.report_of(key, outcome) };
        applied(w.store.report(w.now, vec![report]).await.unwrap().remove(0));
        let attempts = w.store.attempts(&w.scope, key.run, all()).await.unwrap().unwrap().entries;
        assert_eq!((attempts[0].attempt, attempts[0].log_lines), (1, log_lines), "{told}");
    }
    // What was never started wrote nothing, and what was lost told nothing.
    let key = w.leased(owner).await;
    w.apply(key.run, Event::Rejected { attempt: 1 }).await;
    let again = w.queued(&lane()).await.into_iter().find(|pointer| pointer.run == key.run).unwrap();
    let second = w.lease(owner, again).await.key;
    w.apply(key.run, Event::Absent { attempt: second.attempt }).await;
    let attempts = w.store.attempts(&w.scope, key.run, all()).await.unwrap().unwrap().entries;
    assert_eq!(attempts.iter().map(|attempt| attempt.log_lines).collect::<Vec<_>>(), [Some(0), None]);
}

pub async fn one_batch_applies_in_order(w: World) {
    let owner = w.connect().await;
    let key = w.leased(owner).await;
    let step = |event| Apply { run: key.run, event, owner: None, scope: None };
    let steps = vec![
        step(Event::Start { attempt: 1, start_time: w.now }),
        step(Event::Start { attempt: 1, start_time: w.now }),
        step(Event::Cancel { reason: "no".into(), grace: None }),
        step(Event::Absent { attempt: 1 }),
    ];
    let answers = w.store.apply(w.now, steps).await.unwrap();
    assert!(matches!(&answers[0], Applied::Changed(moved) if moved.to == RunState::Running));
    assert!(matches!(answers[1], Applied::Refused(Refusal::Stale)));
    assert!(matches!(&answers[2], Applied::Changed(moved) if moved.tell == Some(Tell::Stop(1, "no".into()))));
    assert!(matches!(&answers[3], Applied::Changed(moved) if moved.to == RunState::Cancelled));
    assert_eq!(w.state(key.run).await, RunState::Cancelled);
}

pub async fn failures_retry_then_fail(mut w: World) {
    let owner = w.connect().await;
    let mut pointer = w.submit_one().await;
    for number in 1..=3 {
        let key = w.lease(owner, pointer).await.key;
        let moved = applied(w.report(key, Outcome::Failed(failure("X"))).await);
        if number == 3 {
            assert_eq!((moved.to, moved.reason.as_str()), (RunState::Failed, "X"));
            break;
        }
        w.now = moved.wake_time.unwrap();
        let woken = w.store.wake(w.now, 10).await.unwrap();
        pointer.generation = woken[0].generation;
    }
    let view = w.store.run(&w.scope, pointer.run).await.unwrap().unwrap();
    assert_eq!((view.life.failures, view.life.decided), (3, Some(3)));
    assert_eq!(view.detail.unwrap().failure, Some(failure("X")));
}

pub async fn v05_a_cancel_is_folded_into_a_failure(w: World) {
    let owner = w.connect().await;
    let key = w.leased(owner).await;
    let moved = changed(w.apply(key.run, Event::Cancel { reason: "no".into(), grace: None }).await);
    assert_eq!((moved.to, moved.tell), (RunState::Leased, Some(Tell::Stop(1, "no".into()))));
    let moved = applied(w.report(key, Outcome::Failed(failure("X"))).await);
    assert_eq!((moved.to, moved.reason.as_str()), (RunState::Cancelled, reason::CANCELLED));
}

pub async fn cancelling_what_waits_ends_it(w: World) {
    let later = NewRun { due: w.now.plus(secs(60)), ..w.new_run() };
    for moved in w.submit(vec![w.new_run(), later]).await {
        let ended = changed(w.apply(moved.run, Event::Cancel { reason: "no".into(), grace: None }).await);
        assert_eq!((ended.from, ended.to), (Some(moved.to), RunState::Cancelled));
        let again = w.apply(moved.run, Event::Cancel { reason: "no".into(), grace: None }).await;
        assert!(matches!(again, Applied::Refused(Refusal::Over)));
    }
    assert_eq!(w.store.next_due(w.now).await.unwrap().first(), None);
}

pub async fn cancelling_twice_keeps_the_first(mut w: World) {
    let owner = w.connect().await;
    let key = w.leased(owner).await;
    let first = w.now;
    w.apply(key.run, Event::Cancel { reason: "first".into(), grace: None }).await;
    w.pass(secs(1));
    w.apply(key.run, Event::Cancel { reason: "second".into(), grace: None }).await;
    let life = w.store.run(&w.scope, key.run).await.unwrap().unwrap().life;
    assert_eq!((life.cancel_time, life.cancel_reason.as_deref()), (Some(first), Some("first")));
}

pub async fn an_event_of_an_old_owner_is_refused(w: World) {
    let owner = w.connect().await;
    let key = w.leased(owner).await;
    let event = Event::Silent { attempt: 1 };
    let step = |owner| Apply { run: key.run, event: event.clone(), owner: Some(owner), scope: None };
    let old = Owner { epoch: 0, ..owner };
    let answers = w.store.apply(w.now, vec![step(old), step(owner)]).await.unwrap();
    assert!(matches!(answers[0], Applied::OwnerGone));
    assert!(matches!(&answers[1], Applied::Changed(moved) if moved.to == RunState::Queued));
}

pub async fn an_event_of_another_namespace_is_missing(w: World) {
    let run =
        w.submit(vec![NewRun { lane: lane_of("other", "default", "test.job"), ..w.new_run() }]).await.remove(0).run;
    let cancel = || Event::Cancel { reason: String::new(), grace: None };
    let step = |scope: &str| Apply { run, event: cancel(), owner: None, scope: Some(Scope(scope.parse().unwrap())) };
    let answers = w.store.apply(w.now, vec![step("default"), step("other")]).await.unwrap();
    assert!(matches!(answers[0], Applied::Missing));
    assert!(matches!(answers[1], Applied::Changed(_)));
}

pub async fn a_late_result_beats_the_queue(mut w: World) {
    let owner = w.connect().await;
    let key = w.leased(owner).await;
    w.pass(secs(60));
    let moved = w.store.expire(w.now, w.now, 10).await.unwrap().moved;
    assert_eq!(moved[0].to, RunState::Queued);
    let done = applied(w.report(key, Outcome::Succeeded).await);
    assert_eq!((done.from, done.to), (Some(RunState::Queued), RunState::Succeeded));
    let next = w.connect().await;
    let stale = w.lease_all(next, vec![pointer(&moved[0])]).await.remove(0);
    assert!(matches!(stale, mainspring_engine::ports::store::LeaseResult::Stale));
}

pub async fn mixed_batches_apply_each_item(w: World) {
    let owner = w.connect().await;
    let pointers: Vec<_> = w.submit((0..150).map(|_| w.new_run()).collect()).await.iter().map(pointer).collect();
    w.lease_all(owner, pointers.clone()).await;
    let outcome = |place: usize| match place % 4 {
        0 | 1 => Outcome::Succeeded,
        2 => Outcome::Failed(failure("X")),
        _ => Outcome::Interrupted,
    };
    let key = |run| AttemptKey { run, attempt: 1 };
    let reports = pointers.iter().enumerate().map(|(place, pointer)| w.report_of(key(pointer.run), outcome(place)));
    let answers = w.store.report(w.now, reports.collect()).await.unwrap();
    for (place, (answer, pointer)) in answers.into_iter().zip(&pointers).enumerate() {
        let wanted = match place % 4 {
            0 | 1 => RunState::Succeeded,
            2 => RunState::RetryWait,
            _ => RunState::Queued,
        };
        assert_eq!((applied(answer).to, w.state(pointer.run).await), (wanted, wanted));
    }
    let interrupted = w.store.attempts(&w.scope, pointers[3].run, all()).await.unwrap().unwrap().entries;
    assert_eq!(interrupted[0].state, AttemptState::Interrupted);
}

pub async fn a_success_beats_a_stop(w: World) {
    let owner = w.connect().await;
    let key = w.running(owner, RunPolicy::default()).await;
    assert!(w.store.next_deadline().await.unwrap().is_some(), "it may not run for ever");
    w.apply(key.run, Event::Cancel { reason: "no".into(), grace: None }).await;
    let moved = applied(w.report(key, Outcome::Succeeded).await);
    assert_eq!((moved.from, moved.to), (Some(RunState::Running), RunState::Succeeded));
    let life = w.store.run(&w.scope, key.run).await.unwrap().unwrap().life;
    assert_eq!((life.cancel_requested, life.stop_deadline), (true, None));
    assert_eq!(w.store.next_deadline().await.unwrap(), None);
    assert!(w.store.stops(w.now, &[owner]).await.unwrap().is_empty());
}

pub async fn a_repeat_is_known_by_run_and_attempt(w: World) {
    let owner = w.connect().await;
    // Of one run the first attempt was reported and the second was not; of another nothing was.
    let key = w.leased(owner).await;
    let hint = Some(RetryHint { retry: Some(true), delay: Some(secs(0)) });
    applied(w.report(key, Outcome::Failed(Failure { hint, ..failure("X") })).await);
    let again = w.store.wake(w.now, 1).await.unwrap().remove(0);
    let second = w.lease(owner, pointer(&again)).await.key;
    w.apply(second.run, Event::Rejected { attempt: second.attempt }).await;
    let other = w.leased(owner).await;
    w.apply(other.run, Event::Rejected { attempt: other.attempt }).await;
    // And of one that is over, the second attempt decided.
    let over = w.leased(owner).await;
    let back = changed(w.apply(over.run, Event::Rejected { attempt: 1 }).await);
    applied({
        let key = w.lease(owner, pointer(&back)).await.key;
        w.report(key, Outcome::Succeeded).await
    });
    let reports = [key, second, other, over].map(|key| w.report_of(key, Outcome::Succeeded)).to_vec();
    let answers = w.store.report(w.now, reports).await.unwrap();
    use ReportAnswer::{Duplicate, Fenced};
    assert!(matches!(answers[..], [Duplicate, Fenced, Fenced, Fenced]), "{answers:?}");
    // The same where the first report is of this very batch.
    let key = w.leased(owner).await;
    let future = AttemptKey { attempt: 2, ..key };
    let reports = [key, key, future, other].map(|key| w.report_of(key, Outcome::Failed(failure("X")))).to_vec();
    let answers = w.store.report(w.now, reports).await.unwrap();
    assert!(matches!(answers[..], [ReportAnswer::Applied(_), Duplicate, Fenced, Fenced]), "{answers:?}");
}
