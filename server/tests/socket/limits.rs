//! Unique keys, as a client meets them.

use mainspring_proto::scheduler::v1::{self as wire, RunState, UniqueConflict, submission_answer::Answer};
use tonic::Code;
use tonic_types::StatusExt as _;

use super::server::{Server, reason};

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
