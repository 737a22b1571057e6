//! A handler as a [`tower::Service`], so that what concerns every handler (a time limit, a count, a span, a check of who
//! may) is written once, as a [`tower::Layer`].

use std::{
    error::Error as StdError,
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tower::{BoxError, Layer, Service, ServiceExt as _};

use crate::{extract::Run, job_error::JobError};

type Work = Pin<Box<dyn Future<Output = Result<Output, HandlerError>> + Send>>;

/// A handler, as a layer of [`Worker::layer`](crate::Worker::layer) wraps it.
///
/// It is called with a [`Run`] and answers with an [`Output`]. It is always ready: how many runs there are at once is
/// decided by the worker's slots.
#[derive(Clone)]
pub struct HandlerService(Arc<dyn Fn(Run) -> Work + Send + Sync>);

/// What a handler answered: JSON.
#[derive(Clone, PartialEq, Eq)]
pub struct Output(pub(crate) Vec<u8>);

/// What a handler failed with, as a standard error, so that the layers of others can carry it.
///
/// A layer may answer with an error of its own instead; a run then fails as if the handler had returned that by `?`.
#[derive(Clone, Debug)]
pub struct HandlerError(pub JobError);

impl HandlerService {
    pub(crate) fn new(call: impl Fn(Run) -> Work + Send + Sync + 'static) -> Self {
        Self(Arc::new(call))
    }

    /// The same handler behind a layer.
    pub(crate) fn behind<L>(self, layer: &L) -> Self
    where
        L: Layer<Self>,
        L::Service: Service<Run, Response = Output> + Clone + Send + Sync + 'static,
        <L::Service as Service<Run>>::Error: Into<BoxError>,
        <L::Service as Service<Run>>::Future: Send,
    {
        let service = layer.layer(self);
        Self::new(move |run| {
            let service = service.clone();
            Box::pin(async move { service.oneshot(run).await.map_err(|error| HandlerError::of(error.into())) })
        })
    }

    /// Calls it.
    pub(crate) async fn run(&self, run: Run) -> Result<Output, JobError> {
        (self.0)(run).await.map_err(|HandlerError(error)| error)
    }
}

impl Service<Run> for HandlerService {
    type Response = Output;
    type Error = HandlerError;
    type Future = Work;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), HandlerError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, run: Run) -> Work {
        (self.0)(run)
    }
}

impl fmt::Debug for HandlerService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HandlerService")
    }
}

impl Output {
    /// The JSON; empty for `null`.
    pub fn as_json(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Output({})", String::from_utf8_lossy(&self.0))
    }
}

impl HandlerError {
    /// What a layer came back with: the handler's own failure, however it was wrapped, or one of the layer's.
    fn of(error: BoxError) -> Self {
        match error.downcast::<Self>() {
            Ok(own) => *own,
            Err(other) => Self(JobError::retryable(other)),
        }
    }
}

impl From<JobError> for HandlerError {
    fn from(error: JobError) -> Self {
        Self(error)
    }
}

impl fmt::Display for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl StdError for HandlerError {}

#[cfg(test)]
mod tests {
    use std::{io, sync::Arc, time::Duration};

    use parking_lot::Mutex;
    use tower::{ServiceExt as _, layer::layer_fn, timeout::TimeoutLayer};

    use super::{HandlerError, HandlerService, Output};
    use crate::{
        extract::Run,
        job_error::{Cancelled, JobError},
    };

    fn handler(answer: impl Fn() -> Result<(), JobError> + Send + Sync + 'static) -> HandlerService {
        HandlerService::new(move |_| {
            let answer = answer();
            Box::pin(async { Ok(answer.map(|()| Output(b"1".to_vec()))?) })
        })
    }

    #[tokio::test]
    async fn the_last_layer_is_outermost_and_sees_run_and_answer() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let noting = |name: &'static str| {
            let seen = seen.clone();
            layer_fn(move |inner: HandlerService| {
                let seen = seen.clone();
                let then = seen.clone();
                inner
                    .map_request(move |run: Run| {
                        seen.lock().push(format!("{name} {}", run.ctx().run_id()));
                        run
                    })
                    .map_response(move |output: Output| {
                        then.lock().push(format!("{name} {output:?}"));
                        output
                    })
            })
        };
        let service = handler(|| Ok(())).behind(&noting("inner")).behind(&noting("outer"));
        assert_eq!(service.run(Run::of_test("r1", "")).await.ok(), Some(Output(b"1".to_vec())));
        assert_eq!(*seen.lock(), ["outer r1", "inner r1", "inner Output(1)", "outer Output(1)"]);
    }

    #[tokio::test]
    async fn a_layer_carries_the_handlers_failure_and_adds_its_own() {
        let limit = TimeoutLayer::new(Duration::from_millis(10));
        let fatal = handler(|| Err(JobError::fatal("no").reason("NOT_SO"))).behind(&limit);
        let Err(JobError::Failed(failure)) = fatal.run(Run::of_test("r1", "")).await else { panic!("it worked") };
        assert_eq!((failure.reason(), failure.is_fatal()), ("NOT_SO", true));

        let stuck = HandlerService::new(|_| Box::pin(std::future::pending())).behind(&limit);
        let Err(JobError::Failed(failure)) = stuck.run(Run::of_test("r1", "")).await else { panic!("it worked") };
        assert_eq!((failure.reason(), failure.is_fatal()), ("HANDLER_ERROR", false));
        assert!(failure.message().contains("timed out"), "{}", failure.message());
    }

    #[tokio::test]
    async fn a_layer_that_wraps_the_failure_does_not_hide_it() {
        let wrapping = layer_fn(|inner: HandlerService| inner.map_err(|error: HandlerError| io::Error::other(error)));
        let stopped = handler(|| Err(Cancelled.into())).behind(&wrapping);
        assert!(matches!(stopped.run(Run::of_test("r1", "")).await, Err(JobError::Cancelled)));
        let fatal = handler(|| Err(JobError::fatal("no"))).behind(&wrapping);
        let Err(JobError::Failed(failure)) = fatal.run(Run::of_test("r1", "")).await else { panic!("it worked") };
        assert!(failure.is_fatal());
    }
}
