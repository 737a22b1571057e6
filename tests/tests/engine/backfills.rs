//! Backfills under way: as many at once as they may, woken by ends, through restarts, beside live instants. Where the clock
//! stands still, nobody looks: what goes on then was told.

use std::{collections::BTreeMap, num::NonZeroU32, time::Duration};

use mainspring_engine::{
    domain::{
        attempt::{AttemptKey, Outcome},
        backfill::{Backfill, BackfillSpec, BackfillState, Beside, Only, Order, Plan, Range},
        event::{Detail, JobChange},
        filter::{Filter, Op, Value},
        ids::BackfillId,
        instant::Instant,
        job::{Job, JobSpec, Pause},
        names::Scope,
        overlap::{Overlap, OverlapScope},
        rules::LeaseRules,
        run::{RunOrigin, RunState},
        stop::Paused,
    },
    flow::stream::messages::ToWorker,
    ports::store::{CancelBackfill, CreateBackfill, Direction, NewBackfill, NewRun, Resume, RunView},
};
use mainspring_tests::{
    conformance::{
        backfills::concurrency,
        world::{all, every, spec},
    },
    engine::{Stage, Worker},
    harness::host::{self, PATIENCE},
};
use rand::{RngExt as _, rngs::StdRng};

const MINUTE: Duration = Duration::from_secs(60);

/// A job that is due every minute, and so many minutes of long ago.
async fn wanted(stage: &Stage, minutes: u32, at_once: u32) -> (Job, BackfillSpec) {
    let mut definition = JobSpec { overlap: Overlap::Skip, ..spec(vec![every("main", 60)]) };
    definition.policy.retry.max_losses = 100;
    let job = stage.create("report", definition).await;
    let now = stage.engine.now().as_micros();
    let from = Instant::from_micros(now - now % 86_400_000_000 - 86_400_000_000);
    let to = from.plus(MINUTE * minutes);
    let schedules = vec!["main".parse().unwrap()];
    let spec = BackfillSpec {
        plan: Plan::of(&job.spec.schedules, &schedules, Range { from, to }).unwrap(),
        schedules,
        from,
        to,
        order: Order::OldestFirst,
        beside: Beside::Allow,
        only: Only::Unsucceeded,
        concurrency: NonZeroU32::new(at_once).unwrap(),
        priority: 0,
        while_paused: false,
        note: String::new(),
        actor: "ada".into(),
        template: None,
    };
    (job, spec)
}

async fn begin(stage: &Stage, job: &Job, spec: BackfillSpec) -> BackfillId {
    let (scope, id) = (Scope::default(), BackfillId::new(stage.engine.now()));
    let new = NewBackfill { scope, id, job: job.uid, version: job.version, spec, request: None };
    match stage.engine.backfill(new).await.unwrap() {
        CreateBackfill::Created(backfill) => backfill.id,
        other => panic!("{other:?}"),
    }
}

async fn as_it_is(stage: &Stage, id: BackfillId) -> Backfill {
    stage.engine.store().backfill(&Scope::default(), id).await.unwrap().unwrap()
}

async fn runs(stage: &Stage, id: BackfillId) -> Vec<RunView> {
    let filter = Filter::Test { field: "backfill_id", op: Op::Equal, value: Value::Text(id.to_string()) };
    stage.engine.store().runs(&Scope::default(), &filter, Direction::Up, all(), false).await.unwrap().entries
}

/// The next attempts, of which there are so many and no more.
async fn exactly(worker: &mut Worker, count: usize) -> Vec<AttemptKey> {
    let mut keys = Vec::new();
    for _ in 0..count {
        keys.push(worker.accepted().await);
    }
    assert!(!worker.heard(|said| matches!(said, ToWorker::Dispatch { .. })), "more than {count}");
    keys
}

/// Waits, without moving the clock, until it is over.
async fn over(stage: &Stage, id: BackfillId) -> Backfill {
    let mut watch = stage.engine.events().watch(None).unwrap();
    let ended = async {
        loop {
            let backfill = as_it_is(stage, id).await;
            if backfill.end_time.is_some() {
                return backfill;
            }
            while !matches!(watch.next().await.unwrap().1.detail, Detail::Job { change: JobChange::BackfillEnded, .. })
            {
            }
        }
    };
    match host::within(PATIENCE, "the backfill to be over", ended).await {
        Ok(backfill) => backfill,
        Err(why) => panic!("{why}: {:?}", as_it_is(stage, id).await),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_many_are_under_way_as_may_be_and_each_end_brings_the_next() {
    let stage = Stage::set().await;
    let (job, spec) = wanted(&stage, 7, 2).await;
    let mut worker = stage.connect(10).await;
    let id = begin(&stage, &job, spec).await;
    let mut under_way = exactly(&mut worker, 2).await;
    for done in 1..=7_usize {
        worker.reported(under_way.remove(0), Outcome::Succeeded).await;
        let comes = usize::from(done + 2 <= 7);
        under_way.extend(exactly(&mut worker, comes).await);
        assert!(as_it_is(&stage, id).await.runs.open <= 2, "after {done}");
    }
    let backfill = over(&stage, id).await;
    assert_eq!((backfill.state, backfill.made, backfill.runs.succeeded), (BackfillState::Completed, 7, 7));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_instants_go_on_beside_it() {
    let stage = Stage::set_with(LeaseRules::default(), Duration::from_secs(1)).await;
    let (job, spec) = wanted(&stage, 3, 1).await;
    let mut worker = stage.connect(10).await;
    let id = begin(&stage, &job, spec).await;
    let old = exactly(&mut worker, 1).await.remove(0);
    let now = stage.engine.now();
    let next = job.spec.schedules[0].next_after(now).unwrap();
    // Its worker is heard from often enough meanwhile.
    while stage.engine.now() < next {
        stage.pass(Duration::from_secs(5).min(next.since(stage.engine.now()))).await;
        worker.renew(&[old]).await;
    }
    let live = worker.accepted().await;
    let run = stage.run(live.run).await;
    assert_eq!((run.origin, run.nominal_time), (RunOrigin::Schedule, Some(next)), "it holds no slot of the job");
    worker.reported(live, Outcome::Succeeded).await;
    let mut key = old;
    for _ in 0..2 {
        worker.reported(key, Outcome::Succeeded).await;
        key = exactly(&mut worker, 1).await.remove(0);
    }
    worker.reported(key, Outcome::Succeeded).await;
    assert_eq!(over(&stage, id).await.runs.succeeded, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_waits_for_a_key_goes_on_when_a_run_of_it_is_over() {
    let stage = Stage::set().await;
    let (job, spec) = wanted(&stage, 2, 1).await;
    let by_key = JobSpec { overlap_scope: OverlapScope::Key, concurrency: concurrency("db"), ..job.spec };
    let job = stage.create("by-key", by_key).await;
    // A run of no job has the key.
    let first = stage.submit(NewRun { concurrency: concurrency("db"), ..stage.world().new_run() }).await;
    let mut worker = stage.connect(10).await;
    let holder = exactly(&mut worker, 1).await.remove(0);
    assert_eq!(holder.run, first);
    let id = begin(&stage, &job, BackfillSpec { beside: Beside::Wait, ..spec }).await;
    stage.pass(Duration::from_secs(2)).await;
    exactly(&mut worker, 0).await;
    worker.reported(holder, Outcome::Succeeded).await;
    for _ in 0..2 {
        let key = worker.accepted().await;
        worker.reported(key, Outcome::Succeeded).await;
    }
    assert_eq!(over(&stage, id).await.runs.succeeded, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_goes_on_where_it_stood() {
    let mut stage = Stage::set().await;
    let (job, spec) = wanted(&stage, 40, 3).await;
    // Nothing of the job is due meanwhile.
    let pause = Pause { note: String::new(), actor: "ada".into(), time: stage.engine.now(), until: None };
    stage.engine.jobs().pause(&Scope::default(), &job.name, pause, Paused::Keep).await.unwrap();
    let id = begin(&stage, &job, BackfillSpec { while_paused: true, ..spec }).await;
    let mut made = BTreeMap::new();
    for _ in 0..20 {
        let mut worker = stage.connect(3).await;
        for key in exactly(&mut worker, 3).await.into_iter().take(2) {
            worker.reported(key, Outcome::Succeeded).await;
        }
        worker.sever();
        // Nobody takes up what the worker had; it is lost, and given to the next one.
        stage = stage.outage(Duration::from_secs(1)).await;
        stage.pass(Duration::from_secs(65)).await;
        for run in runs(&stage, id).await {
            let was = made.entry(run.nominal_time.unwrap()).or_insert(run.run);
            assert_eq!(*was, run.run, "one instant, one run");
        }
        let there = as_it_is(&stage, id).await;
        assert!(there.runs.open <= 3, "{there:?}");
        if there.runs.succeeded + there.runs.open >= 36 {
            break;
        }
    }
    let mut worker = stage.connect(3).await;
    for _ in as_it_is(&stage, id).await.runs.succeeded..40 {
        let key = worker.accepted().await;
        worker.reported(key, Outcome::Succeeded).await;
    }
    let backfill = over(&stage, id).await;
    assert_eq!((backfill.state, backfill.made, backfill.runs.succeeded), (BackfillState::Completed, 40, 40));
    assert_eq!(runs(&stage, id).await.len(), 40);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_of_the_job_holds_it_up_and_a_resume_lets_it_go_on() {
    let stage = Stage::set().await;
    let (job, spec) = wanted(&stage, 3, 2).await;
    let mut worker = stage.connect(1).await;
    let id = begin(&stage, &job, spec).await;
    let key = exactly(&mut worker, 1).await.remove(0);
    let (scope, now) = (Scope::default(), stage.engine.now());
    let pause = Pause { note: "x".into(), actor: "ada".into(), time: now, until: None };
    // What a pause cancels is none of its runs.
    stage.engine.jobs().pause(&scope, &job.name, pause, Paused::CancelAll).await.unwrap();
    assert!(!stage.run(key.run).await.life.cancel_requested);
    worker.reported(key, Outcome::Succeeded).await;
    let key = exactly(&mut worker, 1).await.remove(0);
    worker.reported(key, Outcome::Succeeded).await;
    stage.pass(Duration::from_secs(3)).await;
    exactly(&mut worker, 0).await;
    let held = as_it_is(&stage, id).await;
    assert_eq!((held.state, held.made, held.runs.succeeded), (BackfillState::Running, 2, 2));
    let resume = Resume::Asked(mainspring_engine::domain::catch_up::Mode::None);
    stage.engine.jobs().resume(&scope, &job.name, resume).await.unwrap();
    exactly(&mut worker, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_is_cancelled_ends_what_waits_and_what_was_to_be_tried_again() {
    let stage = Stage::set().await;
    let (job, spec) = wanted(&stage, 9, 3).await;
    let mut worker = stage.connect(2).await;
    let id = begin(&stage, &job, spec).await;
    let keys = exactly(&mut worker, 2).await;
    let cancel = |workers| CancelBackfill { note: "wrong".into(), workers };
    let told = stage.engine.cancel_backfill(&Scope::default(), id, cancel(false)).await.unwrap().unwrap();
    assert_eq!((told.state, told.runs.open, told.runs.cancelled), (BackfillState::Cancelling, 2, 1));
    // Nobody has anything left to look at, and its next attempt would come later.
    stage.pass(Duration::from_secs(2)).await;
    worker.reported(keys[0], Outcome::Failed(mainspring_tests::conformance::world::failure("X"))).await;
    stage.until(keys[0].run, RunState::Cancelled).await;
    worker.reported(keys[1], Outcome::Succeeded).await;
    let over = over(&stage, id).await;
    assert_eq!((over.state, over.runs.succeeded, over.runs.cancelled), (BackfillState::Cancelled, 1, 2));
    assert_eq!(over.made, 3, "and no more were made");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_told_is_found_by_looking() {
    let stage = Stage::set().await;
    let (job, spec) = wanted(&stage, 2, 1).await;
    let mut worker = stage.connect(10).await;
    begin(&stage, &job, spec).await;
    let first = exactly(&mut worker, 1).await.remove(0).run.uuid().simple();
    // Another server ended it, and its hint was lost.
    let now = stage.engine.now().as_micros();
    stage
        .sql(format!(
            "UPDATE run SET state = 6, open_token = NULL, end_time = {now}, deadline_time = NULL WHERE id = x'{first}'"
        ))
        .await;
    stage.pass(Duration::from_secs(2)).await;
    worker.accepted().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_whose_definition_cannot_be_read_is_cancelled_and_stops_no_other() {
    let stage = Stage::set().await;
    let (job, spec) = wanted(&stage, 2, 1).await;
    let other = stage.create("other", JobSpec { ..job.spec.clone() }).await;
    let uid = job.uid.uuid().simple();
    stage.sql(format!("UPDATE job_version SET spec = '{{' WHERE job_uid = x'{uid}'")).await;
    let broken = begin(&stage, &job, spec.clone()).await;
    let mut worker = stage.connect(10).await;
    let well = begin(&stage, &other, spec).await;
    assert_eq!(over(&stage, broken).await.state, BackfillState::Cancelled);
    for _ in 0..2 {
        let key = exactly(&mut worker, 1).await.remove(0);
        worker.reported(key, Outcome::Succeeded).await;
    }
    assert_eq!(over(&stage, well).await.state, BackfillState::Completed);
}

/// A backfill of a range, of any kind; none where nothing is in it.
pub(super) fn any(rng: &mut StdRng, job: &Job, range: Range, now: Instant) -> Option<NewBackfill> {
    let schedules: Vec<_> = job.spec.schedules.iter().map(|schedule| schedule.name.clone()).collect();
    let plan = Plan::of(&job.spec.schedules, &schedules, range).ok()?;
    let Range { from, to } = range;
    let spec = BackfillSpec {
        schedules,
        from,
        to,
        order: if rng.random_bool(0.5) { Order::OldestFirst } else { Order::NewestFirst },
        beside: if rng.random_bool(0.8) { Beside::Allow } else { Beside::Wait },
        only: Only::All,
        concurrency: NonZeroU32::new(rng.random_range(1..4)).unwrap(),
        priority: 0,
        while_paused: rng.random_bool(0.5),
        note: String::new(),
        actor: "ada".into(),
        plan,
        template: None,
    };
    let (scope, id) = (Scope::default(), BackfillId::new(now));
    Some(NewBackfill { scope, id, job: job.uid, version: job.version, spec, request: None })
}

/// Whatever happened: no instant has two runs of one, none has a run that it is not of, and what is completed has all.
pub(super) async fn judge(stage: &Stage, backfills: &[(BackfillId, Vec<Instant>)]) {
    let mut completed = 0;
    for (id, instants) in backfills {
        let there = as_it_is(stage, *id).await;
        let mut made: Vec<_> = runs(stage, *id).await.iter().map(|run| run.nominal_time.unwrap()).collect();
        made.sort_unstable();
        assert_eq!(there.made, made.len() as u64, "{there:?}");
        match there.state {
            BackfillState::Completed => {
                assert_eq!(&made, instants, "{there:?}");
                completed += 1;
            }
            // Its job was deleted, or is paused for good.
            BackfillState::Cancelled | BackfillState::Running => {
                assert!(made.is_sorted_by(|one, next| one < next), "{made:?}");
                assert!(made.iter().all(|at| instants.contains(at)), "{there:?}");
            }
            BackfillState::Cancelling => panic!("{there:?}"),
        }
    }
    println!("{} backfills, {completed} of them to their end", backfills.len());
    assert!(completed > 5, "that proves nothing");
}
