//! What is seen of a server from outside: probes and the page of metrics.

#![expect(clippy::disallowed_methods, reason = "what a test waits for is bounded")]

use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

use mainspring_proto::{
    scheduler::v1 as api,
    worker::v1::{self as wire, worker_stream_request::Message as Say},
};
use sqlx::{Connection as _, SqliteConnection};
use tokio::time::timeout;
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus, health_client::HealthClient,
};

use super::{
    exposition::Exposition,
    http::get,
    server::Server,
    streams::{acked, dispatched, submit, welcomed},
    worker::SOON,
};

const RUNS: u32 = 8;
/// The table of metrics.
const DOCUMENT: &str = include_str!("../../../docs/operations.md");

async fn scraped() -> (Server, SocketAddr) {
    let server = Server::with(|config| config.listen.metrics = vec!["127.0.0.1:0".parse().unwrap()]).await;
    let page = server.running.metrics()[0];
    (server, page)
}

async fn submit_aside(server: &Server) -> String {
    let run = api::RunSubmission { job_type: "nobody".into(), queue: "aside".into(), ..Default::default() };
    let request = api::SubmitRunRequest { run: Some(run), ..Default::default() };
    server.scheduler().submit_run(request).await.unwrap().into_inner().run.unwrap().run_id
}

/// Creates a job that fires every second, and returns once it has.
async fn tick(server: &Server) {
    let mut events = server.scheduler().watch_events(api::WatchEventsRequest::default()).await.unwrap().into_inner();
    let every =
        api::Interval { every: Some(prost_types::Duration { seconds: 1, nanos: 0 }), ..api::Interval::default() };
    let rule = Some(api::schedule::Rule::Interval(every));
    let schedules = vec![api::Schedule { rule, ..Default::default() }];
    let job = api::Job { job: "ticking".into(), job_type: "tick".into(), schedules, ..Default::default() };
    server.scheduler().create_job(api::CreateJobRequest { job: Some(job), ..Default::default() }).await.unwrap();
    loop {
        let answer = timeout(SOON, events.message()).await.unwrap().unwrap().unwrap();
        if let Some(api::event::Detail::Run(run)) = answer.event.and_then(|event| event.detail)
            && run.job == "ticking"
        {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_counts_what_was_submitted_and_what_became_of_it() {
    let (server, page) = scraped().await;
    let mut worker = welcomed(&server).await;
    let mut before = Exposition::scrape(page).await;
    for _ in 0..RUNS {
        submit(&server, b"x").await;
        let dispatch = dispatched(&mut worker).await;
        let outcome = wire::attempt_result::Outcome::Succeeded(wire::AttemptSucceeded::default());
        let start_time = Some(std::time::SystemTime::UNIX_EPOCH.into());
        let attempt = dispatch.attempt.clone();
        let result = wire::AttemptResult { attempt, outcome: Some(outcome), start_time, ..Default::default() };
        worker.say(Say::Result(result)).await;
        acked(&mut worker).await;
        let now = Exposition::scrape(page).await;
        now.has_grown_since(&before);
        before = now;
    }
    for _ in 0..2 {
        submit_aside(&server).await;
    }
    let run_id = submit_aside(&server).await;
    server.scheduler().cancel_run(api::CancelRunRequest { run_id, ..Default::default() }).await.unwrap();
    server.scheduler().get_run(api::GetRunRequest { run_id: "x".into(), ..Default::default() }).await.unwrap_err();
    tick(&server).await;

    let now = Exposition::scrape(page).await;
    now.has_grown_since(&before);
    let runs = f64::from(RUNS);
    let echo = "namespace=\"default\",job_type=\"echo\"";
    let nobody = "namespace=\"default\",job_type=\"nobody\"";
    let get_run = "method=\"mainspring.scheduler.v1.SchedulerService/GetRun\",code=\"INVALID_ARGUMENT\"";
    let submitted = "method=\"mainspring.scheduler.v1.SchedulerService/SubmitRun\"";
    for (name, labels, expected) in [
        ("mainspring_runs_created_total", echo.to_owned(), runs),
        ("mainspring_runs_created_total", nobody.to_owned(), 3.0),
        ("mainspring_runs_finished_total", format!("{echo},outcome=\"SUCCEEDED\""), runs),
        ("mainspring_runs_finished_total", format!("{echo},outcome=\"FAILED\""), 0.0),
        ("mainspring_runs_finished_total", format!("{nobody},outcome=\"CANCELLED\""), 1.0),
        ("mainspring_run_wait_seconds_count", echo.to_owned(), runs),
        ("mainspring_run_wait_seconds_count", nobody.to_owned(), 0.0),
        ("mainspring_attempt_seconds_count", echo.to_owned(), runs),
        ("mainspring_store_step_items_sum", "step=\"submit\"".into(), runs + 3.0),
        ("mainspring_store_step_items_sum", "step=\"lease\"".into(), runs),
        ("mainspring_store_step_items_sum", "step=\"report\"".into(), runs),
        ("mainspring_calls_total", format!("{submitted},code=\"OK\""), runs + 3.0),
        ("mainspring_calls_total", get_run.into(), 1.0),
        ("mainspring_call_seconds_count", submitted.into(), runs + 3.0),
        ("mainspring_worker_streams", String::new(), 1.0),
        ("mainspring_ready", String::new(), 1.0),
        ("mainspring_build_info", format!("version=\"{}\"", env!("CARGO_PKG_VERSION")), 1.0),
    ] {
        assert_eq!(now.of(name, &labels), expected, "{name}{{{labels}}}: {now:#?}");
    }
    for name in [
        "mainspring_schedule_lateness_seconds_count",
        "mainspring_store_commit_seconds_count",
        "mainspring_store_batches_count",
        "process_resident_memory_bytes",
        "process_open_fds",
        "process_threads",
    ] {
        assert!(now.of(name, "") >= 1.0, "{name}: {now:#?}");
    }
}

#[tokio::test]
async fn the_page_tells_what_queues_hold() {
    let (server, page) = scraped().await;
    let mut worker = welcomed(&server).await;
    for _ in 0..2 {
        submit_aside(&server).await;
    }
    submit(&server, b"x").await;
    dispatched(&mut worker).await;
    let now = Exposition::scrape(page).await;
    let (aside, default) = ("namespace=\"default\",queue=\"aside\"", "namespace=\"default\",queue=\"default\"");
    assert_eq!(now.of("mainspring_queue_depth", aside), 2.0, "{now:#?}");
    assert!(now.of("mainspring_queue_oldest_seconds", aside) > 0.0, "{now:#?}");
    assert_eq!(now.of("mainspring_queue_in_flight", aside), 0.0, "{now:#?}");
    assert_eq!(now.of("mainspring_queue_in_flight", default), 1.0, "{now:#?}");
    assert_eq!(now.of("mainspring_leases", ""), 1.0, "{now:#?}");
}

#[tokio::test]
async fn every_metric_is_documented_and_nothing_else_is() {
    let (server, page) = scraped().await;
    // What has labels is there once it was counted.
    let mut worker = welcomed(&server).await;
    submit(&server, b"x").await;
    dispatched(&mut worker).await;
    let shown = Exposition::scrape(page).await.types;
    let documented: BTreeSet<_> = DOCUMENT
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .filter(|name| name.starts_with("mainspring_") || name.starts_with("process_"))
        .collect();
    assert_eq!(documented, shown.keys().map(String::as_str).collect());
    for (name, kind) in &shown {
        assert!(DOCUMENT.contains(&format!("| `{name}` | {kind} |")), "{name} is a {kind}");
    }
}

#[tokio::test]
async fn without_the_setting_there_is_no_page() {
    let server = Server::start().await;
    assert!(server.running.metrics().is_empty());
    let (status, _) = get(server.running.addresses()[0], "/healthz").await;
    assert_eq!(status, 200);
    let (status, _) = get(server.running.addresses()[0], "/metrics").await;
    assert_eq!(status, 404);
}

/// What probes are told on both listeners.
async fn probed(server: &Server) -> Vec<(u16, String)> {
    let mut answers = Vec::new();
    for address in [server.running.addresses()[0], server.running.metrics()[0]] {
        assert_eq!(get(address, "/healthz").await, (200, "ok\n".into()));
        answers.push(get(address, "/readyz").await);
    }
    answers
}

async fn health(stream: &mut tonic::Streaming<HealthCheckResponse>) -> ServingStatus {
    timeout(SOON, stream.message()).await.expect("a change of health").unwrap().unwrap().status()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_whose_store_hangs_or_that_leaves_is_not_ready() {
    let (server, page) = scraped().await;
    let request = HealthCheckRequest { service: String::new() };
    let mut watch = HealthClient::new(server.channel.clone()).watch(request).await.unwrap().into_inner();
    assert_eq!(health(&mut watch).await, ServingStatus::Serving);
    assert_eq!(probed(&server).await, vec![(200, "ready\n".into()); 2]);

    let database = server.running.data().join("mainspring.db");
    let mut lock = SqliteConnection::connect(&format!("sqlite:{}", database.display())).await.unwrap();
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut lock).await.unwrap();
    assert_eq!(health(&mut watch).await, ServingStatus::NotServing);
    for (status, why) in probed(&server).await {
        assert!(status == 503 && why.contains("the database does not take what is written"), "{status} {why}");
    }
    // Whoever looks on is not held up by that.
    assert_eq!(Exposition::scrape(page).await.of("mainspring_ready", ""), 0.0);
    sqlx::raw_sql("ROLLBACK").execute(&mut lock).await.unwrap();
    assert_eq!(health(&mut watch).await, ServingStatus::Serving);
    assert_eq!(probed(&server).await, vec![(200, "ready\n".into()); 2]);
    lock.close().await.unwrap();

    // A run at the worker holds up the end, so that it can be looked at.
    let mut worker = welcomed(&server).await;
    submit(&server, b"x").await;
    dispatched(&mut worker).await;
    tokio::join!(server.running.shutdown(Duration::from_secs(10)), async {
        assert_eq!(health(&mut watch).await, ServingStatus::NotServing);
        for (status, why) in probed(&server).await {
            assert!(status == 503 && why.contains("going away"), "{status} {why}");
        }
        drop(worker);
    });
}
