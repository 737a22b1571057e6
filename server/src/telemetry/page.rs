//! The listener for scrapers: `/metrics`, and the two pages of health.
//!
//! It has no credential and tells names of queues and job types, so it is on loopback (`config` sees to that) and apart
//! from the port of the API. What must be asked of the store is asked at most once a second, whoever scrapes how often.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Method, Request, Response, StatusCode};
use mainspring_engine::{
    domain::instant::Instant,
    flow::{Engine, LOOK},
};
use prometheus_client::encoding::prometheus_text::CONTENT_TYPE;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use tonic::{body::Body, service::Routes, transport::Server};
use tower::{Service, layer::layer_fn};

use super::Telemetry;
use crate::{
    grpc::{Health, layer::plain},
    wiring::incoming::Incoming,
};

const NOTHING: &str = "There is /metrics here, /healthz and /readyz. The API is on another port.\n";

/// Answers scrapers. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    engine: Engine,
    health: Health,
    telemetry: Arc<Telemetry>,
    /// When the store was last asked. Held while it is, and while the page is written: no page shows half of a look.
    looked: Arc<Mutex<Option<Instant>>>,
}

impl Page {
    pub(crate) fn new(engine: Engine, health: Health, telemetry: Arc<Telemetry>) -> Self {
        Self { engine, health, telemetry, looked: Arc::default() }
    }

    async fn answer(&self, method: &Method, path: &str) -> Response<Body> {
        if let Some(page) = self.health.page(method, path).await {
            return page;
        }
        if path == "/metrics" && matches!(*method, Method::GET | Method::HEAD) {
            return plain::page(StatusCode::OK, CONTENT_TYPE, self.metrics().await);
        }
        plain::page(StatusCode::NOT_FOUND, plain::TEXT_TYPE, NOTHING)
    }

    async fn metrics(&self) -> String {
        let mut looked = self.looked.lock().await;
        let (now, levels) = (self.engine.now(), &self.telemetry.levels);
        if looked.is_none_or(|looked| now.since(looked) >= LOOK) {
            *looked = Some(now);
            match self.engine.store().queue_levels().await {
                Ok(queues) => levels.set_queues(now, queues),
                Err(error) => {
                    tracing::debug!(%error, "queues cannot be looked at for now");
                    levels.forget_queues();
                }
            }
        }
        levels.set_sessions(self.engine.sessions());
        levels.set_waiting(self.engine.store().waiting_batches());
        levels.set_ready(self.health.is_ready().await);
        self.telemetry.text()
    }
}

impl Service<Request<Body>> for Page {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let page = self.clone();
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        Box::pin(async move { Ok(page.answer(&method, &path).await) })
    }
}

/// Serves one listener until `stop`; ends when its connections have. By the server of the API, which speaks HTTP/1.1 as
/// well: the page stands where the services would.
pub(crate) async fn serve(
    incoming: Incoming,
    page: Page,
    stop: CancellationToken,
) -> Result<(), tonic::transport::Error> {
    Server::builder()
        .accept_http1(true)
        .layer(layer_fn(move |_: Routes| page.clone()))
        .add_routes(Routes::default())
        .serve_with_incoming_shutdown(incoming.connections(), stop.cancelled_owned())
        .await
}
