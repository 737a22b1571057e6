//! Unique keys, concurrency keys and rates, as a client and a worker meet them.

use mainspring_proto::scheduler::v1::{self as wire, RunState, UniqueConflict, WaitReason, submission_answer::Answer};
use tonic::Code;
use tonic_types::StatusExt as _;

use super::{
    server::{Server, reason},
    streams::{acked, dispatched, result, welcomed},
};

fn submission(key: &str, on_conflict: UniqueConflict) -> wire::RunSubmission {
    let unique = wire::UniqueKey { key: key.into(), window: None, on_conflict: on_conflict.into() };
    wire::RunSubmission { job_type: "mail".into(), unique: Some(unique), ..Default::default() }
}

fn submit(key: &str, on_conflict: UniqueConflict) -> wire::SubmitRunRequest {
    wire::SubmitRunRequest { namespace: String::new(), run: Some(submission(key, on_conflict)) }
}

#[tokio::test]
async fn a_unique_key_has_one_run_at_a_time() {
    let server = Server::start().await;
    let mut client = server.scheduler();
    let mut make = async |request| client.submit_run(request).await.map(|answer| answer.into_inner().run.unwrap());
    let first = make(submit("order-7", UniqueConflict::Unspecified)).await.unwrap();
    assert_eq!(first.unique_key, "order-7");
    let refused = make(submit("order-7", UniqueConflict::Reject)).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::AlreadyExists, "UNIQUE_KEY_TAKEN"));
    let details = refused.get_error_details();
    let told = &details.error_info().unwrap().metadata;
    assert_eq!((&told["run_id"], told["unique_key"].as_str()), (&first.run_id, "order-7"));
    let same = make(submit("order-7", UniqueConflict::ReturnExisting)).await.unwrap();
    assert_eq!(same.run_id, first.run_id);
    let newer = make(submit("order-7", UniqueConflict::ReplacePending)).await.unwrap();
    assert_ne!(newer.run_id, first.run_id);

    let get = |run_id: &str| wire::GetRunRequest { run_id: run_id.into(), ..Default::default() };
    let mut client = server.scheduler();
    let replaced = client.get_run(get(&first.run_id)).await.unwrap().into_inner().run.unwrap();
    assert_eq!((replaced.state(), replaced.reason.as_str()), (RunState::Cancelled, "REPLACED"));

    // What is made again stands in for what it is made from.
    client.cancel_run(wire::CancelRunRequest { run_id: newer.run_id.clone(), ..Default::default() }).await.unwrap();
    let again = wire::RetryRunRequest { run_id: newer.run_id.clone(), ..Default::default() };
    let again = client.retry_run(again).await.unwrap().into_inner().run.unwrap();
    assert_eq!(again.unique_key, "order-7");
    let twice = wire::RetryRunRequest { run_id: newer.run_id, ..Default::default() };
    assert_eq!(reason(&client.retry_run(twice).await.unwrap_err()), "UNIQUE_KEY_TAKEN");
}

#[tokio::test]
async fn a_batch_is_answered_key_by_key() {
    let server = Server::start().await;
    let runs = [UniqueConflict::Reject, UniqueConflict::Reject, UniqueConflict::ReturnExisting];
    let runs = runs.map(|policy| submission("order-7", policy)).into();
    let request = wire::BatchSubmitRunsRequest { namespace: String::new(), runs };
    let answers = server.scheduler().batch_submit_runs(request).await.unwrap().into_inner().answers;
    let answers: Vec<Answer> = answers.into_iter().map(|answer| answer.answer.unwrap()).collect();
    let [Answer::Run(first), Answer::Error(second), Answer::Run(third)] = answers.as_slice() else {
        panic!("{answers:?}");
    };
    assert!(!first.replayed);
    assert_eq!((second.reason.as_str(), &second.metadata["run_id"]), ("UNIQUE_KEY_TAKEN", &first.run_id));
    assert_eq!((third.run_id.as_str(), third.replayed), (first.run_id.as_str(), true));
}

#[tokio::test]
async fn a_unique_key_is_a_key() {
    let server = Server::start().await;
    let mut client = server.scheduler();
    let long = prost_types::Duration { seconds: 367 * 86_400, nanos: 0 };
    let mut bad = submit("", UniqueConflict::Reject);
    bad.run.as_mut().unwrap().unique.as_mut().unwrap().window = Some(long);
    let refused = client.submit_run(bad).await.unwrap_err();
    let details = refused.get_error_details();
    let violations = &details.bad_request().unwrap().field_violations;
    let fields: Vec<_> = violations.iter().map(|bad| bad.field.as_str()).collect();
    assert_eq!(fields, ["run.unique.key", "run.unique.window"]);
}

#[tokio::test]
async fn a_concurrency_key_has_so_many_runs_at_workers() {
    let server = Server::start().await;
    let mut worker = welcomed(&server).await;
    let mut client = server.scheduler();
    let of_key = |limit: i32, queue: &str| wire::RunSubmission {
        job_type: "echo".into(),
        queue: queue.into(),
        concurrency_key: "host-1".into(),
        concurrency_limit: limit,
        ..Default::default()
    };
    let runs = vec![of_key(1, ""), of_key(0, ""), of_key(0, "")];
    let request = wire::BatchSubmitRunsRequest { namespace: String::new(), runs };
    client.batch_submit_runs(request).await.unwrap();
    for left in (0..3).rev() {
        // The worker has four slots, and is given one run at a time.
        let dispatch = dispatched(&mut worker).await;
        let filter = "state = QUEUED AND concurrency_key = \"host-1\"".to_owned();
        let list = wire::ListRunsRequest { filter, ..Default::default() };
        let waiting = client.list_runs(list).await.unwrap().into_inner().runs;
        assert_eq!(waiting.len(), left);
        if let Some(run) = waiting.first() {
            let get = wire::GetRunRequest { run_id: run.run_id.clone(), ..Default::default() };
            let run = client.get_run(get).await.unwrap().into_inner().run.unwrap();
            assert_eq!(run.wait_reason(), WaitReason::KeyLimitReached);
            assert!(run.wait_sentence.contains("`host-1` has reached its limit of 1"), "{}", run.wait_sentence);
        }
        worker.say(result(&dispatch, None)).await;
        acked(&mut worker).await;
    }
}

#[tokio::test]
async fn a_concurrency_key_goes_as_fast_as_its_rate() {
    let server = Server::start().await;
    let mut worker = welcomed(&server).await;
    let mut client = server.scheduler();
    let per = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    let of_key = |limit: i32, rate: Option<wire::RateLimit>| wire::RunSubmission {
        job_type: "echo".into(),
        concurrency_key: "api-1".into(),
        concurrency_limit: limit,
        concurrency_rate: rate,
        ..Default::default()
    };
    let hourly = wire::RateLimit { count: 1, per: per(3_600), burst: 0 };
    let runs = vec![of_key(0, Some(hourly)), of_key(0, None), of_key(0, None)];
    client.batch_submit_runs(wire::BatchSubmitRunsRequest { namespace: String::new(), runs }).await.unwrap();
    let dispatch = dispatched(&mut worker).await;
    worker.say(result(&dispatch, None)).await;
    acked(&mut worker).await;
    let list = wire::ListRunsRequest { filter: "state = QUEUED".into(), ..Default::default() };
    let waiting = client.list_runs(list).await.unwrap().into_inner().runs;
    assert_eq!(waiting.len(), 2, "the end of one makes no room");
    let get = wire::GetRunRequest { run_id: waiting[0].run_id.clone(), ..Default::default() };
    let run = client.get_run(get).await.unwrap().into_inner().run.unwrap();
    assert_eq!(run.wait_reason(), WaitReason::RateLimited);
    let told = "concurrency key `api-1` gives out at most 1 in 1h, and the next at 2";
    assert!(run.wait_sentence.contains(told), "{}", run.wait_sentence);
    // An empty one takes it off again.
    let submit = |run| wire::SubmitRunRequest { namespace: String::new(), run: Some(run) };
    client.submit_run(submit(of_key(3, Some(wire::RateLimit::default())))).await.unwrap();
    for _ in 0..3 {
        dispatched(&mut worker).await;
    }
    let nameless = wire::RunSubmission { concurrency_key: String::new(), ..of_key(0, Some(hourly)) };
    for (bad, field) in [
        (nameless, "run.concurrency_rate"),
        (of_key(0, Some(wire::RateLimit { count: 0, ..hourly })), "run.concurrency_rate.count"),
        (of_key(0, Some(wire::RateLimit { per: per(0), ..hourly })), "run.concurrency_rate.per"),
        (of_key(0, Some(wire::RateLimit { burst: -1, ..hourly })), "run.concurrency_rate.burst"),
    ] {
        let refused = client.submit_run(submit(bad)).await.unwrap_err();
        let details = refused.get_error_details();
        assert_eq!(details.bad_request().unwrap().field_violations[0].field, field, "{refused:?}");
    }
}

#[tokio::test]
async fn a_limit_needs_a_key() {
    let server = Server::start().await;
    for (concurrency_key, concurrency_limit, field) in
        [("", 1, "run.concurrency_limit"), ("k", -1, "run.concurrency_limit"), ("a\nb", 1, "run.concurrency_key")]
    {
        let concurrency_key = concurrency_key.into();
        let run =
            wire::RunSubmission { job_type: "echo".into(), concurrency_key, concurrency_limit, ..Default::default() };
        let request = wire::SubmitRunRequest { namespace: String::new(), run: Some(run) };
        let refused = server.scheduler().submit_run(request).await.unwrap_err();
        let details = refused.get_error_details();
        assert_eq!(details.bad_request().unwrap().field_violations[0].field, field, "{refused:?}");
    }
}

#[tokio::test]
async fn a_queue_has_a_rate() {
    let server = Server::start().await;
    let mut worker = welcomed(&server).await;
    let per = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    let update = |rate_limit, paths: &[&str]| wire::UpdateQueueRequest {
        queue: Some(wire::Queue { queue: "default".into(), concurrency_limit: 7, rate_limit, ..Default::default() }),
        update_mask: Some(prost_types::FieldMask { paths: paths.iter().map(|path| (*path).into()).collect() }),
        allow_missing: true,
        ..Default::default()
    };
    let limit = wire::RateLimit { count: 1, per: per(3_600), burst: 0 };
    let mut queues = server.queues();
    let paced = queues.update_queue(update(Some(limit), &["rate_limit"])).await.unwrap().into_inner();
    let queue = paced.queue.unwrap();
    assert_eq!((queue.rate_limit, queue.concurrency_limit), (Some(wire::RateLimit { burst: 1, ..limit }), 0));
    let run = || wire::RunSubmission { job_type: "echo".into(), ..Default::default() };
    let request = wire::BatchSubmitRunsRequest { namespace: String::new(), runs: vec![run(), run()] };
    server.scheduler().batch_submit_runs(request).await.unwrap();
    dispatched(&mut worker).await;
    let list = wire::ListRunsRequest { filter: "state = QUEUED".into(), ..Default::default() };
    let waits = server.scheduler().list_runs(list).await.unwrap().into_inner().runs.remove(0);
    let get = wire::GetRunRequest { run_id: waits.run_id, ..Default::default() };
    let waits = server.scheduler().get_run(get).await.unwrap().into_inner().run.unwrap();
    assert_eq!(waits.wait_reason(), WaitReason::RateLimited);
    assert!(waits.wait_sentence.contains("gives out at most 1 in 1h, and the next at 2"), "{}", waits.wait_sentence);
    for (bad, field) in [
        (wire::RateLimit { count: 0, ..limit }, "queue.rate_limit.count"),
        (wire::RateLimit { per: per(0), ..limit }, "queue.rate_limit.per"),
        (wire::RateLimit { burst: -1, ..limit }, "queue.rate_limit.burst"),
    ] {
        let refused = queues.update_queue(update(Some(bad), &["rate_limit"])).await.unwrap_err();
        let details = refused.get_error_details();
        assert_eq!(details.bad_request().unwrap().field_violations[0].field, field, "{refused:?}");
    }
    let lifted = queues.update_queue(update(None, &[])).await.unwrap().into_inner().queue.unwrap();
    assert_eq!((lifted.rate_limit, lifted.concurrency_limit), (None, 7));
}
