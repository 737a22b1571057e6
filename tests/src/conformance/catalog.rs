//! Jobs are created once and read back as they were given.

use mainspring_engine::{
    domain::{ids::JobUid, job::JobState, names::Scope, stop::Running},
    ports::store::{CreateJob, NewJob, RequestKey},
};

use super::world::{World, every, job_name, secs, spec};

fn new_job(w: &World, name: &str, request: Option<RequestKey>) -> NewJob {
    let spec = spec(vec![every("main", 60)]);
    NewJob { scope: w.scope.clone(), uid: JobUid::new(w.now), name: job_name(name), spec, request }
}

fn request(body: u8) -> Option<RequestKey> {
    Some(RequestKey { call: "CreateJob", id: "r1".into(), body: [body; 32] })
}

pub async fn created_jobs_read_back(w: World) {
    let definition = spec(vec![every("main", 60), every("other", 90)]);
    let job = w.create("report", definition.clone()).await;
    assert_eq!((job.version, job.revision, job.state), (1, 1, JobState::Active));
    assert_eq!(job.spec, definition);
    let next = definition.schedules.iter().map(|schedule| schedule.next_after(w.now)).collect::<Vec<_>>();
    assert_eq!(job.next_times, next);
    assert_eq!((job.create_time, job.update_time), (w.now, w.now));
    assert_eq!(w.job("report").await, Some(job));
    assert_eq!(w.job("nobody").await, None);
}

pub async fn a_name_is_taken_once(w: World) {
    w.create("report", spec(vec![])).await;
    let answer = w.store.create_job(w.now, new_job(&w, "report", None)).await.unwrap();
    assert!(matches!(answer, CreateJob::NameTaken));
}

pub async fn a_repeated_create_is_replayed(mut w: World) {
    let first = w.store.create_job(w.now, new_job(&w, "report", request(1))).await.unwrap();
    let CreateJob::Created(first) = first else { panic!("{first:?}") };
    w.pass(secs(5));
    let again = w.store.create_job(w.now, new_job(&w, "report", request(1))).await.unwrap();
    let CreateJob::Replayed(again) = again else { panic!("{again:?}") };
    assert_eq!(first, again);
    // Without a request id, the same uid is the same call tried again.
    let unnamed = new_job(&w, "plain", None);
    assert!(matches!(w.store.create_job(w.now, unnamed.clone()).await.unwrap(), CreateJob::Created(_)));
    assert!(matches!(w.store.create_job(w.now, unnamed).await.unwrap(), CreateJob::Replayed(_)));
}

pub async fn another_body_under_the_same_id_is_refused(w: World) {
    w.store.create_job(w.now, new_job(&w, "report", request(1))).await.unwrap();
    let answer = w.store.create_job(w.now, new_job(&w, "other", request(2))).await.unwrap();
    assert!(matches!(answer, CreateJob::RequestReused));
    assert_eq!(w.job("other").await, None);
}

pub async fn namespaces_do_not_see_each_other(w: World) {
    w.create("report", spec(vec![])).await;
    let other = Scope("other".parse().unwrap());
    assert_eq!(w.store.job(&other, &job_name("report")).await.unwrap(), None);
    let there = NewJob { scope: other.clone(), ..new_job(&w, "report", None) };
    assert!(matches!(w.store.create_job(w.now, there).await.unwrap(), CreateJob::Created(_)));
    assert_eq!(w.store.job(&other, &job_name("report")).await.unwrap().unwrap().namespace, other.0);
}

pub async fn a_job_is_found_by_its_identity_after_its_end(w: World) {
    let job = w.create("report", spec(vec![])).await;
    assert_eq!(w.store.job_by_uid(&w.scope, job.uid).await.unwrap(), Some(job.clone()));
    w.store.delete_job(w.now, &w.scope, &job.name, None, Running::Detach, "ops").await.unwrap();
    let found = w.store.job_by_uid(&w.scope, job.uid).await.unwrap().unwrap();
    assert_eq!((found.uid, found.spec), (job.uid, job.spec));
    assert_eq!(w.store.job_by_uid(&w.scope, JobUid::new(w.now)).await.unwrap(), None);
    let other = Scope("other".parse().unwrap());
    assert_eq!(w.store.job_by_uid(&other, job.uid).await.unwrap(), None);
}

pub async fn the_default_namespace_is_there_from_the_start(w: World) {
    assert!(w.store.namespace(&w.scope.0).await.unwrap().is_some());
    assert!(w.store.namespace(&"other".parse().unwrap()).await.unwrap().is_none());
}
