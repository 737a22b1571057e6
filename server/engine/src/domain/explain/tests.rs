use std::time::Duration;

use mainspring_cron::{Expr, Rule, Zone};

use super::{Beside, Explanation, Fate, Finding, Instant, InstantView, Job, JobState, RunState, ScheduleSpec, Subject};
use crate::domain::{
    ids::{JobUid, RunId},
    job::{JobError, JobSpec, Pause},
    ledger::FateReason,
};

fn at(text: &str) -> Instant {
    text.parse().unwrap()
}

fn schedule(name: &str, expression: &str) -> ScheduleSpec {
    let rule = Rule::cron(Expr::parse(expression).unwrap());
    ScheduleSpec::new(name.parse().unwrap(), rule, Zone::utc())
}

/// Created on the 1st, edited on the 10th.
fn job(schedules: Vec<ScheduleSpec>) -> Job {
    let created = at("2026-03-01T12:00:00Z");
    let spec = JobSpec { schedules, ..super::bare_spec() };
    Job {
        uid: JobUid::new(created),
        namespace: "default".parse().unwrap(),
        name: "report".parse().unwrap(),
        version: 2,
        revision: 2,
        next_times: spec.schedules.iter().map(|schedule| schedule.next_after(NOW.parse().unwrap())).collect(),
        run_counts: vec![0; spec.schedules.len()],
        last_times: vec![None; spec.schedules.len()],
        error: None,
        spec,
        state: JobState::Active,
        pause: None,
        create_time: created,
        update_time: at("2026-03-10T12:00:00Z"),
        define_time: at("2026-03-10T12:00:00Z"),
    }
}

const NOW: &str = "2026-03-20T12:00:00Z";

fn explain(job: &Job, time: &str, decided: Vec<InstantView>) -> Explanation {
    Subject { job, delete_time: None, now: at(NOW) }.explain(at(time), decided, Beside::default())
}

fn view(schedule: &str, time: &str, fate: Fate, run: Option<RunState>) -> InstantView {
    let run = run.map(|state| (RunId::from_uuid(uuid::Uuid::nil()), state));
    InstantView { run, ..InstantView::new(schedule.parse().unwrap(), at(time), fate) }
}

#[test]
fn what_is_past_is_what_the_ledger_has() {
    let job = job(vec![schedule("nine", "0 9 * * *")]);
    let time = "2026-03-12T09:00:00Z";
    let fired = explain(&job, time, vec![view("nine", time, Fate::Fired, Some(RunState::Succeeded))]);
    let run = "00000000-0000-0000-0000-000000000000";
    assert_eq!(fired.sentence, format!("{time}, of schedule `nine`, became run {run}, which succeeded."));
    assert_eq!(fired.finding, Finding::Decided);
    let late = InstantView { reason: Some(FateReason::NoServer), ..view("nine", time, Fate::Missed, None) };
    let missed = explain(&job, time, vec![late]);
    assert_eq!(
        missed.sentence,
        format!("{time}, of schedule `nine`, became no run: it passed while no server was there to fire it.")
    );
    assert_eq!((missed.previous, missed.next), (Some(at("2026-03-11T09:00:00Z")), Some(at("2026-03-13T09:00:00Z"))));
    let gone = explain(&job, time, vec![view("nine", time, Fate::Fired, None)]);
    assert!(gone.sentence.ends_with("became a run, which is no longer kept."), "{}", gone.sentence);
}

#[test]
fn schedules_that_share_a_run_are_named_together() {
    let job = job(vec![schedule("nine", "0 9 * * *")]);
    let time = "2026-03-12T09:00:00Z";
    let both = vec![
        view("daily", time, Fate::United, Some(RunState::Running)),
        view("nine", time, Fate::Fired, Some(RunState::Running)),
        view("old", time, Fate::Paused, None),
    ];
    let both = explain(&job, time, both);
    let run = "00000000-0000-0000-0000-000000000000";
    assert_eq!(
        both.sentence,
        format!(
            "{time}, of schedules `nine` and `daily`, became run {run}, which is at a worker; \
             of schedule `old`, it became no run: the job was paused."
        )
    );
    assert_eq!(both.instants[0].fate, Fate::Fired);
}

#[test]
fn what_is_to_come_is_predicted() {
    let mut job = job(vec![schedule("nine", "0 9 * * *"), schedule("hours", "0 * * * *")]);
    let found = explain(&job, "2026-03-21T09:00:00Z", Vec::new());
    assert_eq!(
        found.sentence,
        "2026-03-21T09:00:00Z, of schedules `nine` and `hours`, will become a run, unless one is not over by then."
    );
    let fates: Vec<_> = found.instants.iter().map(|view| view.fate).collect();
    assert_eq!((found.finding, fates), (Finding::Predicted, vec![Fate::Fired, Fate::United]));
    job.pause = Some(Pause {
        note: String::new(),
        actor: String::new(),
        time: at(NOW),
        until: Some(at("2026-03-22T00:00:00Z")),
    });
    let paused = explain(&job, "2026-03-21T09:00:00Z", Vec::new());
    assert_eq!(paused.instants[0].fate, Fate::Paused);
    assert!(paused.sentence.contains("the job is paused until 2026-03-22T00:00:00Z"), "{}", paused.sentence);
    assert_eq!(explain(&job, "2026-03-22T09:00:00Z", Vec::new()).instants[0].fate, Fate::Fired);
    let mut spread = job.clone();
    spread.pause = None;
    spread.spec.schedules[0].jitter = Duration::from_secs(60);
    let found = explain(&spread, "2026-03-21T09:00:00Z", Vec::new());
    let due = found.instants[0].due.unwrap();
    let told = format!("will become a run that is due at {due}, unless");
    assert!(found.sentence.contains(&told), "{}", found.sentence);
    spread.spec.schedules.truncate(1);
    spread.spec.schedules[0].max_runs = Some(3);
    (spread.run_counts, spread.next_times) = (vec![3], vec![None]);
    let done = explain(&spread, "2026-03-21T09:00:00Z", Vec::new());
    assert_eq!((done.finding, done.next), (Finding::NotNamed, None));
    assert!(done.sentence.contains("has made its 3 runs"), "{}", done.sentence);
    let broken = Job { pause: None, state: JobState::Error, next_times: vec![None, None], ..job };
    assert_eq!(explain(&broken, "2026-03-22T09:00:00Z", Vec::new()).instants[0].fate, Fate::Error);
}

#[test]
fn a_time_that_nobody_names_has_neighbours() {
    let job = job(vec![schedule("nine", "0 9 * * *")]);
    let found = explain(&job, "2026-03-19T10:00:00Z", Vec::new());
    assert_eq!(found.finding, Finding::NotNamed);
    assert_eq!(
        found.sentence,
        "No schedule of job `report` names 2026-03-19T10:00:00Z; the nearest are 2026-03-19T09:00:00Z before and \
         2026-03-20T09:00:00Z after."
    );
    let far = explain(&job, "9999-12-31T23:59:59.999999Z", Vec::new());
    assert_eq!((far.finding, far.next), (Finding::NotNamed, None));
    let none = explain(&self::job(Vec::new()), "2026-03-19T10:00:00Z", Vec::new());
    assert!(none.sentence.contains("has no schedule"), "{}", none.sentence);
}

#[test]
fn a_time_that_the_clocks_skip_is_told_as_that() {
    let zone = Zone::parse("Europe/Berlin").unwrap();
    let job = job(vec![ScheduleSpec { zone, ..schedule("half", "30 * * * *") }]);
    let found = explain(&job, "2026-03-29T02:30:00+01:00", Vec::new());
    // The same instant by the new clock is one that fires.
    assert_eq!((found.finding, found.instants[0].fate), (Finding::Predicted, Fate::Fired));
    let mut daily = job.clone();
    daily.spec.schedules[0].rule =
        serde_json::from_str(r#"{"kind": "cron", "expr": "30 2 * * *", "gap": "SKIP"}"#).unwrap();
    let found = explain(&daily, "2026-03-29T02:30:00+01:00", Vec::new());
    assert_eq!((found.finding, found.instants[0].fate), (Finding::Predicted, Fate::DstSkipped));
    assert_eq!(
        found.sentence,
        "2026-03-29 02:30:00, of schedule `half`, does not exist: the clocks go forward, and by its rule it fires \
         nothing for it."
    );
}

#[test]
fn nothing_is_before_the_job_or_its_edit_or_after_its_end() {
    let job = job(vec![schedule("nine", "0 9 * * *")]);
    let before = explain(&job, "2026-02-01T09:00:00Z", Vec::new());
    assert_eq!((before.finding, before.next), (Finding::BeforeJob, Some(at("2026-03-11T09:00:00Z"))));
    let edited = explain(&job, "2026-03-05T09:00:00Z", Vec::new());
    assert_eq!(edited.finding, Finding::NotNamed);
    assert!(edited.sentence.contains("does since version 2"), "{}", edited.sentence);
    let deleted = Some(at("2026-03-15T12:00:00Z"));
    let gone = Subject { job: &job, delete_time: deleted, now: at(NOW) }.explain(
        at("2026-03-16T09:00:00Z"),
        Vec::new(),
        Beside::default(),
    );
    assert_eq!((gone.finding, gone.previous, gone.next), (Finding::AfterJob, Some(at("2026-03-15T09:00:00Z")), None));
    let before = Subject { job: &job, delete_time: deleted, now: at(NOW) }.explain(
        at("2026-03-14T10:00:00Z"),
        Vec::new(),
        Beside::default(),
    );
    assert_eq!((before.finding, before.next), (Finding::NotNamed, Some(at("2026-03-15T09:00:00Z"))));
}

#[test]
fn what_is_due_is_decided_in_a_moment_and_what_is_old_is_forgotten() {
    let mut job = job(vec![schedule("nine", "0 9 * * *")]);
    assert_eq!(explain(&job, "2026-03-12T09:00:00Z", Vec::new()).finding, Finding::Forgotten);
    job.next_times = vec![Some(at("2026-03-20T09:00:00Z"))];
    assert_eq!(explain(&job, "2026-03-20T09:00:00Z", Vec::new()).finding, Finding::Pending);
    let later = at("2026-03-20T09:00:00Z").plus(Duration::from_secs(86_400));
    assert_eq!(explain(&job, &later.to_string(), Vec::new()).finding, Finding::Predicted);
}

#[test]
fn after_its_last_run_a_schedule_names_nothing() {
    let thrice = ScheduleSpec { max_runs: Some(3), ..schedule("nine", "0 9 * * *") };
    let mut done = job(vec![thrice]);
    let last = at("2026-03-13T09:00:00Z");
    (done.state, done.run_counts, done.next_times) = (JobState::Completed, vec![3], vec![None]);
    done.last_times = vec![Some(last)];
    for time in ["2026-03-14T09:00:00Z", "2026-03-21T09:00:00Z"] {
        let found = explain(&done, time, Vec::new());
        assert_eq!((found.finding, found.previous, found.next), (Finding::NotNamed, Some(last), None));
        let told = format!("has made its 3 runs, the last at {last}, and names nothing more");
        assert!(found.sentence.contains(&told), "{}", found.sentence);
    }
    assert_eq!(explain(&done, "2026-03-12T09:00:00Z", Vec::new()).finding, Finding::Forgotten);
    let other = explain(&done, "2026-03-14T10:00:00Z", Vec::new());
    assert!(other.sentence.ends_with("the job is COMPLETED, and has no instant left."), "{}", other.sentence);
}

#[test]
fn bounds_are_told() {
    let (start, end) = (Some(at("2026-03-12T00:00:00Z")), Some(at("2026-03-15T09:00:00Z")));
    let job = job(vec![ScheduleSpec { start, end, ..schedule("nine", "0 9 * * *") }]);
    for (time, told) in [
        ("2026-03-11T09:00:00Z", "begins at 2026-03-12T00:00:00Z, and names nothing before that"),
        ("2026-03-15T09:00:00Z", "ended at 2026-03-15T09:00:00Z, and names nothing from then on"),
    ] {
        let found = explain(&job, time, Vec::new());
        assert_eq!(found.finding, Finding::NotNamed);
        assert!(found.sentence.contains(told), "{}", found.sentence);
    }
}

#[test]
fn an_appointment_is_found_where_the_clocks_have_moved_it() {
    let zone = Zone::parse("Europe/Berlin").unwrap();
    let job = job(vec![ScheduleSpec { zone, ..schedule("half", "30 2 * * *") }]);
    let lost = explain(&job, "2026-03-29T02:30:00+01:00", Vec::new());
    assert_eq!(
        lost.sentence,
        "2026-03-29 02:30:00, of schedule `half`, does not exist: the clocks go forward, and it fires at \
         2026-03-29T01:00:00Z."
    );
    let there = explain(&job, "2026-03-29T03:00:00+02:00", Vec::new());
    assert_eq!((there.finding, there.instants[0].fate), (Finding::Predicted, Fate::Fired));
    assert!(there.sentence.contains("2026-03-29 02:30:00 does not exist"), "{}", there.sentence);
    let second = explain(&job, "2026-10-25T02:30:00+01:00", Vec::new());
    assert_eq!(
        second.sentence,
        "2026-10-25 02:30:00, of schedule `half`, comes twice: it fires the first time only, at 2026-10-25T00:30:00Z."
    );
    assert_eq!(second.finding, Finding::NotNamed);
}

#[test]
fn a_backfilled_run_is_told_beside_what_became_of_the_instant() {
    let job = job(vec![schedule("nine", "0 9 * * *")]);
    let time = "2026-03-12T09:00:00Z";
    let run = RunId::from_uuid(uuid::Uuid::nil());
    let beside = Beside { backfilled: vec![(run, RunState::Succeeded)], ..Beside::default() };
    let subject = Subject { job: &job, delete_time: None, now: at(NOW) };
    let found = subject.explain(at(time), vec![view("nine", time, Fate::Missed, None)], beside);
    assert!(found.sentence.ends_with(&format!(" It was backfilled as run {run}, which succeeded.")));
    assert_eq!(found.backfilled, [(run, RunState::Succeeded)]);
}

#[test]
fn an_error_is_told_with_its_reason() {
    let error = JobError { schedule: Some("nine".parse().unwrap()), reason: FateReason::RuleBroken };
    let told = error.sentence();
    assert_eq!(told, "Schedule `nine` fires nothing: the rule could not be evaluated.");
    let job = Job {
        state: JobState::Error,
        next_times: vec![None],
        error: Some(error),
        ..job(vec![schedule("nine", "0 9 * * *")])
    };
    let found = explain(&job, "2026-03-21T09:00:00Z", Vec::new());
    assert_eq!((found.instants[0].fate, found.instants[0].reason), (Fate::Error, Some(FateReason::RuleBroken)));
    assert!(found.sentence.contains("schedule `nine` fires nothing"), "{}", found.sentence);
    let other = explain(&job, "2026-03-21T10:00:00Z", Vec::new());
    assert_eq!(other.finding, Finding::NotNamed);
    let told = "; the job is in ERROR: schedule `nine` fires nothing: the rule could not be evaluated.";
    assert!(other.sentence.ends_with(told), "{}", other.sentence);
}

#[test]
fn a_schedule_names_nothing_after_the_last_run_that_it_will_make() {
    let most = |runs| ScheduleSpec { max_runs: Some(runs), ..schedule("nine", "0 9 * * *") };
    let mut few = job(vec![most(3)]);
    few.run_counts = vec![1];
    // The next are on the 21st and on the 22nd.
    let last = explain(&few, "2026-03-22T09:00:00Z", Vec::new());
    assert_eq!((last.finding, last.instants[0].fate, last.next), (Finding::Predicted, Fate::Fired, None));
    let after = explain(&few, "2026-03-23T09:00:00Z", Vec::new());
    assert_eq!(
        after.sentence,
        "Schedule `nine` of job `report` will have made its 3 runs before 2026-03-23T09:00:00Z, the last at \
         2026-03-22T09:00:00Z, unless one of them becomes no run; it names nothing more."
    );
    let last = Some(at("2026-03-22T09:00:00Z"));
    assert_eq!((after.finding, after.instants.len(), after.previous, after.next), (Finding::NotNamed, 0, last, None));
    // Another that names it makes the run.
    let mut both = few.clone();
    both.spec.schedules.push(schedule("hours", "0 * * * *"));
    (both.run_counts, both.next_times) = (vec![1, 0], vec![few.next_times[0], Some(at("2026-03-20T13:00:00Z"))]);
    let found = explain(&both, "2026-03-23T09:00:00Z", Vec::new());
    assert_eq!((found.finding, found.instants.len()), (Finding::Predicted, 1));
    assert!(found.sentence.contains("of schedule `hours`, will become a run"), "{}", found.sentence);
    // What a pause takes makes no run.
    let until = Some(at("2026-03-22T00:00:00Z"));
    few.pause = Some(Pause { note: String::new(), actor: String::new(), time: at(NOW), until });
    assert_eq!(explain(&few, "2026-03-23T09:00:00Z", Vec::new()).finding, Finding::Predicted);
    assert_eq!(explain(&few, "2026-03-24T09:00:00Z", Vec::new()).finding, Finding::NotNamed);
    // As far as anybody looks.
    let many = job(vec![most(5_000)]);
    let near = explain(&many, "2026-03-23T09:00:00Z", Vec::new());
    assert!(near.sentence.ends_with("will become a run, unless one is not over by then."), "{}", near.sentence);
    let far = explain(&many, "2126-03-23T09:00:00Z", Vec::new());
    assert_eq!(far.finding, Finding::Predicted);
    assert!(far.sentence.ends_with(", unless it has made its 5000 runs by then."), "{}", far.sentence);
}

#[test]
fn what_is_older_than_what_is_kept_is_forgotten_where_an_edit_has_come_since() {
    let job = job(vec![schedule("nine", "0 9 * * *")]);
    let told = |time, kept: &str| {
        let subject = Subject { job: &job, delete_time: None, now: at(NOW) };
        subject.explain(at(time), Vec::new(), Beside { kept: Some(at(kept)), ..Beside::default() })
    };
    // Edited on the 10th.
    let (old, kept) = ("2026-03-05T09:00:00Z", "2026-03-12T00:00:00Z");
    let forgotten = told(old, kept);
    assert_eq!(
        forgotten.sentence,
        "2026-03-05T09:00:00Z is older than what the ledger keeps of job `report`, which was edited since."
    );
    for time in [old, "2026-03-05T10:00:00Z"] {
        assert_eq!(told(time, kept).finding, Finding::Forgotten);
        assert_eq!(told(time, "2026-03-05T00:00:00Z").finding, Finding::NotNamed);
    }
    // What is in force says what it names, and nothing was before the job.
    assert_eq!(told("2026-03-11T10:00:00Z", kept).finding, Finding::NotNamed);
    assert_eq!(told("2026-02-05T09:00:00Z", kept).finding, Finding::BeforeJob);
}
