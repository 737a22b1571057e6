//! A result of an attempt that lost its lease counts for nothing, whichever way it comes.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::time::Duration;

use mainspring_proto::{
    scheduler::v1::RunState,
    worker::v1::{
        AttemptPhase, AttemptRef, AttemptResult, AttemptSucceeded, ReportAttemptResultRequest, ResultDisposition,
        attempt_result,
    },
};
use mainspring_tests::harness::{
    client::{Client, work},
    host::PATIENCE,
    server::{Server, Settings},
    session::{BareWorker, held},
};
use serde_json::json;

const LEASE: Duration = Duration::from_secs(1);

async fn report_alone(client: &Client, attempt: &AttemptRef) -> ResultDisposition {
    let outcome = Some(attempt_result::Outcome::Succeeded(AttemptSucceeded::default()));
    let result = AttemptResult { attempt: Some(attempt.clone()), outcome, ..AttemptResult::default() };
    let request = ReportAttemptResultRequest { namespace: String::new(), result: Some(result) };
    client.worker().report_attempt_result(request).await.unwrap().into_inner().ack.unwrap().disposition()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn late_results_are_fenced_and_repeated_ones_are_duplicates() {
    let server = Server::start(Settings::with_lease(LEASE)).await.unwrap();
    let client = server.client().unwrap();
    let run = client.submit(work("t.noop", &json!(null))).await.unwrap();

    // The first worker takes the run, says that it runs, and is not heard again until its lease is over.
    let mut first = BareWorker::new(&["t.noop"], 1);
    let mut silent = first.connect(&client).await.unwrap();
    let stale = silent.dispatch().await.unwrap().attempt.unwrap();
    assert_eq!((stale.run_id.as_str(), stale.attempt), (run.as_str(), 1));
    silent.accept(&stale).await.unwrap();
    silent.renew(vec![held(&stale, AttemptPhase::Running)]).await.unwrap();

    let mut second = BareWorker::new(&["t.noop"], 1);
    let mut session = second.connect(&client).await.unwrap();
    // It lives while it waits for the lease of the other to end.
    let attempt = loop {
        session.renew(Vec::new()).await.unwrap();
        if let Some(dispatch) = session.dispatch_within(LEASE / 4).await.unwrap() {
            break dispatch.attempt.unwrap();
        }
    };
    assert_eq!((attempt.run_id.as_str(), attempt.attempt), (run.as_str(), 2));
    session.accept(&attempt).await.unwrap();

    assert_eq!(report_alone(&client, &stale).await, ResultDisposition::Fenced, "before the second attempt ended");
    assert_eq!(client.run(&run).await.unwrap().end_time, None);

    session.succeed(&attempt).await.unwrap();
    assert_eq!(session.result_ack(&attempt).await.unwrap().disposition(), ResultDisposition::Applied);
    assert_eq!(report_alone(&client, &stale).await, ResultDisposition::Fenced, "after it");
    session.succeed(&attempt).await.unwrap();
    assert_eq!(session.result_ack(&attempt).await.unwrap().disposition(), ResultDisposition::Duplicate);
    assert_eq!(report_alone(&client, &attempt).await, ResultDisposition::Duplicate);

    let over = client.over(&run, PATIENCE).await.unwrap();
    assert_eq!((over.state(), over.attempt, over.losses), (RunState::Succeeded, 2, 1), "{over:?}");

    // Coming back with the stale attempt in hand, the first worker is told to forget it.
    let back = first.connect_holding(&client, vec![held(&stale, AttemptPhase::ResultPending)]).await.unwrap();
    assert_eq!(back.welcome.directives.len(), 1, "{:?}", back.welcome);
}
