//! What edits and deletes took before it was due, and other runs that an instant has.

use mainspring_engine::{
    domain::{
        instant::Instant,
        job::{Job, JobSpec},
        lapse::{Ending, Lapsed},
        ledger::FateReason,
        schedule::ScheduleSpec,
        stop::Running,
        supersede::Pending,
    },
    ports::store::{JobChange, LedgerPart, RetentionPolicy, Undelete, UpdateJob},
};

use super::world::{World, every, job_name, secs, spec};

async fn edit(w: &World, change: impl FnOnce(JobSpec) -> JobSpec) -> Job {
    let Job { name, revision, spec, .. } = w.job("report").await.unwrap();
    let (scope, actor) = (w.scope.clone(), "ada".into());
    let update = UpdateJob { scope, name, revision, spec: change(spec), pending: Pending::Keep, actor };
    match w.store.update_job(w.now, update).await.unwrap() {
        JobChange::Done(job) => job,
        other => panic!("{other:?}"),
    }
}

async fn delete(w: &World, job: &Job) {
    w.store.delete_job(w.now, &w.scope, &job.name, None, Running::Detach, "ops").await.unwrap();
    w.store.cancel_waiting(w.now, job.uid, 100).await.unwrap();
}

/// What may have named an instant.
async fn around(w: &World, job: &Job, at: Instant) -> Vec<Lapsed> {
    w.store.lapses(job.uid, at, 10).await.unwrap()
}

/// What the ledger tells of, in seconds from an instant on.
async fn told(w: &World, job: &Job, from: Instant) -> Vec<u64> {
    let LedgerPart { lapsed, .. } = w.store.ledger(job.uid, Instant::MIN, Instant::MAX, 100).await.unwrap();
    let instants = lapsed.iter().flat_map(|lapsed| lapsed.shown(Instant::MIN, Instant::MAX, 100));
    instants.map(|at| at.since(from).as_secs()).collect()
}

pub async fn an_edit_keeps_what_it_took(mut w: World) {
    let began = w.now;
    let at = |second| began.plus(secs(second));
    let job = w.create("report", spec(vec![every("main", 60), every("same", 70)])).await;
    w.pass(secs(5));
    edit(&w, |spec| JobSpec { schedules: vec![every("main", 150), every("same", 70)], ..spec }).await;
    let found = around(&w, &job, at(60)).await;
    let [Lapsed { lapse, .. }] = &found[..] else { panic!("{found:?}") };
    assert_eq!((lapse.schedule.as_str(), lapse.version, lapse.by), ("main", 1, Ending::Edit { version: 2 }));
    assert_eq!((lapse.time, lapse.actor.as_str(), lapse.first, lapse.end), (w.now, "ada", at(60), None));
    // Both definitions name every fifth minute.
    let took: Vec<_> = [60, 61, 240, 300].into_iter().map(|second| found[0].took(at(second))).collect();
    assert_eq!(took, [true, false, true, false]);
    assert!(around(&w, &job, at(59)).await.is_empty());
    assert_eq!(told(&w, &job, began).await, [60, 120]);
    // Another edit ends that, but for what had been announced; the latest comes first.
    w.pass(secs(1));
    edit(&w, |spec| JobSpec { schedules: vec![every("same", 70)], ..spec }).await;
    assert_eq!(told(&w, &job, began).await, [60, 150]);
    let versions: Vec<_> = around(&w, &job, at(300)).await.iter().map(|lapsed| lapsed.lapse.version).collect();
    assert_eq!(versions, [2, 1]);
    let LedgerPart { lapsed, .. } = w.store.ledger(job.uid, at(61), at(150), 100).await.unwrap();
    assert!(lapsed.is_empty(), "{lapsed:?}");
}

pub async fn what_goes_on_as_it_is_is_not_taken(mut w: World) {
    let once = ScheduleSpec { max_runs: Some(1), ..every("once", 30) };
    let job = w.create("report", spec(vec![every("main", 60), once])).await;
    let shard = w.own().await;
    w.pass(secs(60));
    w.fire_due(shard).await;
    // What has made its runs names nothing that could be taken.
    edit(&w, |spec| JobSpec { schedules: vec![every("main", 60)], owner: "ada".into(), ..spec }).await;
    assert!(around(&w, &job, w.now.plus(secs(60))).await.is_empty());
}

pub async fn a_delete_takes_what_it_does_until_the_job_is_back(mut w: World) {
    let began = w.now;
    let at = |second| began.plus(secs(second));
    let job = w.create("report", spec(vec![every("main", 60)])).await;
    w.pass(secs(5));
    delete(&w, &job).await;
    let found = around(&w, &job, at(600)).await;
    let [gone] = &found[..] else { panic!("{found:?}") };
    assert_eq!((gone.lapse.by, gone.lapse.actor.as_str()), (Ending::Delete, "ops"));
    assert_eq!((gone.lapse.time, gone.lapse.reason()), (w.now, Some(FateReason::JobDeleted)));
    assert!(gone.took(at(60)) && gone.took(at(600)));
    assert_eq!(told(&w, &job, began).await, [60]);
    w.now = at(200);
    let back = w.store.undelete_job(w.now, &w.scope, &job_name("report")).await.unwrap();
    assert!(matches!(back, Undelete::Done(_)), "{back:?}");
    assert_eq!(told(&w, &job, began).await, [60, 120, 180]);
    assert!(around(&w, &job, at(180)).await[0].took(at(180)));
    assert!(around(&w, &job, at(240)).await.is_empty());
    // Deleted and back between two instants, it lost none.
    delete(&w, &job).await;
    w.store.undelete_job(w.now, &w.scope, &job_name("report")).await.unwrap();
    assert!(around(&w, &job, at(240)).await.is_empty());
}

pub async fn what_was_taken_goes_with_the_ledger_and_with_its_job(mut w: World) {
    const DAY: u64 = 24 * 3_600;
    let policy = RetentionPolicy::default();
    let sweep = async |w: &World| w.store.sweep(w.now, policy, 100).await.unwrap().rows;
    let job = w.create("report", spec(vec![every("main", 60)])).await;
    let other = w.create("other", spec(vec![every("main", DAY)])).await;
    edit(&w, |spec| JobSpec { schedules: vec![], ..spec }).await;
    w.store.delete_job(w.now, &w.scope, &other.name, None, Running::Detach, "ops").await.unwrap();
    w.store.cancel_waiting(w.now, other.uid, 100).await.unwrap();
    let far = w.now.plus(secs(DAY * 1_000));
    w.now = w.now.plus(policy.ledger);
    sweep(&w).await;
    assert!(w.store.job_by_uid(&w.scope, other.uid).await.unwrap().is_none());
    assert!(around(&w, &other, far).await.is_empty());
    assert_eq!(around(&w, &job, far).await.len(), 1);
    w.pass(secs(61));
    assert_eq!(sweep(&w).await, 1);
    assert!(around(&w, &job, far).await.is_empty());
}
