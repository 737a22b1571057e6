//! Any program as a worker: what reaches it, what is made of its end, and that nothing of it outlives its run.

#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap like the tests themselves")]

use std::{fs, path::PathBuf};

use mainspring_tests::harness::{
    host::{self, PATIENCE},
    process::Process,
    terminal::{Terminal, text},
};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::{io::AsyncReadExt as _, net::unix::pipe, process::Command};

/// A server and a person, who writes programs.
struct Stage {
    terminal: Terminal,
    _dev: Process,
}

impl Stage {
    async fn open() -> Self {
        let terminal = Terminal::open().unwrap();
        let dev = terminal.dev(&["--no-demo"]).await.unwrap();
        Self { terminal, _dev: dev }
    }

    /// Where this script lies as a program.
    fn program(&self, script: &str) -> String {
        let path = self.terminal.home().join("program.sh");
        fs::write(&path, script).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// A program that is this script, served as the job type `t`.
    fn serve(&self, options: &[&str], script: &str) -> Process {
        let path = self.program(script);
        let line = [&["worker", "exec", "--type", "t"], options, &["--", "/bin/sh", &path, "one arg"]];
        let mut command = self.terminal.mainspring(&line.concat()).unwrap();
        // What a worker's own environment may hold, and its programs must not see unless somebody says so.
        command.env("SECRET", "hidden").env("PASSED", "on");
        Process::start("exec", self.terminal.home(), command).unwrap()
    }

    /// A run of `t` that may be tried once, over.
    async fn run(&self, data: &str) -> Value {
        let line = ["submit", "t", "-d", data, "--max-attempts", "1", "--wait", "-o", "json"];
        let output = self.terminal.run(&line).await.unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", text(&output.stderr)))
    }

    /// The run as it ended.
    async fn get(&self, run: &str) -> Value {
        self.terminal.json(&["run", "get", run]).await.unwrap()
    }

    /// A run of `t` that has begun: its program has said `ready`.
    async fn begun(&self) -> String {
        let run: Value = self.terminal.json(&["submit", "t", "--max-attempts", "1"]).await.unwrap();
        let run = run["runId"].as_str().unwrap().to_owned();
        let mut logs = self.terminal.start("logs", &["logs", &run, "-f", "-o", "jsonl"]).unwrap();
        loop {
            let line: Value = serde_json::from_str(&logs.line().await.unwrap()).unwrap();
            if line["message"] == "ready" {
                return run;
            }
        }
    }

    /// A pipe with a name: whoever has it open for writing is alive.
    async fn leash(&self) -> Leash {
        let path = self.pipe("leash").await;
        let held = pipe::OpenOptions::new().open_receiver(&path).unwrap();
        Leash { held, path }
    }

    /// A pipe of this name where the programs run.
    async fn pipe(&self, name: &str) -> PathBuf {
        let path = self.terminal.home().join(name);
        assert!(Command::new("mkfifo").arg(&path).status().await.unwrap().success());
        path
    }
}

/// Read to its end, which is where the last process that held it has gone.
struct Leash {
    held: pipe::Receiver,
    path: PathBuf,
}

impl Leash {
    async fn let_go(mut self) {
        // A pipe that nobody ever wrote to has no end to wait for: a program may be ended before it takes the leash.
        drop(pipe::OpenOptions::new().open_sender(&self.path).unwrap());
        let mut nothing = Vec::new();
        let read = self.held.read_to_end(&mut nothing);
        host::within(PATIENCE, "the end of every process of the run", read).await.unwrap().unwrap();
    }
}

fn reason(run: &Value) -> (&str, &str) {
    (run["state"].as_str().unwrap(), run["failure"]["reason"].as_str().unwrap_or_default())
}

fn message(run: &Value) -> &str {
    run["failure"]["message"].as_str().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_does_not_answer_is_told_of_and_tried_again() {
    let terminal = Terminal::open().unwrap();
    let dev = terminal.dev(&["--no-demo"]).await.unwrap();
    dev.signal(Signal::STOP).unwrap();
    let mut worker = terminal.shell("exec", "exec mainspring worker exec --type t -- cat 2>&1").unwrap();
    let told = worker.line().await.unwrap();
    assert!(
        told.contains("cannot connect to ") && told.contains("the server did not answer within 10 s; trying again"),
        "{told}"
    );
    dev.signal(Signal::CONT).unwrap();
    let told = worker.line().await.unwrap();
    assert!(told.contains("connected to "), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_gets_the_payload_and_gives_the_output() {
    let stage = Stage::open().await;
    let _worker = stage.serve(
        &["--env", "PASSED"],
        r#"
        payload=$(cat)
        echo "warning: slow today" >&2
        echo "error: nearly" >&2
        printf 'plain words' >&2
        env | sort | cut -d= -f1 | tr '\n' ' ' >&2
        printf '{"argument":"%s","attempt":"%s","due":"%s","instant":"%s","key":"%s","payload":%s,"run":"%s"}' \
            "$1" "$MAINSPRING_ATTEMPT" "$MAINSPRING_DUE_TIME" "$MAINSPRING_NOMINAL_TIME$MAINSPRING_PREVIOUS_SUCCESS" \
            "$MAINSPRING_IDEMPOTENCY_KEY" "$payload" "$MAINSPRING_RUN_ID"
        "#,
    );
    let run = stage.run(r#"{"name": "Ada", "n": 3}"#).await;
    assert_eq!(reason(&run), ("RUN_STATE_SUCCEEDED", ""), "{run}");
    let run_id = run["runId"].as_str().unwrap();
    let run = stage.get(run_id).await;
    let output = json!({
        "payload": {"name": "Ada", "n": 3}, "argument": "one arg",
        "run": run_id, "attempt": "1", "key": run["idempotencyKey"], "due": run["dueTime"], "instant": "",
    });
    assert_eq!(run["output"]["json"], output);

    let logs: Value = stage.terminal.json(&["logs", run_id]).await.unwrap();
    let lines: Vec<_> = logs["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| (line["level"].as_str().unwrap(), line["message"].as_str().unwrap()))
        .collect();
    assert_eq!(lines[0], ("LOG_LEVEL_WARNING", "warning: slow today"));
    assert_eq!(lines[1], ("LOG_LEVEL_ERROR", "error: nearly"));
    // No line end, and no variable but those that were promised.
    let (level, rest) = lines[2];
    assert_eq!((level, lines.len()), ("LOG_LEVEL_INFO", 3));
    let names: Vec<_> = rest.strip_prefix("plain words").unwrap().split_whitespace().collect();
    let own = [
        "MAINSPRING_ATTEMPT",
        "MAINSPRING_DUE_TIME",
        "MAINSPRING_IDEMPOTENCY_KEY",
        "MAINSPRING_JOB",
        "MAINSPRING_JOB_TYPE",
        "MAINSPRING_NOMINAL_TIME",
        "MAINSPRING_PREVIOUS_SUCCESS",
        "MAINSPRING_RUN_ID",
    ];
    // The shell adds some of its own.
    let expected = [&["HOME"], &own[..], &["PASSED", "PATH", "PWD"]].concat();
    let names: Vec<_> = names.into_iter().filter(|name| !["OLDPWD", "SHLVL", "_"].contains(name)).collect();
    assert_eq!(names, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_exit_code_decides_and_the_last_lines_say_why() {
    let stage = Stage::open().await;
    let _worker = stage.serve(
        &[],
        r#"
        case "$(cat)" in
            '"fail"') echo first >&2; echo "no such table" >&2; exit 3 ;;
            '"data"') echo "bad data" >&2; exit 65 ;;
            '"signal"') kill -KILL $$ ;;
            '"words"') echo "all done" ;;
            '"large"') head -c 1100000 /dev/zero; sleep 600 ;;
            null) : ;;
        esac
    "#,
    );
    let run = stage.run(r#""fail""#).await;
    assert_eq!(reason(&run), ("RUN_STATE_FAILED", "EXIT_3"));
    assert_eq!(message(&run), "exit code 3\nfirst\nno such table");
    let run = stage.run(r#""signal""#).await;
    assert_eq!(reason(&run), ("RUN_STATE_FAILED", "SIGNAL_9"));
    let run = stage.run(r#""words""#).await;
    assert_eq!(reason(&run), ("RUN_STATE_FAILED", "OUTPUT_NOT_JSON"));
    let run = stage.run(r#""large""#).await;
    assert_eq!(reason(&run), ("RUN_STATE_FAILED", "OUTPUT_TOO_LARGE"));
    let run = stage.run("null").await;
    assert_eq!((reason(&run).0, run.get("output")), ("RUN_STATE_SUCCEEDED", None), "{run}");

    // Only 65 ends a run that has attempts left.
    let twice = ["submit", "t", "-d", r#""fail""#, "--max-attempts", "2", "--backoff", "0s", "--wait", "-o", "json"];
    let output = stage.terminal.run(&twice).await.unwrap();
    let run: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((run["attempt"].as_str(), output.status.code()), (Some("2"), Some(1)));
    let data = ["submit", "t", "-d", r#""data""#, "--max-attempts", "2", "--wait", "-o", "json"];
    let run: Value = serde_json::from_slice(&stage.terminal.run(&data).await.unwrap().stdout).unwrap();
    assert_eq!((run["attempt"].as_str(), reason(&run).1), (Some("1"), "EXIT_65"));
}

/// A leader that ignores SIGTERM, and a child of its that does, too; both hold the leash.
const STUBBORN: &str = r#"
    trap '' TERM
    exec 3>leash
    (trap '' TERM; sleep 600) &
    echo ready >&2
    sleep 600
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_program_is_ended_with_all_it_has_started() {
    let stage = Stage::open().await;
    let _worker = stage.serve(&["--grace", "300ms"], STUBBORN);
    let leash = stage.leash().await;
    let run = stage.begun().await;
    stage.terminal.says(&["run", "cancel", &run]).await.unwrap();
    let waited = stage.terminal.run(&["run", "wait", &run]).await.unwrap();
    assert_eq!(waited.status.code(), Some(7), "{}", text(&waited.stderr));
    leash.let_go().await;
    let ended = stage.get(&run).await;
    assert_eq!(ended["cancellation"]["workerUnresponsive"], false, "{ended}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_listens_may_tidy_up_first() {
    let stage = Stage::open().await;
    // A grace that outlasts the test: it is not the end of it that is waited for.
    let script = "trap 'echo tidied >&2; exit 0' TERM; echo ready >&2; sleep 600 & wait";
    let _worker = stage.serve(&["--grace", "10m"], script);
    let run = stage.begun().await;
    stage.terminal.says(&["run", "cancel", &run]).await.unwrap();
    let waited = stage.terminal.run(&["run", "wait", &run]).await.unwrap();
    assert_eq!(waited.status.code(), Some(7), "an exit code of 0 does not make it a success");
    // To the last line of it, however late that is stored.
    let logs = stage.terminal.run(&["logs", &run, "-f"]).await.unwrap();
    assert_eq!(logs.status.code(), Some(7));
    let logs: Value = stage.terminal.json(&["logs", &run]).await.unwrap();
    assert_eq!(logs["entries"][1]["message"], "tidied", "{logs}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_takes_too_long_has_failed() {
    let stage = Stage::open().await;
    let mut worker = stage.serve(&["--timeout", "200ms", "--grace", "100ms"], STUBBORN);
    let leash = stage.leash().await;
    let run = stage.run("{}").await;
    assert_eq!(reason(&run), ("RUN_STATE_FAILED", "PROGRAM_TIMEOUT"));
    leash.let_go().await;
    worker.terminate(PATIENCE).await.unwrap();

    // As for a job: none is no limit.
    let _worker = stage.serve(&["--timeout", "0s"], "cat");
    assert_eq!(reason(&stage.run("{}").await), ("RUN_STATE_SUCCEEDED", ""));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_printed_is_the_output_byte_for_byte() {
    let stage = Stage::open().await;
    let printed = r#"{"n":12345678901234567890123, "f":1.0, "dup":1, "dup":2}"#;
    let mut worker = stage.serve(&[], &format!("echo '{printed}'"));
    let run = stage.run("{}").await;
    assert_eq!(reason(&run), ("RUN_STATE_SUCCEEDED", ""), "{run}");
    let run_id = run["runId"].as_str().unwrap();
    let page = stage.terminal.says(&["run", "get", run_id]).await.unwrap();
    assert!(page.contains(printed), "{page}");
    worker.terminate(PATIENCE).await.unwrap();

    // As Python's `print(json.dumps(…))` writes it.
    let mut worker = stage.serve(&[], r#"echo '{"rows": 3, "mean": 1.0}'"#);
    assert_eq!(stage.run("{}").await["output"]["json"], json!({"mean": 1, "rows": 3}));
    worker.terminate(PATIENCE).await.unwrap();

    let _worker = stage.serve(&["--text"], r"printf '\377\n'");
    assert_eq!(reason(&stage.run("{}").await), ("RUN_STATE_FAILED", "OUTPUT_NOT_TEXT"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_program_leaves_behind_is_ended_with_it() {
    let stage = Stage::open().await;
    // The child holds stdout and stderr as well: nobody waits for those.
    let script = "(exec 3>leash; trap '' TERM HUP; echo >there; sleep 600) & read _ <there; echo '\"done\"'";
    let _worker = stage.serve(&[], script);
    let leash = stage.leash().await;
    stage.pipe("there").await;
    let run = stage.run("{}").await;
    assert_eq!((reason(&run).0, &run["output"]["json"]), ("RUN_STATE_SUCCEEDED", &json!("done")), "{run}");
    leash.let_go().await;
}

/// A program that ends when somebody writes to the pipe `go`.
const PATIENT: &str = "echo ready >&2; read line < go; echo \"went on: $line\"";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_leaves_waits_for_its_programs() {
    let stage = Stage::open().await;
    let go = stage.pipe("go").await;
    // Whoever runs the tests may ignore SIGHUP, which is inherited.
    let program = stage.program(PATIENT);
    let line = format!("exec env --default-signal=HUP mainspring worker exec --type t --text -- sh {program}");
    // A terminal that is closed sends SIGHUP, and its shell another one: that insists on nothing.
    for signal in [Signal::TERM, Signal::QUIT, Signal::HUP] {
        let mut worker = stage.terminal.shell("exec", &line).unwrap();
        let run = stage.begun().await;
        worker.signal(signal).unwrap();
        let state = |list: &Value| list["workers"][0]["state"].as_str().map(str::to_owned);
        let list: Value = stage.terminal.json(&["worker", "list"]).await.unwrap();
        assert!(state(&list).is_some(), "it is still there: {list}");
        if signal == Signal::HUP {
            worker.signal(signal).unwrap();
            let list: Value = stage.terminal.json(&["worker", "list"]).await.unwrap();
            assert!(state(&list).is_some(), "it is still there: {list}");
        }
        let go = go.clone();
        tokio::task::spawn_blocking(move || fs::write(go, "now\n")).await.unwrap().unwrap();
        assert_eq!(worker.exit(PATIENCE).await.unwrap().code(), Some(0), "{signal:?}");
        let run = stage.get(&run).await;
        assert_eq!((reason(&run).0, &run["output"]["json"]), ("RUN_STATE_SUCCEEDED", &json!("went on: now")), "{run}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_was_told_to_ignore_its_terminal_goes_on() {
    let stage = Stage::open().await;
    let go = stage.pipe("go").await;
    let line = format!("trap '' HUP; exec mainspring worker exec --type t --text -- sh {}", stage.program(PATIENT));
    let mut worker = stage.terminal.shell("exec", &line).unwrap();
    let begun = stage.begun().await;
    worker.signal(Signal::HUP).unwrap();
    let write = || {
        let go = go.clone();
        tokio::task::spawn_blocking(move || fs::write(go, "now\n"))
    };
    write().await.unwrap().unwrap();
    stage.terminal.says(&["run", "wait", &begun]).await.unwrap();
    // It still takes runs.
    let next = stage.begun().await;
    write().await.unwrap().unwrap();
    stage.terminal.says(&["run", "wait", &next]).await.unwrap();
    assert_eq!(worker.terminate(PATIENCE).await.unwrap().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_worker_cannot_wait_for_is_told_by_its_name_in_the_api() {
    let stage = Stage::open().await;
    let mut worker = stage.serve(&["--drain", "100ms", "--grace", "100ms"], "echo ready >&2; sleep 600 & wait");
    let run = stage.begun().await;
    worker.terminate(PATIENCE).await.unwrap();
    let page = stage.terminal.says(&["run", "describe", &run]).await.unwrap();
    assert!(page.contains("\tinterrupted\t") && page.contains("\tWORKER_SHUTDOWN\t"), "{page}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_kills_the_programs_too() {
    let stage = Stage::open().await;
    let mut worker = stage.serve(&[], STUBBORN);
    let leash = stage.leash().await;
    stage.begun().await;
    worker.signal(Signal::TERM).unwrap();
    worker.signal(Signal::INT).unwrap();
    assert_eq!(worker.exit(PATIENCE).await.unwrap().code(), Some(130));
    leash.let_go().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_work_is_told_before_anything_is_served() {
    let stage = Stage::open().await;
    let line = ["worker", "exec", "--type", "t", "--", "no-such-program"];
    let output = stage.terminal.run(&line).await.unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("no program no-such-program on the PATH"), "{}", text(&output.stderr));
    let line = ["worker", "exec", "--type", "t", "--env", "NO_SUCH_VARIABLE", "--", "cat"];
    assert_eq!(stage.terminal.run(&line).await.unwrap().status.code(), Some(2));
    let mut command = stage.terminal.mainspring(&["worker", "exec", "--type", "t", "--", "cat"]).unwrap();
    command.env("MAINSPRING_API_KEY", "ms_wrong");
    let output = host::within(PATIENCE, "a refusal", command.output()).await.unwrap().unwrap();
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{told}");
    assert!(told.contains("reason: TOKEN_INVALID") && told.contains("mainspring admin key create"), "{told}");
}
