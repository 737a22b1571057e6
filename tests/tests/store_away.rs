//! A database that cannot be written: everybody is told so in the contract's words, and goes on when it can.

#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap like the tests themselves")]

use std::{fs, os::unix::fs::FileExt as _};

use mainspring_proto::{
    scheduler::v1::{CreateJobRequest, Job, ListRunsRequest, RunState, RunSubmission},
    worker::v1::{ResultDisposition, worker_stream_request::Message as Say},
};
use mainspring_tests::harness::{
    client::{Client, work},
    disk,
    host::{self, PATIENCE},
    process::Process,
    refusal::Told,
    session::{BareWorker, Session},
    terminal::{Terminal, text},
};
use serde_json::{Value, json};
use tonic::{Code, Status, Streaming};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus, health_client::HealthClient,
};

const DEV: &str = "mainspring dev --no-open --no-demo --data data --port 0 --print-addr json";

/// A server that is started by a line of a shell, and its address.
async fn server(terminal: &Terminal, line: &str) -> (Process, Client, String) {
    let mut process = terminal.shell("server", line).unwrap();
    let told: Value = serde_json::from_str(&process.line().await.unwrap()).unwrap();
    let address = told["address"].as_str().unwrap();
    let client = Client::new(address, told["api_key"].as_str().unwrap()).unwrap();
    (process, client, address.to_owned())
}

#[track_caller]
fn is_full(status: &Status) {
    let told = Told::of(status);
    told.is(Code::Unavailable, "STORE_UNWRITABLE");
    told.has("obstacle", "FULL");
    told.advises("the disk is full: free space in /");
    told.advises("/data; nothing that was acknowledged is lost");
    told.is_passing();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_may_not_grow_are_told_and_survived() {
    let terminal = Terminal::open().unwrap();
    let (mut process, client, address) = server(&terminal, &format!("{} {DEV}", disk::HARDENED)).await;
    let mut session = BareWorker::new(&["t.noop"], 1).connect(&client).await.unwrap();
    let run = client.submit(work("t.noop", &json!(null))).await.unwrap();
    let attempt = session.dispatch().await.unwrap().attempt.unwrap();
    session.accept(&attempt).await.unwrap();

    disk::fill(process.pid().unwrap()).unwrap();
    let submission = RunSubmission { request_id: "once".into(), ..work("t.other", &json!(null)) };
    // Who was refused does not read that all is well.
    is_full(&client.submit(submission.clone()).await.unwrap_err());
    let page = readyz(&terminal, &address).await;
    assert!(page.starts_with("not ready: the disk of the database is full") && page.ends_with("503"), "{page}");
    // However often: what fails once must not be taken for done the next time.
    for _ in 0..5 {
        is_full(&client.submit(submission.clone()).await.unwrap_err());
        is_full(&client.submit(work("t.other", &json!(null))).await.unwrap_err());
    }
    let job = Job { job: "nightly".into(), job_type: "t.noop".into(), ..Job::default() };
    let create = CreateJobRequest { job: Some(job), ..CreateJobRequest::default() };
    is_full(&client.scheduler().create_job(create.clone()).await.unwrap_err());
    let hello = Say::Hello(BareWorker::new(&["t.noop"], 1).hello(Vec::new()));
    let mut unwelcome = Session::open(&client, hello).await.unwrap();
    is_full(&unwelcome.end(PATIENCE).await.unwrap().unwrap_err());
    // Reading goes on, and a result is kept for later.
    session.succeed(&attempt).await.unwrap();
    assert_eq!(client.run(&run).await.unwrap().attempt, 1);

    disk::free(process.pid().unwrap()).unwrap();
    let ack = session.result_ack(&attempt).await.unwrap();
    assert_eq!(ack.disposition(), ResultDisposition::Applied);
    assert_eq!(client.over(&run, PATIENCE).await.unwrap().state(), RunState::Succeeded);
    let stored = client.submit(submission.clone()).await.unwrap();
    assert_eq!(client.submit(submission).await.unwrap(), stored);
    client.scheduler().create_job(create).await.unwrap();
    let list = ListRunsRequest { filter: "job_type = t.other".into(), ..ListRunsRequest::default() };
    let runs = client.scheduler().list_runs(list).await.unwrap().into_inner().runs;
    assert_eq!(runs.iter().map(|run| run.run_id.as_str()).collect::<Vec<_>>(), [stored.as_str()]);
    drop(session);
    assert_eq!(process.terminate(PATIENCE).await.unwrap().code(), Some(0));
}

/// The statuses of the whole server, as they change.
async fn health(client: &Client) -> Streaming<HealthCheckResponse> {
    let request = HealthCheckRequest::default();
    HealthClient::new(client.authorized()).watch(request).await.unwrap().into_inner()
}

async fn becomes(health: &mut Streaming<HealthCheckResponse>, status: ServingStatus) {
    let next = host::within(PATIENCE, status.as_str_name(), health.message()).await.unwrap();
    assert_eq!(next.unwrap().unwrap().status(), status);
}

async fn readyz(terminal: &Terminal, address: &str) -> String {
    let line = format!("curl -sS -w '%{{http_code}}' http://{address}/readyz");
    text(&terminal.sh(&line, &[]).await.unwrap().stdout)
}

/// The lines of its log that nobody could overlook, and those of its disk.
fn told(process: &Process) -> Vec<(String, String)> {
    let lines = process.stderr().unwrap();
    let lines = lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let lines = lines.filter(|line| line["level"] != "INFO" || line["place"].is_string());
    let field = |line: &Value, name: &str| line[name].as_str().unwrap_or_default().to_owned();
    lines.map(|line| (field(&line, "level"), field(&line, "message"))).collect()
}

#[track_caller]
fn are_gone(status: &Status) {
    let told = Told::of(status);
    told.is(Code::Unavailable, "STORE_UNWRITABLE");
    told.has("obstacle", "GONE");
    told.advises("the database's files are no longer where they were opened: put back the very files that were in /");
    told.is_passing();
}

const NOT_THERE: &str = "not ready: the files of the database were removed, renamed or replaced";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_data_folder_that_is_moved_takes_nothing_until_it_is_back() {
    let terminal = Terminal::open().unwrap();
    let (mut process, client, address) = server(&terminal, &format!("exec {DEV}")).await;
    let mut health = health(&client).await;
    becomes(&mut health, ServingStatus::Serving).await;
    client.submit(work("t.noop", &json!(null))).await.unwrap();

    let (data, away) = (terminal.home().join("data"), terminal.home().join("away"));
    fs::rename(&data, &away).unwrap();
    let submission = RunSubmission { request_id: "once".into(), ..work("t.other", &json!(null)) };
    // The first meets it, and those after it are not even tried.
    for _ in 0..3 {
        are_gone(&client.submit(submission.clone()).await.unwrap_err());
    }
    becomes(&mut health, ServingStatus::NotServing).await;
    let page = readyz(&terminal, &address).await;
    assert!(page.starts_with(NOT_THERE) && page.ends_with("503"), "{page}");
    let copy = terminal.home().join("copy.db");
    let key = fs::read_to_string(away.join("dev-api-key")).unwrap();
    let variables = [("MAINSPRING_ADDRESS", &*address), ("MAINSPRING_API_KEY", key.trim())];
    let backup = format!("mainspring admin backup {}", copy.display());
    let refused = terminal.sh(&backup, &variables).await.unwrap();
    assert!(!refused.status.success() && !copy.exists());
    assert!(text(&refused.stderr).contains("no longer where they were opened"), "{}", text(&refused.stderr));

    fs::rename(&away, &data).unwrap();
    becomes(&mut health, ServingStatus::Serving).await;
    let stored = client.submit(submission.clone()).await.unwrap();
    assert_eq!(client.submit(submission).await.unwrap(), stored);
    drop(health);
    assert_eq!(process.terminate(PATIENCE).await.unwrap().code(), Some(0));
    let (mut process, client, _) = server(&terminal, &format!("exec {DEV}")).await;
    assert_eq!(client.run(&stored).await.unwrap().state(), RunState::Queued);
    assert_eq!(process.terminate(PATIENCE).await.unwrap().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_were_removed_or_replaced_take_nothing_more() {
    // What is to be done before a start that finds what was acknowledged: nothing where SQLite, which closes a database, still
    // moves its log into it.
    for (how, and_then) in [
        ("rm data/mainspring.db-wal", Some("true")),
        ("rm data/mainspring.db-shm", Some("true")),
        ("mv data/mainspring.db kept", Some("mv kept data/mainspring.db")),
        ("rm data/logs.db", Some("rm data/logs.db-wal")),
        ("cp data/mainspring.db copy && mv copy data/mainspring.db", None),
        ("rm -r data", None),
    ] {
        let terminal = Terminal::open().unwrap();
        let (mut process, client, address) = server(&terminal, &format!("exec {DEV}")).await;
        let run = client.submit(work("t.noop", &json!(null))).await.unwrap();
        let mut health = health(&client).await;
        becomes(&mut health, ServingStatus::Serving).await;
        assert!(terminal.sh(how, &[]).await.unwrap().status.success(), "{how}");
        becomes(&mut health, ServingStatus::NotServing).await;
        are_gone(&client.submit(work("t.noop", &json!(null))).await.unwrap_err());
        let page = readyz(&terminal, &address).await;
        assert!(page.starts_with(NOT_THERE) && page.ends_with("503"), "{how}: {page}");
        drop(health);
        assert_eq!(process.terminate(PATIENCE).await.unwrap().code(), Some(0), "{how}");
        if let Some(and_then) = and_then {
            assert!(terminal.sh(and_then, &[]).await.unwrap().status.success(), "{how}");
            let (mut process, client, _) = server(&terminal, &format!("exec {DEV}")).await;
            assert_eq!(client.run(&run).await.unwrap().state(), RunState::Queued, "{how}");
            assert_eq!(process.terminate(PATIENCE).await.unwrap().code(), Some(0), "{how}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_database_is_told_as_that_and_takes_nothing() {
    let terminal = Terminal::open().unwrap();
    let line = format!("MAINSPRING_LOG__FORMAT=json MAINSPRING_LOG__FILTER=info exec {DEV}");
    let database = terminal.home().join("data/mainspring.db");
    let mut sizes = Vec::new();
    for runs in [0, 600] {
        let (mut process, client, _) = server(&terminal, &line).await;
        let submitted = (0..runs).map(|_| client.submit(work("t.noop", &json!(null))));
        futures::future::try_join_all(submitted).await.unwrap();
        assert_eq!(process.terminate(PATIENCE).await.unwrap().code(), Some(0));
        sizes.push(fs::metadata(&database).unwrap().len());
    }
    // What the runs lie in, and nothing that a start reads.
    let [before, after] = sizes[..] else { panic!("{sizes:?}") };
    let file = fs::File::options().write(true).open(&database).unwrap();
    file.write_all_at(&vec![0xFF; usize::try_from(after - before).unwrap()], before).unwrap();

    let (mut process, client, address) = server(&terminal, &line).await;
    for _ in 0..20 {
        let status = client.submit(work("t.noop", &json!(null))).await.unwrap_err();
        let told = Told::of(&status);
        told.is(Code::Unavailable, "STORE_UNWRITABLE");
        told.has("obstacle", "DAMAGED");
        told.advises("the database is damaged: stop it, keep what is in /");
    }
    let page = readyz(&terminal, &address).await;
    assert!(page.starts_with("not ready: the database is damaged") && page.ends_with("503"), "{page}");
    assert_eq!(process.terminate(PATIENCE).await.unwrap().code(), Some(0));
    let begun = "the database is damaged: nothing new is stored in it: stop the server, keep its files, and restore a \
                 backup into an empty folder";
    let told: Vec<_> = told(&process).into_iter().filter(|(_, message)| message == begun).collect();
    assert_eq!(told, [("ERROR".into(), begun.into())]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_seen_before_a_call_fails_and_told_once() {
    let terminal = Terminal::open().unwrap();
    let line = format!("MAINSPRING_LOG__FORMAT=json MAINSPRING_LOG__FILTER=info {}", disk::small("data", DEV));
    let (mut process, client, address) = server(&terminal, &line).await;
    let mut health = health(&client).await;
    becomes(&mut health, ServingStatus::Serving).await;
    let run = client.submit(work("t.noop", &json!(null))).await.unwrap();

    let disk = disk::Small::of(process.pid().unwrap(), &terminal.home().join("data"));
    disk.fill().unwrap();
    becomes(&mut health, ServingStatus::NotServing).await;
    let page = readyz(&terminal, &address).await;
    assert!(
        page.starts_with("not ready: the disk of the database is full; free space") && page.ends_with("503"),
        "{page}"
    );
    // What the log of the database still has room for is stored; then calls fail. Nobody hears of each.
    let large = json!("x".repeat(500_000));
    let mut refused = 0;
    for _ in 0..20 {
        if let Err(status) = client.submit(work("t.noop", &large)).await {
            is_full(&status);
            refused += 1;
        }
    }
    assert!(refused > 10, "{refused}");
    // It can be read, and says of itself where it is stuck.
    assert_eq!(client.run(&run).await.unwrap().state(), RunState::Queued);
    let hello = Say::Hello(BareWorker::new(&["t.noop"], 1).hello(Vec::new()));
    let mut unwelcome = Session::open(&client, hello.clone()).await.unwrap();
    is_full(&unwelcome.end(PATIENCE).await.unwrap().unwrap_err());
    let begun = "the disk is full: nothing new is stored until that is mended; what was acknowledged is kept, and \
                 reading goes on";
    assert_eq!(told(&process), [("ERROR".into(), begun.into())]);

    disk.free().unwrap();
    becomes(&mut health, ServingStatus::Serving).await;
    assert_eq!(readyz(&terminal, &address).await, "ready\n200");
    let mut session = BareWorker::new(&["t.noop"], 1).connect(&client).await.unwrap();
    let attempt = session.dispatch().await.unwrap().attempt.unwrap();
    assert_eq!(attempt.run_id, run);
    session.accept(&attempt).await.unwrap();
    session.succeed(&attempt).await.unwrap();
    client.succeeded(&run, PATIENCE).await.unwrap();
    let over = "the database can be written again; everything goes on";
    assert_eq!(told(&process), [("ERROR".into(), begun.into()), ("WARN".into(), over.into())]);
    drop((session, health));
    assert_eq!(process.terminate(PATIENCE).await.unwrap().code(), Some(0));
}
