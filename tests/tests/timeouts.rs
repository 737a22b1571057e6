//! What ends because time passes: a stream without a Hello, a worker that falls silent, credentials.

#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap like the tests themselves")]

use std::time::Duration;

use mainspring_proto::{
    auth::v1::{
        CreateApiKeyRequest, LoginRequest, RefreshTokenRequest, RoleBinding, TokenPair,
        auth_service_client::AuthServiceClient, user_service_client::UserServiceClient,
    },
    scheduler::v1::{ListJobsRequest, RunState},
    worker::v1::{AttemptPhase, AttemptRef, ResultDisposition, worker_stream_request::Message as Say},
};
use mainspring_tests::harness::{
    client::{Client, work},
    host::PATIENCE,
    refusal::Told,
    session::{BareWorker, Session, held},
    timed::TimedServer,
};
use serde_json::json;
use tonic::Code;

/// How long a worker may take to say Hello.
const HELLO: Duration = Duration::from_secs(10);
const MOMENT: Duration = Duration::from_millis(1);
/// A credential that ended is noticed on a stream so soon.
const NOTICED: Duration = Duration::from_secs(2);
/// Clocks of caller and server may differ so much.
const LEEWAY: Duration = Duration::from_secs(5);
const PASSWORD: &str = "correct horse battery staple";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_without_a_hello_ends_after_ten_seconds() {
    let server = TimedServer::start(|_| {}).await.unwrap();
    let client = server.client().unwrap();
    let mut silent = Session::open_silently(&client).await.unwrap();
    server.asleep("hello").await.unwrap();
    server.pass(HELLO - MOMENT).await.unwrap();
    // Just in time.
    let mut late = Session::open_silently(&client).await.unwrap();
    late.say(Say::Hello(BareWorker::new(&["t.noop"], 1).hello(Vec::new()))).await.unwrap();
    late.until("a Welcome", Session::is_welcome).await.unwrap();
    server.pass(MOMENT).await.unwrap();
    let told = Told::of(&silent.end(PATIENCE).await.unwrap().unwrap_err());
    told.is(Code::DeadlineExceeded, "HELLO_TIMEOUT");
    told.advises("send it as the first message");
    late.renew(Vec::new()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_falls_silent_loses_its_stream_and_keeps_its_attempt() {
    let server = TimedServer::start(|_| {}).await.unwrap();
    let client = server.client().unwrap();
    let mut worker = BareWorker::new(&["t.noop"], 1);
    let mut session = worker.connect(&client).await.unwrap();
    let silence = Duration::try_from(session.welcome.silence_timeout.unwrap()).unwrap();
    let run = client.submit(work("t.noop", &json!(null))).await.unwrap();
    let attempt = session.dispatch().await.unwrap().attempt.unwrap();
    session.accept(&attempt).await.unwrap();
    // Every word counts, whatever it is.
    session.renew(vec![held(&attempt, AttemptPhase::Running)]).await.unwrap();
    server.pass(silence - MOMENT).await.unwrap();
    let nobodys = AttemptRef { attempt: 7, ..attempt.clone() };
    session.succeed(&nobodys).await.unwrap();
    assert_eq!(session.result_ack(&nobodys).await.unwrap().disposition(), ResultDisposition::Fenced);
    server.pass(silence - MOMENT).await.unwrap();
    session.renew(vec![held(&attempt, AttemptPhase::Running)]).await.unwrap();
    server.pass(silence).await.unwrap();
    let told = Told::of(&session.end(PATIENCE).await.unwrap().unwrap_err());
    told.is(Code::DeadlineExceeded, "SILENCE_TIMEOUT");
    told.advises("reconnect, and send heartbeats");

    let mut session = worker.connect_holding(&client, vec![held(&attempt, AttemptPhase::Running)]).await.unwrap();
    assert!(session.welcome.directives.is_empty(), "it keeps what it has: {:?}", session.welcome);
    session.succeed(&attempt).await.unwrap();
    let ack = session.result_ack(&attempt).await.unwrap();
    assert_eq!(ack.disposition(), ResultDisposition::Applied);
    let over = client.over(&run, PATIENCE).await.unwrap();
    assert_eq!((over.state(), over.attempt, over.losses), (RunState::Succeeded, 1, 0), "{over:?}");
}

async fn login(client: &Client) -> TokenPair {
    let request = LoginRequest { username: "root".into(), password: PASSWORD.into(), client_name: "tests".into() };
    AuthServiceClient::new(client.authorized()).login(request).await.unwrap().into_inner().tokens.unwrap()
}

async fn list(client: &Client) -> Result<(), Told> {
    client.scheduler().list_jobs(ListJobsRequest::default()).await.map(drop).map_err(|status| Told::of(&status))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_access_token_ends_and_is_refreshed_until_its_session_ends() {
    const ACCESS: Duration = Duration::from_secs(60);
    const SESSION: Duration = Duration::from_secs(180);

    let server = TimedServer::start(|config| {
        config.auth.root_password = Some(PASSWORD.to_owned().into());
        config.auth.access_ttl = ACCESS;
        config.auth.session_ttl = SESSION;
    });
    let server = server.await.unwrap();
    let anybody = server.client().unwrap();
    let mut tokens = login(&anybody).await;
    let begin = server.now();
    let client = server.client_with(&tokens.access_token).unwrap();
    server.pass(ACCESS + LEEWAY - MOMENT).await.unwrap();
    list(&client).await.unwrap();
    server.pass(MOMENT).await.unwrap();
    let told = list(&client).await.unwrap_err();
    told.is(Code::Unauthenticated, "TOKEN_EXPIRED");
    told.has("expired_at", &begin.plus(ACCESS).to_string());
    told.advises("refresh the token");

    let session = tokens.session_expire_time.unwrap();
    let mut auth = AuthServiceClient::new(anybody.authorized());
    let mut refresh = async |tokens: &TokenPair| {
        let request = RefreshTokenRequest { refresh_token: tokens.refresh_token.clone() };
        auth.refresh_token(request).await.map(|answer| answer.into_inner().tokens.unwrap())
    };
    tokens = refresh(&tokens).await.unwrap();
    list(&server.client_with(&tokens.access_token).unwrap()).await.unwrap();
    server.pass(SESSION).await.unwrap();
    let told = Told::of(&refresh(&tokens).await.unwrap_err());
    told.is(Code::Unauthenticated, "TOKEN_EXPIRED");
    let end = begin.plus(SESSION);
    assert_eq!(session.seconds, end.as_micros() / 1_000_000);
    told.has("expired_at", &end.to_string());
    told.advises("sign in again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_key_ends_and_so_do_its_streams() {
    const LIFE: Duration = Duration::from_secs(60);

    let server = TimedServer::start(|_| {}).await.unwrap();
    let client = server.client().unwrap();
    let end = server.now().plus(LIFE);
    let expire_time = prost_types::Timestamp { seconds: end.as_micros() / 1_000_000, nanos: 0 };
    let request = CreateApiKeyRequest {
        name: "w".into(),
        bindings: vec![RoleBinding { role: "worker".into(), ..RoleBinding::default() }],
        expire_time: Some(expire_time),
        ..CreateApiKeyRequest::default()
    };
    let mut users = UserServiceClient::new(client.authorized());
    let key = users.create_api_key(request).await.unwrap().into_inner().secret;
    let client = server.client_with(&key).unwrap();
    server.pass(LIFE - LEEWAY).await.unwrap();
    let mut session = BareWorker::new(&["t.noop"], 1).connect(&client).await.unwrap();
    server.pass(LEEWAY - MOMENT).await.unwrap();
    session.renew(Vec::new()).await.unwrap();
    server.pass(NOTICED + MOMENT).await.unwrap();
    let refused = BareWorker::new(&["t.noop"], 1).connect(&client).await.unwrap_err();
    for status in [session.end(PATIENCE).await.unwrap().unwrap_err(), refused.downcast().unwrap()] {
        let told = Told::of(&status);
        told.is(Code::Unauthenticated, "TOKEN_EXPIRED");
        told.has("expired_at", &end.to_string());
        told.advises("use another API key");
    }
}
