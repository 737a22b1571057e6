//! The end of a session, over a real socket: by time, and by a refresh token that was used twice.

#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap like the tests themselves")]

use std::{collections::HashMap, time::Duration};

use mainspring_proto::{
    auth::v1::{
        GetCallerRequest, LoginRequest, RefreshTokenRequest, TokenPair, auth_service_client::AuthServiceClient,
    },
    scheduler::v1::WatchEventsRequest,
};
use mainspring_tests::harness::{
    host::{self, PATIENCE},
    timed::TimedServer,
};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

const PASSWORD: &str = "correct horse battery";
const ACCESS: Duration = Duration::from_secs(30);
const SESSION: Duration = Duration::from_secs(120);

async fn server() -> TimedServer {
    TimedServer::start(|config| {
        config.auth.root_password = Some(PASSWORD.to_owned().into());
        config.auth.access_ttl = ACCESS;
        config.auth.session_ttl = SESSION;
    })
    .await
    .unwrap()
}

async fn login(server: &TimedServer) -> TokenPair {
    let login = LoginRequest { username: "root".into(), password: PASSWORD.into(), client_name: String::new() };
    let mut auth = AuthServiceClient::new(server.client().unwrap().authorized());
    auth.login(login).await.unwrap().into_inner().tokens.unwrap()
}

async fn refresh(server: &TimedServer, token: &str) -> Result<TokenPair, Status> {
    let mut auth = AuthServiceClient::new(server.client().unwrap().authorized());
    let answer = auth.refresh_token(RefreshTokenRequest { refresh_token: token.into() }).await?;
    Ok(answer.into_inner().tokens.unwrap())
}

async fn call(server: &TimedServer, token: &str) -> Result<(), Status> {
    let client = server.client_with(token).unwrap();
    AuthServiceClient::new(client.authorized()).get_caller(GetCallerRequest {}).await.map(drop)
}

/// The reason of a credential that is not good, and what is told with it.
fn told(status: &Status) -> (String, HashMap<String, String>) {
    assert_eq!(status.code(), Code::Unauthenticated, "{status:?}");
    let info = status.get_error_details().error_info().unwrap().clone();
    (info.reason, info.metadata)
}

fn reason(status: &Status) -> String {
    told(status).0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_and_sessions_end_by_time_and_say_when() {
    let server = server().await;
    let first = login(&server).await;
    call(&server, &first.access_token).await.unwrap();
    // Clocks differ: a token is good for five seconds more.
    server.pass(ACCESS + Duration::from_secs(5)).await.unwrap();
    let (why, more) = told(&call(&server, &first.access_token).await.unwrap_err());
    assert_eq!((why.as_str(), more["expired_at"].as_str()), ("TOKEN_EXPIRED", "2027-01-15T08:00:30Z"));
    let second = refresh(&server, &first.refresh_token).await.unwrap();
    call(&server, &second.access_token).await.unwrap();
    assert_eq!(second.session_expire_time, first.session_expire_time, "a refresh does not lengthen the session");

    server.pass(SESSION - ACCESS).await.unwrap();
    for refused in [
        refresh(&server, &second.refresh_token).await.unwrap_err(),
        // Once more: it was not used up by being refused.
        refresh(&server, &second.refresh_token).await.unwrap_err(),
    ] {
        let (why, more) = told(&refused);
        assert_eq!((why.as_str(), more["expired_at"].as_str()), ("TOKEN_EXPIRED", "2027-01-15T08:02:00Z"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refresh_token_that_is_used_twice_ends_its_session_and_no_other() {
    let server = server().await;
    let other = login(&server).await;
    let first = login(&server).await;
    let second = refresh(&server, &first.refresh_token).await.unwrap();
    let third = refresh(&server, &second.refresh_token).await.unwrap();
    // Believed for a moment, so that the reuse has something to take back at once.
    call(&server, &third.access_token).await.unwrap();
    let watching = server.client_with(&third.access_token).unwrap();
    let mut events = watching.scheduler().watch_events(WatchEventsRequest::default()).await.unwrap().into_inner();

    let reused = refresh(&server, &first.refresh_token).await.unwrap_err();
    assert_eq!(reason(&reused), "TOKEN_REVOKED");
    assert!(reused.message().contains("used before"), "{}", reused.message());
    for access in [&first, &second, &third].map(|tokens| &tokens.access_token) {
        assert_eq!(reason(&call(&server, access).await.unwrap_err()), "TOKEN_REVOKED");
    }
    for token in [&second, &third].map(|tokens| &tokens.refresh_token) {
        assert_eq!(reason(&refresh(&server, token).await.unwrap_err()), "TOKEN_REVOKED");
    }
    let end = host::within(PATIENCE, "the end of the stream", async {
        loop {
            if let Err(status) = events.message().await {
                return status;
            }
        }
    });
    assert_eq!(reason(&end.await.unwrap()), "TOKEN_REVOKED");

    call(&server, &other.access_token).await.unwrap();
    refresh(&server, &other.refresh_token).await.unwrap();
}
