//! What every call meets, whatever it asks for.

use mainspring_proto::scheduler::v1::{
    GetJobRequest, GetRunRequest, ListJobsRequest, RunSubmission, SubmitRunRequest, WaitRunRequest,
};
use prost::Message;
use sqlx::{Connection as _, SqliteConnection};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

use super::{
    raw::first,
    server::{Server, reason},
};

/// The status of a call with these bytes.
async fn raw(server: &Server, path: &'static str, body: Vec<u8>) -> Status {
    first(server, path, Some(server.key()), body).await.unwrap_err()
}

#[tokio::test]
async fn a_call_without_a_good_credential_is_told_what_is_missing() {
    let server = Server::start().await;
    let get = async |token: Option<String>| {
        let mut client = mainspring_proto::scheduler::v1::scheduler_service_client::SchedulerServiceClient::new(
            server.as_caller(token),
        );
        client.get_job(GetJobRequest::default()).await.unwrap_err()
    };
    let missing = get(None).await;
    assert_eq!((missing.code(), reason(&missing).as_str()), (Code::Unauthenticated, "TOKEN_MISSING"));
    for bad in ["x", "mk_1_2", "a.b.c", &server.key().replace("mk_", "mk_0")] {
        assert_eq!(reason(&get(Some(bad.to_owned())).await), "TOKEN_INVALID", "{bad}");
    }
}

#[tokio::test]
async fn no_input_is_told_internal() {
    let server = Server::start().await;
    const GET_JOB: &str = "/mainspring.scheduler.v1.SchedulerService/GetJob";
    let malformed = raw(&server, GET_JOB, vec![0xff; 9]).await;
    assert_eq!((malformed.code(), reason(&malformed).as_str()), (Code::InvalidArgument, "MESSAGE_MALFORMED"));
    // Field 2, a string of one byte that is no UTF-8.
    let no_text = raw(&server, GET_JOB, vec![0x12, 1, 0xff]).await;
    assert_eq!((no_text.code(), reason(&no_text).as_str()), (Code::InvalidArgument, "MESSAGE_MALFORMED"));
    let large = raw(&server, GET_JOB, vec![0; 5 << 20]).await;
    assert_eq!((large.code(), reason(&large).as_str()), (Code::InvalidArgument, "PAYLOAD_TOO_LARGE"));
    for unknown in ["/mainspring.scheduler.v1.SchedulerService/Nothing", "/no.such.Service/Method"] {
        let unknown = raw(&server, unknown, vec![]).await;
        assert_eq!((unknown.code(), reason(&unknown).as_str()), (Code::Unimplemented, "METHOD_UNKNOWN"));
    }
}

/// A unary call over gRPC-Web and HTTP/1.1, as a browser makes it; what came back, headers and all.
async fn over_the_web(server: &Server, path: &str, headers: &str, message: &impl Message) -> String {
    let message = message.encode_to_vec();
    let mut body = vec![0];
    body.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    body.extend(message);
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/grpc-web+proto\r\nx-grpc-web: 1\r\n\
         authorization: Bearer {}\r\ncontent-length: {}\r\nconnection: close\r\n{headers}\r\n",
        server.key(),
        body.len()
    );
    let mut socket = TcpStream::connect(server.running.addresses()[0]).await.unwrap();
    socket.write_all(&[head.into_bytes(), body].concat()).await.unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

/// Nothing that a caller sends does this; a row does that somebody wrote past the server.
#[tokio::test]
async fn a_row_that_cannot_be_read_is_our_bug_and_names_the_request() {
    let server = Server::start().await;
    let run = RunSubmission { job_type: "a".into(), ..RunSubmission::default() };
    let submit = SubmitRunRequest { namespace: String::new(), run: Some(run) };
    let run_id = server.scheduler().submit_run(submit).await.unwrap().into_inner().run.unwrap().run_id;
    let database = format!("sqlite:{}", server.running.data().join("mainspring.db").display());
    let mut database = SqliteConnection::connect(&database).await.unwrap();
    sqlx::raw_sql("UPDATE run SET labels = 'neither JSON nor secret'").execute(&mut database).await.unwrap();
    database.close().await.unwrap();
    let mut get = Request::new(GetRunRequest { run_id, ..GetRunRequest::default() });
    get.metadata_mut().insert("x-request-id", "mine".parse().unwrap());
    let bug = server.scheduler().get_run(get).await.unwrap_err();
    assert_eq!((bug.code(), reason(&bug).as_str()), (Code::Internal, "INTERNAL"));
    assert!(bug.message().contains("(request mine)") && !bug.message().contains("secret"), "{bug:?}");
    assert_eq!(bug.get_details_request_info().unwrap().request_id, "mine");
}

/// The status in an answer to a browser.
fn trailers(answer: &str) -> Status {
    let mut headers = http::HeaderMap::new();
    for line in answer.lines() {
        if let Some((name, value)) = line.split_once(':')
            && let Some(at) = name.find("grpc-")
        {
            let name: http::HeaderName = name[at..].parse().unwrap();
            headers.insert(name, value.trim().parse().unwrap());
        }
    }
    Status::from_header_map(&headers).unwrap_or_else(|| panic!("no status in {answer}"))
}

#[tokio::test]
async fn a_message_that_is_compressed_is_told_to_come_without() {
    let server = Server::start().await;
    let path = "/mainspring.scheduler.v1.SchedulerService/GetJob";
    let request = GetJobRequest { job: "nobody".into(), ..GetJobRequest::default() };
    let refused = trailers(&over_the_web(&server, path, "grpc-encoding: br\r\n", &request).await);
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Unimplemented, "COMPRESSION_UNSUPPORTED"));
    assert!(refused.message().contains("send it uncompressed"), "{refused:?}");
}

#[tokio::test]
async fn browsers_speak_grpc_web_on_the_same_port() {
    let server = Server::start().await;
    let path = "/mainspring.scheduler.v1.SchedulerService/GetJob";
    let request = GetJobRequest { job: "nobody".into(), ..GetJobRequest::default() };
    let answer = over_the_web(&server, path, "x-request-id: mine\r\n", &request).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.contains("x-request-id: mine"), "{answer}");
    assert!(answer.contains("grpc-status: 5") || answer.contains("grpc-status:5"), "{answer}");
}

#[tokio::test]
async fn whoever_comes_without_grpc_is_told_what_this_is() {
    let server = Server::start().await;
    for (request, status) in [
        ("GET / HTTP/1.1\r\n", "404 Not Found"),
        ("GET /mainspring.scheduler.v1.SchedulerService/GetJob HTTP/1.0\r\n", "404 Not Found"),
        ("POST / HTTP/1.1\r\ncontent-type: application/json\r\ncontent-length: 2\r\n", "415 Unsupported Media Type"),
    ] {
        let body = if request.starts_with("POST") { "{}" } else { "" };
        let mut socket = TcpStream::connect(server.running.addresses()[0]).await.unwrap();
        let typed = format!("{request}host: localhost\r\nconnection: close\r\n\r\n{body}");
        socket.write_all(typed.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).await.unwrap();
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.lines().next().unwrap().ends_with(status), "{request}: {answer}");
        for part in ["speaks gRPC here", "mainspring --address", "grpcurl -plaintext", "content-type: text/plain"] {
            assert!(answer.contains(part), "{part:?} is missing in {answer}");
        }
    }
}

#[tokio::test]
async fn a_deadline_that_passes_is_told_so() {
    let server = Server::start().await;
    let run = RunSubmission { job_type: "a".into(), ..RunSubmission::default() };
    let submit = SubmitRunRequest { namespace: String::new(), run: Some(run) };
    let run = server.scheduler().submit_run(submit).await.unwrap().into_inner().run.unwrap();
    let wait = WaitRunRequest { run_id: run.run_id, ..WaitRunRequest::default() };
    // Not by a client of tonic's, which keeps the deadline by itself.
    let path = "/mainspring.scheduler.v1.SchedulerService/WaitRun";
    let answer = over_the_web(&server, path, "grpc-timeout: 100m\r\n", &wait).await;
    let late = trailers(&answer);
    assert_eq!((late.code(), reason(&late).as_str()), (Code::DeadlineExceeded, "DEADLINE_EXCEEDED"), "{answer}");
}

#[tokio::test]
async fn a_deadline_that_cannot_be_read_is_not_waited_for_without_an_end() {
    let server = Server::start().await;
    let path = "/mainspring.scheduler.v1.SchedulerService/GetJob";
    let request = GetJobRequest { job: "nobody".into(), ..GetJobRequest::default() };
    for bad in ["abc", "5X", "-1S", "123456789S"] {
        let refused = trailers(&over_the_web(&server, path, &format!("grpc-timeout: {bad}\r\n"), &request).await);
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::InvalidArgument, "MESSAGE_MALFORMED"), "{bad}");
        assert!(refused.message().contains("grpc-timeout"), "{refused:?}");
    }
}

#[tokio::test]
async fn a_call_is_named_and_its_fields_are_judged() {
    let server = Server::start().await;
    let mut request = Request::new(GetRunRequest { run_id: "nonsense".into(), ..GetRunRequest::default() });
    request.metadata_mut().insert("x-request-id", "mine".parse().unwrap());
    let refused = server.scheduler().get_run(request).await.unwrap_err();
    assert_eq!(reason(&refused), "FIELD_INVALID");
    assert_eq!(refused.metadata().get("x-request-id").unwrap(), "mine");
    let missing = server
        .scheduler()
        .get_run(GetRunRequest { run_id: "019ab000-0000-7000-8000-000000000000".into(), ..GetRunRequest::default() })
        .await
        .unwrap_err();
    assert_eq!((missing.code(), reason(&missing).as_str()), (Code::NotFound, "RUN_NOT_FOUND"));
    let filter = ListJobsRequest { filter: "stat=ACTIVE".into(), ..ListJobsRequest::default() };
    assert_eq!(reason(&server.scheduler().list_jobs(filter).await.unwrap_err()), "FILTER_INVALID");
}

#[tokio::test]
async fn health_and_reflection_answer_without_a_credential() {
    let server = Server::start().await;
    let mut health = tonic_health::pb::health_client::HealthClient::new(server.channel.clone());
    for service in ["", "mainspring.worker.v1.WorkerService"] {
        let request = tonic_health::pb::HealthCheckRequest { service: service.into() };
        assert_eq!(health.check(request).await.unwrap().into_inner().status, 1);
    }
    let request = tonic_health::pb::HealthCheckRequest { service: "nobody".into() };
    assert_eq!(health.check(request).await.unwrap_err().code(), Code::NotFound);

    use tonic_reflection::pb::{v1, v1alpha};
    let list = v1::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(v1::server_reflection_request::MessageRequest::ListServices(String::new())),
    };
    let mut client = v1::server_reflection_client::ServerReflectionClient::new(server.channel.clone());
    let mut answers = client.server_reflection_info(tokio_stream::once(list)).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().unwrap();
    let Some(v1::server_reflection_response::MessageResponse::ListServicesResponse(services)) = answer.message_response
    else {
        panic!("no services");
    };
    assert!(services.service.iter().any(|service| service.name == "mainspring.scheduler.v1.SchedulerService"));
    let list = v1alpha::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(v1alpha::server_reflection_request::MessageRequest::ListServices(String::new())),
    };
    let mut client = v1alpha::server_reflection_client::ServerReflectionClient::new(server.channel.clone());
    assert!(
        client.server_reflection_info(tokio_stream::once(list)).await.unwrap().into_inner().message().await.is_ok()
    );
}
