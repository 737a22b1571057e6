//! Passwords, sessions, keys.

use mainspring_proto::{
    auth::v1::{self as wire, CredentialKind},
    scheduler::v1::{CreateJobRequest, ListJobsRequest, scheduler_service_client::SchedulerServiceClient},
};
use mainspring_server::{
    config::{Config, ListenConfig},
    wiring::{self, Running, StartError},
};
use secrecy::ExposeSecret as _;
use tempfile::TempDir;
use tonic::{Code, transport::Endpoint};
use tonic_types::StatusExt as _;

use super::server::{Server, key_with, reason};

fn login(password: &str) -> wire::LoginRequest {
    wire::LoginRequest { username: "root".into(), password: password.into(), client_name: "test".into() }
}

#[tokio::test]
async fn the_one_time_password_must_be_changed_before_anything_else() {
    let server = Server::with(|config| config.dev = false).await;
    let one_time = server.running.one_time_root_password().unwrap().expose_secret().to_owned();
    let mut anybody = server.auth(None);
    assert_eq!(reason(&anybody.login(login("wrong password")).await.unwrap_err()), "CREDENTIALS_INVALID");
    let signed_in = anybody.login(login(&one_time)).await.unwrap().into_inner();
    assert!(signed_in.password_change_required);
    let token = signed_in.tokens.unwrap().access_token;
    let mut jobs = SchedulerServiceClient::new(server.as_caller(Some(token.clone())));
    let refused = jobs.list_jobs(ListJobsRequest::default()).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::PermissionDenied, "PASSWORD_CHANGE_REQUIRED"));

    let mut root = server.auth(Some(token));
    let change =
        |new: &str| wire::ChangePasswordRequest { current_password: one_time.clone(), new_password: new.into() };
    assert_eq!(reason(&root.change_password(change("short")).await.unwrap_err()), "FIELD_INVALID");
    root.change_password(change("correct horse battery")).await.unwrap();
    jobs.list_jobs(ListJobsRequest::default()).await.unwrap();
    let caller = root.get_caller(wire::GetCallerRequest {}).await.unwrap().into_inner();
    assert_eq!((caller.subject.as_str(), caller.credential()), ("user:root", CredentialKind::AccessToken));
    assert_eq!(reason(&anybody.login(login(&one_time)).await.unwrap_err()), "CREDENTIALS_INVALID");
    anybody.login(login("correct horse battery")).await.unwrap();
}

/// A start in a folder that may have seen others.
async fn start_in(data: &TempDir, dev: bool, port: u16) -> Result<Running, StartError> {
    let mut config = Config { dev, listen: ListenConfig::loopback(port), ..Config::default() };
    config.database.data = data.path().join("data");
    wiring::start(config).await
}

fn one_time(running: &Running) -> Option<String> {
    running.one_time_root_password().map(|password| password.expose_secret().to_owned())
}

async fn stop(running: Running) {
    running.shutdown(std::time::Duration::ZERO).await;
}

#[tokio::test]
async fn a_password_that_nobody_has_seen_is_no_dead_end() {
    let data = TempDir::new().unwrap();
    let dev = start_in(&data, true, 0).await.unwrap();
    assert_eq!(one_time(&dev), None, "dev has its key, and shows no password");
    let taken = dev.addresses()[0].port();

    let elsewhere = TempDir::new().unwrap();
    let refused = start_in(&elsewhere, false, taken).await.unwrap_err();
    assert!(matches!(refused, StartError::Listen { .. }), "{refused}");
    assert!(!elsewhere.path().join("data").exists(), "who cannot listen begins nothing");
    stop(dev).await;

    let first = start_in(&data, false, 0).await.unwrap();
    let lost = one_time(&first).expect("dev did not use up the one password that is shown");
    stop(first).await;
    let second = start_in(&data, false, 0).await.unwrap();
    let seen = one_time(&second).expect("nobody has chosen a password yet");
    assert_ne!(lost, seen);
    let channel = Endpoint::from_shared(format!("http://{}", second.addresses()[0])).unwrap().connect_lazy();
    let mut anybody = wire::auth_service_client::AuthServiceClient::new(channel);
    assert_eq!(reason(&anybody.login(login(&lost)).await.unwrap_err()), "CREDENTIALS_INVALID");
    let tokens = anybody.login(login(&seen)).await.unwrap().into_inner().tokens.unwrap();
    let change = wire::ChangePasswordRequest { current_password: seen, new_password: "correct horse battery".into() };
    let mut change = tonic::Request::new(change);
    let bearer = format!("Bearer {}", tokens.access_token).parse().unwrap();
    change.metadata_mut().insert("authorization", bearer);
    anybody.change_password(change).await.unwrap();
    stop(second).await;
    let third = start_in(&data, false, 0).await.unwrap();
    assert_eq!(one_time(&third), None, "root has a password of its own");
    stop(third).await;
}

#[tokio::test]
async fn a_refresh_token_works_once_and_a_stolen_one_ends_the_session() {
    let server =
        Server::with(|config| config.auth.root_password = Some("correct horse battery".to_owned().into())).await;
    assert!(server.running.one_time_root_password().is_none());
    let mut anybody = server.auth(None);
    let first = anybody.login(login("correct horse battery")).await.unwrap().into_inner().tokens.unwrap();
    let refresh = |token: &str| wire::RefreshTokenRequest { refresh_token: token.into() };
    let second = anybody.refresh_token(refresh(&first.refresh_token)).await.unwrap().into_inner().tokens.unwrap();
    let reused = anybody.refresh_token(refresh(&first.refresh_token)).await.unwrap_err();
    assert_eq!((reused.code(), reason(&reused).as_str()), (Code::Unauthenticated, "TOKEN_REVOKED"));
    assert_eq!(reason(&anybody.refresh_token(refresh(&second.refresh_token)).await.unwrap_err()), "TOKEN_REVOKED");
    let over = server.auth(Some(second.access_token)).get_caller(wire::GetCallerRequest {}).await.unwrap_err();
    assert_eq!(reason(&over), "TOKEN_REVOKED");
    assert_eq!(reason(&anybody.refresh_token(refresh("nonsense")).await.unwrap_err()), "TOKEN_INVALID");
}

/// More callers than may wait, each with work for tens of milliseconds of a core.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_crowd_with_passwords_some_are_asked_to_come_again() {
    const CROWD: usize = 200;

    let server =
        Server::with(|config| config.auth.root_password = Some("correct horse battery".to_owned().into())).await;
    let tries = (0..CROWD).map(|_| {
        let mut anybody = server.auth(None);
        async move { anybody.login(login("wrong horse battery")).await.unwrap_err() }
    });
    let mut turned_away = 0;
    for status in futures::future::join_all(tries).await {
        match reason(&status).as_str() {
            "CREDENTIALS_INVALID" => assert_eq!(status.code(), Code::Unauthenticated),
            "RATE_LIMITED" => {
                assert_eq!(status.code(), Code::ResourceExhausted);
                let retry = status.get_details_retry_info().and_then(|retry| retry.retry_delay);
                assert!(retry.is_some_and(|delay| !delay.is_zero()), "{status:?}");
                assert!(status.message().contains("try again in a moment"), "{status:?}");
                turned_away += 1;
            }
            _ => panic!("{status:?}"),
        }
    }
    println!("{turned_away} of {CROWD} were turned away");
    assert!((1..CROWD).contains(&turned_away), "{turned_away} of {CROWD} were turned away");
    // The crowd is gone.
    server.auth(None).login(login("correct horse battery")).await.unwrap();
}

#[tokio::test]
async fn a_logout_ends_the_session_at_once() {
    let server =
        Server::with(|config| config.auth.root_password = Some("correct horse battery".to_owned().into())).await;
    let tokens = server.auth(None).login(login("correct horse battery")).await.unwrap().into_inner().tokens.unwrap();
    let mut root = server.auth(Some(tokens.access_token));
    root.logout(wire::LogoutRequest {}).await.unwrap();
    assert_eq!(reason(&root.get_caller(wire::GetCallerRequest {}).await.unwrap_err()), "TOKEN_REVOKED");
}

#[tokio::test]
async fn a_key_may_what_its_role_may_until_it_is_revoked() {
    let server = Server::start().await;
    let mut users = server.users();
    let bad = wire::CreateApiKeyRequest { name: " ".into(), ..key_with("viewer") };
    assert_eq!(reason(&users.create_api_key(bad).await.unwrap_err()), "FIELD_INVALID");
    let made = users.create_api_key(key_with("viewer")).await.unwrap().into_inner();
    let key = made.api_key.unwrap();
    let mut eyes = SchedulerServiceClient::new(server.as_caller(Some(made.secret.clone())));
    eyes.list_jobs(ListJobsRequest::default()).await.unwrap();
    let refused = eyes.create_job(CreateJobRequest::default()).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::PermissionDenied, "PERMISSION_MISSING"));
    let details = refused.get_error_details();
    assert_eq!(details.error_info().unwrap().metadata["required_permission"], "jobs.write");

    let listed = users.list_api_keys(wire::ListApiKeysRequest::default()).await.unwrap().into_inner().api_keys;
    assert!(listed.iter().any(|listed| listed.key_id == key.key_id) && listed.len() == 2);
    let revoke = wire::RevokeApiKeyRequest { key_id: key.key_id };
    users.revoke_api_key(revoke.clone()).await.unwrap();
    users.revoke_api_key(revoke).await.unwrap();
    assert_eq!(reason(&eyes.list_jobs(ListJobsRequest::default()).await.unwrap_err()), "TOKEN_REVOKED");
    let nobody = wire::RevokeApiKeyRequest { key_id: "nobody".into() };
    assert_eq!(reason(&users.revoke_api_key(nobody).await.unwrap_err()), "KEY_NOT_FOUND");
}
