//! Staying with a run at a terminal: what is told, how the command ends, and how soon a cancelled run is over.

#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap like the tests themselves")]

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use mainspring_tests::harness::{
    host::PATIENCE,
    process::Process,
    terminal::{Terminal, text},
};
use rustix::process::Signal;
use serde_json::Value;

/// What is promised between the wish to cancel a run and its end, where the handler listens.
const STOPS_WITHIN: SignedDuration = SignedDuration::from_secs(2);
/// Nobody waits for anything where a run waits itself.
const AT_ONCE: SignedDuration = SignedDuration::from_millis(500);
/// Leaving asks nobody.
const LEAVES_WITHIN: Duration = Duration::from_secs(5);

fn id(run: &Value) -> String {
    run["runId"].as_str().unwrap_or_else(|| panic!("a run id in {run}")).to_owned()
}

fn time(value: &Value) -> Timestamp {
    value.as_str().unwrap_or_else(|| panic!("{value} is a time")).parse().unwrap()
}

/// How long a cancelled run lived on.
fn lived_on(run: &Value) -> SignedDuration {
    time(&run["endTime"]).duration_since(time(&run["cancellation"]["requestTime"]))
}

/// Reads what a follower says until its run is at the worker; returns the run.
async fn running(follower: &mut Process) -> String {
    loop {
        let line = follower.line().await.unwrap();
        if let Some((run, _)) = line.split_once("  queued → running") {
            return run.strip_prefix("run/").unwrap().to_owned();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_is_followed_to_its_success() {
    let terminal = Terminal::open().unwrap();
    let _dev = terminal.dev(&[]).await.unwrap();
    let output = terminal.run(&["trigger", "demo.hello", "-d", "name=Ada", "--follow"]).await.unwrap();
    let told = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{told}{}", text(&output.stderr));
    // Progress is sent once a second; of a run this short, the first step is.
    let mut from = 0;
    for part in ["  queued\n", "queued → running on worker/built-in", "hello, Ada", "goodbye, Ada", "  succeeded in "]
    {
        let at = told[from..].find(part);
        from += at.unwrap_or_else(|| panic!("{part:?} is missing, or is told too early, in\n{told}"));
    }
    let (running, progress) = (told.find("→ running"), told.find(" 33 %  greeting 1 of 3"));
    assert!(progress.is_some() && running < progress, "there is progress, after the beginning:\n{told}");
    for line in ["queued → running", "hello, Ada", "goodbye, Ada", "succeeded in"] {
        assert_eq!(told.matches(line).count(), 1, "{line:?} is told once:\n{told}");
    }
    assert!(told.trim_end().lines().last().unwrap().contains("  succeeded in "), "{told}");
    assert!(output.stderr.is_empty(), "{}", text(&output.stderr));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_run_says_is_told_in_the_order_of_its_times() {
    let terminal = Terminal::open().unwrap();
    let _dev = terminal.dev(&[]).await.unwrap();
    let told = terminal.says(&["trigger", "demo.progress", "-d", "steps:=22", "--follow"]).await.unwrap();
    let times: Vec<Timestamp> = told.lines().filter_map(|line| line.split_whitespace().next()?.parse().ok()).collect();
    let (logs, progress) = (told.matches(" INFO ").count(), told.matches(" %  step ").count());
    assert!(logs == 4 && progress >= 2 && times.len() == logs + progress, "{told}");
    assert!(times.is_sorted(), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_follows_reads_the_run_and_nothing_else() {
    let terminal = Terminal::open().unwrap();
    let _dev = terminal.dev(&[]).await.unwrap();
    let args = ["trigger", "demo.hello", "-d", "name=Ada", "--follow", "-o", "json"];
    let output = terminal.run(&args).await.unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let run: Value = serde_json::from_slice(&output.stdout).expect("stdout is one JSON value");
    assert_eq!((&run["state"], &run["job"]), (&"RUN_STATE_SUCCEEDED".into(), &"demo.hello".into()), "{run}");
    let aside = text(&output.stderr);
    assert!(aside.contains("hello, Ada") && aside.contains(" 33 %"), "who watches stderr still sees it:\n{aside}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_fails_is_1() {
    let terminal = Terminal::open().unwrap();
    let _dev = terminal.dev(&[]).await.unwrap();
    let args = ["job", "create", "unlucky", "--type", "demo.flaky", "-d", "succeed_on:=9", "--max-attempts", "1"];
    terminal.says(&args).await.unwrap();
    let output = terminal.run(&["trigger", "unlucky", "--follow"]).await.unwrap();
    let told = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{told}{}", text(&output.stderr));
    let last = told.trim_end().lines().last().unwrap();
    assert!(last.contains("  failed in ") && last.contains("NO_LUCK: no luck at attempt 1 of 9"), "{told}");
    let output = terminal.run(&["trigger", "unlucky", "--wait"]).await.unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_somebody_cancels_is_7_and_stops_within_two_seconds() {
    let terminal = Terminal::open().unwrap();
    let _dev = terminal.dev(&[]).await.unwrap();
    let args = ["trigger", "demo.sleep", "-d", "seconds:=600", "--follow"];
    let mut follower = terminal.start("follower", &args).unwrap();
    let run = running(&mut follower).await;
    let asked = terminal.says(&["run", "cancel", &run, "--reason", "wrong month"]).await.unwrap();
    assert!(asked.starts_with(&format!("run/{run} ")), "{asked}");
    let status = follower.exit(PATIENCE).await.unwrap();
    let told = follower.rest().await.unwrap();
    assert_eq!(status.code(), Some(7), "{told:?}");
    assert!(told.iter().any(|line| line.contains("woken by a cancel")), "the handler heard of it: {told:?}");
    assert!(told.last().unwrap().contains("  cancelled after "), "{told:?}");

    let run: Value = terminal.json(&["run", "get", &run]).await.unwrap();
    assert_eq!(run["state"], "RUN_STATE_CANCELLED", "{run}");
    assert_eq!(run["cancellation"]["note"], "wrong month", "{run}");
    assert_ne!(run["cancellation"]["workerUnresponsive"], true, "{run}");
    assert!(lived_on(&run) <= STOPS_WITHIN, "it lived on for {}: {run}", lived_on(&run));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_waits_is_cancelled_at_once() {
    let terminal = Terminal::open().unwrap();
    let _dev = terminal.dev(&[]).await.unwrap();
    let waits: Value = terminal.json(&["submit", "nobody.handles-this"]).await.unwrap();
    let waits = id(&waits);
    let said = terminal.says(&["run", "cancel", &waits]).await.unwrap();
    // Not "is asked to stop": it is over when the call returns.
    assert_eq!(said.trim_end(), format!("run/{waits} cancelled"));
    let run: Value = terminal.json(&["run", "get", &waits]).await.unwrap();
    assert_eq!(run["state"], "RUN_STATE_CANCELLED", "{run}");
    assert!(lived_on(&run) <= AT_ONCE, "it lived on for {}: {run}", lived_on(&run));
    let again = terminal.says(&["run", "cancel", &waits]).await.unwrap();
    assert!(again.contains("cancelled"), "to repeat it is harmless: {again}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ctrl_c_detaches_and_the_run_goes_on() {
    let terminal = Terminal::open().unwrap();
    let _dev = terminal.dev(&[]).await.unwrap();
    let args = ["trigger", "demo.sleep", "-d", "seconds:=600", "--follow"];
    let mut follower = terminal.start("follower", &args).unwrap();
    let run = running(&mut follower).await;
    follower.signal(Signal::INT).unwrap();
    let status = follower.exit(LEAVES_WITHIN).await.unwrap();
    let told = follower.stderr().unwrap();
    assert_eq!(status.code(), Some(130), "{told}");
    assert!(told.contains(&format!("mainspring run cancel {run}")), "it says how to cancel: {told}");
    let still: Value = terminal.json(&["run", "get", &run]).await.unwrap();
    assert_eq!(still["state"], "RUN_STATE_RUNNING", "{still}");
    // What it said works.
    terminal.says(&["run", "cancel", &run]).await.unwrap();
    let output = terminal.run(&["run", "wait", &run]).await.unwrap();
    assert_eq!(output.status.code(), Some(7), "{}", text(&output.stdout));
}
