//! The builder: handlers and settings in, a running worker out.

use std::{
    collections::BTreeMap, convert::Infallible, future::Future, path::PathBuf, pin::pin, sync::Arc, time::Duration,
};

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tower::{BoxError, Layer, Service};
use uuid::Uuid;

use crate::{
    config::{Backoff, KeySource, Settings},
    error::Error,
    extract::Run,
    extract::States,
    handler::{Handler, Ready, Unfinished},
    observe::Observed,
    panic,
    service::{HandlerService, Output},
    session::{self, Setup},
    signal::Signals,
    state::{DEFAULT_QUEUE, Lane},
};

/// The contract's bounds of one Hello.
const MAX_HANDLERS: usize = 1_000;
const MAX_IN_FLIGHT: u64 = 5_000;
const MAX_LABELS: usize = 64;
const MAX_NAME_CHARACTERS: usize = 128;

/// Someone who wants to know what happens. See [`Worker::observe`].
pub(crate) type Observer = Arc<dyn Fn(&Observed) + Send + Sync>;

/// A worker in the making. See the [crate's first page](crate).
#[must_use = "a worker does nothing until `run_until_signal` or `run_until` is awaited"]
pub struct Worker {
    id: Uuid,
    settings: Settings,
    handlers: Vec<(Lane, Unfinished)>,
    states: States,
    /// A type that was given twice; told when the worker is run.
    twice: Option<&'static str>,
    layers: Vec<Wrap>,
    observers: Vec<Observer>,
}

/// A layer without its type.
type Wrap = Box<dyn Fn(HandlerService) -> HandlerService + Send>;

impl Worker {
    /// A worker with the settings of its environment: `MAINSPRING_ADDRESS`, `MAINSPRING_API_KEY`,
    /// `MAINSPRING_NAMESPACE`, `MAINSPRING_WORKER_NAME` and `MAINSPRING_SLOTS`.
    ///
    /// What is missing comes from the context that the CLI has selected (or `MAINSPRING_CONTEXT` names), so beside a
    /// `mainspring dev` nothing need be set. The key of a context is sent to the server of that context only. See
    /// [`context`](crate::context).
    ///
    /// # Errors
    /// If no address is to be found, or a variable or file does not make sense.
    pub fn from_env() -> Result<Self, Error> {
        Settings::from_env().map(Self::new)
    }

    /// A worker for the server at `address`, `host:port` or `http://host:port`. Reads no environment.
    pub fn connect_to(address: impl Into<String>) -> Self {
        Self::new(Settings::of(address.into()))
    }

    fn new(settings: Settings) -> Self {
        Self {
            id: Uuid::now_v7(),
            settings,
            handlers: Vec::new(),
            states: States::default(),
            twice: None,
            layers: Vec::new(),
            observers: Vec::new(),
        }
    }

    /// The id this worker has for the server; new in every process.
    pub fn id(&self) -> String {
        self.id.to_string()
    }

    /// Sets the API key.
    pub fn api_key(mut self, key: impl Into<String>) -> Self {
        self.settings.api_key = Some(key.into().trim().to_owned().into());
        self.settings.key_source = None;
        self
    }

    /// Sets where the API key is read: now, and again when the server refuses the one that was read. So a key that is
    /// replaced while the worker runs, in a file say, costs no restart. `read` must not block for long.
    ///
    /// [`from_env`](Self::from_env) reads the key of the CLI's context in this way.
    pub fn api_key_from(mut self, read: impl Fn() -> Option<String> + Send + Sync + 'static) -> Self {
        let source = KeySource::new(move || read().map(|key| key.trim().to_owned().into()));
        self.settings.api_key = source.read();
        self.settings.key_source = Some(source);
        self
    }

    /// Sets the name people see, at most 128 characters; it need not be unique. The default is the program's name.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.settings.name = name.into();
        self
    }

    /// Sets the namespace whose queues the worker serves. The default is `default`.
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.settings.namespace = namespace.into();
        self
    }

    /// Sets how many runs of a queue are executed at once, for each queue without a [number of its own](Self::queue).
    /// The default is 10.
    pub fn slots(mut self, slots: u32) -> Self {
        self.settings.slots = slots;
        self
    }

    /// Sets how many runs of this queue are executed at once.
    pub fn queue(mut self, queue: impl Into<String>, slots: u32) -> Self {
        self.settings.queue_slots.insert(queue.into(), slots);
        self
    }

    /// Adds a label for people; at most 64.
    pub fn label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.labels.insert(key.into(), value.into());
        self
    }

    /// Sets the identity of your build, such as a commit; for people and for rollouts.
    pub fn build_id(mut self, build_id: impl Into<String>) -> Self {
        self.settings.build_id = build_id.into();
        self
    }

    /// Gives the worker a value that its handlers share; they take it as [`State<T>`](crate::State). One of each type.
    pub fn state<T: Send + Sync + 'static>(mut self, value: T) -> Self {
        if !self.states.insert(value) {
            self.twice.get_or_insert(std::any::type_name::<T>());
        }
        self
    }

    /// Handles the runs of a job type, from the queue `default`.
    pub fn handle<Args: 'static>(self, job_type: impl Into<String>, handler: impl Handler<Args>) -> Self {
        self.handle_in(DEFAULT_QUEUE, job_type, handler)
    }

    /// Handles the runs of a job type, from this queue. A type that comes from several queues has a handler for each; it
    /// may be the same.
    pub fn handle_in<Args: 'static>(
        mut self,
        queue: impl Into<String>,
        job_type: impl Into<String>,
        handler: impl Handler<Args>,
    ) -> Self {
        self.handlers.push((Lane::of(&queue.into(), &job_type.into()), Unfinished::new(handler)));
        self
    }

    /// Puts a [`tower::Layer`] around every handler of this worker, for what concerns all of them. What is added last is
    /// outermost.
    ///
    /// The layer is applied to each handler by itself, with [`HandlerService`] as the service within. An error of the
    /// layer's own fails the run as if the handler had returned it by `?`. Any layer that does not change what goes in
    /// and out will do, such as those of `tower` itself:
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use mainspring_worker::{JobError, Worker};
    /// # let worker = Worker::connect_to("localhost");
    /// let worker = worker
    ///     .handle("report.build", async || Ok::<_, JobError>("done"))
    ///     .layer(tower::limit::GlobalConcurrencyLimitLayer::new(2))
    ///     .layer(tower::timeout::TimeoutLayer::new(Duration::from_secs(60)));
    /// # drop(worker);
    /// ```
    pub fn layer<L>(mut self, layer: L) -> Self
    where
        L: Layer<HandlerService> + Send + 'static,
        L::Service: Service<Run, Response = Output> + Clone + Send + Sync + 'static,
        <L::Service as Service<Run>>::Error: Into<BoxError>,
        <L::Service as Service<Run>>::Future: Send,
    {
        self.layers.push(Box::new(move |service| service.behind(&layer)));
        self
    }

    /// Sets how long running handlers may go on after the worker was asked to leave. Those that have not finished by
    /// then are [cancelled](crate::CancelReason::Shutdown), and their runs go back to the queue. The default is 30 s.
    pub fn drain_within(mut self, limit: Duration) -> Self {
        self.settings.drain_within = limit;
        self
    }

    /// Sets how long a handler has between being cancelled by the worker's own shutdown and being dropped. The default
    /// is 5 s.
    pub fn stop_within(mut self, limit: Duration) -> Self {
        self.settings.stop_within = limit;
        self
    }

    /// Sets how long the worker waits before it connects again.
    pub fn reconnect(mut self, backoff: Backoff) -> Self {
        self.settings.backoff = backoff;
        self
    }

    /// Keeps results in a folder until the server has acknowledged them, so that they survive this process.
    ///
    /// A result is on the disk before it is sent. If the process dies with results that were not acknowledged, the next
    /// worker with the same folder, server and credential delivers them; as long as the server has not handed their runs
    /// out again, they count. Several workers may share a folder: each writes a file of its own, for the eyes of its owner
    /// only, and takes over those of workers that are gone. It costs each result a wait for the disk, which results that
    /// are ready at once share.
    ///
    /// While the disk takes no more, results are sent without that protection, and the worker takes no new work.
    pub fn journal(mut self, folder: impl Into<PathBuf>) -> Self {
        self.settings.journal = Some(folder.into());
        self
    }

    /// Calls `observer` with everything of note that happens, at the moment and on the thread where it happens. It must
    /// not block.
    pub fn observe(mut self, observer: impl Fn(&Observed) + Send + Sync + 'static) -> Self {
        self.observers.push(Arc::new(observer));
        self
    }

    /// Runs the worker until SIGTERM or SIGINT: then it takes no more work, lets its runs finish for as long as
    /// [`drain_within`](Self::drain_within) says, cancels the rest, and leaves. A second signal ends the process at
    /// once, with the exit code 128 plus the signal's number.
    ///
    /// # Errors
    /// As [`run_until`](Self::run_until).
    pub async fn run_until_signal(self) -> Result<(), Error> {
        let mut signals = Signals::listen().map_err(|error| Error::setting("signals", error.to_string()))?;
        let leave = CancellationToken::new();
        let leaving = leave.clone().cancelled_owned();
        let watch = async move {
            let (name, _) = signals.next().await;
            tracing::info!("{name}: draining; a second signal quits at once");
            leave.cancel();
            let (name, code) = signals.next().await;
            tracing::warn!("{name} again: quitting at once; unfinished runs will be executed again");
            quit(code)
        };
        tokio::select! {
            result = self.run_until(leaving) => result,
            never = watch => match never {},
        }
    }

    /// Runs the worker until `shutdown` resolves, then drains it as [`run_until_signal`](Self::run_until_signal) does.
    /// A `CancellationToken` fits in as `token.cancelled_owned()`.
    ///
    /// Handlers run on the Tokio runtime that this is awaited on. The session has a thread of its own, so a handler
    /// that computes without a pause delays other handlers, but not the worker's heartbeats. If the returned future is
    /// dropped, everything stops at once.
    ///
    /// # Errors
    /// Before connecting, if the settings or handlers do not make sense. Later, if the server refuses this worker for
    /// good (its credential: at once where it never had a session, after some minutes where it had one), or if the worker
    /// had to leave with results nobody took.
    pub async fn run_until(self, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
        let setup = self.check()?;
        let runtime = Handle::try_current().map_err(|_| Error::NoRuntime)?;
        panic::install_hook();
        let mut session = session::start(setup, runtime)?;
        let mut shutdown = pin!(shutdown);
        tokio::select! {
            result = session.ended() => return result,
            () = &mut shutdown => session.drain(),
        }
        session.ended().await
    }

    /// Refuses what cannot work, before anything is connected.
    fn check(self) -> Result<Setup, Error> {
        let Self { id, settings, handlers, states, twice, layers, observers } = self;
        if let Some(twice) = twice {
            return Err(Error::DuplicateState(twice));
        }
        let states = Arc::new(states);
        if handlers.is_empty() {
            return Err(Error::NoHandler);
        }
        at_most("handle", "job types", handlers.len(), MAX_HANDLERS)?;
        at_most("label", "labels", settings.labels.len(), MAX_LABELS)?;
        at_most("name", "characters", settings.name.chars().count(), MAX_NAME_CHARACTERS)?;
        let mut by_lane = BTreeMap::new();
        let mut queues = BTreeMap::new();
        for (lane, handler) in handlers {
            if lane.job_type.is_empty() {
                return Err(Error::setting("handle", "a job type cannot be empty"));
            }
            let slots = settings.queue_slots.get(&lane.queue).copied().unwrap_or(settings.slots);
            queues.insert(lane.queue.clone(), slots);
            if by_lane.contains_key(&lane) {
                let Lane { queue, job_type } = lane;
                return Err(Error::DuplicateHandler { job_type, queue });
            }
            let Ready { service, spec } = handler.finish(&lane, &states)?;
            let service = layers.iter().fold(service, |service, wrap| wrap(service));
            by_lane.insert(lane, Ready { service, spec });
        }
        if let Some(unused) = settings.queue_slots.keys().find(|queue| !queues.contains_key(*queue)) {
            return Err(Error::setting("queue", format!("no handler takes runs from `{unused}`: see `handle_in`")));
        }
        let slots: u64 = queues.values().map(|slots| u64::from(*slots)).sum();
        if slots == 0 || slots > MAX_IN_FLIGHT {
            return Err(Error::setting("slots", format!("{slots} in all: one worker holds 1 to {MAX_IN_FLIGHT}")));
        }
        Ok(Setup { id, settings, handlers: by_lane, queues, observers })
    }
}

fn at_most(name: &str, what: &str, count: usize, limit: usize) -> Result<(), Error> {
    if count <= limit { Ok(()) } else { Err(Error::setting(name, format!("{count} {what}: at most {limit}"))) }
}

fn quit(code: i32) -> Infallible {
    std::process::exit(code)
}
