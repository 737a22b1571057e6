//! What may go goes, a little at a time, and nothing else.

use mainspring_engine::{
    domain::{
        attempt::{AttemptKey, Outcome},
        ids::{JobUid, RunId, WorkerId},
        instant::Instant,
        job::JobSpec,
        log::{Batch, Level, Line},
        payload::{Failure, RetryHint},
        run::RunState,
        stop::Running,
        supersede::Pending,
        transition::Event,
        worker::WorkerStatus,
    },
    ports::store::{
        Apply, CreateJob, Direction, JobChange, NewJob, NewRun, NewSession, Owner, QueueSettings, RequestKey,
        RetentionPolicy, RootUser, Submitted, Swept, UpdateJob,
    },
};

use super::world::{World, all, changed, every, failure, lane, lane_of, pointer, secs, spec};

const DAY: u64 = 24 * 3_600;

fn policy() -> RetentionPolicy {
    RetentionPolicy { jobs: secs(DAY), unresolved: secs(90 * DAY), ..RetentionPolicy::default() }
}

async fn gone(w: &World, run: RunId) -> bool {
    w.store.run(&w.scope, run).await.unwrap().is_none()
}

/// Sweeps until there is nothing more.
async fn sweep(w: &World) -> u64 {
    let mut rows = 0;
    loop {
        let swept = w.store.sweep(w.now, policy(), 100).await.unwrap();
        rows += swept.rows;
        if !swept.more {
            return rows;
        }
    }
}

pub async fn ended_runs_go_after_their_time(mut w: World) {
    let owner = w.connect().await;
    let (good, bad) = (w.leased(owner).await, w.leased(owner).await);
    w.report(good, Outcome::Succeeded).await;
    let final_failure = Failure { hint: Some(RetryHint { retry: Some(false), delay: None }), ..failure("X") };
    w.report(bad, Outcome::Failed(final_failure)).await;
    w.pass(secs(30 * DAY));
    sweep(&w).await;
    assert!(!gone(&w, good.run).await, "not a moment before");
    w.pass(secs(1));
    sweep(&w).await;
    assert!(gone(&w, good.run).await && !gone(&w, bad.run).await);
    w.pass(secs(60 * DAY));
    sweep(&w).await;
    assert!(gone(&w, bad.run).await);
    assert!(w.store.attempts(&w.scope, bad.run, all()).await.unwrap().is_none());
}

pub async fn failures_may_be_kept_for_less(mut w: World) {
    let owner = w.connect().await;
    let (good, bad) = (w.leased(owner).await, w.leased(owner).await);
    w.report(good, Outcome::Succeeded).await;
    let final_failure = Failure { hint: Some(RetryHint { retry: Some(false), delay: None }), ..failure("X") };
    w.report(bad, Outcome::Failed(final_failure)).await;
    w.pass(secs(10 * DAY + 1));
    let policy = RetentionPolicy { failed: secs(10 * DAY), unresolved: secs(10 * DAY), ..policy() };
    w.store.sweep(w.now, policy, 10).await.unwrap();
    assert!(gone(&w, bad.run).await && !gone(&w, good.run).await);
}

/// Ids are made before their rows, by a clock that may be a little ahead.
pub async fn an_id_made_ahead_of_time_keeps_nothing(mut w: World) {
    let owner = w.connect().await;
    let ahead = NewRun { id: RunId::new(w.now.plus(secs(1_800))), ..w.new_run() };
    let moved = w.submit(vec![ahead]).await.remove(0);
    let key = w.lease(owner, pointer(&moved)).await.key;
    w.report(key, Outcome::Succeeded).await;
    w.pass(secs(30 * DAY + 1));
    sweep(&w).await;
    assert!(gone(&w, key.run).await);
}

pub async fn unfinished_runs_stay(mut w: World) {
    let owner = w.connect().await;
    let leased = w.leased(owner).await;
    let waits = w.submit_one().await;
    let later = w.submit(vec![NewRun { due: w.now.plus(secs(900 * DAY)), ..w.new_run() }]).await.remove(0);
    w.pass(secs(400 * DAY));
    sweep(&w).await;
    assert_eq!(w.state(leased.run).await, RunState::Leased);
    assert_eq!(w.state(waits.run).await, RunState::Queued);
    assert_eq!(w.state(later.run).await, RunState::Scheduled);
}

pub async fn a_sweep_is_bounded(mut w: World) {
    let owner = w.connect().await;
    for _ in 0..5 {
        let key = w.leased(owner).await;
        w.report(key, Outcome::Succeeded).await;
    }
    w.pass(secs(31 * DAY));
    let swept = w.store.sweep(w.now, policy(), 2).await.unwrap();
    assert!(swept.more && swept.rows >= 2);
    let left = w.store.stats(&w.scope, Instant::EPOCH, w.now).await.unwrap().runs;
    assert_eq!(left, [(RunState::Succeeded, 3)]);
    sweep(&w).await;
    assert!(w.store.stats(&w.scope, Instant::EPOCH, w.now).await.unwrap().runs.is_empty());
}

pub async fn a_round_begins_anew(mut w: World) {
    let owner = w.connect().await;
    let key = w.leased(owner).await;
    w.pass(secs(40 * DAY));
    sweep(&w).await;
    assert!(!gone(&w, key.run).await);
    // An old run that ended late is found in a later round.
    w.report(key, Outcome::Succeeded).await;
    w.pass(secs(31 * DAY));
    sweep(&w).await;
    assert!(gone(&w, key.run).await);
}

pub async fn ledger_requests_and_workers_go(mut w: World) {
    let job = w.create("report", spec(vec![every("main", 60)])).await;
    let shard = w.own().await;
    w.pass(secs(60));
    w.fire_due(shard).await;
    let request = RequestKey { call: "SubmitRun", id: "r1".into(), body: [1; 32] };
    let again = || NewRun { request: Some(request.clone()), ..w.new_run() };
    w.submit(vec![again()]).await;
    let left = w.connect().await;
    w.pass(secs(DAY + 1));
    w.store.expire(w.now, w.now, 10).await.unwrap();
    w.fire_due(w.own().await).await;
    sweep(&w).await;
    let again = NewRun { request: Some(request.clone()), ..w.new_run() };
    let answer = w.store.submit(w.now, vec![again]).await.unwrap().remove(0);
    assert!(matches!(answer, Submitted::Stored(_)), "{answer:?}");
    assert!(w.store.worker(&w.scope, left.worker).await.unwrap().is_some());
    w.pass(secs(7 * DAY));
    sweep(&w).await;
    assert!(w.store.worker(&w.scope, left.worker).await.unwrap().is_none());
    let ranges = w.ledger(job.uid, Instant::MIN, Instant::MAX).await.len();
    assert_eq!(ranges, 3);
    w.pass(secs(90 * DAY));
    sweep(&w).await;
    let ranges = w.ledger(job.uid, Instant::MIN, Instant::MAX).await;
    assert_eq!(ranges.len(), 1, "the open range stays with its schedule");
}

pub async fn logs_go(mut w: World) {
    let owner = w.connect().await;
    let key = w.leased(owner).await;
    let line = Line { time: w.now, level: Level::Info, message: "x".into(), fields: Default::default() };
    let batch = Batch { key, first_offset: 0, lines: vec![line], dropped: 0 };
    w.store.append(w.now, vec![batch]).await.unwrap();
    let count = async |w: &World| w.store.read(&w.scope, key.run, None, None, Level::Debug, 10).await.unwrap().len();
    w.pass(secs(14 * DAY));
    sweep(&w).await;
    assert_eq!(count(&w).await, 1);
    w.pass(secs(1));
    sweep(&w).await;
    assert_eq!(count(&w).await, 0);
}

pub async fn a_round_goes_past_what_stays(mut w: World) {
    // More unfinished runs at the old end than one step looks at.
    let owner = w.connect().await;
    w.submit((0..20).map(|_| w.new_run()).collect()).await;
    w.pass(secs(1));
    let pointer = w.submit_one().await;
    let key = w.lease(owner, pointer).await.key;
    w.report(key, Outcome::Succeeded).await;
    w.pass(secs(31 * DAY));
    let mut steps = 0;
    while w.store.sweep(w.now, policy(), 1).await.unwrap().more {
        steps += 1;
        assert!(steps < 20, "it never gets past what stays");
    }
    assert!(gone(&w, key.run).await);
}

pub async fn young_runs_cost_a_sweep_nothing(mut w: World) {
    w.pass(secs(DAY));
    w.submit((0..20).map(|_| w.new_run()).collect()).await;
    assert_eq!(w.store.sweep(w.now, policy(), 1).await.unwrap(), Swept { rows: 0, more: false });
}

pub async fn what_is_young_stays(mut w: World) {
    root(&w).await;
    open_session(&w, "s", w.now.plus(secs(DAY))).await;
    let idle = w.create("idle", spec(vec![])).await;
    let request = RequestKey { call: "SubmitRun", id: "r1".into(), body: [1; 32] };
    let of_request = |w: &World| NewRun { request: Some(request.clone()), ..w.new_run() };
    let made = w.submit(vec![of_request(&w)]).await.remove(0).run;
    w.pass(secs(DAY));
    assert_eq!(sweep(&w).await, 0);
    let again = w.store.submit(w.now, vec![of_request(&w)]).await.unwrap().remove(0);
    assert!(matches!(again, Submitted::Replayed(run) if run == made), "{again:?}");
    assert!(w.store.session("s").await.unwrap().is_some());
    w.pass(secs(7 * DAY));
    assert_eq!(sweep(&w).await, 1, "the request");
    w.pass(secs(1));
    assert_eq!(sweep(&w).await, 1, "the session, a week after its end");
    assert!(w.store.session("s").await.unwrap().is_none());
    w.pass(secs(1_000 * DAY));
    assert_eq!((sweep(&w).await, w.job("idle").await), (0, Some(idle)), "a job that is not used is not deleted");
}

/// Whether anybody has heard of a queue.
async fn has_queue(w: &World, queue: &str) -> bool {
    w.store.queue(&w.scope, &queue.parse().unwrap()).await.unwrap().is_some()
}

async fn job_types(w: &World) -> Vec<String> {
    let listed = w.store.job_types(&w.scope, &Default::default(), Direction::Up, all()).await.unwrap();
    listed.entries.iter().map(|view| view.job_type.to_string()).collect()
}

pub async fn what_nobody_uses_any_more_goes(mut w: World) {
    let in_queue = |w: &World, queue: &str| NewRun { lane: lane_of("default", queue, "test.job"), ..w.new_run() };
    let owner = w.connect().await;
    let waits = pointer(&w.submit(vec![in_queue(&w, "waits")]).await[0]);
    let over = w.submit(vec![in_queue(&w, "over"), in_queue(&w, "set"), in_queue(&w, "jobs")]).await;
    for run in &over {
        let cancel =
            Apply { run: run.run, event: Event::Cancel { reason: "no".into(), grace: None }, owner: None, scope: None };
        w.store.apply(w.now, vec![cancel]).await.unwrap();
    }
    let paused = QueueSettings { paused: Some((true, "x".into())), ..QueueSettings::default() };
    w.store.update_queue(w.now, &w.scope, &"set".parse().unwrap(), paused).await.unwrap();
    w.create("rare", JobSpec { queue: "jobs".parse().unwrap(), ..spec(vec![]) }).await;
    assert_eq!(job_types(&w).await, ["test.job"]);
    w.pass(secs(60 * DAY));
    // Its worker has been there all the time.
    w.store.renew(w.now, vec![w.renewal(owner)]).await.unwrap();
    sweep(&w).await;
    assert_eq!(job_types(&w).await, ["test.job"]);
    w.pass(secs(31));
    w.store.expire(w.now, w.now, 10).await.unwrap();
    w.pass(secs(8 * DAY));
    // The worker goes first, and then what only it handled.
    sweep(&w).await;
    sweep(&w).await;
    assert!(job_types(&w).await.is_empty());
    for queue in ["waits", "over", "set", "jobs"] {
        assert!(has_queue(&w, queue).await, "{queue} was named two months ago");
    }
    w.pass(secs(25 * DAY));
    sweep(&w).await;
    let mut left = Vec::new();
    for queue in ["waits", "over", "set", "jobs"] {
        left.extend(has_queue(&w, queue).await.then_some(queue));
    }
    assert_eq!(left, ["waits", "set", "jobs"], "what waits keeps its lane, and what somebody has set stays");
    // Whatever went comes back when it is named, and what stayed is as it was.
    let owner = w.connect().await;
    let again = pointer(&w.submit(vec![in_queue(&w, "over")]).await[0]);
    for pointer in [waits, again] {
        let run = pointer.run;
        assert_eq!(w.lease(owner, pointer).await.key.run, run);
    }
    assert!(has_queue(&w, "over").await);
}

pub async fn schemas_go_with_their_type(mut w: World) {
    let announced = async |w: &World| {
        let mut hello = w.hello(WorkerId::new(w.now), 1, &[]);
        hello.handlers[0].input_schema = "{}".into();
        w.say_hello(&hello).await;
        let listed = w.store.job_types(&w.scope, &Default::default(), Direction::Up, all()).await.unwrap();
        listed.entries[0].announcements[0].announce_time
    };
    let first = w.now;
    assert_eq!(announced(&w).await, first);
    w.pass(secs(60));
    w.store.expire(w.now, w.now, 10).await.unwrap();
    assert_eq!(announced(&w).await, first);
    w.pass(secs(60));
    w.store.expire(w.now, w.now, 10).await.unwrap();
    w.pass(secs(8 * DAY));
    sweep(&w).await;
    sweep(&w).await;
    assert!(job_types(&w).await.is_empty());
    assert!(w.store.input_schemas(&w.scope, &lane().job_type).await.unwrap().is_empty());
    assert_eq!(announced(&w).await, w.now, "nothing of before was left");
}

pub async fn what_is_named_now_and_then_stays(mut w: World) {
    let lane = lane_of("default", "seldom", "test.job");
    for _ in 0..12 {
        let run = w.submit(vec![NewRun { lane: lane.clone(), ..w.new_run() }]).await[0].run;
        let cancel = Apply { run, event: Event::Cancel { reason: "no".into(), grace: None }, owner: None, scope: None };
        w.store.apply(w.now, vec![cancel]).await.unwrap();
        w.pass(secs(80 * DAY));
        sweep(&w).await;
        assert!(gone(&w, run).await && has_queue(&w, "seldom").await);
    }
}

pub async fn a_ledger_range_is_as_old_as_its_last_instant(mut w: World) {
    let job = w.create("report", spec(vec![every("main", 95 * DAY)])).await;
    let shard = w.own().await;
    for _ in 0..2 {
        w.now = every("main", 95 * DAY).next_after(w.now).unwrap();
        w.fire_due(shard).await;
    }
    let job = w.job(job.name.as_str()).await.unwrap();
    let (scope, name, spec) = (w.scope.clone(), job.name.clone(), spec(vec![every("main", DAY)]));
    let edited = w
        .store
        .update_job(
            w.now,
            UpdateJob { scope, name, revision: job.revision, spec, pending: Pending::Keep, actor: "ops".into() },
        )
        .await
        .unwrap();
    assert!(matches!(edited, JobChange::Done(_)));
    w.now = every("main", DAY).next_after(w.now).unwrap();
    w.fire_due(shard).await;
    sweep(&w).await;
    let ranges = w.ledger(job.uid, Instant::MIN, Instant::MAX).await;
    let counts: Vec<_> = ranges.iter().map(|range| (range.range.version, range.range.count)).collect();
    assert_eq!(counts, [(1, 2), (2, 1)], "the first one began before it is too old");
}

pub async fn only_dead_workers_that_were_judged_go(mut w: World) {
    let (lost, left, alive) = (w.connect().await, w.connect().await, w.connect().await);
    let key = w.leased(left).await;
    w.store.set_status(w.now, left, WorkerStatus::Gone).await.unwrap();
    w.pass(secs(8 * DAY));
    w.store.renew(w.now, vec![w.renewal(alive)]).await.unwrap();
    w.pass(secs(8 * DAY));
    assert_eq!(sweep(&w).await, 0, "nobody was judged yet");
    let moved = w.store.expire(w.now, w.now, 10).await.unwrap().moved;
    assert_eq!(moved.iter().map(|moved| moved.run).collect::<Vec<_>>(), [key.run]);
    // One of them came back since, and was not heard of for as long.
    w.reconnect(alive.worker, 2, &[]).await;
    let before = w.now;
    assert_eq!(sweep(&w).await, 2);
    let there = async |w: &World, owner: Owner| w.store.worker(&w.scope, owner.worker).await.unwrap().is_some();
    assert_eq!((there(&w, lost).await, there(&w, left).await, there(&w, alive).await), (false, false, true));
    // A worker whose stream ended after it was judged is as lost as it was.
    w.pass(secs(60));
    w.store.expire(w.now, w.now, 10).await.unwrap();
    w.store.set_status(w.now, Owner { epoch: 2, ..alive }, WorkerStatus::Disconnected).await.unwrap();
    let view = w.store.worker(&w.scope, alive.worker).await.unwrap().unwrap();
    assert_eq!(view.status, WorkerStatus::Lost);
    w.now = before.plus(secs(7 * DAY));
    assert_eq!(sweep(&w).await, 0);
    w.pass(secs(1));
    assert_eq!((sweep(&w).await, there(&w, alive).await), (2, false), "and the job type that only they handled");
}

pub async fn a_deleted_job_stays_while_anything_is_of_it(mut w: World) {
    let request = || Some(RequestKey { call: "CreateJob", id: "r1".into(), body: [1; 32] });
    let new = |w: &World| NewJob {
        scope: w.scope.clone(),
        uid: JobUid::new(w.now),
        name: "report".parse().unwrap(),
        spec: spec(vec![every("main", 60)]),
        request: request(),
    };
    // A repeat of its creation must find it, though nothing else is of it.
    let CreateJob::Created(job) = w.store.create_job(w.now, new(&w)).await.unwrap() else { panic!("not created") };
    assert!(matches!(
        w.store.delete_job(w.now, &w.scope, &job.name, None, Running::Detach, "ops").await.unwrap(),
        JobChange::Done(_)
    ));
    w.pass(secs(DAY));
    assert_eq!(sweep(&w).await, 0);
    let again = w.store.create_job(w.now, new(&w)).await.unwrap();
    assert!(matches!(&again, CreateJob::Replayed(there) if there.uid == job.uid), "{again:?}");
    w.pass(secs(1));
    assert_eq!(sweep(&w).await, 2, "the job and its request");
    let CreateJob::Created(job) = w.store.create_job(w.now, new(&w)).await.unwrap() else { panic!("not created") };
    let mut shard = w.own().await;
    w.pass(secs(60));
    w.fire_due(shard).await;
    w.pass(secs(300));
    shard = w.own().await;
    w.fire_due(shard).await;
    for waiting in w.queued(&lane()).await {
        let owner = w.connect().await;
        let key = w.lease(owner, waiting).await.key;
        w.report(key, Outcome::Succeeded).await;
        w.store.set_status(w.now, owner, WorkerStatus::Gone).await.unwrap();
    }
    let later = NewRun { due: w.now.plus(secs(120 * DAY)), ..w.run_of(&job) };
    let waiting = w.submit(vec![later]).await.remove(0);
    assert!(matches!(
        w.store.delete_job(w.now, &w.scope, &job.name, None, Running::Detach, "ops").await.unwrap(),
        JobChange::Done(_)
    ));
    w.pass(secs(2));
    w.store.expire(w.now, w.now, 10).await.unwrap();
    assert_eq!(sweep(&w).await, 0);
    w.pass(secs(31 * DAY));
    assert_eq!(sweep(&w).await, 1 + 2 + 2 + 1, "the request, its two runs, their workers and what only those handled");
    w.pass(secs(60 * DAY));
    let ranges = w.ledger(job.uid, Instant::MIN, Instant::MAX).await.len() as u64;
    assert_eq!((ranges, sweep(&w).await), (3, 4), "its ledger, and what its delete took");
    w.apply(waiting.run, Event::Cancel { reason: "no".into(), grace: None }).await;
    w.pass(secs(31 * DAY));
    assert_eq!(w.store.sweep(w.now, policy(), 100).await.unwrap().rows, 2, "its last run, and the job itself");
}

pub async fn a_job_does_not_go_before_its_ledger(mut w: World) {
    let job = w.create("report", spec(vec![every("main", 60)])).await;
    for _ in 0..2 {
        w.pass(secs(120));
        let shard = w.own().await;
        w.fire_due(shard).await;
    }
    let ranges = w.ledger(job.uid, Instant::MIN, Instant::MAX).await.len();
    assert!(matches!(
        w.store.delete_job(w.now, &w.scope, &job.name, None, Running::Detach, "ops").await.unwrap(),
        JobChange::Done(_)
    ));
    for waiting in w.queued(&lane()).await {
        w.apply(waiting.run, Event::JobDeleted).await;
    }
    w.pass(secs(91 * DAY));
    let runs = [w.store.sweep(w.now, policy(), 1).await.unwrap(), w.store.sweep(w.now, policy(), 1).await.unwrap()];
    // A run and a range in each step, and with the first what the delete took; then the ranges that are left; the job with the
    // last of them.
    assert_eq!(runs, [Swept { rows: 3, more: true }, Swept { rows: 2, more: true }]);
    for left in (2..ranges).rev() {
        let rows = if left == 2 { 2 } else { 1 };
        assert_eq!(w.store.sweep(w.now, policy(), 1).await.unwrap(), Swept { rows, more: true }, "{left} of {ranges}");
    }
    assert_eq!(w.store.sweep(w.now, policy(), 1).await.unwrap(), Swept { rows: 0, more: false });
}

pub async fn logs_go_by_attempt(mut w: World) {
    let owner = w.connect().await;
    let line = |w: &World| Line { time: w.now, level: Level::Info, message: "x".into(), fields: Default::default() };
    let add = async |w: &World, key: AttemptKey| {
        let batch = Batch { key, first_offset: 0, lines: vec![line(w)], dropped: 0 };
        w.store.append(w.now, vec![batch]).await.unwrap();
    };
    let first = w.leased(owner).await;
    let again = changed(w.apply(first.run, Event::Rejected { attempt: 1 }).await);
    let second = w.lease(owner, pointer(&again)).await.key;
    let other = w.leased(owner).await;
    add(&w, first).await;
    w.pass(secs(DAY));
    add(&w, second).await;
    add(&w, other).await;
    w.pass(secs(13 * DAY + 1));
    assert!(w.store.sweep(w.now, policy(), 1).await.unwrap().more, "there may be more logs");
    sweep(&w).await;
    let count = async |w: &World, run| w.store.read(&w.scope, run, None, None, Level::Debug, 10).await.unwrap().len();
    assert_eq!((count(&w, first.run).await, count(&w, other.run).await), (1, 1));
}

async fn root(w: &World) {
    let root = RootUser { password_hash: "$argon2id$1".into(), must_change_password: false };
    assert!(w.store.claim_root(w.now, root).await.unwrap());
}

async fn open_session(w: &World, id: &str, expire_time: Instant) {
    let (id, user, client) = (id.into(), "root".into(), "cli".into());
    let (refresh_hash, password_hash) = ([1; 32], "$argon2id$1".into());
    let session = NewSession { id, user, client, refresh_hash, expire_time, password_hash };
    assert!(w.store.open_session(w.now, session).await.unwrap());
}
