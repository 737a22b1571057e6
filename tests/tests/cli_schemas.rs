//! Payloads against schemas at a terminal: what is refused, in which words; what drift looks like; that a restart forgets
//! nothing.

#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap like the tests themselves")]

use std::process::Output;

use mainspring_proto::worker::v1::worker_stream_request::Message as Say;
use mainspring_tests::harness::{
    client::Client,
    host::PATIENCE,
    session::{BareWorker, Session},
    terminal::{Terminal, text},
};
use serde_json::Value;

/// What is said of an argument that is refused, to a person and to a program.
async fn refused(terminal: &Terminal, args: &[&str], words: &str, field: &str) {
    let told = |output: &Output| {
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}{}", text(&output.stdout), text(&output.stderr));
        text(&output.stderr)
    };
    let person = told(&terminal.run(args).await.unwrap());
    assert!(person.starts_with(&format!("error: {words}\n")), "{person}");
    assert!(person.contains("hint: `mainspring type describe demo.sleep`"), "{person}");
    let program = told(&terminal.run(&[args, &["-o", "json"]].concat()).await.unwrap());
    let error: Value = serde_json::from_str(&program).unwrap();
    assert_eq!(error["error"]["reason"], "PAYLOAD_SCHEMA_MISMATCH", "{error}");
    assert_eq!(error["error"]["fieldViolations"][0]["field"], field, "{error}");
}

/// Returns once the built-in worker is there, which has run something.
async fn served(terminal: &Terminal) {
    terminal.says(&["submit", "demo.sleep", "-d", "seconds:=0.01", "--wait"]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payload_that_does_not_match_is_refused_wherever_it_is_typed_and_after_a_restart() {
    let terminal = Terminal::open().unwrap();
    let mut dev = terminal.dev(&[]).await.unwrap();
    served(&terminal).await;
    let words = "-d seconds: must be of type null or number";
    let create = ["job", "create", "nap", "--type", "demo.sleep", "-d"];
    refused(&terminal, &[&create[..], &["seconds=soon"]].concat(), words, "job.payload.json.seconds").await;
    terminal.says(&[&create[..], &["seconds:=1"]].concat()).await.unwrap();
    refused(&terminal, &["job", "update", "nap", "-d", "seconds=soon"], words, "job.payload.json.seconds").await;
    refused(&terminal, &["trigger", "nap", "-d", "seconds=soon"], words, "payload.json.seconds").await;
    let submit = ["submit", "demo.sleep", "-d", "seconds=soon"];
    refused(&terminal, &submit, words, "run.payload.json.seconds").await;

    // Nobody handles it now, and the server is another process: what was announced last counts.
    dev.terminate(PATIENCE).await.unwrap();
    let _dev = terminal.dev(&["--no-demo"]).await.unwrap();
    refused(&terminal, &submit, words, "run.payload.json.seconds").await;
    terminal.says(&["submit", "demo.sleep", "-d", "seconds:=1"]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_announces_another_schema_shows_as_drift() {
    let terminal = Terminal::open().unwrap();
    let _dev = terminal.dev(&[]).await.unwrap();
    served(&terminal).await;
    let describe = ["type", "describe", "demo.sleep"];
    let before: Value = terminal.json(&describe).await.unwrap();
    assert_eq!(before["jobType"]["announcements"].as_array().unwrap().len(), 1, "{before}");
    assert!(before.get("drift").is_none() && before["jobType"].get("schemaDrift") != Some(&Value::Bool(true)));

    let key: Value = terminal.json(&["admin", "key", "create", "w", "--role", "worker"]).await.unwrap();
    let client = Client::new(&terminal.server().unwrap(), key["secret"].as_str().unwrap()).unwrap();
    let mut worker = BareWorker::new(&["demo.sleep"], 1);
    let mut hello = worker.hello(Vec::new());
    hello.build_id = "v2".into();
    hello.handlers[0].input_schema = r#"{"type":"object","required":["minutes"],"properties":{"minutes":{}}}"#.into();
    let mut session = Session::open(&client, Say::Hello(hello)).await.unwrap();
    session.until("a Welcome", Session::is_welcome).await.unwrap();

    let told = terminal.says(&describe).await.unwrap();
    for part in ["Drift:\n", "payloads are taken that match any of them", "Announced:\n", "the last word"] {
        assert!(told.contains(part), "{part} in\n{told}");
    }
    let lines: Vec<_> = told.lines().filter(|line| line.contains("bare") || line.contains("built-in")).collect();
    assert!(lines.iter().any(|line| line.contains("v2") && line.contains("the last word")), "{told}");
    assert!(lines.iter().any(|line| line.contains("input: without `minutes`")), "{told}");
    assert!(terminal.says(&["type", "list"]).await.unwrap().contains("drift"));
    let drift: Value = terminal.json(&describe).await.unwrap();
    assert_eq!(drift["jobType"]["schemaDrift"], true);
    let announced = drift["jobType"]["announcements"].as_array().unwrap();
    assert_eq!((announced.len(), &announced[0]["workers"][0]["buildId"]), (2, &"v2".into()), "{drift}");

    // Whoever speaks to either of them is understood.
    for data in ["seconds:=600", "minutes:=1"] {
        terminal.says(&["submit", "demo.sleep", "-d", data]).await.unwrap();
    }
}
