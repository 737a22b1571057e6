//! Lists and things that are watched: what is there at first, then a line for every change, and an end where there is one.

#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap like the tests themselves")]

use mainspring_tests::harness::{host::PATIENCE, process::Process, terminal::Terminal};
use rustix::process::Signal;
use serde_json::Value;

/// A watcher, as somebody started it.
fn watching(terminal: &Terminal, line: &[&str]) -> Process {
    terminal.start("watch", &[line, &["--watch"]].concat()).unwrap()
}

/// The next line that says this.
async fn line(watcher: &mut Process, part: &str) -> String {
    loop {
        let line = watcher.line().await.unwrap();
        if line.contains(part) {
            return line;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_is_a_table_and_then_a_line_for_every_change() {
    let terminal = Terminal::open().unwrap();
    let _dev = terminal.dev(&[]).await.unwrap();
    let mut jobs = watching(&terminal, &["job", "list"]);
    assert!(jobs.line().await.unwrap().starts_with("JOB\tTYPE\tQUEUE\tSTATE\t"));
    line(&mut jobs, "demo.sleep\t").await;
    terminal.says(&["job", "pause", "demo.sleep"]).await.unwrap();
    assert!(line(&mut jobs, "demo.sleep\t").await.contains("\tpaused\t"));
    // Interrupted, as nobody else ends it.
    jobs.signal(Signal::INT).unwrap();
    assert_eq!(jobs.exit(PATIENCE).await.unwrap().code(), Some(130));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_filter_holds_for_what_changes_too() {
    let terminal = Terminal::open().unwrap();
    let _dev = terminal.dev(&[]).await.unwrap();
    let mut paused = watching(&terminal, &["job", "list", "--filter", "state = PAUSED", "-o", "name"]);
    terminal.says(&["queue", "set", "other", "--concurrency", "1", "--create"]).await.unwrap();
    // A change that the filter does not find, then one that it finds.
    terminal.says(&["job", "update", "demo.hello", "--priority", "3"]).await.unwrap();
    terminal.says(&["job", "pause", "demo.flaky"]).await.unwrap();
    // Whether the list was read before the pause or after it, this is the first line.
    assert_eq!(paused.line().await.unwrap(), "job/demo.flaky");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_is_watched_to_its_end() {
    let terminal = Terminal::open().unwrap();
    let _dev = terminal.dev(&[]).await.unwrap();
    let mut all = watching(&terminal, &["run", "list", "--limit", "1", "-o", "jsonl", "--fields", "runId,state"]);
    let run: Value = terminal.json(&["submit", "demo.sleep", "-d", "seconds:=600"]).await.unwrap();
    let run = run["runId"].as_str().unwrap();
    let seen: Value = serde_json::from_str(&line(&mut all, run).await).unwrap();
    assert_eq!(seen.as_object().unwrap().len(), 2, "{seen}");

    let mut one = watching(&terminal, &["run", "get", run, "-o", "jsonl"]);
    line(&mut one, "RUN_STATE_RUNNING").await;
    terminal.says(&["run", "cancel", run]).await.unwrap();
    line(&mut one, "RUN_STATE_CANCELLED").await;
    assert_eq!(one.exit(PATIENCE).await.unwrap().code(), Some(0));
    line(&mut all, "RUN_STATE_CANCELLED").await;
    // One that is over is shown, and that is the end of it.
    let mut over = watching(&terminal, &["run", "get", run, "-o", "name"]);
    assert_eq!(over.line().await.unwrap(), format!("run/{run}"));
    assert_eq!(over.exit(PATIENCE).await.unwrap().code(), Some(0));
}

/// A line of a shell whose notes are lines, too.
fn staying(terminal: &Terminal, name: &str, line: &str) -> Process {
    terminal.shell(name, &format!("exec mainspring {line} 2>&1")).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stops_for_a_while_is_waited_for() {
    let terminal = Terminal::open().unwrap();
    let dev = terminal.dev(&["--no-demo"]).await.unwrap();
    let mut runs = staying(&terminal, "runs", "run list --watch");
    line(&mut runs, "STATE").await;
    dev.signal(Signal::STOP).unwrap();
    line(&mut runs, "note: lost the server, trying again").await;
    dev.signal(Signal::CONT).unwrap();
    let run = terminal.says(&["submit", "t", "-o", "name"]).await.unwrap();
    line(&mut runs, run.trim_end().trim_start_matches("run/")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stays_stopped_ends_what_waits_for_it() {
    let terminal = Terminal::open().unwrap();
    let dev = terminal.dev(&[]).await.unwrap();
    let run = terminal.says(&["submit", "demo.sleep", "-d", "seconds:=600", "-o", "name"]).await.unwrap();
    let run = run.trim_end().trim_start_matches("run/");
    let mut watch = staying(&terminal, "runs", "run list --watch");
    let mut logs = staying(&terminal, "logs", &format!("logs {run} -f"));
    let mut follow = staying(&terminal, "follow", "trigger demo.sleep -d seconds:=600 --follow");
    let mut wait = staying(&terminal, "wait", &format!("run wait {run}"));
    line(&mut watch, run).await;
    line(&mut logs, "sleeping").await;
    line(&mut follow, "running").await;
    dev.signal(Signal::STOP).unwrap();
    // Noticed after 20 s, and tried again for a minute.
    for process in [&mut watch, &mut logs, &mut follow, &mut wait] {
        assert_eq!(process.exit(2 * PATIENCE).await.unwrap().code(), Some(6), "{}", process.name());
        let told = process.rest().await.unwrap().join("\n");
        assert!(told.contains("error: the server did not answer within "), "{}: {told}", process.name());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queues_and_workers_are_watched_too() {
    let terminal = Terminal::open().unwrap();
    let _dev = terminal.dev(&[]).await.unwrap();
    let mut queue = watching(&terminal, &["queue", "get", "default"]);
    line(&mut queue, "default\topen\t").await;
    terminal.says(&["queue", "pause", "default", "--note", "deploying"]).await.unwrap();
    assert!(line(&mut queue, "default\tpaused\t").await.ends_with("\tdeploying"));

    let workers: Value = terminal.json(&["worker", "list"]).await.unwrap();
    let worker = workers["workers"][0]["workerId"].as_str().unwrap();
    let mut worker_watch = watching(&terminal, &["worker", "get", worker]);
    line(&mut worker_watch, "\tconnected\t").await;
    terminal.says(&["worker", "drain", worker, "--terminate"]).await.unwrap();
    line(&mut worker_watch, "\tgone\t").await;
    assert_eq!(worker_watch.exit(PATIENCE).await.unwrap().code(), Some(0));
}
