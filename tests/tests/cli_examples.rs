//! Every example of every command's help is a line that works: each is run in a shell, against a server of `dev`, as it
//! stands and once more with `-o json`.

#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap like the tests themselves")]

use clap::Command;
use mainspring_tests::harness::terminal::{Terminal, text};
use serde_json::Value;

/// Examples that are not run here, with the reason.
const EXCEPTED: &[(&str, &str)] = &[
    ("mainspring dev", "runs until it is stopped; cli_dev.rs starts it"),
    ("mainspring serve", "runs until it is stopped; cli_dev.rs starts it"),
    ("mainspring worker exec", "runs until it is stopped; cli_exec.rs starts it"),
    ("mainspring login", "needs a password; cli_login.rs has one"),
    ("mainspring sink test", "needs somebody who listens; sinks.rs has one"),
];

/// What disturbs the others comes later, in this order.
const LAST: &[&str] = &[
    "mainspring queue pause",
    "mainspring queue resume",
    "mainspring job pause",
    "mainspring job resume",
    "mainspring job delete",
    "mainspring job undelete",
    "mainspring calendar delete",
    "mainspring sink delete",
    "mainspring admin key revoke",
    "mainspring worker drain",
    "mainspring context rm",
    "mainspring logout",
];

/// The lines of the examples, each once, the disturbing ones last.
fn examples() -> Vec<String> {
    let mut lines = Vec::new();
    collect(&mainspring_cli::command(), &mut lines);
    for (beginning, reason) in EXCEPTED {
        assert!(lines.iter().any(|line| is(line, beginning)), "no example is excepted because it {reason}");
    }
    lines.retain(|line| !EXCEPTED.iter().any(|(beginning, _)| is(line, beginning)));
    lines.sort_by_key(|line| LAST.iter().position(|beginning| is(line, beginning)).map_or(0, |place| place + 1));
    lines
}

fn is(line: &str, beginning: &str) -> bool {
    line.strip_prefix(beginning).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
}

fn collect(command: &Command, lines: &mut Vec<String>) {
    let help = command.get_before_help().map(ToString::to_string).unwrap_or_default();
    let examples: Vec<_> = help.lines().skip(1).map(|line| line.trim().to_owned()).collect();
    assert!(!examples.is_empty(), "{} has no example", command.get_name());
    for line in examples {
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    command.get_subcommands().for_each(|child| collect(child, lines));
}

/// The same with its output as JSON; what a variable would swallow is shown.
fn as_json(line: &str) -> String {
    match (line.contains(" -o "), line.strip_suffix(')')) {
        (true, _) => line.into(),
        (false, Some(inside)) => {
            let (name, _) = line.split_once('=').unwrap();
            format!("{inside} -o json) && printf '%s' \"${name}\"")
        }
        (false, None) => format!("{line} -o json"),
    }
}

/// What the variables of examples stand for.
struct Things {
    over: String,
    worker: String,
    dead: String,
    backfill: String,
    delivery: String,
}

impl Things {
    async fn find(terminal: &Terminal) -> Self {
        let run: Value = terminal.json(&["trigger", "demo.hello", "--wait"]).await.unwrap();
        // Nobody there may be reached, so that it stays as it is.
        let sink = ["sink", "create", "on-call", "--url", "https://localhost/", "--kind", "run-failed"];
        assert!(terminal.run(&sink).await.unwrap().status.success());
        let died = ["submit", "demo.flaky", "-d", "succeed_on:=9", "--max-attempts", "1", "--wait", "-o", "none"];
        assert_eq!(terminal.run(&died).await.unwrap().status.code(), Some(1));
        let dead: Value = terminal.json(&["dead", "list"]).await.unwrap();
        let dead = dead["groups"][0]["fingerprint"].as_str().unwrap().into();
        let range = ["--from", "2026-01-01T00:00:00Z", "--to", "2026-01-01T00:00:30Z"];
        let begun: Value = terminal.json(&[&["job", "backfill", "demo.hello"], &range[..]].concat()).await.unwrap();
        let backfill = begun["backfill"]["backfillId"].as_str().unwrap().into();
        let told: Value = terminal.json(&["sink", "deliveries", "on-call"]).await.unwrap();
        let delivery = told["deliveries"][0]["deliveryId"].as_str().unwrap_or_else(|| panic!("{told}")).into();
        let workers: Value = terminal.json(&["worker", "list"]).await.unwrap();
        let worker = &workers["workers"][0]["workerId"];
        Self {
            over: run["runId"].as_str().unwrap().into(),
            dead,
            backfill,
            delivery,
            worker: worker.as_str().unwrap_or_else(|| panic!("a worker in {workers}")).into(),
        }
    }

    /// A run that is over; where the line cancels one, a run that is not.
    async fn run(&self, terminal: &Terminal, line: &str) -> String {
        if !is(line, "mainspring run cancel") {
            return self.over.clone();
        }
        let run: Value = terminal.json(&["submit", "demo.sleep", "-d", "seconds:=600"]).await.unwrap();
        run["runId"].as_str().unwrap().into()
    }

    /// A key of its own for every line that revokes one.
    async fn key(&self, terminal: &Terminal, line: &str) -> String {
        if !line.contains("$KEY") {
            return String::new();
        }
        let made: Value = terminal.json(&["admin", "key", "create", "example", "--role", "viewer"]).await.unwrap();
        made["apiKey"]["keyId"].as_str().unwrap_or_else(|| panic!("a key in {made}")).into()
    }
}

/// Runs every example; returns the lines that went wrong.
async fn run_all(rewrite: fn(&str) -> String, check: fn(&str, &str) -> Result<(), String>) -> Vec<String> {
    let terminal = Terminal::open().unwrap();
    let _dev = terminal.dev(&[]).await.unwrap();
    let things = Things::find(&terminal).await;
    let mut wrong = Vec::new();
    let lines = examples();
    for line in &lines {
        let (run, key) = (things.run(&terminal, line).await, things.key(&terminal, line).await);
        let typed = rewrite(line);
        let variables = [
            ("RUN", run.as_str()),
            ("WORKER", &things.worker),
            ("KEY", &key),
            ("DEAD", &things.dead),
            ("BACKFILL", &things.backfill),
            ("DELIVERY", &things.delivery),
        ];
        let output = terminal.sh(&typed, &variables).await.unwrap();
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        if output.status.code() != Some(0) {
            wrong.push(format!("{typed}: {}: {stderr}", output.status));
        } else if let Err(error) = check(&typed, &stdout) {
            wrong.push(format!("{typed}: {error} in {stdout}"));
        }
    }
    println!("{} examples", lines.len());
    assert!(lines.len() > 100, "too few to be all: {lines:?}");
    wrong
}

fn parses(line: &str, stdout: &str) -> Result<(), String> {
    if line.contains(" -o ") && !line.contains(" -o json") {
        // Its own word about another format.
        return Ok(());
    }
    let parse = |text: &str| serde_json::from_str::<Value>(text).map(drop).map_err(|error| error.to_string());
    if line.contains("-o jsonl") { stdout.lines().try_for_each(parse) } else { parse(stdout) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_example_works_as_it_stands() {
    let wrong = run_all(str::to_owned, |_, _| Ok(())).await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_example_says_json_where_it_is_asked_to() {
    let wrong = run_all(as_json, parses).await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Everything a command prints is data of its format; what else it has to say is on stderr.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_example_is_silent_where_it_is_asked_to() {
    // What is told only once is not made where it would not be told.
    let silent = |line: &str| match as_json(line) {
        once if ["admin key create", "sink create", "--rotate-secret"].iter().any(|made| once.contains(made)) => once,
        line => line.replace(" -o jsonl", " -o json").replace(" -o json", " -o none"),
    };
    let nothing = |line: &str, stdout: &str| {
        let is_asked = line.contains(" -o none");
        if !is_asked || stdout.is_empty() { Ok(()) } else { Err("it speaks".to_owned()) }
    };
    let wrong = run_all(silent, nothing).await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_line_becomes_one_about_json() {
    assert_eq!(as_json("mainspring job list"), "mainspring job list -o json");
    assert_eq!(as_json("mainspring job list -o jsonl"), "mainspring job list -o jsonl");
    assert_eq!(as_json("K=$(mainspring a b)"), "K=$(mainspring a b -o json) && printf '%s' \"$K\"");
}
