//! `dev` and `serve` as processes: what they promise about time, ports, folders, files and secrets.

#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap like the tests themselves")]

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::Timestamp;
use mainspring_proto::{
    auth::v1::{ChangePasswordRequest, LoginRequest, LoginResponse, auth_service_client::AuthServiceClient},
    scheduler::v1::ListJobsRequest,
};
use mainspring_tests::harness::{
    client::Client,
    host::{self, PATIENCE},
    process::Process,
    terminal::{Terminal, banner, text},
};
use rustix::process::Signal;
use serde_json::Value;
use tonic::{Code, transport::Channel};
use tonic_types::StatusExt as _;

/// What the product promises about `dev`, from exec on.
const BANNER_WITHIN: Duration = Duration::from_secs(1);
const RUN_WITHIN: Duration = Duration::from_secs(3);
/// A server without runs has nothing to wait for.
const STOPS_WITHIN: Duration = Duration::from_secs(15);
/// Where `dev` listens unless that is taken.
const DEFAULT_PORT: u16 = 7420;

const FOR_SCRIPTS: [&str; 6] = ["dev", "--no-open", "--port", "0", "--print-addr", "json"];

/// The first line for scripts.
async fn told(dev: &mut Process) -> Value {
    let line = dev.line().await.unwrap();
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

fn field<'a>(told: &'a Value, name: &str) -> &'a str {
    told[name].as_str().unwrap_or_else(|| panic!("{name} in {told}"))
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_banner_is_there_in_a_second_and_a_demo_run_succeeded_in_three() {
    let terminal = Terminal::open().unwrap();
    let (began, began_wall) = (host::monotonic(), host::wall());
    let mut dev = terminal.start("dev", &["dev", "--port", "0"]).unwrap();
    let said = banner(&mut dev).await.unwrap();
    let took = Duration::from_nanos(host::monotonic() - began);

    let runs: Value = terminal.json(&["run", "list", "--filter", "job = demo.hello", "--oldest"]).await.unwrap();
    let run = runs["runs"][0]["runId"].as_str().unwrap_or_else(|| panic!("a demo run in {runs}"));
    let run: Value = terminal.json(&["run", "wait", run]).await.unwrap();
    assert_eq!(run["state"], "RUN_STATE_SUCCEEDED", "{run}");
    let end: Timestamp = run["endTime"].as_str().unwrap().parse().unwrap();
    let run_took = Duration::from_micros(u64::try_from(end.as_microsecond() - began_wall).unwrap());

    println!("banner after {took:?}, a run SUCCEEDED after {run_took:?}");
    assert!(took <= BANNER_WITHIN, "the banner took {took:?}:\n{said}");
    assert!(run_took <= RUN_WITHIN, "the first run took {run_took:?}: {run}");
    for part in [
        "gRPC",
        "./mainspring-data/mainspring.db",
        "created and selected",
        "~/.config/mainspring",
        "trigger demo.hello",
    ] {
        assert!(said.contains(part), "{part:?} is missing in\n{said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_script_reads_one_line_and_no_file_of_the_user_is_touched() {
    let terminal = Terminal::open().unwrap();
    for place in ["HOME", "XDG_CONFIG_HOME", "MAINSPRING_CONFIG"] {
        let data = terminal.home().join(format!("data-{place}"));
        let theirs = terminal.home().join(format!("theirs-{place}"));
        fs::create_dir(&theirs).unwrap();
        let mut command = terminal.mainspring(&FOR_SCRIPTS).unwrap();
        command.arg("--data").arg(&data).env(place, &theirs);
        let mut dev = Process::start(&format!("dev-{place}"), terminal.home(), command).unwrap();
        let told = told(&mut dev).await;
        assert_eq!(field(&told, "data"), data.display().to_string());
        let client = Client::new(field(&told, "address"), field(&told, "api_key")).unwrap();
        let jobs = client.scheduler().list_jobs(ListJobsRequest::default()).await;
        assert!(jobs.is_ok(), "address and key are good: {jobs:?}");
        assert_eq!(dev.terminate(STOPS_WITHIN).await.unwrap().code(), Some(0));
        assert_eq!(files(&theirs), Vec::<PathBuf>::new(), "{place}");
        assert!(!terminal.config().exists(), "{place}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_context_is_private_and_selected_where_none_was() {
    for variable in ["XDG_CONFIG_HOME", "MAINSPRING_CONFIG"] {
        let terminal = Terminal::open().unwrap();
        let base = terminal.home().join("elsewhere");
        let folder = if variable == "XDG_CONFIG_HOME" { base.join("mainspring") } else { base.clone() };
        let mut command = terminal.mainspring(&["dev", "--port", "0", "--no-demo"]).unwrap();
        command.env(variable, &base);
        let mut dev = Process::start("dev", terminal.home(), command).unwrap();
        let said = banner(&mut dev).await.unwrap();
        assert!(said.contains("context \"dev\" created and selected"), "{said}");
        let config = fs::read_to_string(folder.join("config.toml")).unwrap();
        assert!(config.contains("current-context = \"dev\"") && config.contains("[contexts.dev]"), "{config}");
        assert_eq!(mode(&folder.join("credentials.toml")), 0o600);
        assert_eq!(mode(&folder.join("config.toml")), 0o600);
        assert!(!config.contains("api-key"), "the key is in the private file only: {config}");
        assert!(!terminal.config().exists(), "{variable} says where, and nothing else is written");
    }

    let terminal = Terminal::open().unwrap();
    let before = "# mine\ncurrent-context = \"prod\"\n\n[contexts.prod]\naddress = \"http://127.0.0.1:9\"\n";
    fs::create_dir_all(terminal.config()).unwrap();
    fs::write(terminal.config().join("config.toml"), before).unwrap();
    let mut dev = terminal.start("dev", &["dev", "--port", "0", "--no-demo"]).unwrap();
    let said = banner(&mut dev).await.unwrap();
    assert!(said.contains("not selected (prod is)") && said.contains("mainspring --context dev "), "{said}");
    let config = fs::read_to_string(terminal.config().join("config.toml")).unwrap();
    assert!(config.starts_with(before), "what was there stays: {config}");
    assert_eq!(mode(&terminal.config().join("credentials.toml")), 0o600);
    terminal.says(&["--context", "dev", "whoami"]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_data_is_nobody_elses() {
    let terminal = Terminal::open().unwrap();
    let _dev = terminal.dev(&[]).await.unwrap();
    terminal.says(&["trigger", "demo.hello", "--wait"]).await.unwrap();
    let data = terminal.home().join("mainspring-data");
    assert_eq!(mode(&data), 0o700);
    let files = files(&data);
    let has = |name: &str| files.iter().any(|path| path.ends_with(name));
    assert!(has("mainspring.db") && has("mainspring.db-wal"), "{files:?}");
    for path in &files {
        assert_eq!(mode(path), 0o600, "{}", path.display());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_server_in_the_same_folder_is_refused() {
    let terminal = Terminal::open().unwrap();
    let mut dev = terminal.dev(&[]).await.unwrap();
    for second in
        [&["dev", "--port", "0"][..], &["dev", "--port", "0", "--reset"], &["serve", "--listen", "127.0.0.1:0"]]
    {
        let output = terminal.run(second).await.unwrap();
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(5), "{second:?}: {said}");
        assert!(said.contains("another server works in") && said.contains("mainspring-data"), "{second:?}: {said}");
        assert!(said.contains("hint: ") && said.contains("DATA_IN_USE"), "{second:?}: {said}");
        assert!(output.stdout.is_empty(), "{}", text(&output.stdout));
    }
    // The first one does not mind.
    terminal.says(&["trigger", "demo.hello", "--wait"]).await.unwrap();
    assert_eq!(dev.terminate(STOPS_WITHIN).await.unwrap().code(), Some(0));
    // And the folder is free when it is gone.
    let mut dev = terminal.dev(&[]).await.unwrap();
    assert_eq!(dev.terminate(STOPS_WITHIN).await.unwrap().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_taken_port_is_refused_where_it_was_asked_for_and_passed_over_where_not() {
    let terminal = Terminal::open().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let output = terminal.run(&["dev", "--port", &port]).await.unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(5), "{said}");
    assert!(said.contains(&format!("port {port} is taken")) && said.contains("ADDRESS_IN_USE"), "{said}");
    assert!(!terminal.home().join("mainspring-data").exists(), "nothing was begun");

    // Where another program has it already, that will do.
    let _usual = TcpListener::bind(("127.0.0.1", DEFAULT_PORT));
    let mut dev = terminal.start("dev", &["dev", "--no-demo", "--print-addr", "json"]).unwrap();
    let told = told(&mut dev).await;
    let (_, port) = field(&told, "address").rsplit_once(':').unwrap();
    assert!(port.parse::<u16>().unwrap() > DEFAULT_PORT, "{told}");
    let said = dev.stderr().unwrap();
    assert!(said.contains(&format!("port {DEFAULT_PORT} is taken, using {port}")), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_ends_it_in_order_while_runs_are_under_way() {
    let terminal = Terminal::open().unwrap();
    let mut dev = terminal.dev(&[]).await.unwrap();
    terminal.says(&["trigger", "demo.sleep", "-d", "seconds:=600"]).await.unwrap();
    assert_eq!(dev.terminate(PATIENCE).await.unwrap().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_terminal_that_is_closed_ends_it_in_order_too() {
    let terminal = Terminal::open().unwrap();
    for (signal, folder) in [(Signal::HUP, "hangup"), (Signal::QUIT, "quit")] {
        // Whoever runs the tests may ignore SIGHUP, which is inherited.
        let start = |name, line: String| {
            terminal.shell(name, &format!("exec env --default-signal=HUP mainspring {line}")).unwrap()
        };
        let mut dev = start("dev", format!("{} --ephemeral --no-demo", FOR_SCRIPTS.join(" ")));
        let told = told(&mut dev).await;
        let data = Path::new(field(&told, "data"));
        assert!(data.is_dir(), "{told}");
        dev.signal(signal).unwrap();
        assert_eq!(dev.exit(PATIENCE).await.unwrap().code(), Some(0), "{signal:?}");
        assert!(!data.exists(), "{signal:?} left {told} behind");

        let mut serve = start("serve", format!("serve --listen 127.0.0.1:0 --data {folder}"));
        serve.line_after("password of root").await.unwrap();
        serve.signal(signal).unwrap();
        assert_eq!(serve.exit(PATIENCE).await.unwrap().code(), Some(0), "{signal:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn serve_does_not_listen_for_strangers() {
    let terminal = Terminal::open().unwrap();
    for listen in ["0.0.0.0:0", "[::]:0"] {
        let output = terminal.run(&["serve", "--listen", listen]).await.unwrap();
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{said}");
        assert!(said.contains("CONFIGURATION_REFUSED") && output.stdout.is_empty(), "{said}");
    }
    assert!(!terminal.home().join("mainspring-data").exists(), "nothing was begun");
}

async fn login(address: &str, password: &str) -> Result<LoginResponse, tonic::Status> {
    let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect_lazy();
    let request = LoginRequest { username: "root".into(), password: password.into(), client_name: "tests".into() };
    Ok(AuthServiceClient::new(channel).login(request).await?.into_inner())
}

fn signed_in(address: &str, answer: LoginResponse) -> Client {
    Client::new(address, &answer.tokens.unwrap().access_token).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_password_of_root_is_told_once_and_must_be_changed() {
    const NEW: &str = "correct horse battery staple";

    let terminal = Terminal::open().unwrap();
    let mut command = terminal.mainspring(&["serve", "--listen", "127.0.0.1:0"]).unwrap();
    // Talks as much as is reasonable, and no line of it may hold a secret.
    command.env("RUST_LOG", "debug");
    let mut server = Process::start("first", terminal.home(), command).unwrap();
    let password = server.line_after("password of root, to be changed at first login: ").await.unwrap();
    // It was said before the password.
    let log = server.stderr().unwrap();
    let address = log.lines().find_map(|line| line.strip_prefix("listening on http://")).unwrap().to_owned();
    assert!(password.len() >= 20, "{password}");

    let refused = login(&address, "not the password").await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated, "{refused:?}");
    let answer = login(&address, &password).await.unwrap();
    assert!(answer.password_change_required);
    let client = signed_in(&address, answer);
    let refused = client.scheduler().list_jobs(ListJobsRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused:?}");
    let reason = refused.get_details_error_info().map(|info| info.reason);
    assert_eq!(reason.as_deref(), Some("PASSWORD_CHANGE_REQUIRED"), "{refused:?}");

    let request = ChangePasswordRequest { current_password: password.clone(), new_password: NEW.into() };
    AuthServiceClient::new(client.authorized()).change_password(request).await.unwrap();
    let answer = login(&address, NEW).await.unwrap();
    assert!(!answer.password_change_required);
    let client = signed_in(&address, answer);
    client.scheduler().list_jobs(ListJobsRequest::default()).await.unwrap();
    assert!(login(&address, &password).await.is_err(), "the first one is good no more");

    assert_eq!(server.terminate(STOPS_WITHIN).await.unwrap().code(), Some(0));
    let more = server.rest().await.unwrap();
    assert!(more.is_empty(), "stdout has the one line: {more:?}");
    let log = server.stderr().unwrap();
    assert!(log.contains("listening on") && log.contains("DEBUG"), "there is a log: {log}");
    for secret in [password.as_str(), NEW] {
        assert!(!log.contains(secret), "a password is in the log");
    }
    for path in files(&terminal.home().join("mainspring-data")) {
        let content = fs::read(&path).unwrap();
        let told = content.windows(password.len()).any(|part| part == password.as_bytes());
        assert!(!told, "the password is in {}", path.display());
    }

    // Both streams in one, to wait for either.
    let mut server = terminal.shell("second", "exec mainspring serve --listen 127.0.0.1:0 2>&1").unwrap();
    let address = server.line_after("listening on http://").await.unwrap();
    login(&address, NEW).await.unwrap();
    assert_eq!(server.terminate(STOPS_WITHIN).await.unwrap().code(), Some(0));
    let said = server.rest().await.unwrap();
    assert!(!said.iter().any(|line| line.contains("password")), "it is never told again: {said:?}");
}
