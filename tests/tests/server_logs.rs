//! What the log of a server says of runs: which run a line is about, as a field; and at `info` nothing of any one run.

#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap like the tests themselves")]

use std::time::Duration;

use mainspring_proto::{
    scheduler::v1::{EventTopic, RunState},
    worker::v1::{AttemptResult, AttemptSucceeded, attempt_result, worker_stream_request::Message as Say},
};
use mainspring_tests::harness::{
    client::work,
    server::{Server, Settings},
    session::BareWorker,
};
use serde_json::{Value, json};

/// No payload may be found in a log.
const SECRET: &str = "what nobody else may read";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_of_a_run_names_it_and_none_is_told_at_info() {
    let mut settings = Settings::with_lease(Duration::from_secs(1));
    for (name, value) in [("FORMAT", "json"), ("FILTER", "info,mainspring_engine=debug,mainspring_server=debug")] {
        settings.more.push((format!("MAINSPRING_LOG__{name}"), value.into()));
    }
    let mut server = Server::start(settings).await.unwrap();
    let client = server.client().unwrap();
    let mut watch = client.watch(&[EventTopic::Runs], "", "").await.unwrap();
    let mut session = BareWorker::new(&["t.noop"], 1).connect(&client).await.unwrap();
    let done = client.submit(work("t.noop", &json!(SECRET))).await.unwrap();
    let attempt = session.dispatch().await.unwrap().attempt;
    let outcome = Some(attempt_result::Outcome::Succeeded(AttemptSucceeded::default()));
    session.say(Say::Result(AttemptResult { attempt, outcome, ..AttemptResult::default() })).await.unwrap();
    watch.state(&done, RunState::Succeeded).await.unwrap();
    // The worker goes away with the next one, which comes back to the queue when its lease is over.
    let lost = client.submit(work("t.noop", &json!(SECRET))).await.unwrap();
    let attempt = session.dispatch().await.unwrap().attempt.unwrap();
    session.accept(&attempt).await.unwrap();
    watch.state(&lost, RunState::Running).await.unwrap();
    drop(session);
    watch.state(&lost, RunState::Queued).await.unwrap();

    let told = server.process().unwrap().stderr().unwrap();
    assert!(!told.contains(SECRET), "{told}");
    let lines: Vec<Value> = told.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let expired = lines.iter().find(|line| line["message"] == "lease expired").unwrap_or_else(|| panic!("{told}"));
    assert_eq!((&expired["run_id"], &expired["attempt"]), (&json!(lost), &json!(1)), "{expired}");
    let calls = lines.iter().filter(|line| line["span"]["request_id"].is_string());
    assert!(calls.count() >= 2, "{told}");
    for line in lines.iter().filter(|line| line["level"] == "INFO").map(Value::to_string) {
        assert!(!line.contains(&done) && !line.contains(&lost), "{line}");
    }
}
