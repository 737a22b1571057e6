//! What the command line does beside the plain calls: contexts, origins, formats, many runs at once, any rpc.

#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap like the tests themselves")]

use std::{fs, process::Output};

use futures::future::join_all;
use mainspring_tests::harness::terminal::{Terminal, text};
use rustix::process::Signal;
use serde_json::{Value, json};

/// What a command says that must fail so.
async fn refused(terminal: &Terminal, line: &[&str], code: i32) -> String {
    let output = terminal.run(line).await.unwrap();
    assert_eq!(output.status.code(), Some(code), "{line:?}: {}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stderr)
}

fn parsed(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", text(&output.stderr)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn contexts_are_added_used_and_forgotten() {
    let terminal = Terminal::open().unwrap();
    let _dev = terminal.dev(&["--no-demo"]).await.unwrap();
    assert_eq!(terminal.says(&["context", "current"]).await.unwrap(), "dev\n");
    terminal.says(&["context", "add", "lab", "127.0.0.1:1", "--namespace", "theirs", "--use"]).await.unwrap();
    assert_eq!(terminal.says(&["context", "list", "-o", "name"]).await.unwrap(), "context/dev\ncontext/lab\n");
    let lab: Value = terminal.json(&["context", "show"]).await.unwrap();
    assert_eq!((&lab["context"], &lab["namespace"], &lab["credential"]), (&json!("lab"), &json!("theirs"), &json!("")));
    refused(&terminal, &["context", "test"], 6).await;
    let tested: Value = terminal.json(&["context", "test", "dev"]).await.unwrap();
    assert!(tested["subject"].as_str().is_some_and(|subject| !subject.is_empty()), "{tested}");

    let told = refused(&terminal, &["context", "use", "lap"], 3).await;
    assert!(told.contains("did you mean lab?"), "{told}");
    terminal.says(&["context", "use", "dev"]).await.unwrap();
    terminal.says(&["context", "rm", "lab"]).await.unwrap();
    terminal.says(&["context", "rm", "dev"]).await.unwrap();
    let credentials = fs::read_to_string(terminal.config().join("credentials.toml")).unwrap();
    assert!(!credentials.contains("api-key"), "{credentials}");
    refused(&terminal, &["context", "current"], 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_setting_says_where_it_comes_from_and_no_key_is_shown() {
    let terminal = Terminal::open().unwrap();
    let _dev = terminal.dev(&["--no-demo"]).await.unwrap();
    let view = "mainspring config view --show-origin --address 127.0.0.1:9 -o jsonl";
    let output = terminal.sh(view, &[("MAINSPRING_NAMESPACE", "theirs")]).await.unwrap();
    let told = text(&output.stdout);
    let of = |name: &str| -> Value {
        let line = told.lines().find(|line| line.contains(&format!("\"setting\":\"{name}\"")));
        serde_json::from_str(line.unwrap_or_else(|| panic!("{name} in {told}"))).unwrap()
    };
    assert_eq!(
        (&of("address")["value"], &of("address")["origin"]),
        (&json!("http://127.0.0.1:9"), &json!("flag --address"))
    );
    assert_eq!(of("namespace")["origin"], "variable MAINSPRING_NAMESPACE");
    assert_eq!(of("context")["origin"], "current-context in ~/.config/mainspring/config.toml");
    assert_eq!(of("api-key")["value"], "held back: it belongs to another server");
    let credentials = fs::read_to_string(terminal.config().join("credentials.toml")).unwrap();
    let key = credentials.split('"').nth(1).unwrap();
    assert!(!told.contains(key));
    let path = terminal.says(&["config", "path"]).await.unwrap();
    assert_eq!(path.trim_end(), terminal.config().join("config.toml").to_str().unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_thing_in_every_format() {
    let terminal = Terminal::open().unwrap();
    let _dev = terminal.dev(&[]).await.unwrap();
    let get = async |more: &[&str]| terminal.says(&[&["job", "get", "demo.hello"], more].concat()).await.unwrap();
    assert_eq!(get(&["-o", "name"]).await, "job/demo.hello\n");
    assert_eq!(get(&["-o", "none"]).await, "");
    assert!(get(&["-o", "yaml"]).await.contains("\njob: demo.hello\n"));
    assert_eq!(
        get(&["-o", "jsonl", "--fields", "job,state"]).await,
        "{\"job\":\"demo.hello\",\"state\":\"JOB_STATE_ACTIVE\"}\n"
    );
    assert_eq!(
        get(&["--fields", "state,job_type"]).await,
        "FIELD\tVALUE\nstate\tJOB_STATE_ACTIVE\njobType\tdemo.hello\n"
    );
    let list = terminal.says(&["job", "list", "-o", "wide"]).await.unwrap();
    assert!(list.starts_with("JOB\tTYPE\t") && list.contains("\tVERSION\t"), "{list}");
    let list = terminal.says(&["job", "list", "--fields", "job", "-o", "json"]).await.unwrap();
    let list: Value = serde_json::from_str(&list).unwrap();
    assert_eq!(list["jobs"][0], json!({"job": "demo.flaky"}));
    let told = refused(&terminal, &["job", "list", "--fields", "jop"], 2).await;
    assert!(told.contains("did you mean job?"), "{told}");
    // Forced, and not where it would break what reads it.
    let colored = terminal.sh("mainspring job list --color always", &[]).await.unwrap();
    assert!(!text(&colored.stdout).contains('\u{1b}'), "a pipe gets columns, and columns have no colour");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_would_not_be_shown_is_not_made() {
    let terminal = Terminal::open().unwrap();
    let _dev = terminal.dev(&["--no-demo"]).await.unwrap();
    let keys = async || terminal.says(&["admin", "key", "list", "-o", "name"]).await.unwrap();
    let before = keys().await;
    let create = ["admin", "key", "create", "ci", "--role", "viewer"];
    let rpc = ["rpc", "CreateApiKey", "-d", "name=ci", "-d", r#"bindings:=[{"role":"viewer"}]"#];
    for line in [&create[..], &rpc] {
        for output in [&["-o", "name"][..], &["-o", "none"], &["-o", "json", "--fields", "apiKey"]] {
            let told = refused(&terminal, &[line, output].concat(), 2).await;
            assert!(told.contains("told once") && told.contains("jsonl"), "{told}");
        }
    }
    let line = "mainspring admin key create ci --role viewer";
    let output = terminal.sh(line, &[("MAINSPRING_OUTPUT", "name")]).await.unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(keys().await, before);
    let made = terminal.says(&[&create[..], &["-o", "yaml", "--fields", "secret"]].concat()).await.unwrap();
    assert!(made.starts_with("secret: "), "{made}");
}

/// The id of a run that nobody ever made.
const RUN: &str = "019a0000-0000-7000-8000-000000000000";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_stopped_is_not_waited_for_long() {
    let terminal = Terminal::open().unwrap();
    let dev = terminal.dev(&["--no-demo"]).await.unwrap();
    dev.signal(Signal::STOP).unwrap();
    let lines = [
        (&["job", "list"][..], "did not answer within 10 s\nhint: ", "SERVER_UNREACHABLE"),
        (&["run", "cancel", RUN], "did not answer within 10 s\nhint: ", "SERVER_UNREACHABLE"),
        (&["rpc", "ListJobs"], "did not answer within 10 s\nhint: ", "SERVER_UNREACHABLE"),
        (&["rpc", "WatchEvents"], "did not answer within 10 s\nhint: ", "SERVER_UNREACHABLE"),
        (&["admin", "backup", "copy.db"], "did not answer within 10 s\nhint: ", "SERVER_UNREACHABLE"),
        (&["job", "list", "-w"], "did not answer within 10 s\nhint: ", "SERVER_UNREACHABLE"),
        (&["logs", RUN, "-f"], "did not answer within 10 s\nhint: ", "SERVER_UNREACHABLE"),
        (&["run", "wait", RUN], "did not answer within 10 s\nhint: ", "SERVER_UNREACHABLE"),
        (&["submit", "t", "--wait=300ms"], "did not answer within 0.30 s\nhint: ", "WAIT_TIMEOUT"),
        (&["trigger", "j", "--follow", "--wait=300ms"], "did not answer within 0.30 s\nhint: ", "WAIT_TIMEOUT"),
        (&["run", "retry", RUN, "--wait=300ms"], "did not answer within 0.30 s\nhint: ", "WAIT_TIMEOUT"),
        (&["run", "wait", RUN, "--timeout", "300ms"], "is not over after 0.30 s\nhint: ", "WAIT_TIMEOUT"),
    ];
    let told = lines.map(|(line, ..)| refused(&terminal, line, 6));
    for ((line, message, reason), told) in lines.iter().zip(join_all(told).await) {
        assert!(told.contains(message) && told.contains(reason), "{line:?}: {told}");
    }
    dev.signal(Signal::CONT).unwrap();
    terminal.says(&["job", "list"]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_name_is_answered_with_the_right_one() {
    let terminal = Terminal::open().unwrap();
    let _dev = terminal.dev(&[]).await.unwrap();
    let told = refused(&terminal, &["job", "get", "demo.helo"], 3).await;
    assert!(told.contains("hint: did you mean job/demo.hello?"), "{told}");
    let told = refused(&terminal, &["queue", "get", "defualt"], 3).await;
    assert!(told.contains("hint: did you mean queue/default?"), "{told}");
    let told = refused(&terminal, &["type", "describe", "demo.slep"], 3).await;
    assert!(told.contains("hint: did you mean type/demo.sleep?"), "{told}");
    let told = refused(&terminal, &["run", "list", "-w", "--filter", "origin = SUBMIT"], 2).await;
    assert!(told.contains("hint: with --watch a filter is about"), "{told}");
    let told = refused(&terminal, &["rpc", "ListJob"], 2).await;
    assert!(told.contains("did you mean ListJobs?"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_runs_are_cancelled_and_retried_at_once() {
    let terminal = Terminal::open().unwrap();
    let _dev = terminal.dev(&[]).await.unwrap();
    for _ in 0..3 {
        terminal.says(&["submit", "demo.sleep", "-d", "seconds:=600", "--delay", "1h"]).await.unwrap();
    }
    let of_sleep = ["--filter", "job_type = demo.sleep AND origin = SUBMIT"];
    let cancel = [&["run", "cancel"], &of_sleep[..]].concat();
    // Nobody is there to be asked.
    let told = refused(&terminal, &cancel, 2).await;
    assert!(told.contains("cancel 3 runs needs a yes") && told.contains("-y says it"), "{told}");
    // Whoever says no has done nothing, and has not pressed Ctrl-C.
    let asked = format!("mainspring run cancel --filter '{}'", of_sleep[1]);
    let no = terminal.sh(&format!("printf 'n\\n' | script -qec \"{asked}\" /dev/null"), &[]).await.unwrap();
    let told = text(&no.stdout);
    assert_eq!(no.status.code(), Some(1), "{told}{}", text(&no.stderr));
    assert!(told.contains("cancel them? [y/N]") && told.contains("nothing was changed"), "{told}");
    assert!(told.contains("reason: NOT_CONFIRMED"), "{told}");
    let tried: Value = terminal.json(&[&cancel[..], &["--since", "1h", "--dry-run"]].concat()).await.unwrap();
    let states = |runs: &Value| {
        let states = runs["runs"].as_array().unwrap().iter().map(|run| run["state"].as_str().unwrap().to_owned());
        states.collect::<Vec<_>>()
    };
    assert_eq!(states(&tried), ["RUN_STATE_SCHEDULED"; 3]);
    let done: Value = terminal.json(&[&cancel[..], &["-y"]].concat()).await.unwrap();
    assert_eq!(states(&done), ["RUN_STATE_CANCELLED"; 3]);
    let again: Value = terminal.json(&[&cancel[..], &["-y"]].concat()).await.unwrap();
    assert_eq!(states(&again).len(), 0, "those that are over are not meant");
    let retry = [&["run", "retry"], &of_sleep[..], &["-y", "-o", "name"]].concat();
    assert_eq!(terminal.says(&retry).await.unwrap().lines().count(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_types_fields_is_told_of_fields() {
    let terminal = Terminal::open().unwrap();
    let _dev = terminal.dev(&[]).await.unwrap();
    let told = refused(&terminal, &["rpc", "ListRuns", "-d", "filter=x"], 2).await;
    assert!(told.starts_with("error: filter: ") && !told.contains("--filter"), "{told}");
    terminal.says(&["job", "pause", "demo.hello"]).await.unwrap();
    let told = refused(&terminal, &["rpc", "TriggerJob", "-d", "job=demo.hello"], 5).await;
    assert!(told.contains("JOB_PAUSED") && !told.contains("--"), "{told}");
    let told = refused(&terminal, &["trigger", "demo.hello"], 5).await;
    assert!(told.contains("--while-paused"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_runs_are_meant_only_where_somebody_says_so() {
    let terminal = Terminal::open().unwrap();
    let _dev = terminal.dev(&["--no-demo"]).await.unwrap();
    let made = terminal.says(&["submit", "t", "--delay", "1h", "-o", "name"]).await.unwrap();
    // A variable that is not set.
    for line in ["run cancel --filter \"$F\" -y", "run cancel --filter ' ' -y", "run retry --filter \"$F\" --dry-run"] {
        let output = terminal.sh(&format!("mainspring {line}"), &[]).await.unwrap();
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{line}: {told}");
        assert!(told.contains("--filter: it is empty") && told.contains("hint: ") && told.contains("--all"), "{told}");
    }
    for line in [&["run", "cancel", RUN, "--all"][..], &["run", "cancel", "--all", "--filter", "job = a"]] {
        let told = refused(&terminal, line, 2).await;
        assert!(told.contains("cannot be used with"), "{told}");
    }
    assert_eq!(terminal.says(&["run", "list", "--filter", "state = SCHEDULED", "-o", "name"]).await.unwrap(), made);
    let done = terminal.says(&["run", "cancel", "--all", "--since", "1h", "-y", "-o", "name"]).await.unwrap();
    assert_eq!(done, made);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payload_arrives_as_it_was_typed_or_not_at_all() {
    let terminal = Terminal::open().unwrap();
    let _dev = terminal.dev(&["--no-demo"]).await.unwrap();
    let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    let huge = fs::File::create(terminal.home().join("huge")).unwrap();
    huge.set_len(1 << 40).unwrap();
    for (data, why) in [
        (r#"{"a":1,"a":2}"#, r#"`-d {"a":1,"a":2}` names the field `a` twice in one object"#),
        ("n:=1e400", "`-d n:=1e400` holds the number 1e400, which is larger than any that can be sent"),
        (nested(200).as_str(), "is nested deeper than 100 levels"),
        ("@huge", "`-d @huge` is larger than 64 MiB"),
    ] {
        let told = refused(&terminal, &["submit", "t", "-d", data], 2).await;
        assert!(told.contains(why), "{told}");
        let told = refused(&terminal, &["rpc", "ListJobs", "-d", data], 2).await;
        assert!(told.contains(why), "{told}");
    }
    // Deeper than a value of the API may be, and not too deep for a handler.
    let run: Value = terminal.json(&["submit", "t", "-d", &nested(60)]).await.unwrap();
    assert_eq!(run["payload"]["contentType"], "application/json");
    let told = terminal.says(&["run", "get", run["runId"].as_str().unwrap()]).await.unwrap();
    assert!(told.contains(&nested(60)), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_a_key_is_not_sent() {
    let terminal = Terminal::open().unwrap();
    let _dev = terminal.dev(&["--no-demo"]).await.unwrap();
    let long = "k".repeat(20_000);
    for line in ["mainspring job list", "mainspring worker exec --type t -- cat"] {
        let output = terminal.sh(line, &[("MAINSPRING_API_KEY", &long)]).await.unwrap();
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(4), "{line}: {told}");
        assert!(told.contains("20000 characters long, and no key is") && !told.contains("kkk"), "{told}");
        assert!(told.contains("reason: TOKEN_INVALID"), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_configuration_that_is_no_file_is_not_waited_for() {
    let terminal = Terminal::open().unwrap();
    let line = "mkfifo pipe.toml && MAINSPRING_CONFIG=pipe.toml mainspring context list";
    let output = terminal.sh(line, &[]).await.unwrap();
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains("pipe.toml: cannot be read: it is no file"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_is_changed_by_flags_and_by_its_own_json() {
    let terminal = Terminal::open().unwrap();
    let _dev = terminal.dev(&[]).await.unwrap();
    terminal.says(&["job", "update", "demo.flaky", "--max-attempts", "9", "--label", "team=ops"]).await.unwrap();
    let job: Value = terminal.json(&["job", "get", "demo.flaky"]).await.unwrap();
    assert_eq!(job["retryPolicy"]["maxAttempts"], 9);
    assert_eq!(job["retryPolicy"]["initialBackoff"], "1s", "what was not named stays");
    let line = "mainspring job get demo.flaky -o json | sed 's/Fails until/Failed until/' > job.json && \
                mainspring job update demo.flaky -f job.json -o json";
    let updated = parsed(&terminal.sh(line, &[]).await.unwrap());
    assert_eq!(updated["description"], "Failed until its third attempt");
    // The file holds the etag of what it was made of, and that is not there any more.
    refused(&terminal, &["job", "update", "demo.flaky", "-f", "job.json"], 5).await;
    let next: Value = terminal.json(&["job", "next", "demo.flaky", "-c", "2"]).await.unwrap();
    assert_eq!(next["schedules"][0]["instants"].as_array().map(Vec::len), Some(2), "{next}");
    let page = terminal.says(&["job", "describe", "demo.flaky"]).await.unwrap();
    assert!(page.contains("Schedules:\n") && page.contains("every"), "{page}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_method_can_be_called_and_streams_are_told_line_by_line() {
    let terminal = Terminal::open().unwrap();
    let _dev = terminal.dev(&[]).await.unwrap();
    let job: Value =
        serde_json::from_str(&terminal.says(&["rpc", "GetJob", "-d", "job=demo.hello"]).await.unwrap()).unwrap();
    assert_eq!(job["job"]["jobType"], "demo.hello");
    let run: Value = terminal.json(&["trigger", "demo.hello", "--wait"]).await.unwrap();
    let tail = format!("runId={}", run["runId"].as_str().unwrap());
    let lines = terminal.says(&["rpc", "TailLogs", "-d", &tail, "-o", "jsonl"]).await.unwrap();
    let last: Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
    assert_eq!(last["run"]["runId"], run["runId"]);
    let told = refused(&terminal, &["rpc", "GetJob", "-d", "job=no-such"], 3).await;
    assert!(told.contains("JOB_NOT_FOUND"), "{told}");
    let told = refused(&terminal, &["rpc", "WorkerStream"], 2).await;
    assert!(told.contains("a stream of messages"), "{told}");
    refused(&terminal, &["rpc", "GetJob", "-d", "jop=demo.hello"], 2).await;
    let told = refused(&terminal, &["rpc", "ListJobs", "--fields", "bogus"], 2).await;
    assert!(told.contains("a ListJobsResponse has no field bogus"), "{told}");
    let told = refused(&terminal, &["rpc", "ListJobs", "--fields", "jobs.job"], 2).await;
    assert!(told.contains("jobs is a list"), "{told}");
    terminal.says(&["rpc", "ListJobs", "--fields", "jobs"]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_macro_without_its_sign_is_told_of_it() {
    let terminal = Terminal::open().unwrap();
    let _dev = terminal.dev(&["--no-demo"]).await.unwrap();
    for word in ["hourly", "daily", "weekly", "monthly", "yearly"] {
        let told = refused(&terminal, &["job", "create", "report", "--type", "report.build", "--cron", word], 2).await;
        assert!(told.contains(&format!("did you mean `@{word}`?")), "{told}");
        let told = refused(&terminal, &["cron", "explain", word], 2).await;
        assert!(told.contains(&format!("did you mean `@{word}`?")), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_needs_no_server_works_without_one() {
    let terminal = Terminal::open().unwrap();
    let next = ["cron", "next", "* * * * *", "-c", "3", "-o", "jsonl", "--fields", "time", "--after"];
    let last = terminal.says(&[&next[..], &["9999-12-30T21:59:30Z"]].concat()).await.unwrap();
    assert!(last.starts_with("{\"time\":\"9999-12-30T22:00:00Z\"}\n"), "{last}");
    for after in ["9999-12-31T23:58:00Z", "9999-12-30T22:00:00Z"] {
        let told = refused(&terminal, &[&next[..], &[after]].concat(), 2).await;
        assert!(told.contains(&format!("names no instant after {after}")), "{told}");
    }
    let explained: Value = terminal.json(&["cron", "explain", "30 2 * * *", "--tz", "Europe/Berlin"]).await.unwrap();
    assert_eq!(explained["sentence"], "At 02:30 every day");
    let next: Value = terminal
        .json(&["cron", "next", "0 2 * * 1-5", "--tz", "Europe/Berlin", "--after", "2026-01-02T12:00:00Z", "-c", "1"])
        .await
        .unwrap();
    assert_eq!(next["instants"][0]["localTime"], "2026-01-05T02:00:00+01:00");
    let told = refused(&terminal, &["cron", "explain", "0 25 * * *"], 2).await;
    assert!(told.contains("hour field, column 3"), "{told}");
    terminal.says(&["api", "descriptor", "contract.binpb"]).await.unwrap();
    assert!(fs::read(terminal.home().join("contract.binpb")).unwrap().len() > 10_000);
    let script = terminal.says(&["completion", "bash"]).await.unwrap();
    assert!(script.contains("_mainspring") && script.contains("trigger"));
    terminal.says(&["man", "pages"]).await.unwrap();
    let page = fs::read_to_string(terminal.home().join("pages/mainspring-job-create.1")).unwrap();
    assert!(page.contains("mainspring\\-job\\-create") || page.contains("mainspring-job-create"), "{page}");
}
