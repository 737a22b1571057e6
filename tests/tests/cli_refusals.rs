//! What a command line says where nothing is done, or nothing is due: why.

#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap like the tests themselves")]

use mainspring_tests::harness::terminal::{Terminal, text};
use serde_json::{Value, json};

/// How a command ends, and what it tells beside its data.
async fn ended(terminal: &Terminal, line: &[&str]) -> (Option<i32>, String) {
    let output = terminal.run(line).await.unwrap();
    (output.status.code(), text(&output.stderr))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_dealt_with_already_is_told_why_it_is_left() {
    let terminal = Terminal::open().unwrap();
    let _dev = terminal.dev(&[]).await.unwrap();
    let create = ["job", "create", "flaky", "--type", "demo.flaky", "-d", "succeed_on:=9", "--max-attempts", "1"];
    terminal.says(&[&create[..], &["--overlap", "allow"]].concat()).await.unwrap();
    let failed = terminal.run(&["trigger", "flaky", "--wait", "-o", "json"]).await.unwrap();
    let run: Value = serde_json::from_slice(&failed.stdout).unwrap();
    let run = run["runId"].as_str().unwrap();

    let told = async |line: &[&str], code: i32, why: &str| {
        let (ended, told) = ended(&terminal, line).await;
        assert!(ended == Some(code) && told.contains(why), "{line:?} ended with {ended:?}: {told}");
    };
    for rate in ["0/s", "1000001/s"] {
        told(&["dead", "redrive", run, "--rate", rate], 2, "must be 1 to 1000000").await;
    }
    told(&["dead", "redrive", run, "--rate", "1/0s"], 2, "must be longer than 0").await;
    told(&["dead", "resolve", run, "--reopen"], 0, "it is open already").await;
    told(&["dead", "resolve", run], 0, "").await;
    told(&["dead", "resolve", run], 0, "it is RESOLVED already").await;
    told(&["dead", "redrive", run], 0, "it is RESOLVED already; `mainspring dead resolve --reopen` opens it").await;
    terminal.says(&["dead", "resolve", run, "--reopen"]).await.unwrap();
    terminal.says(&["dead", "redrive", run]).await.unwrap();
    told(&["dead", "redrive", run], 0, "it was made again already").await;
    told(&["dead", "resolve", run, "--reopen"], 0, "it was made again, which cannot be taken back").await;
    let well: Value = terminal.json(&["trigger", "demo.hello", "--wait"]).await.unwrap();
    told(&["dead", "redrive", well["runId"].as_str().unwrap()], 0, "it is no dead letter").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_in_error_says_why_nothing_is_due() {
    let terminal = Terminal::open().unwrap();
    let _dev = terminal.dev(&["--no-demo"]).await.unwrap();
    terminal.says(&["calendar", "create", "closed", "--weekly", "SAT,SUN"]).await.unwrap();
    let create = ["job", "create", "held", "--type", "report.build", "--cron", "0 9 * * *"];
    terminal.says(&[&create[..], &["--exclude-calendar", "closed"]].concat()).await.unwrap();
    terminal.says(&["calendar", "update", "closed", "--weekly", "MON-SUN"]).await.unwrap();
    let (code, told) = ended(&terminal, &["job", "next", "held"]).await;
    let job: Value = terminal.json(&["job", "get", "held"]).await.unwrap();
    let why = job["error"]["sentence"].as_str().unwrap_or_else(|| panic!("{job}"));
    assert!(code == Some(0) && told.contains(&format!("it is in ERROR: {why}")), "{told}");

    terminal.says(&["job", "create", "by-hand", "--type", "report.build"]).await.unwrap();
    let (_, told) = ended(&terminal, &["job", "next", "by-hand"]).await;
    assert!(told.contains("it has no schedule"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_missing_is_told_with_what_would_do() {
    let terminal = Terminal::open().unwrap();
    let (code, told) = ended(&terminal, &["queue", "set", "reports", "--create"]).await;
    assert!(code == Some(2) && told.contains("--concurrency") && told.contains("--rate"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_ways_of_counting_days_are_refused() {
    let terminal = Terminal::open().unwrap();
    let (code, told) = ended(&terminal, &["cron", "next", "0 0 13 * +FRI", "--day-match", "or"]).await;
    assert!(code == Some(2) && told.contains("--day-match"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fields_of_a_list_without_a_server_are_those_that_were_asked_for() {
    let terminal = Terminal::open().unwrap();
    let fields = async |fields: &str| -> Value {
        let next = ["cron", "next", "@daily", "-n", "1", "--after", "2026-01-01T12:00:00Z", "--fields", fields];
        terminal.json(&next).await.unwrap()
    };
    let day = "2026-01-02T00:00:00Z";
    assert_eq!(fields("next").await, json!({"next": [day]}));
    assert_eq!(fields("timeZone,time").await, json!({"timeZone": "UTC", "instants": [{"time": day}]}));
    let told = terminal.says(&["cron", "next", "@daily", "--fields", "time_zone"]).await.unwrap();
    assert_eq!(told, "FIELD\tVALUE\ntimeZone\tUTC\n");
}
