//! Guards that the port cannot show: against a second writer, which one task alone never meets, and of columns that
//! nobody reads yet. The second writer is played by statements, or triggers, of the same transaction.

use mainspring_engine::{
    domain::{
        attempt::{AttemptKey, Outcome},
        catch_up::CatchUp,
        fire::evaluate,
        ids::{JobUid, RunId, ServerId, SessionId, WorkerId},
        instant::Instant,
        job::JobSpec,
        keyed::KeyTemplate,
        names::{FairnessKey, Lane, Scope},
        overlap::Overlap,
        payload::Payload,
        policy::RunPolicy,
        run::{RunOrigin, RunState},
        schedule::ScheduleSpec,
        transition::Event,
        worker::Hello,
    },
    ports::{
        broker::Pointer,
        store::{
            Apply, Catalog, Due, Firing, Identity, Judged, LeaseBatch, Leases, NewJob, NewPassword, NewRun, NewSession,
            Outcomes, Owner, Report, RootUser, Submit, Submitted, Views,
        },
    },
};

use super::{
    super::{retention::delete_sql, steps::Steps},
    *,
};

fn now() -> Instant {
    Instant::from_micros(1_800_000_000_000_000)
}

fn lane() -> Lane {
    let name = "default".parse().unwrap();
    Lane {
        namespace: name,
        queue: "default".parse().unwrap(),
        job_type: "test.job".parse().unwrap(),
        selector: Default::default(),
    }
}

async fn submit(store: &SqliteStore, data: &[u8]) -> RunId {
    let run = NewRun {
        id: RunId::new(now()),
        lane: lane(),
        job: None,
        origin: RunOrigin::Submit,
        due: now(),
        priority: 5,
        fairness_key: FairnessKey::default(),
        labels: Default::default(),
        payload: Payload { content_type: "text/plain".into(), data: data.to_vec() },
        policy: RunPolicy::default(),
        request: None,
        note: String::new(),
        parent: None,
        headers: Default::default(),
        overlap: None,
        by_key: false,
        apart: false,
        concurrency: None,
        unique: None,
    };
    match store.submit(now(), vec![run]).await.unwrap().remove(0) {
        Submitted::Stored(stored) => stored.moved.run,
        other => panic!("{other:?}"),
    }
}

async fn connect(store: &SqliteStore) -> WorkerId {
    let worker = WorkerId::new(now());
    let hello = Hello {
        worker,
        epoch: 1,
        name: "w".into(),
        namespace: lane().namespace,
        labels: Default::default(),
        sdk: String::new(),
        build_id: String::new(),
        handlers: Vec::new(),
        capacity: Default::default(),
        in_flight: Vec::new(),
        max_message: 4 << 20,
        credential: String::new(),
    };
    store.hello(now(), ServerId::new(now()), SessionId::new(now()), &hello, Instant::MAX).await.unwrap();
    worker
}

async fn lease(store: &SqliteStore, worker: WorkerId, runs: &[RunId]) {
    let pointers = runs.iter().map(|run| Pointer { run: *run, generation: 1 }).collect();
    let batch = LeaseBatch { owner: Owner { worker, epoch: 1 }, pointers };
    store.lease(now(), vec![batch]).await.unwrap();
}

/// Runs statements beside the store's own.
async fn sql(store: &SqliteStore, text: &'static str) -> StoreResult<u64> {
    store.write(move |tx| Box::pin(async move { exec(tx, text, Vec::new()).await })).await
}

async fn number(store: &SqliteStore, text: &str) -> i64 {
    single(&query(&store.reads, text, Vec::new()).await.unwrap()[0]).unwrap()
}

async fn state(store: &SqliteStore, run: RunId) -> RunState {
    store.run(&Scope::default(), run).await.unwrap().unwrap().life.state
}

#[tokio::test]
async fn a_run_that_moved_after_it_was_loaded_takes_the_batch_back() {
    let (store, _home) = store().await;
    let runs = [submit(&store, b"").await, submit(&store, b"").await];
    for moved in ["generation = generation + 1", "attempt = attempt + 1", "state = 1, ready_lane = NULL, wake_time = 1"]
    {
        let known = std::sync::Arc::clone(&store.known);
        let done = store
            .write(move |tx| {
                Box::pin(async move {
                    let mut steps = Steps::begin(tx, &known, now()).await?;
                    steps.load(tx, runs).await?;
                    let text = format!("UPDATE run SET {moved} WHERE id = ?");
                    exec(tx, text, vec![runs[0].uuid().into()]).await?;
                    for run in runs {
                        steps.apply(run, &Event::Cancel { reason: "no".into(), grace: None }).unwrap().unwrap();
                    }
                    steps.save(tx).await
                })
            })
            .await;
        assert!(matches!(done, Err(StoreError::Conflict(_))), "{moved}: {done:?}");
        for run in runs {
            assert_eq!(state(&store, run).await, RunState::Queued, "{moved}");
        }
    }
}

#[tokio::test]
async fn a_schedule_that_moved_after_it_was_read_takes_the_firing_back() {
    let (store, _home) = store().await;
    let rule = mainspring_cron::Rule::cron(mainspring_cron::Expr::parse("* * * * * *").unwrap());
    let zone = mainspring_cron::Zone::utc();
    let spec = JobSpec {
        display_name: String::new(),
        description: String::new(),
        owner: String::new(),
        labels: Default::default(),
        job_type: lane().job_type,
        queue: lane().queue,
        payload: Payload::default(),
        schedules: vec![ScheduleSpec::new(Default::default(), rule, zone)],
        overlap: Overlap::Allow { max: None },
        overlap_scope: Default::default(),
        required_labels: Default::default(),
        previous_success: false,
        overlap_ignores_manual: false,
        catch_up: CatchUp::default(),
        policy: RunPolicy::default(),
        priority: 5,
        fairness_key: KeyTemplate::default(),
        on_completed: Default::default(),
        concurrency: None,
        auto_disable: Default::default(),
    };
    let (uid, name) = (JobUid::new(now()), "report".parse().unwrap());
    let job = NewJob { scope: Scope::default(), uid, name, spec, request: None };
    store.create_job(now(), job).await.unwrap();
    let shard = store.take_shard(now()).await.unwrap();
    let later = now().plus(std::time::Duration::from_secs(1));
    let due = store.due(later, None, 1).await.unwrap().ready.remove(0);
    let evaluation =
        evaluate(due.job, &due.spec.schedules[0], &due.position, CatchUp::default(), shard.since, later, 10);
    let firing = Firing { due, evaluation, run_ids: vec![RunId::new(later)] };
    sql(
        &store,
        "CREATE TRIGGER other AFTER INSERT ON run BEGIN UPDATE schedule SET cursor_time = cursor_time + 1; END",
    )
    .await
    .unwrap();
    let fired = store.fire(later, shard, vec![firing.clone()]).await;
    assert!(matches!(fired, Err(StoreError::Conflict(_))), "{fired:?}");
    assert_eq!(number(&store, "SELECT count(*) FROM run").await, 0);
    sql(&store, "DROP TRIGGER other").await.unwrap();
    store.fire(later, shard, vec![firing]).await.unwrap();
    assert_eq!(number(&store, "SELECT count(*) FROM run").await, 1);
}

#[tokio::test]
async fn a_worker_full_of_runs_that_cannot_be_read_is_judged_and_so_are_those_behind_it() {
    let (store, _home) = store().await;
    let (first, behind) = (connect(&store).await, connect(&store).await);
    sql(&store, "UPDATE worker SET lease_expire_time = 1 + (id = (SELECT max(id) FROM worker))").await.unwrap();
    let mut runs = Vec::new();
    for _ in 0..6 {
        runs.push(submit(&store, b"").await);
    }
    lease(&store, first, &runs[..5]).await;
    lease(&store, behind, &runs[5..]).await;
    // All but the last of the first worker's.
    sql(&store, "UPDATE run SET policy = x'ff' WHERE id IN (SELECT id FROM run ORDER BY id LIMIT 4)").await.unwrap();
    let mut moved = Vec::new();
    for step in 0.. {
        assert!(step < 10, "it goes on for ever");
        let Judged { moved: runs, more, .. } = store.expire(now(), now(), 2).await.unwrap();
        moved.extend(runs.iter().map(|run| run.run));
        if !more {
            break;
        }
    }
    assert_eq!(moved, runs[4..]);
    assert_eq!(number(&store, "SELECT count(*) FROM worker WHERE judged = 2").await, 2);
    assert_eq!(number(&store, "SELECT count(*) FROM run WHERE state = 3").await, 4, "what cannot be read stays");
}

#[tokio::test]
async fn a_delete_comes_to_an_end_beside_runs_that_cannot_be_read() {
    let (store, _home) = store().await;
    let mut runs = Vec::new();
    for _ in 0..5 {
        runs.push(submit(&store, b"").await);
    }
    sql(&store, "UPDATE run SET job_uid = zeroblob(16), job_version = 1").await.unwrap();
    sql(&store, "UPDATE run SET policy = x'ff' WHERE id IN (SELECT id FROM run ORDER BY id LIMIT 4)").await.unwrap();
    let mut moved = Vec::new();
    for step in 0.. {
        assert!(step < 10, "it goes on for ever");
        let job = JobUid::from_uuid(uuid::Uuid::nil());
        let (runs, more) = store.cancel_waiting(now(), job, 2).await.unwrap();
        moved.extend(runs.iter().map(|run| run.run));
        if !more {
            break;
        }
    }
    assert_eq!(moved, runs[4..]);
}

#[tokio::test]
async fn what_is_not_over_is_not_deleted_whoever_asks() {
    let (store, _home) = store().await;
    let (waits, over) = (submit(&store, b"").await, submit(&store, b"").await);
    let cancel =
        Apply { run: over, event: Event::Cancel { reason: "no".into(), grace: None }, owner: None, scope: None };
    store.apply(now(), vec![cancel]).await.unwrap();
    let ids = vec![waits.uuid().into(), over.uuid().into()];
    let deleted = store.write(move |tx| Box::pin(async move { exec(tx, delete_sql(2), ids).await })).await.unwrap();
    assert_eq!((deleted, state(&store, waits).await), (1, RunState::Queued));
}

/// A row is written again at every step, so what is large is not in it.
#[tokio::test]
async fn large_input_is_kept_beside_its_run_and_small_input_in_it() {
    let (store, _home) = store().await;
    for (size, inline) in [(1_024, true), (1_025, false)] {
        let run = submit(&store, &vec![b'x'; size]).await;
        let row = query(&store.reads, "SELECT length(payload), spilled FROM run WHERE id = ?", vec![run.uuid().into()]);
        let row = row.await.unwrap().remove(0);
        let (length, spilled): (Option<i64>, i32) =
            (row.try_get_by_index(0).unwrap(), row.try_get_by_index(1).unwrap());
        assert_eq!((length.is_some(), spilled), (inline, i32::from(!inline)), "{size} bytes");
    }
    assert_eq!(number(&store, "SELECT length(data) FROM run_data").await, 1_025);
}

#[tokio::test]
async fn large_output_is_kept_beside_its_run() {
    let (store, _home) = store().await;
    let (worker, run) = (connect(&store).await, submit(&store, b"").await);
    lease(&store, worker, &[run]).await;
    let output = Some(Payload { content_type: "text/plain".into(), data: vec![b'x'; 1_025] });
    let key = AttemptKey { run, attempt: 1 };
    let report =
        Report { scope: Scope::default(), key, outcome: Outcome::Succeeded, output, start_time: None, log_lines: None };
    store.report(now(), vec![report]).await.unwrap();
    assert_eq!(number(&store, "SELECT count(*) FROM run WHERE output IS NULL AND spilled = 2").await, 1);
    assert_eq!(number(&store, "SELECT length(data) FROM run_data WHERE kind = 2").await, 1_025);
}

/// There is one user yet; the statements know which.
#[tokio::test]
async fn a_password_is_one_users() {
    let (store, _home) = store().await;
    let root = RootUser { password_hash: "1".into(), must_change_password: true };
    store.claim_root(now(), root).await.unwrap();
    sql(&store, "INSERT INTO account SELECT 'ann', 'a', roles, TRUE FROM account").await.unwrap();
    for (id, user, refresh, hash) in [("r", "root", 1, "1"), ("a", "ann", 2, "a")] {
        let (id, user, client, password_hash) = (id.into(), user.into(), "cli".into(), hash.into());
        let (refresh_hash, expire_time) = ([refresh; 32], Instant::MAX);
        let session = NewSession { id, user, client, refresh_hash, expire_time, password_hash };
        assert!(store.open_session(now(), session).await.unwrap());
    }
    assert_eq!(store.user("ann").await.unwrap().unwrap().password_hash, "a");
    store.end_session(now(), "r").await.unwrap();
    let later = now().plus(std::time::Duration::from_secs(1));
    let password = NewPassword { user: "root".into(), current: "1".into(), next: "2".into(), keep: None };
    assert!(store.set_password(later, password).await.unwrap());
    let ann = store.user("ann").await.unwrap().unwrap();
    assert_eq!((ann.password_hash.as_str(), ann.must_change_password), ("a", true));
    assert!(!store.session("a").await.unwrap().unwrap().revoked);
    store.end_session(later, "r").await.unwrap();
    let first = number(&store, "SELECT revoke_time FROM session WHERE id = 'r'").await;
    assert_eq!(first, now().as_micros(), "the first end stays");
}
