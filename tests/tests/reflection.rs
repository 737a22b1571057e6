//! Strangers' tools find their way by reflection alone: buf by v1, whoever still speaks it by v1alpha.

#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap like the tests themselves")]

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use mainspring_tests::harness::{
    host::{self, PATIENCE},
    programs,
    server::{Server, Settings},
    terminal::text,
};
use serde_json::Value;
use tokio::process::Command;
use tonic::transport::Channel;
use tonic_reflection::pb::v1alpha::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

const SERVICES: [&str; 6] = [
    "mainspring.auth.v1.AuthService",
    "mainspring.auth.v1.UserService",
    "mainspring.scheduler.v1.AdminService",
    "mainspring.scheduler.v1.QueueService",
    "mainspring.scheduler.v1.SchedulerService",
    "mainspring.worker.v1.WorkerService",
];

async fn server() -> Server {
    Server::start(Settings::with_lease(Duration::from_secs(15))).await.unwrap()
}

/// What `buf curl` says; it must succeed.
async fn curl(buf: &Path, args: &[&str], url: &str) -> String {
    let mut command = Command::new(buf);
    command.args(["curl", "--http2-prior-knowledge", "--protocol", "grpc", "--reflect-protocol", "grpc-v1"]);
    said(command.args(args).arg(url)).await
}

async fn said(command: &mut Command) -> String {
    let output = host::within(PATIENCE, "the tool", command.kill_on_drop(true).output()).await.unwrap().unwrap();
    assert!(output.status.success(), "{command:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// A tool that `cargo xtask` finds or installs, where there is one.
fn tool(name: &str) -> Option<PathBuf> {
    let found = programs::tool(name);
    if found.is_none() {
        println!("SKIPPED: there is no {name} on the PATH, and none in the cache of `cargo xtask`");
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn buf_finds_everything_by_itself() {
    let Some(buf) = tool("buf") else { return };
    let server = server().await;
    let url = format!("http://{}", server.address());
    let services = curl(&buf, &["--list-services"], &url).await;
    for service in SERVICES {
        assert!(services.lines().any(|line| line == service), "{service} is missing in\n{services}");
    }
    let methods = curl(&buf, &["--list-methods"], &url).await;
    for method in [
        "mainspring.scheduler.v1.SchedulerService/TriggerJob",
        "mainspring.scheduler.v1.AdminService/GetServerInfo",
        "mainspring.worker.v1.WorkerService/WorkerStream",
    ] {
        assert!(methods.lines().any(|line| line == method), "{method} is missing in\n{methods}");
    }

    let key = format!("Authorization: Bearer {}", server.key());
    let url = format!("{url}/mainspring.scheduler.v1.AdminService/GetServerInfo");
    let answer = curl(&buf, &["--header", &key, "--data", "{}"], &url).await;
    let info: Value = serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error}: {answer}"));
    assert_eq!(info["version"], env!("CARGO_PKG_VERSION"), "{info}");
}

/// grpcurl as its distributions have it speaks the old protocol only.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grpcurl_finds_everything_by_itself() {
    let Some(grpcurl) = tool("grpcurl") else { return };
    let server = server().await;
    let address = server.address().to_owned();
    let ask = |args: Vec<String>| {
        let mut command = Command::new(&grpcurl);
        command.arg("-plaintext").args(args);
        async move { said(&mut command).await }
    };
    let services = ask(vec![address.clone(), "list".into()]).await;
    for service in SERVICES {
        assert!(services.lines().any(|line| line == service), "{service} is missing in\n{services}");
    }
    let scheduler = "mainspring.scheduler.v1.SchedulerService";
    let submit = format!("{scheduler}.SubmitRun");
    let described = ask(vec![address.clone(), "describe".into(), submit]).await;
    assert!(described.contains("rpc SubmitRun ( .mainspring.scheduler.v1.SubmitRunRequest )"), "{described}");

    let key = format!("Authorization: Bearer {}", server.key());
    let data = r#"{"run": {"job_type": "t", "payload": {"json": {"name": "Ada"}}}}"#;
    let call = |data: String, method: &str| {
        ask(["-H".into(), key.clone(), "-d".into(), data, address.clone(), format!("{scheduler}/{method}")].into())
    };
    let submitted: Value = serde_json::from_str(&call(data.into(), "SubmitRun").await).unwrap();
    let id = submitted["run"]["runId"].as_str().unwrap();
    let run: Value = serde_json::from_str(&call(format!(r#"{{"run_id": "{id}"}}"#), "GetRun").await).unwrap();
    assert_eq!(run["run"]["payload"]["json"]["name"], "Ada", "{run}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_old_protocol_is_spoken_as_well() {
    let server = server().await;
    let channel = Channel::from_shared(format!("http://{}", server.address())).unwrap().connect_lazy();
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices("*".into())),
    };
    let call = ServerReflectionClient::new(channel).server_reflection_info(tokio_stream::iter([request])).await;
    let answer = host::within(PATIENCE, "the list", call.unwrap().into_inner().message()).await.unwrap();
    let Some(MessageResponse::ListServicesResponse(list)) = answer.unwrap().unwrap().message_response else {
        panic!("not a list of services");
    };
    let names: Vec<_> = list.service.into_iter().map(|service| service.name).collect();
    for service in SERVICES {
        assert!(names.iter().any(|name| name == service), "{service} is missing in {names:?}");
    }
}
