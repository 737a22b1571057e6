//! A database that cannot be written: everybody is told so in the contract's words, and goes on when it can.

#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap like the tests themselves")]

use mainspring_proto::{
    scheduler::v1::{CreateJobRequest, Job, ListRunsRequest, RunState, RunSubmission},
    worker::v1::{ResultDisposition, worker_stream_request::Message as Say},
};
use mainspring_tests::harness::{
    client::{Client, work},
    disk,
    host::PATIENCE,
    process::Process,
    refusal::Told,
    session::{BareWorker, Session},
    terminal::Terminal,
};
use serde_json::{Value, json};
use tonic::{Code, Status};

/// A server whose disk can be filled.
async fn server(terminal: &Terminal) -> (Process, Client) {
    let line = format!("{} mainspring dev --no-open --no-demo --data data --port 0 --print-addr json", disk::HARDENED);
    let mut process = terminal.shell("server", &line).unwrap();
    let told: Value = serde_json::from_str(&process.line().await.unwrap()).unwrap();
    let client = Client::new(told["address"].as_str().unwrap(), told["api_key"].as_str().unwrap()).unwrap();
    (process, client)
}

#[track_caller]
fn is_away(status: &Status) {
    let told = Told::of(status);
    told.is(Code::Unavailable, "STORE_UNAVAILABLE");
    told.advises("the database does not answer; ");
    told.is_passing();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_told_and_survived() {
    let terminal = Terminal::open().unwrap();
    let (mut process, client) = server(&terminal).await;
    let mut session = BareWorker::new(&["t.noop"], 1).connect(&client).await.unwrap();
    let run = client.submit(work("t.noop", &json!(null))).await.unwrap();
    let attempt = session.dispatch().await.unwrap().attempt.unwrap();
    session.accept(&attempt).await.unwrap();

    disk::fill(process.pid().unwrap()).unwrap();
    let submission = RunSubmission { request_id: "once".into(), ..work("t.other", &json!(null)) };
    // However often: what fails once must not be taken for done the next time.
    for _ in 0..5 {
        is_away(&client.submit(submission.clone()).await.unwrap_err());
        is_away(&client.submit(work("t.other", &json!(null))).await.unwrap_err());
    }
    let job = Job { job: "nightly".into(), job_type: "t.noop".into(), ..Job::default() };
    let create = CreateJobRequest { job: Some(job), ..CreateJobRequest::default() };
    is_away(&client.scheduler().create_job(create.clone()).await.unwrap_err());
    let hello = Say::Hello(BareWorker::new(&["t.noop"], 1).hello(Vec::new()));
    let mut unwelcome = Session::open(&client, hello).await.unwrap();
    is_away(&unwelcome.end(PATIENCE).await.unwrap().unwrap_err());
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
