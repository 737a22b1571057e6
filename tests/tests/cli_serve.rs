//! `serve` and `dev` as processes: what they are told by flags and environment, how they tell, and how they end when
//! something is in the way.

#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap like the tests themselves")]

use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _, path::Path, process::Stdio, time::Duration};

use mainspring_tests::harness::{
    disk,
    host::{self, PATIENCE},
    process::Process,
    terminal::{Terminal, banner, text},
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use sqlx::{ConnectOptions as _, Connection as _, sqlite::SqliteConnectOptions, sqlite::SqliteConnection};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::Command,
};

const STOPS_WITHIN: Duration = Duration::from_secs(15);
const SERVE: [&str; 3] = ["serve", "--listen", "127.0.0.1:0"];
const LISTENING: &str = "listening on http://";

/// `mainspring ARGS` with more in its environment, both streams in one.
fn started(terminal: &Terminal, name: &str, line: &str, more: &[(&str, &str)]) -> Process {
    let program = terminal.mainspring(&[]).unwrap();
    let program = program.as_std().get_program().to_str().unwrap().to_owned();
    let mut command = Command::new("/bin/sh");
    command.args(["-c", &format!("exec {program} {line} 2>&1")]).env_clear().env("HOME", terminal.home());
    command.current_dir(terminal.home()).envs(more.iter().copied());
    Process::start(name, terminal.home(), command).unwrap()
}

/// Reads on to a line that holds this.
async fn line_with(process: &mut Process, part: &str) -> String {
    loop {
        let line = process.line().await.unwrap();
        if line.contains(part) {
            return line;
        }
    }
}

/// The database of a folder, held so that nobody else can use it.
async fn held(data: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(data.join("mainspring.db"));
    let mut connection = options.pragma("locking_mode", "EXCLUSIVE").connect().await.unwrap();
    sqlx::raw_sql("BEGIN EXCLUSIVE").execute(&mut connection).await.unwrap();
    connection
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_ends_a_server_that_is_still_starting() {
    let terminal = Terminal::open().unwrap();
    let mut first = started(&terminal, "first", &SERVE.join(" "), &[]);
    line_with(&mut first, LISTENING).await;
    first.terminate(STOPS_WITHIN).await.unwrap();

    let busy = held(&terminal.home().join("mainspring-data")).await;
    for (name, line, signal) in
        [("serve", SERVE.join(" "), Signal::TERM), ("dev", "dev --port 0 --no-demo".into(), Signal::INT)]
    {
        let mut server = started(&terminal, name, &line, &[("RUST_LOG", "info")]);
        line_with(&mut server, "opening the database").await;
        server.signal(signal).unwrap();
        let status = server.exit(STOPS_WITHIN).await.unwrap();
        let told = server.rest().await.unwrap().join("\n");
        assert_eq!(status.code(), Some(130), "{name}: {told}");
        assert!(told.contains("stopped before it had started"), "{name}: {told}");
    }
    busy.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_is_what_the_settings_say_and_names_the_request() {
    let terminal = Terminal::open().unwrap();
    let settings = [
        ("MAINSPRING_LOG__FORMAT", "json"),
        ("MAINSPRING_LOG__FILTER", "info,mainspring_server=debug"),
        ("RUST_LOG", "off"),
        ("MAINSPRING_ROOT_PASSWORD", "correct horse battery"),
    ];
    let mut server = started(&terminal, "server", &SERVE.join(" "), &settings);
    let line = line_with(&mut server, LISTENING).await;
    let line: Value = serde_json::from_str(&line).expect("every line is an object");
    let address = line["message"].as_str().unwrap().strip_prefix(LISTENING).unwrap().to_owned();
    let refused = terminal.run(&["--address", &address, "whoami"]).await.unwrap();
    let told = text(&refused.stderr);
    let (_, request) = told.split_once("(request ").unwrap_or_else(|| panic!("it names the request: {told}"));
    let (request, _) = request.split_once(')').unwrap();
    let line = line_with(&mut server, request).await;
    let line: Value = serde_json::from_str(&line).expect("every line is an object");
    assert_eq!(line["span"]["request_id"], request, "{line}");
    assert_eq!(line["span"]["path"], "/mainspring.auth.v1.AuthService/GetCaller", "{line}");
    assert_eq!(server.terminate(STOPS_WITHIN).await.unwrap().code(), Some(0));
    for line in server.rest().await.unwrap() {
        serde_json::from_str::<Value>(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
    }

    // Without the setting, RUST_LOG is heard; a setting that is no filter is refused.
    let mut server = started(&terminal, "quiet", &SERVE.join(" "), &[("RUST_LOG", "mainspring_server=debug")]);
    let line = line_with(&mut server, LISTENING).await;
    let address = line.strip_prefix(LISTENING).unwrap();
    terminal.run(&["--address", address, "whoami"]).await.unwrap();
    line_with(&mut server, "DEBUG call{request_id=").await;
    assert_eq!(server.terminate(STOPS_WITHIN).await.unwrap().code(), Some(0));
    let mut command = terminal.mainspring(&SERVE).unwrap();
    let output = command.env("MAINSPRING_LOG__FILTER", "x=loud").output().await.unwrap();
    assert_eq!(output.status.code(), Some(78), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("MAINSPRING_LOG__FILTER"), "{}", text(&output.stderr));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_is_refused_with_78() {
    let terminal = Terminal::open().unwrap();
    for (name, value, part) in [
        ("MAINSPRING_RETENTION__REQUESTS", OsStr::new("23h"), "at least 24h"),
        ("MAINSPRING_RETENTION__SUCCEEDED", OsStr::new("1h"), "must not outlive its run"),
        ("MAINSPRING_RETENTION__FAILED", OsStr::new("1h"), "must not outlive its run"),
        ("MAINSPRING_DATABASE__DATA", OsStr::from_bytes(b"d\xff"), "is not UTF-8"),
        ("MAINSPRING_LIMITS__LEASE_TTTL", OsStr::new("3s"), "is not a setting"),
    ] {
        let output = terminal.mainspring(&SERVE).unwrap().env(name, value).output().await.unwrap();
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{name}: {told}");
        assert!(told.contains(part) && told.contains("CONFIGURATION_REFUSED"), "{name}: {told}");
    }
    assert!(!terminal.home().join("mainspring-data").exists(), "nothing was begun");
}

/// Whoever restarts servers by themselves may stop at 78: nothing gets better by it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_that_no_restart_would_mend_is_refused_with_78() {
    let terminal = Terminal::open().unwrap();
    let mut first = started(&terminal, "first", &SERVE.join(" "), &[]);
    line_with(&mut first, LISTENING).await;
    first.terminate(STOPS_WITHIN).await.unwrap();
    let database = terminal.home().join("mainspring-data/mainspring.db");
    let mut connection = SqliteConnectOptions::new().filename(&database).connect().await.unwrap();
    let newer = "INSERT INTO seaql_migrations (version, applied_at) VALUES ('m9000_of_tomorrow', 0)";
    sqlx::raw_sql(newer).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    let refused = async |part: &str, number: i32, reason: &str| {
        let output = terminal.run(&SERVE).await.unwrap();
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(number), "{told}");
        assert!(told.contains(part) && told.contains(reason), "{told}");
    };
    refused("was written by a newer server (it has migration m9000_of_tomorrow", 78, "DATA_REFUSED").await;
    std::fs::write(&database, "this is no database, but it is long enough to be read as one").unwrap();
    refused("mainspring.db is damaged, or no database: restore a backup", 78, "DATA_REFUSED").await;
    std::fs::remove_dir_all(terminal.home().join("mainspring-data")).unwrap();
    std::fs::write(terminal.home().join("mainspring-data"), "a file").unwrap();
    refused("mainspring-data: it is no directory", 78, "DATA_REFUSED").await;
}

/// A disk that is full may be given room at any moment; one that can only be read was made so by somebody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_on_a_disk_that_takes_nothing_says_so_and_ends() {
    let terminal = Terminal::open().unwrap();
    let serve = format!("mainspring {}", SERVE.join(" "));
    let full = format!("sh -c \"head -c 17M /dev/zero >mainspring-data/filler 2>&1; exec {serve}\"");
    for (line, number, part) in [
        (disk::small("mainspring-data", &full), 1, "mainspring.db, the disk is full: free space there"),
        (
            disk::read_only("mainspring-data", &serve),
            78,
            "mainspring.lock: give this user the right to read and write it",
        ),
    ] {
        let output = terminal.sh(&line, &[]).await.unwrap();
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(number), "{told}");
        assert!(told.contains(part), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dev_hears_a_flag_before_the_environment_before_its_default() {
    let terminal = Terminal::open().unwrap();
    let of_env = terminal.home().join("of-env");
    let of_flag = terminal.home().join("of-flag");
    let settings = [("MAINSPRING_DATABASE__DATA", "of-env"), ("MAINSPRING_LISTEN__ADDRESSES", "127.0.0.1:0")];
    let line = "dev --no-demo --print-addr json";
    let mut dev = started(&terminal, "env", line, &settings);
    let told: Value = serde_json::from_str(&line_with(&mut dev, "address").await).unwrap();
    assert_eq!(told["data"], of_env.to_str().unwrap());
    assert!(!told["address"].as_str().unwrap().ends_with(":7420"), "{told}");
    assert_eq!(dev.terminate(STOPS_WITHIN).await.unwrap().code(), Some(0));
    let mut dev = started(&terminal, "flag", &format!("{line} --data of-flag --port 0"), &settings);
    line_with(&mut dev, "of-flag").await;
    assert_eq!(dev.terminate(STOPS_WITHIN).await.unwrap().code(), Some(0));
    let mut dev = started(&terminal, "ephemeral", &format!("{line} --ephemeral"), &settings);
    let told: Value = serde_json::from_str(&line_with(&mut dev, "address").await).unwrap();
    assert!(!told["data"].as_str().unwrap().contains("of-"), "{told}");
    assert_eq!(dev.terminate(STOPS_WITHIN).await.unwrap().code(), Some(0));
    assert!(of_env.join("mainspring.db").exists() && of_flag.join("mainspring.db").exists());
    assert!(!terminal.home().join("mainspring-data").exists());
}

/// Two pipes that a reader has closed, and a server that goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_outlives_whoever_read_its_output() {
    let terminal = Terminal::open().unwrap();
    let mut command = terminal.mainspring(&SERVE).unwrap();
    command.env("RUST_LOG", "debug").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut server = command.spawn().unwrap();
    // As after `| head -0`: nobody reads the password.
    drop(server.stdout.take());
    let mut lines = BufReader::new(server.stderr.take().unwrap()).lines();
    let address = loop {
        let line = host::within(PATIENCE, "a line", lines.next_line()).await.unwrap().unwrap().unwrap();
        if let Some(address) = line.strip_prefix(LISTENING) {
            break address.to_owned();
        }
    };
    drop(lines);
    for _ in 0..3 {
        let refused = terminal.run(&["--address", &address, "whoami"]).await.unwrap();
        assert!(text(&refused.stderr).contains("TOKEN_MISSING"), "it answers: {}", text(&refused.stderr));
    }
    let pid = Pid::from_raw(i32::try_from(server.id().unwrap()).unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    let status = host::within(STOPS_WITHIN, "its end", server.wait()).await.unwrap().unwrap();
    assert_eq!(status.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_outlives_whoever_read_its_output() {
    let terminal = Terminal::open().unwrap();
    for line in ["mainspring --help | head -n 1", "mainspring run list --no-such-flag 2>&1 | head -n 1 >/dev/null"] {
        let output = terminal.sh(&format!("({line}; true) 2>&1"), &[]).await.unwrap();
        assert!(!text(&output.stdout).contains("panicked"), "{line}: {}", text(&output.stdout));
    }
    // Closed from the start.
    for line in ["mainspring version >&-", "mainspring run list 2>&-", "mainspring version >&- 2>&-"] {
        let output = terminal.sh(&format!("{line}; echo \"ended $?\""), &[]).await.unwrap();
        let ended = format!("{}{}", text(&output.stdout), text(&output.stderr));
        assert!(!ended.contains("ended 101") && !ended.contains("panicked"), "{line}: {ended}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_dev_leaves_the_first_one_its_context() {
    let terminal = Terminal::open().unwrap();
    let mut first = terminal.dev(&[]).await.unwrap();
    let mut second = terminal.start("second", &["dev", "--data", "other", "--port", "0", "--no-demo"]).unwrap();
    let said = banner(&mut second).await.unwrap();
    assert!(said.contains("not selected (\"dev\" stays with the server at 127.0.0.1:"), "{said}");
    let (_, name) = said.split_once("CLI context \"").unwrap();
    let (name, _) = name.split_once('"').unwrap();
    assert!(name.starts_with("dev-") && said.contains(&format!("mainspring --context {name} job list")), "{said}");
    let here = terminal.says(&["job", "list"]).await.unwrap();
    assert!(here.contains("demo.hello"), "what is typed goes to the first: {here}");
    let there = terminal.says(&["--context", name, "job", "list"]).await.unwrap();
    assert!(!there.contains("demo.hello"), "{there}");
    assert_eq!(second.terminate(STOPS_WITHIN).await.unwrap().code(), Some(0));
    terminal.says(&["job", "list"]).await.unwrap();

    // One that no longer answers gives way.
    assert_eq!(first.terminate(STOPS_WITHIN).await.unwrap().code(), Some(0));
    let mut third = terminal.start("third", &["dev", "--data", "other", "--port", "0", "--no-demo"]).unwrap();
    let said = banner(&mut third).await.unwrap();
    assert!(said.contains("CLI context \"dev\" updated and selected"), "{said}");
    terminal.says(&["job", "list"]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_command_alone_shows_that_jobs_run() {
    /// What the product promises, from exec on.
    const SEEN_WITHIN: Duration = Duration::from_secs(3);

    let terminal = Terminal::open().unwrap();
    let began = host::monotonic();
    let mut dev = terminal.start("dev", &["dev", "--port", "0"]).unwrap();
    banner(&mut dev).await.unwrap();
    let line = line_with(&mut dev, "demo.hello").await;
    let took = Duration::from_nanos(host::monotonic() - began);
    assert!(line.contains("  succeeded in ") && line.contains("run/"), "{line}");
    assert!(took <= SEEN_WITHIN, "it took {took:?}");
    println!("a finished run was shown after {took:?}");

    // Others' runs are theirs; and who wants quiet has it.
    let mut quiet = terminal.start("quiet", &["dev", "--data", "q", "--port", "0", "--quiet"]).unwrap();
    let said = banner(&mut quiet).await.unwrap();
    let (_, name) = said.split_once("CLI context \"").unwrap();
    let (name, _) = name.split_once('"').unwrap();
    terminal.says(&["--context", name, "trigger", "demo.hello", "--wait"]).await.unwrap();
    assert_eq!(quiet.terminate(STOPS_WITHIN).await.unwrap().code(), Some(0));
    let more = quiet.rest().await.unwrap();
    assert!(more.is_empty(), "{more:?}");
}
