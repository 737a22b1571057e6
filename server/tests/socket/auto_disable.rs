//! A job that fails and fails is paused by itself, and comes back.

use mainspring_proto::{
    common::v1::{Failure, RetryPolicy},
    scheduler::v1::{self as wire, JobChange, JobState, event::Detail},
    worker::v1 as worker,
};
use prost_types::Duration;
use tonic::Streaming;
use worker::{attempt_result::Outcome, worker_stream_request::Message as Say};

use super::{
    server::{Server, reason},
    streams::{acked, dispatched, event, result, welcomed},
    worker::Worker,
};

/// Runs of the job fail, one after the other.
async fn fail(server: &Server, worker: &mut Worker, times: usize) {
    for _ in 0..times {
        let trigger = wire::TriggerJobRequest { job: "report".into(), ..Default::default() };
        server.scheduler().trigger_job(trigger).await.unwrap();
        let dispatch = dispatched(worker).await;
        let Say::Result(told) = result(&dispatch, None) else { panic!("no result") };
        let failure = Some(Failure { reason: "SMTP_BUSY".into(), ..Default::default() });
        let outcome = Some(Outcome::Failed(worker::AttemptFailed { failure }));
        worker.say(Say::Result(worker::AttemptResult { outcome, ..told })).await;
        acked(worker).await;
    }
}

/// The next change of a job.
async fn changed(events: &mut Streaming<wire::WatchEventsResponse>) -> (JobChange, JobState) {
    let job = |detail| if let Detail::Job(job) = detail { Some((job.change(), job.state())) } else { None };
    event(events, job).await
}

#[tokio::test]
async fn a_job_that_keeps_failing_is_paused_until_it_cools_down_or_somebody_resumes_it() {
    let server = Server::start().await;
    let mut worker = welcomed(&server).await;
    let mut client = server.scheduler();
    let watch = wire::WatchEventsRequest { topics: vec![wire::EventTopic::Jobs.into()], ..Default::default() };
    let mut events = client.watch_events(watch).await.unwrap().into_inner();
    let job = |cooldown| wire::Job {
        job: "report".into(),
        job_type: "echo".into(),
        retry_policy: Some(RetryPolicy { max_attempts: Some(1), ..Default::default() }),
        auto_disable: Some(wire::AutoDisable { failures: 2, cooldown, ..Default::default() }),
        ..Default::default()
    };
    let create = wire::CreateJobRequest { job: Some(job(None)), ..Default::default() };
    client.create_job(create).await.unwrap();
    assert_eq!(changed(&mut events).await, (JobChange::Created, JobState::Active));

    fail(&server, &mut worker, 2).await;
    assert_eq!(changed(&mut events).await, (JobChange::AutoDisabled, JobState::AutoDisabled));
    let get = wire::GetJobRequest { job: "report".into(), ..Default::default() };
    let told = client.get_job(get).await.unwrap().into_inner().job.unwrap();
    let pause = told.pause.clone().unwrap();
    assert_eq!((told.state(), pause.note.as_str()), (JobState::AutoDisabled, "2 runs in a row failed"));
    assert_eq!((pause.actor.as_str(), pause.until_time), ("mainspring", None));
    let list = wire::ListJobsRequest { filter: "state = AUTO_DISABLED".into(), ..Default::default() };
    assert_eq!(client.list_jobs(list).await.unwrap().into_inner().jobs.len(), 1);
    let trigger = wire::TriggerJobRequest { job: "report".into(), ..Default::default() };
    assert_eq!(reason(&client.trigger_job(trigger).await.unwrap_err()), "JOB_PAUSED");

    let resume = wire::ResumeJobRequest { job: "report".into(), ..Default::default() };
    let resumed = client.resume_job(resume).await.unwrap().into_inner().job.unwrap();
    assert_eq!((resumed.state(), resumed.pause.clone()), (JobState::Active, None));
    assert_eq!(changed(&mut events).await, (JobChange::Resumed, JobState::Active));

    // A second is enough to cool down.
    let second = Some(Duration { seconds: 1, nanos: 0 });
    let update = wire::UpdateJobRequest {
        job: Some(wire::Job { etag: resumed.etag, ..job(second) }),
        update_mask: Some(prost_types::FieldMask { paths: vec!["auto_disable".into()] }),
        ..Default::default()
    };
    client.update_job(update).await.unwrap();
    assert_eq!(changed(&mut events).await, (JobChange::Updated, JobState::Active));
    fail(&server, &mut worker, 2).await;
    assert_eq!(changed(&mut events).await, (JobChange::AutoDisabled, JobState::AutoDisabled));
    assert_eq!(changed(&mut events).await, (JobChange::Resumed, JobState::Active));
}
