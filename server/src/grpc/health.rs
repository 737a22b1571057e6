//! Whether this server is to be given calls, said in two ways that cannot differ: `grpc.health.v1` for clients of gRPC, and
//! `/healthz` and `/readyz` for whoever speaks plain HTTP.
//!
//! `/healthz` says that the process answers. `/readyz` says that calls can be done: the store takes what is written, and
//! the server is not going away. The store is asked all the time and by one task, so that a store that hangs is asked once
//! and not once for everybody who wants to know. Of a write that is refused it tells by itself: whoever was refused must not
//! read here that all is well.

use std::{sync::Arc, time::Duration};

use http::{Method, Response, StatusCode};
use mainspring_engine::{
    flow::LOOK,
    ports::{
        clock::SharedClock,
        store::{Obstacle, SharedStore, StoreError},
    },
    tasks::Tasks,
};
use tokio::sync::Mutex;
use tonic::body::Body;
use tonic_health::{ServingStatus, server::HealthReporter};

use super::{layer::plain, serve::SERVICES};

/// A store that is silent for longer is away, as far as anybody who waits for it is concerned.
const PATIENCE: Duration = Duration::from_secs(2);

/// How the server stands towards calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// It has not begun to answer.
    Starting,
    /// It does what is asked.
    Ready,
    /// The store does not take what is written, or not in time.
    StoreAway,
    /// Its files cannot be written.
    Unwritable(Obstacle),
    /// It goes away; it is never anything else again.
    Draining,
}

impl Standing {
    fn why_not(self) -> Option<&'static str> {
        match self {
            Self::Starting => Some("not ready: the server is starting\n"),
            Self::Ready => None,
            Self::StoreAway => Some("not ready: the database does not take what is written; the log says more\n"),
            Self::Unwritable(Obstacle::Full) => Some(
                "not ready: the disk of the database is full; free space there, and the server goes on by itself\n",
            ),
            Self::Unwritable(Obstacle::ReadOnly) => Some(
                "not ready: the disk of the database can only be read; make it writable, and the server goes on by itself\n",
            ),
            Self::Unwritable(Obstacle::Forbidden) => Some(
                "not ready: the server may not write its database; give its user the right to; the log says where\n",
            ),
            Self::Unwritable(Obstacle::Failing) => {
                Some("not ready: the disk of the database answers with errors; the log says where\n")
            }
            Self::Unwritable(Obstacle::Gone) => Some(
                "not ready: the files of the database were removed, renamed or replaced; put them back; the log says where\n",
            ),
            Self::Unwritable(Obstacle::Damaged) => {
                Some("not ready: the database is damaged; stop the server and restore a backup; the log says more\n")
            }
            Self::Draining => Some("not ready: the server is going away\n"),
        }
    }
}

/// What is said of every service, and of the whole (`""`).
#[derive(Clone, Debug)]
pub(crate) struct Health {
    pub(super) reporter: HealthReporter,
    standing: Arc<Mutex<Standing>>,
}

impl Health {
    pub(crate) fn new() -> Self {
        Self { reporter: HealthReporter::new(), standing: Arc::new(Mutex::new(Standing::Starting)) }
    }

    /// Everything is served.
    pub(crate) async fn serving(&self) {
        self.change(Standing::Ready).await;
    }

    /// Nothing is, any more.
    pub(crate) async fn draining(&self) {
        self.change(Standing::Draining).await;
    }

    /// Nobody is told any more: who watches would hold a connection for ever.
    pub(crate) async fn gone(&self) {
        let mut reporter = self.reporter.clone();
        for service in SERVICES.into_iter().chain([""]) {
            reporter.clear_service_status(service).await;
        }
    }

    /// Whether calls can be done.
    pub(crate) async fn is_ready(&self) -> bool {
        self.standing.lock().await.why_not().is_none()
    }

    /// The answer to a plain HTTP request, where it asks for one of the two.
    pub(crate) async fn page(&self, method: &Method, path: &str) -> Option<Response<Body>> {
        if !matches!(*method, Method::GET | Method::HEAD) {
            return None;
        }
        let (status, text) = match path {
            "/healthz" => (StatusCode::OK, "ok\n"),
            "/readyz" => match self.standing.lock().await.why_not() {
                None => (StatusCode::OK, "ready\n"),
                Some(why) => (StatusCode::SERVICE_UNAVAILABLE, why),
            },
            _ => return None,
        };
        Some(plain::page(status, plain::TEXT_TYPE, text))
    }

    /// Published under the lock, so that what was said last is what holds.
    async fn change(&self, next: Standing) {
        let mut standing = self.standing.lock().await;
        if *standing == next || *standing == Standing::Draining {
            return;
        }
        *standing = next;
        let status = if next.why_not().is_none() { ServingStatus::Serving } else { ServingStatus::NotServing };
        for service in SERVICES.into_iter().chain([""]) {
            self.reporter.set_service_status(service, status).await;
        }
    }

    /// Asks the store as long as the server lives, and says what that means.
    pub(crate) fn watch(&self, store: SharedStore, clock: SharedClock, tasks: &Tasks) {
        let health = self.clone();
        let stop = tasks.token();
        tasks.spawn("health", async move {
            let mut timer = clock.timer("health");
            let mut watch = std::pin::pin!(async {
                loop {
                    health.look(&store).await;
                    let is_ready = health.is_ready().await;
                    tokio::select! {
                        () = timer.sleep_until(clock.now().plus(LOOK)) => {}
                        obstacle = store.refuses(), if is_ready => health.change(Standing::Unwritable(obstacle)).await,
                    }
                }
            });
            stop.run_until_cancelled(&mut watch).await;
        });
    }

    async fn look(&self, store: &SharedStore) {
        let mut answer = std::pin::pin!(store.answers());
        #[expect(clippy::disallowed_methods, reason = "whoever waits for the store does so by the wall's clock")]
        let answered = match tokio::time::timeout(PATIENCE, &mut answer).await {
            Ok(answered) => answered,
            Err(_) => {
                tracing::warn!(silent = ?PATIENCE, "the database does not take what is written; the server is not ready");
                self.change(Standing::StoreAway).await;
                let answered = answer.await;
                tracing::info!("the database answers again");
                answered
            }
        };
        self.change(match answered {
            Ok(()) => Standing::Ready,
            Err(StoreError::Unwritable { obstacle, place: _ }) => Standing::Unwritable(obstacle),
            Err(
                StoreError::Unavailable(_) | StoreError::Conflict(_) | StoreError::TooSlow | StoreError::Corrupt(_),
            ) => Standing::StoreAway,
        })
        .await;
    }
}
