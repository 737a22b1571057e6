//! Rows that cannot be what they are: whatever did it, they hold up nobody else.

use std::time::Duration;

use mainspring_engine::{
    domain::{
        attempt::Outcome,
        event::Detail,
        filter::Filter,
        ids::{JobUid, RunId},
        job::{JobSpec, JobState},
        ledger::{Fate, FateReason},
        limit::{Concurrency, Pace},
        names::Scope,
        run::RunState,
        stop::Running,
        supersede::Pending,
        worker::Capacity,
    },
    flow::stream::messages::{Disposition, FromWorker},
    ports::store::{CreateJob, Direction, JobChange, JobOrder, NewJob, NewRun, UpdateJob},
};
use mainspring_tests::{
    conformance::world::{all, every, failure, lane, spec},
    engine::Stage,
    harness::host::{self, PATIENCE},
};

const SECOND: Duration = Duration::from_secs(1);

/// A disk flips bits: a column of a run holds what no server ever wrote.
async fn damage(stage: &Stage, run: RunId, column: &str) {
    stage.sql(format!("UPDATE run SET {column} = x'ff' WHERE id = x'{}'", run.uuid().simple())).await;
}

async fn create(stage: &Stage, name: &str) {
    let job = NewJob {
        scope: Default::default(),
        uid: JobUid::new(stage.engine.now()),
        name: name.parse().unwrap(),
        spec: spec(vec![every("s", 10)]),
        request: None,
    };
    assert!(matches!(stage.engine.jobs().create(job).await.unwrap(), CreateJob::Created(_)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_definition_that_cannot_be_read_stops_no_other_job() {
    let stage = Stage::set().await;
    create(&stage, "broken").await;
    create(&stage, "sound").await;
    let mut watch = stage.engine.events().watch(None).unwrap();
    stage.sql("UPDATE job_version SET spec = x'ff' WHERE job_uid = (SELECT uid FROM job WHERE name = 'broken')").await;
    stage.pass(SECOND * 25).await;
    let (mut failed, mut told, mut fired) = (0, 0, 0);
    while fired < 2 {
        let event = host::within(PATIENCE, "a run of the sound job", watch.next()).await.unwrap();
        match &event.unwrap().1.detail {
            Detail::Job { job, state: Some(JobState::Error), .. } if job.as_str() == "broken" => failed += 1,
            Detail::Schedule { job, range, .. } if job.as_str() == "broken" && range.fate == Fate::Error => told += 1,
            Detail::Run { job: Some(job), state: RunState::Queued, .. } if job.as_str() == "sound" => fired += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((failed, told), (1, 1));
}

/// The rim lets nobody define it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_key_that_cannot_be_made_stops_no_other_job() {
    let stage = Stage::set().await;
    let concurrency = Concurrency { key: "${labels.none}".parse().unwrap(), limit: None, pace: Pace::Kept };
    let broken = JobSpec { concurrency: Some(concurrency), ..spec(vec![every("s", 10)]) };
    stage.create("broken", broken).await;
    create(&stage, "sound").await;
    let mut watch = stage.engine.events().watch(None).unwrap();
    stage.pass(SECOND * 25).await;
    let (mut failed, mut why, mut fired) = (0, Vec::new(), 0);
    while fired < 2 {
        let event = host::within(PATIENCE, "a run of the sound job", watch.next()).await.unwrap();
        match &event.unwrap().1.detail {
            Detail::Job { job, state: Some(JobState::Error), .. } if job.as_str() == "broken" => failed += 1,
            Detail::Schedule { job, range, .. } if job.as_str() == "broken" => why.push((range.fate, range.reason)),
            Detail::Run { job: Some(job), state: RunState::Queued, .. } if job.as_str() == "sound" => fired += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((failed, why), (1, vec![(Fate::Error, Some(FateReason::RuleBroken))]));
    let job = stage.engine.store().job(&Scope::default(), &"broken".parse().unwrap()).await.unwrap().unwrap();
    assert_eq!((job.state, job.next_times), (JobState::Error, vec![None]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_key_whose_row_cannot_be_read_stops_no_other_lease() {
    let stage = Stage::judging().await;
    let of = |key: &str| Some(Concurrency { key: key.parse().unwrap(), limit: None, pace: Pace::Kept });
    let keyed = |key| NewRun { concurrency: of(key), ..stage.world().new_run() };
    stage.submit(keyed("broken")).await;
    let sound = [stage.submit(keyed("sound")).await, stage.submit_one().await];
    stage.sql("UPDATE limit_key SET in_flight = x'ff' WHERE key = 'broken'").await;
    let mut worker = stage.connect(3).await;
    let mut keys = vec![worker.accepted().await, worker.accepted().await];
    keys.sort_unstable();
    assert_eq!(keys.iter().map(|key| key.run).collect::<Vec<_>>(), sound);
    for key in keys {
        assert_eq!(worker.reported(key, Outcome::Succeeded).await, Disposition::Applied);
    }
    assert!(!stage.is_broken().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_cannot_be_read_is_seen_changed_and_deleted() {
    let stage = Stage::set().await;
    for name in ["broken", "bytes", "doomed", "sound"] {
        create(&stage, name).await;
    }
    let damage = |name: &str, spec: &str| {
        stage.sql(format!(
            "UPDATE job_version SET spec = {spec} WHERE job_uid = (SELECT uid FROM job WHERE name = '{name}')"
        ))
    };
    damage("broken", "replace(spec, '10000000', '\"soon\"')").await;
    damage("bytes", "x'ff'").await;
    damage("doomed", "'{'").await;
    let (store, scope, order) = (stage.engine.store(), Scope::default(), JobOrder::Name(Direction::Up));
    let states = async || {
        let listed = store.jobs(&scope, &Filter::All, order, all(), false).await.unwrap().entries;
        listed.iter().map(|job| (job.name.to_string(), job.state)).collect::<Vec<_>>()
    };
    let (error, active) = (JobState::Error, JobState::Active);
    let named =
        |jobs: &[(&str, JobState)]| jobs.iter().map(|(name, state)| ((*name).to_owned(), *state)).collect::<Vec<_>>();
    assert_eq!(states().await, named(&[("broken", error), ("bytes", error), ("doomed", error), ("sound", active)]));
    // What can be read of it is there, and the rest is for somebody to say anew.
    let job = store.job(&scope, &"broken".parse().unwrap()).await.unwrap().unwrap();
    assert_eq!((job.spec.job_type.as_str(), job.spec.schedules.as_slice()), ("test.job", &[][..]));
    for name in ["broken", "bytes"] {
        let job = store.job(&scope, &name.parse().unwrap()).await.unwrap().unwrap();
        let (scope, spec) = (scope.clone(), spec(vec![every("s", 10)]));
        let update = UpdateJob {
            scope,
            name: job.name,
            revision: job.revision,
            spec,
            pending: Pending::Keep,
            actor: "ops".into(),
        };
        let changed = stage.engine.jobs().update(update).await.unwrap();
        assert!(matches!(&changed, JobChange::Done(job) if job.state == JobState::Active), "{changed:?}");
    }
    let (deleted, _) =
        stage.engine.jobs().delete(&scope, &"doomed".parse().unwrap(), None, Running::Detach, "ops").await.unwrap();
    assert!(matches!(deleted, JobChange::Done(_) | JobChange::DoneWith(..)), "{deleted:?}");
    assert_eq!(states().await, named(&[("broken", active), ("bytes", active), ("sound", active)]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_run_that_cannot_be_read_stops_no_lease() {
    for column in ["headers", "policy", "failures"] {
        let stage = Stage::judging().await;
        let mut worker = stage.connect(0).await;
        let broken = stage.submit_one().await;
        let sound = [stage.submit_one().await, stage.submit_one().await];
        damage(&stage, broken, column).await;
        worker.capacity = Capacity::from([(lane().queue, 3)]);
        worker.say(FromWorker::Capacity(worker.capacity.clone()));
        let mut keys = vec![worker.accepted().await, worker.accepted().await];
        keys.sort_unstable();
        assert_eq!(keys.iter().map(|key| key.run).collect::<Vec<_>>(), sound, "{column}");
        for key in keys {
            assert_eq!(worker.reported(key, Outcome::Succeeded).await, Disposition::Applied);
        }
        // Nor is the slot lost that was set aside for it, nor is it tried at every look.
        let steps = stage.leases.sizes();
        stage.pass(SECOND * 5).await;
        assert_eq!(stage.leases.sizes(), steps, "{column}");
        for _ in 0..3 {
            stage.submit_one().await;
        }
        for _ in 0..3 {
            worker.dispatch().await;
        }
        assert!(!stage.is_broken().await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_that_can_never_be_applied_is_answered_and_holds_up_no_other() {
    let stage = Stage::judging().await;
    let (mut one, mut other) = (stage.connect(1).await, stage.connect(1).await);
    stage.submit_one().await;
    stage.submit_one().await;
    let (broken, sound) = (one.accepted().await, other.accepted().await);
    damage(&stage, broken.run, "policy").await;
    one.report(broken, Outcome::Failed(failure("X")));
    other.report(sound, Outcome::Failed(failure("X")));
    assert_eq!(other.result_ack(sound).await, Disposition::Applied);
    assert_eq!(one.result_ack(broken).await, Disposition::Invalid);
    one.renew(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_cannot_be_read_keeps_no_other_from_waking_or_being_given_back() {
    let stage = Stage::judging().await;
    let due = stage.engine.now().plus(SECOND * 40);
    let later = || NewRun { due, ..stage.world().new_run() };
    let (broken, sound) = (stage.submit(later()).await, stage.submit(later()).await);
    let mut worker = stage.connect(2).await;
    stage.submit_one().await;
    stage.submit_one().await;
    let (lost, found) = (worker.accepted().await, worker.accepted().await);
    for run in [broken, lost.run] {
        damage(&stage, run, "policy").await;
    }
    worker.sever();
    stage.pass(SECOND * 50).await;
    assert_eq!(stage.state(found.run).await, RunState::Queued);
    assert_eq!(stage.state(sound).await, RunState::Queued);
    assert!(!stage.is_broken().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_due_run_that_cannot_be_read_makes_no_other_late() {
    let stage = Stage::judging().await;
    let now = stage.engine.now();
    let at = |due| NewRun { due, ..stage.world().new_run() };
    let (first, moment) = (now.plus(SECOND * 40), Duration::from_millis(20));
    let (broken, sound) = (stage.submit(at(first)).await, stage.submit(at(first.plus(moment))).await);
    damage(&stage, broken, "policy").await;
    stage.pass(SECOND * 40).await;
    assert_eq!(stage.state(sound).await, RunState::Scheduled);
    stage.pass(moment).await;
    assert_eq!(stage.state(sound).await, RunState::Queued);
}
