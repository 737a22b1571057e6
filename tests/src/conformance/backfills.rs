//! Backfills: instants that have passed become runs, a few at a time, each once.

use std::{fmt::Debug, num::NonZeroU32, str::FromStr};

use mainspring_engine::{
    domain::{
        attempt::Outcome,
        auto_disable::AutoDisable,
        backfill::{Backfill, BackfillSpec, BackfillState, Beside, MOST_OPEN, Only, Order, Plan, Range, RunCounts},
        filter::{Filter, Op, Value},
        ids::{BackfillId, RunId},
        instant::Instant,
        job::{Job, JobSpec, Pause},
        limit::{Concurrency, Pace},
        overlap::{Overlap, OverlapScope},
        payload::Payload,
        policy::RunPolicy,
        run::{RunOrigin, RunState},
        stop::Running,
    },
    ports::store::{
        Advanced, BackfillStep, CancelBackfill, CreateBackfill, Direction, EndedRuns, JobChange, Moved, NewBackfill,
        NewRun, Owner, RequestKey, Resume, RetentionPolicy, RunView,
    },
};

use super::world::{World, all, applied, every, failure, fired, pointer, secs, spec};

/// Instants of the job, counted from long before it was there.
fn at(w: &World, minute: u64) -> Instant {
    let day = w.now.as_micros() - w.now.as_micros() % 86_400_000_000;
    Instant::from_micros(day - 30 * 86_400_000_000).plus(secs(60 * minute))
}

async fn job(w: &World) -> Job {
    w.create("report", JobSpec { policy: once(), ..spec(vec![every("main", 60)]) }).await
}

/// What fails is over.
fn once() -> RunPolicy {
    let mut policy = RunPolicy::default();
    policy.retry.max_attempts = 1;
    policy
}

/// So many instants, from the first on.
fn wanted(w: &World, job: &Job, count: u64) -> BackfillSpec {
    let (from, to) = (at(w, 0), at(w, count));
    let schedules: Vec<_> = job.spec.schedules.iter().map(|schedule| schedule.name.clone()).collect();
    BackfillSpec {
        plan: Plan::of(&job.spec.schedules, &schedules, Range { from, to }).unwrap(),
        schedules,
        from,
        to,
        order: Order::OldestFirst,
        beside: Beside::Allow,
        only: Only::Unsucceeded,
        concurrency: NonZeroU32::new(2).unwrap(),
        priority: 0,
        while_paused: false,
        note: "the mail server was down".into(),
        actor: "ada".into(),
        template: None,
    }
}

fn new(w: &World, job: &Job, spec: BackfillSpec) -> NewBackfill {
    let (scope, id) = (w.scope.clone(), BackfillId::new(w.now));
    NewBackfill { scope, id, job: job.uid, version: job.version, spec, request: None }
}

async fn begin(w: &World, job: &Job, spec: BackfillSpec) -> Backfill {
    match w.store.create_backfill(w.now, new(w, job, spec)).await.unwrap() {
        CreateBackfill::Created(backfill) => *backfill,
        other => panic!("{other:?}"),
    }
}

/// The next step of a backfill, with so many instants looked at.
async fn step(w: &World, id: BackfillId, limit: usize) -> BackfillStep {
    let open = w.store.open_backfills().await.unwrap();
    let open = open.into_iter().find(|open| open.backfill.id == id).expect("it is not over");
    let rules = &open.definition.as_ref().unwrap().schedules;
    let (instants, all) = open.backfill.spec.instants(rules, open.backfill.cursor, limit);
    let run_ids = instants.iter().map(|_| RunId::new(w.now)).collect();
    BackfillStep { open, instants, all, run_ids }
}

/// One step: the runs it made.
async fn advance(w: &World, id: BackfillId) -> Vec<Moved> {
    let step = step(w, id, 100).await;
    match w.store.advance_backfill(w.now, step).await.unwrap() {
        Advanced::Done { runs, .. } => runs,
        Advanced::Overtaken => panic!("nobody else is there"),
    }
}

async fn as_it_is(w: &World, id: BackfillId) -> Backfill {
    w.store.backfill(&w.scope, id).await.unwrap().unwrap()
}

async fn view(w: &World, run: &Moved) -> RunView {
    w.store.run(&w.scope, run.run).await.unwrap().unwrap()
}

/// The minutes of runs, counted as [`at`] does.
async fn minutes(w: &World, runs: &[Moved]) -> Vec<u64> {
    let mut minutes = Vec::new();
    for run in runs {
        minutes.push(view(w, run).await.nominal_time.unwrap().since(at(w, 0)).as_secs() / 60);
    }
    minutes
}

async fn end(w: &World, owner: Owner, run: &Moved, outcome: Outcome) {
    let key = w.lease(owner, pointer(run)).await.key;
    applied(w.report(key, outcome).await);
}

fn failed() -> Outcome {
    Outcome::Failed(failure("X"))
}

pub async fn what_has_passed_becomes_runs_a_few_at_a_time(w: World) {
    let (job, owner) = (job(&w).await, w.connect().await);
    let backfill = begin(&w, &job, wanted(&w, &job, 5)).await;
    assert_eq!((backfill.state, backfill.made, backfill.job_name.as_str()), (BackfillState::Running, 0, "report"));
    assert_eq!(as_it_is(&w, backfill.id).await, backfill);
    let first = advance(&w, backfill.id).await;
    assert_eq!(minutes(&w, &first).await, [0, 1], "as many as may be under way, the oldest first");
    let run = view(&w, &first[0]).await;
    assert_eq!((run.origin, run.backfill, run.due_time), (RunOrigin::Backfill, Some(backfill.id), w.now));
    assert_eq!((run.nominal_time, run.priority, run.note.as_str()), (Some(at(&w, 0)), 0, "the mail server was down"));
    assert_eq!((run.schedule.unwrap().as_str(), run.job.unwrap().version), ("main", 1));
    assert!(advance(&w, backfill.id).await.is_empty(), "both are under way");
    end(&w, owner, &first[1], Outcome::Succeeded).await;
    let made = async |minute| w.store.backfilled_runs(job.uid, at(&w, minute)).await.unwrap();
    assert_eq!(made(0).await, [(first[0].run, RunState::Queued)]);
    assert_eq!(made(1).await, [(first[1].run, RunState::Succeeded)]);
    assert_eq!(made(2).await, []);
    let second = advance(&w, backfill.id).await;
    assert_eq!(minutes(&w, &second).await, [2]);
    end(&w, owner, &first[0], failed()).await;
    end(&w, owner, &second[0], Outcome::Succeeded).await;
    let third = advance(&w, backfill.id).await;
    assert_eq!(minutes(&w, &third).await, [3, 4]);
    let through = as_it_is(&w, backfill.id).await;
    assert_eq!((through.state, through.is_through, through.made), (BackfillState::Running, true, 5));
    assert_eq!(through.runs, RunCounts { open: 2, succeeded: 2, failed: 1, cancelled: 0 });
    end(&w, owner, &third[0], Outcome::Succeeded).await;
    assert!(advance(&w, backfill.id).await.is_empty());
    assert_eq!(as_it_is(&w, backfill.id).await.state, BackfillState::Running, "one is not over");
    end(&w, owner, &third[1], Outcome::Succeeded).await;
    advance(&w, backfill.id).await;
    let over = as_it_is(&w, backfill.id).await;
    assert_eq!((over.state, over.end_time), (BackfillState::Completed, Some(w.now)));
    assert_eq!(over.runs, RunCounts { open: 0, succeeded: 4, failed: 1, cancelled: 0 });
    assert!(w.store.open_backfills().await.unwrap().is_empty());
    let filter = Filter::Test { field: "backfill_id", op: Op::Equal, value: Value::Text(backfill.id.to_string()) };
    let runs = w.store.runs(&w.scope, &filter, Direction::Up, all(), false).await.unwrap().entries;
    assert_eq!(runs.len(), 5);
}

pub async fn the_newest_come_first_where_that_is_asked(w: World) {
    let job = job(&w).await;
    let spec = BackfillSpec { order: Order::NewestFirst, ..wanted(&w, &job, 5) };
    let backfill = begin(&w, &job, spec).await;
    let runs = advance(&w, backfill.id).await;
    assert_eq!(minutes(&w, &runs).await, [4, 3]);
    assert_eq!(as_it_is(&w, backfill.id).await.cursor, at(&w, 3));
}

pub async fn a_step_that_was_overtaken_does_nothing(w: World) {
    let job = job(&w).await;
    let backfill = begin(&w, &job, wanted(&w, &job, 5)).await;
    let (one, other) = (step(&w, backfill.id, 100).await, step(&w, backfill.id, 100).await);
    assert!(matches!(w.store.advance_backfill(w.now, one.clone()).await.unwrap(), Advanced::Done { .. }));
    for late in [other, one] {
        assert!(matches!(w.store.advance_backfill(w.now, late).await.unwrap(), Advanced::Overtaken));
    }
    let there = as_it_is(&w, backfill.id).await;
    assert_eq!((there.made, there.runs.open), (2, 2));
}

pub async fn what_has_its_run_is_passed_over(mut w: World) {
    let shard = w.own().await;
    let (job, owner) = (job(&w).await, w.connect().await);
    let mut of_schedule = Vec::new();
    for _ in 0..4 {
        w.pass(secs(60));
        let answers = w.fire_due(shard).await;
        of_schedule.extend(answers.iter().flat_map(fired).cloned());
    }
    // Of four instants one succeeded, one failed, one is under way; the last is cancelled.
    end(&w, owner, &of_schedule[0], Outcome::Succeeded).await;
    end(&w, owner, &of_schedule[1], failed()).await;
    w.lease(owner, pointer(&of_schedule[2])).await;
    let stop = mainspring_engine::domain::transition::Event::Cancel { reason: String::new(), grace: None };
    w.apply(of_schedule[3].run, stop).await;
    let mut nominal = Vec::new();
    for run in &of_schedule {
        nominal.push(view(&w, run).await.nominal_time.unwrap());
    }
    let range = |only| {
        let to = nominal[3].plus(secs(1));
        let concurrency = NonZeroU32::new(10).unwrap();
        let whole = wanted(&w, &job, 1);
        BackfillSpec { from: nominal[0].minus(secs(60)), to, only, concurrency, ..whole }
    };
    for (only, expected, skipped) in [(Only::Missing, 1, 4), (Only::Unsucceeded, 3, 2), (Only::All, 5, 0)] {
        let backfill = begin(&w, &job, range(only)).await;
        let runs = advance(&w, backfill.id).await;
        let there = as_it_is(&w, backfill.id).await;
        assert_eq!((runs.len(), there.skipped), (expected, skipped), "{only:?}");
        // What one backfill has made is there for the next one: the instant that had none has one that failed.
        for run in &runs {
            end(&w, owner, run, failed()).await;
        }
        advance(&w, backfill.id).await;
        assert_eq!(as_it_is(&w, backfill.id).await.state, BackfillState::Completed, "{only:?}");
    }
}

pub async fn a_pause_holds_it_up_unless_it_says_otherwise(mut w: World) {
    let (job, owner) = (job(&w).await, w.connect().await);
    let (held, other) = (wanted(&w, &job, 5), BackfillSpec { while_paused: true, ..wanted(&w, &job, 5) });
    let held = begin(&w, &job, held).await;
    let first = advance(&w, held.id).await;
    w.pass(secs(1));
    let pause = Pause { note: "x".into(), actor: "ada".into(), time: w.now, until: None };
    assert!(matches!(w.store.pause_job(w.now, &w.scope, &job.name, pause).await.unwrap(), JobChange::Done(_)));
    for run in &first {
        end(&w, owner, run, Outcome::Succeeded).await;
    }
    assert!(advance(&w, held.id).await.is_empty());
    assert!(w.store.open_backfills().await.unwrap()[0].is_paused);
    let other = begin(&w, &job, other).await;
    let runs = advance(&w, other.id).await;
    assert_eq!(minutes(&w, &runs).await, [2, 3], "the first two have succeeded");
    let resume = Resume::Asked(mainspring_engine::domain::catch_up::Mode::None);
    w.store.resume_job(w.now, &w.scope, &job.name, resume).await.unwrap();
    let runs = advance(&w, held.id).await;
    assert_eq!(minutes(&w, &runs).await, [4], "the other two are under way");
}

pub async fn one_that_waits_leaves_the_slot_to_others(mut w: World) {
    let shard = w.own().await;
    let definition = JobSpec { overlap: Overlap::Skip, policy: once(), ..spec(vec![every("main", 60)]) };
    let (job, owner) = (w.create("report", definition).await, w.connect().await);
    let waits = BackfillSpec { beside: Beside::Wait, ..wanted(&w, &job, 5) };
    w.pass(secs(60));
    let live = w.fire_due(shard).await;
    let live = fired(&live[0]).to_vec();
    let backfill = begin(&w, &job, waits).await;
    assert!(advance(&w, backfill.id).await.is_empty(), "a run of the job is under way");
    end(&w, owner, &live[0], Outcome::Succeeded).await;
    let runs = advance(&w, backfill.id).await;
    assert_eq!(runs.len(), 2);
    w.pass(secs(60));
    let skipped = w.fire_due(shard).await;
    assert!(fired(&skipped[0]).is_empty(), "its runs hold the slot");
    // One that takes no notice of others holds none.
    for run in &runs {
        end(&w, owner, run, Outcome::Succeeded).await;
    }
    w.store.cancel_backfill(w.now, &w.scope, backfill.id, cancel(false)).await.unwrap();
    w.store.end_backfill(w.now, backfill.id, 10).await.unwrap();
    let beside = begin(&w, &job, wanted(&w, &job, 5)).await;
    assert_eq!(advance(&w, beside.id).await.len(), 2);
    w.pass(secs(60));
    let live = w.fire_due(shard).await;
    assert_eq!(fired(&live[0]).len(), 1);
}

/// A key, of which nine may be at workers.
pub fn concurrency<K: FromStr<Err: Debug>>(key: &str) -> Option<Concurrency<K>> {
    Some(Concurrency { key: key.parse().unwrap(), limit: NonZeroU32::new(9), pace: Pace::Kept })
}

pub async fn one_that_waits_by_its_key_waits_for_all_of_its_runs(w: World) {
    let definition = JobSpec {
        overlap_scope: OverlapScope::Key,
        concurrency: concurrency("db-${labels.tenant}"),
        labels: [("tenant".to_owned(), "7".to_owned())].into(),
        policy: once(),
        ..spec(vec![every("main", 60)])
    };
    let (job, owner) = (w.create("report", definition).await, w.connect().await);
    let first = begin(&w, &job, BackfillSpec { beside: Beside::Wait, ..wanted(&w, &job, 5) }).await;
    // Nobody has had the key so far, and what has another one is none of its business.
    w.submit(vec![NewRun { concurrency: concurrency("other"), ..w.run_of(&job) }]).await;
    let runs = advance(&w, first.id).await;
    assert_eq!(runs.len(), 2);
    for run in &runs {
        end(&w, owner, run, Outcome::Succeeded).await;
    }
    let other = w.submit(vec![NewRun { concurrency: concurrency("db-7"), ..w.new_run() }]).await.remove(0);
    assert!(advance(&w, first.id).await.is_empty(), "a run of no job has the key");
    end(&w, owner, &other, Outcome::Succeeded).await;
    assert_eq!(advance(&w, first.id).await.len(), 2);
}

pub async fn its_runs_are_told_what_succeeded_before_them(mut w: World) {
    let asks = JobSpec { previous_success: true, policy: once(), ..spec(vec![every("main", 60)]) };
    let (job, owner, shard) = (w.create("report", asks).await, w.connect().await, w.own().await);
    w.pass(secs(60));
    // What a schedule has made since is of later.
    let live = w.fire_due(shard).await;
    end(&w, owner, &fired(&live[0])[0], Outcome::Succeeded).await;
    let told = async |w: &World, run: &Moved, outcome| {
        let attempt = w.lease(owner, pointer(run)).await;
        applied(w.report(attempt.key, outcome).await);
        attempt.previous_success.map(|at| at.since(self::at(w, 0)).as_secs() / 60)
    };
    let one = NonZeroU32::MIN;
    let first = begin(&w, &job, BackfillSpec { concurrency: one, ..wanted(&w, &job, 4) }).await;
    let mut seen = Vec::new();
    for outcome in [Outcome::Succeeded, failed(), Outcome::Succeeded, Outcome::Succeeded] {
        let run = advance(&w, first.id).await.remove(0);
        seen.push(told(&w, &run, outcome).await);
    }
    assert_eq!(seen, [None, Some(0), Some(0), Some(2)]);
    // Another one makes up for what failed, and hears of the first.
    let second = begin(&w, &job, BackfillSpec { concurrency: one, ..wanted(&w, &job, 4) }).await;
    let run = advance(&w, second.id).await.remove(0);
    assert_eq!((minutes(&w, std::slice::from_ref(&run)).await, told(&w, &run, failed()).await), (vec![1], Some(0)));
    // And one of what came after the schedule's.
    let (from, to) = (w.now.plus(secs(1)), w.now.plus(secs(61)));
    let nominal = view(&w, &fired(&live[0])[0]).await.nominal_time;
    w.pass(secs(120));
    let later = BackfillSpec { from, to, concurrency: one, ..wanted(&w, &job, 4) };
    let later = begin(&w, &job, later).await;
    let run = advance(&w, later.id).await.remove(0);
    assert_eq!(w.lease(owner, pointer(&run)).await.previous_success, nominal);
}

fn cancel(workers: bool) -> CancelBackfill {
    CancelBackfill { note: "wrong".into(), workers }
}

pub async fn it_is_cancelled_as_a_whole(w: World) {
    let (job, owner) = (job(&w).await, w.connect().await);
    let backfill = begin(&w, &job, wanted(&w, &job, 5)).await;
    let runs = advance(&w, backfill.id).await;
    let key = w.lease(owner, pointer(&runs[0])).await.key;
    let stale = step(&w, backfill.id, 100).await;
    let cancelled = w.store.cancel_backfill(w.now, &w.scope, backfill.id, cancel(false)).await.unwrap().unwrap();
    assert_eq!((cancelled.state, cancelled.cancel_note.as_str()), (BackfillState::Cancelling, "wrong"));
    assert!(matches!(w.store.advance_backfill(w.now, stale).await.unwrap(), Advanced::Overtaken));
    let EndedRuns { runs: ended, more, over } = w.store.end_backfill(w.now, backfill.id, 10).await.unwrap();
    assert_eq!((ended.len(), ended[0].run, ended[0].to), (1, runs[1].run, RunState::Cancelled));
    assert_eq!((more, over, w.state(key.run).await), (false, false, RunState::Leased), "one is at a worker");
    // Asked once more, those at workers are to stop as well.
    w.store.cancel_backfill(w.now, &w.scope, backfill.id, cancel(true)).await.unwrap();
    let EndedRuns { runs: ended, over, .. } = w.store.end_backfill(w.now, backfill.id, 10).await.unwrap();
    assert_eq!((ended.len(), ended[0].run, over), (1, key.run, false));
    assert!(view(&w, &runs[0]).await.life.cancel_requested);
    assert!(w.store.end_backfill(w.now, backfill.id, 10).await.unwrap().runs.is_empty(), "it was asked");
    applied(w.report(key, Outcome::Cancelled).await);
    assert!(w.store.end_backfill(w.now, backfill.id, 10).await.unwrap().over);
    let over = as_it_is(&w, backfill.id).await;
    assert_eq!((over.state, over.runs.cancelled, over.made), (BackfillState::Cancelled, 2, 2));
    let again = w.store.cancel_backfill(w.now, &w.scope, backfill.id, cancel(true)).await.unwrap().unwrap();
    assert_eq!(again, over, "what is over stays");
    let nobody = w.store.cancel_backfill(w.now, &w.scope, BackfillId::new(w.now), cancel(true)).await.unwrap();
    assert!(nobody.is_none());
}

pub async fn a_deleted_job_has_its_backfills_cancelled(w: World) {
    let job = job(&w).await;
    let backfill = begin(&w, &job, wanted(&w, &job, 5)).await;
    let runs = advance(&w, backfill.id).await;
    let deleted = w.store.delete_job(w.now, &w.scope, &job.name, None, Running::Detach, "ops").await.unwrap();
    assert!(matches!(deleted, JobChange::Done(_)));
    assert_eq!(as_it_is(&w, backfill.id).await.state, BackfillState::Cancelling);
    assert_eq!(w.store.cancel_waiting(w.now, job.uid, 10).await.unwrap().0.len(), runs.len());
    assert!(w.store.end_backfill(w.now, backfill.id, 10).await.unwrap().over);
    assert_eq!(as_it_is(&w, backfill.id).await.runs.cancelled, 2);
    let late = w.store.create_backfill(w.now, new(&w, &job, wanted(&w, &job, 5))).await.unwrap();
    assert!(matches!(late, CreateBackfill::JobGone));
}

pub async fn a_repeated_request_begins_it_once(w: World) {
    let job = job(&w).await;
    let key = |body: u8| Some(RequestKey { call: "BackfillJob", id: "r".into(), body: [body; 32] });
    let first = NewBackfill { request: key(1), ..new(&w, &job, wanted(&w, &job, 5)) };
    let made = w.store.create_backfill(w.now, first.clone()).await.unwrap();
    assert!(matches!(made, CreateBackfill::Created(_)));
    // Once more as a batch tried again after an unknown commit, and as another call.
    let id = first.id;
    let other = NewBackfill { request: key(1), ..new(&w, &job, wanted(&w, &job, 5)) };
    for again in [first, other] {
        match w.store.create_backfill(w.now, again).await.unwrap() {
            CreateBackfill::Replayed(there) => assert_eq!(there.id, id),
            other => panic!("{other:?}"),
        }
    }
    let another = NewBackfill { request: key(2), ..new(&w, &job, wanted(&w, &job, 5)) };
    assert!(matches!(w.store.create_backfill(w.now, another).await.unwrap(), CreateBackfill::RequestReused));
}

pub async fn backfills_are_listed_newest_first_and_are_so_many(mut w: World) {
    let (job, other) = (job(&w).await, w.create("other", spec(vec![every("main", 60)])).await);
    let mut ids = Vec::new();
    for _ in 0..MOST_OPEN {
        w.pass(secs(1));
        ids.push(begin(&w, &job, wanted(&w, &job, 5)).await.id);
    }
    let full = w.store.create_backfill(w.now, new(&w, &other, wanted(&w, &other, 5))).await.unwrap();
    assert!(matches!(full, CreateBackfill::Full));
    ids.reverse();
    let listed = async |job: Option<&Job>, before, limit| {
        let found = w.store.backfills(&w.scope, job.map(|job| job.uid), before, limit).await.unwrap();
        found.into_iter().map(|backfill| backfill.id).collect::<Vec<_>>()
    };
    assert_eq!(listed(None, None, 3).await, ids[..3]);
    assert_eq!(listed(Some(&job), Some(ids[2]), 1_000).await, ids[3..]);
    assert!(listed(Some(&other), None, 10).await.is_empty());
}

pub async fn a_template_is_kept_and_filled_in(w: World) {
    let job = job(&w).await;
    let text = r#"{"day": "${nominal_date}", "of": "${backfill_id}"}"#;
    let payload = Payload { content_type: "application/json".into(), data: text.into() };
    let template = mainspring_engine::domain::backfill::template::Template::read(payload).unwrap();
    let backfill = begin(&w, &job, BackfillSpec { template: Some(template), ..wanted(&w, &job, 1) }).await;
    assert_eq!(as_it_is(&w, backfill.id).await.spec, backfill.spec);
    let runs = advance(&w, backfill.id).await;
    let got = view(&w, &runs[0]).await.detail.unwrap().payload;
    let day = at(&w, 0).timestamp().to_string();
    let expected = format!(r#"{{"day": "{}", "of": "{}"}}"#, &day[..10], backfill.id);
    assert_eq!(String::from_utf8(got.data).unwrap(), expected);
}

pub async fn each_run_has_the_key_of_its_payload(w: World) {
    let concurrency = Concurrency { key: "at-${payload.minute}".parse().unwrap(), limit: None, pace: Pace::Kept };
    let definition = JobSpec {
        concurrency: Some(concurrency),
        fairness_key: "${payload.of}".parse().unwrap(),
        policy: once(),
        ..spec(vec![every("main", 60)])
    };
    let job = w.create("report", definition).await;
    let text = r#"{"minute": "${nominal_unix}", "of": "${backfill_id}"}"#;
    let payload = Payload { content_type: "application/json".into(), data: text.into() };
    let template = mainspring_engine::domain::backfill::template::Template::read(payload).unwrap();
    let backfill = begin(&w, &job, BackfillSpec { template: Some(template), ..wanted(&w, &job, 2) }).await;
    let runs = advance(&w, backfill.id).await;
    assert_eq!(runs.len(), 2);
    for (minute, run) in runs.iter().enumerate() {
        let view = view(&w, run).await;
        let key = format!("at-{}", at(&w, minute as u64).as_micros() / 1_000_000);
        assert_eq!(
            (view.concurrency_key.unwrap().as_str(), view.fairness_key.as_str()),
            (key.as_str(), backfill.id.to_string().as_str())
        );
        assert!(run.place.is_some(), "each has a key of its own");
    }
}

pub async fn failures_of_a_backfill_pause_nobody(w: World) {
    let auto_disable = AutoDisable::After { failures: NonZeroU32::new(2).unwrap(), window: secs(600), cooldown: None };
    let definition = JobSpec { auto_disable, policy: once(), ..spec(vec![every("main", 60)]) };
    let (job, owner) = (w.create("report", definition).await, w.connect().await);
    let many = NonZeroU32::new(10).unwrap();
    let backfill = begin(&w, &job, BackfillSpec { concurrency: many, ..wanted(&w, &job, 4) }).await;
    for run in advance(&w, backfill.id).await {
        end(&w, owner, &run, failed()).await;
    }
    assert!(!w.store.is_failing(w.now, &w.scope, &job.name).await.unwrap());
    // A success of one, either, is no end of a row.
    let live = async || w.submit(vec![w.run_of(&job)]).await.remove(0);
    let policy = async || {
        let run = live().await;
        let key = w.lease(owner, pointer(&run)).await.key;
        let hint = mainspring_engine::domain::payload::RetryHint { retry: Some(false), delay: None };
        let last = mainspring_engine::domain::payload::Failure { hint: Some(hint), ..failure("X") };
        applied(w.report(key, Outcome::Failed(last)).await);
    };
    policy().await;
    let second = begin(&w, &job, wanted(&w, &job, 1)).await;
    for run in advance(&w, second.id).await {
        end(&w, owner, &run, Outcome::Succeeded).await;
    }
    policy().await;
    assert!(w.store.is_failing(w.now, &w.scope, &job.name).await.unwrap());
}

pub async fn runs_of_an_open_backfill_are_kept(mut w: World) {
    let (job, owner) = (job(&w).await, w.connect().await);
    let backfill = begin(&w, &job, wanted(&w, &job, 3)).await;
    let first = advance(&w, backfill.id).await;
    for run in &first {
        end(&w, owner, run, Outcome::Succeeded).await;
    }
    let policy = RetentionPolicy { succeeded: secs(10), ..RetentionPolicy::default() };
    w.pass(secs(20));
    w.store.sweep(w.now, policy, 100).await.unwrap();
    let last = advance(&w, backfill.id).await;
    assert_eq!(as_it_is(&w, backfill.id).await.runs, RunCounts { open: 1, succeeded: 2, failed: 0, cancelled: 0 });
    end(&w, owner, &last[0], Outcome::Succeeded).await;
    advance(&w, backfill.id).await;
    assert_eq!(as_it_is(&w, backfill.id).await.state, BackfillState::Completed);
    w.pass(secs(20));
    for _ in 0..3 {
        w.store.sweep(w.now, policy, 100).await.unwrap();
    }
    assert!(w.store.run(&w.scope, first[0].run).await.unwrap().is_none());
    assert!(w.store.backfill(&w.scope, backfill.id).await.unwrap().is_none(), "it goes with its last run");
}
