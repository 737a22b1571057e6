//! Results that outlive their worker.

use std::fs;

use mainspring_proto::worker::v1::{ResultDisposition, attempt_result::Outcome as Ended};
use mainspring_worker::{Error, JobError, Observed};
use tempfile::TempDir;
use tonic::{Code, Status};

use crate::{
    reconnects::refusal,
    server::{Server, Session},
    work::{nothing, run_of},
    worker::{Running, run, worker},
};

fn files(folder: &TempDir) -> usize {
    fs::read_dir(folder.path()).unwrap().count()
}

/// Drops a worker; its stream ends after it has let go of its journal.
async fn dropped(running: Running, mut session: Session) {
    running.abort();
    while let Ok(Some(_)) = session.try_next().await {}
}

#[tokio::test]
async fn a_result_outlives_its_worker() {
    let mut server = Server::start().await;
    let folder = TempDir::new().unwrap();
    let mut first = run(worker(&server).journal(folder.path()).handle("t", async || Ok::<_, JobError>("done")));
    let (mut session, _) = server.session().await;
    for name in ["r1", "r2", "answered"] {
        session.dispatch(name, "t", "");
        let result = session.result().await;
        for expected in ["start", "end", "kept"] {
            let told = match first.event().await {
                Observed::Start { .. } => "start",
                Observed::End { .. } => "end",
                Observed::Kept { run_id, attempt: 1 } if run_id == name => "kept",
                other => panic!("{other:?}"),
            };
            assert_eq!(told, expected);
        }
        if name == "answered" {
            session.ack(&result, ResultDisposition::Fenced);
        }
    }
    assert!(matches!(first.event().await, Observed::Acked { .. }));
    dropped(first, session).await;
    assert_eq!(files(&folder), 2);

    server.refuse_reports(Some(Status::new(Code::Unavailable, "not now"))).await;
    let second = run(worker(&server).journal(folder.path()).handle("t", nothing));
    let (session, hello) = server.session().await;
    assert!(hello.in_flight.is_empty(), "they are not this worker's attempts");
    server.refuse_reports(None).await;
    for name in ["r1", "r2"] {
        let result = server.report().await;
        assert_eq!(run_of(&result), name);
        assert!(matches!(result.outcome, Some(Ended::Succeeded(succeeded)) if succeeded.output.is_some()));
    }
    dropped(second, session).await;
}

#[tokio::test]
async fn a_worker_that_leaves_in_order_leaves_no_file() {
    let mut server = Server::start().await;
    let folder = TempDir::new().unwrap();
    let running = run(worker(&server).journal(folder.path()).handle("t", nothing));
    let (mut session, _) = server.session().await;
    session.dispatch("r1", "t", "");
    let result = session.result().await;
    assert_eq!(files(&folder), 2);
    session.ack(&result, ResultDisposition::Applied);
    running.stop.cancel();
    while session.next().await.is_some() {}
    drop(session);
    running.left().await.unwrap();
    assert_eq!(files(&folder), 0);
}

#[tokio::test]
async fn a_worker_that_must_leave_results_behind_says_where_they_are() {
    let mut server = Server::start().await;
    let folder = TempDir::new().unwrap();
    let running = run(worker(&server).journal(folder.path()).handle("t", nothing));
    let (mut session, _) = server.session().await;
    session.dispatch("r1", "t", "");
    session.result().await;
    let missing = refusal(Code::PermissionDenied, "PERMISSION_MISSING");
    server.refuse(Some(missing.clone())).await;
    server.refuse_reports(Some(missing.clone())).await;
    session.fail(missing);
    let error = running.left().await.unwrap_err();
    let Error::Refused { undelivered, .. } = &error else { panic!("{error:?}") };
    assert_eq!(undelivered.count, 1);
    let journal = undelivered.journal.as_ref().unwrap();
    assert!(journal.exists() && error.to_string().contains(&journal.display().to_string()), "{error}");
}

#[tokio::test]
async fn a_journal_that_cannot_be_is_told_before_connecting() {
    let server = Server::start().await;
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let running = run(worker(&server).journal(&file).handle("t", nothing));
    assert!(matches!(running.left().await, Err(Error::Journal { path, .. }) if path == file));
}
