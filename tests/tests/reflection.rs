//! Strangers' tools find their way by reflection alone: buf by v1, whoever still speaks it by v1alpha.

#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap like the tests themselves")]

use std::{path::PathBuf, time::Duration};

use mainspring_tests::harness::{
    host::{self, PATIENCE},
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

/// buf from the PATH, or from the cache that `cargo xtask` fills. The environment is inherited: the PATH may lead to a
/// shim that needs it.
#[expect(clippy::disallowed_methods, reason = "the cache of cargo xtask is where the system says, as in xtask itself")]
async fn buf() -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    let installed = cache.map(|cache| cache.join("mainspring/tools/buf/bin/buf"));
    for place in [Some(PathBuf::from("buf")), installed].into_iter().flatten() {
        if Command::new(&place).arg("--version").output().await.is_ok_and(|output| output.status.success()) {
            return Some(place);
        }
    }
    None
}

/// What `buf curl` says; it must succeed.
async fn curl(buf: &PathBuf, args: &[&str], url: &str) -> String {
    let mut command = Command::new(buf);
    command.args(["curl", "--http2-prior-knowledge", "--protocol", "grpc", "--reflect-protocol", "grpc-v1"]);
    command.args(args).arg(url).kill_on_drop(true);
    let output = host::within(PATIENCE, "buf", command.output()).await.unwrap().unwrap();
    assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn buf_finds_everything_by_itself() {
    let Some(buf) = buf().await else {
        println!("SKIPPED: there is no buf on the PATH, and none in the cache of `cargo xtask`");
        return;
    };
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
