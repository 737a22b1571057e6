//! The session with the server: a thread of its own that connects, talks, and connects again.
//!
//! What to say and what to do is decided by the [`Machine`](crate::state::Machine); the modules here move its bytes:
//! [`transport`] opens connections, [`link`] is one stream, [`driver`] keeps one of them up, [`execute`] runs handlers
//! on the caller's runtime, [`unary`] delivers results where no stream is to be had, [`replay`] those of workers that are
//! gone. [`shared`] is what they meet at.

mod driver;
mod execute;
mod link;
mod replay;
mod shared;
mod transport;
mod unary;

use std::{
    collections::BTreeMap,
    io,
    path::Path,
    sync::{Arc, Once, OnceLock, Weak},
    thread,
};

use tokio::{runtime::Handle, sync::oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use self::{driver::Driver, shared::Shared, transport::Transport};
use crate::{
    config::Settings,
    error::Error,
    handler::Ready,
    journal::{self, Journal, Writer},
    state::{Identity, Lane, Machine},
    worker::Observer,
};

/// Everything a session is made of.
pub(crate) struct Setup {
    pub(crate) id: Uuid,
    pub(crate) settings: Settings,
    pub(crate) handlers: BTreeMap<Lane, Ready>,
    pub(crate) queues: BTreeMap<String, u32>,
    pub(crate) observers: Vec<Observer>,
}

/// A session on its thread. Dropping it ends everything at once.
pub(crate) struct Session {
    drain: CancellationToken,
    ended: oneshot::Receiver<Result<(), Error>>,
    _quit: DropGuard,
}

impl Session {
    /// Asks the worker to leave.
    pub(crate) fn drain(&self) {
        self.drain.cancel();
    }

    /// Waits until it has left.
    pub(crate) async fn ended(&mut self) -> Result<(), Error> {
        (&mut self.ended).await.unwrap_or_else(|_| Err(Error::SessionThread("it broke down".into())))
    }
}

/// Starts the thread. Handlers will run on `runtime`.
pub(crate) fn start(setup: Setup, runtime: Handle) -> Result<Session, Error> {
    let Setup { id, settings, handlers, queues, observers } = setup;
    let transport = Transport::new(&settings)?;
    if transport.shows_its_key() {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            tracing::warn!(
                "the API key goes to {} in plain text: use a tunnel, or a proxy on this machine that speaks TLS to the server",
                transport.address()
            );
        });
    }
    let (handlers, specs): (BTreeMap<_, _>, Vec<_>) =
        handlers.into_iter().map(|(lane, Ready { service, spec })| ((lane, service), spec)).unzip();
    let identity = Identity {
        worker_id: id.to_string(),
        name: settings.name,
        namespace: settings.namespace.clone(),
        labels: settings.labels,
        build_id: settings.build_id,
        handlers: specs,
    };
    let machine = Machine::new(identity, queues, settings.drain_within, settings.stop_within, rand::random());
    let (orders, inbox) = tokio::sync::mpsc::unbounded_channel();
    let (journal, legacies) = match &settings.journal {
        None => (None, Vec::new()),
        Some(folder) => {
            let (writer, legacies) = journal::open(folder, &id.to_string(), transport.address(), &settings.namespace)?;
            (Some(writer), legacies)
        }
    };
    let shared = share(journal, |journal| Shared::new(machine, handlers, observers, journal, runtime, orders))?;

    let drain = CancellationToken::new();
    let quit = CancellationToken::new();
    let (tell, ended) = oneshot::channel();
    let (leaving, replayed_by) = (shared.clone(), transport.clone());
    let driver = Driver::new(shared, transport, settings.namespace, settings.backoff, inbox);
    let (leave, stop) = (drain.clone(), quit.clone());
    let failed = |error: io::Error| Error::SessionThread(error.to_string());
    let own_runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    #[expect(
        clippy::disallowed_methods,
        reason = "the one thread: the session must not wait for the handlers' runtime"
    )]
    thread::Builder::new()
        .name("mainspring".into())
        .spawn(move || {
            let replay = async {
                replay::deliver(legacies, replayed_by, settings.backoff).await;
                std::future::pending().await
            };
            let result = own_runtime.block_on(async {
                tokio::select! {
                    result = driver.run(leave, stop) => result,
                    never = replay => never,
                }
            });
            leaving.close_journal();
            // Nobody waits for it any more if the caller dropped its future.
            let _ = tell.send(result);
        })
        .map_err(failed)?;
    Ok(Session { drain, ended, _quit: quit.drop_guard() })
}

/// What the session's thread, the handlers and the journal meet at. The journal tells it how the disk is, and does not
/// keep it alive: so it ends with the session, whatever becomes of that.
fn share(writer: Option<Writer>, make: impl FnOnce(Option<Journal>) -> Shared) -> Result<Arc<Shared>, Error> {
    let Some(writer) = writer else { return Ok(Arc::new(make(None))) };
    let failed = |path: &Path, error: io::Error| Error::Journal { path: path.into(), problem: error.to_string() };
    let path = writer.path().to_owned();
    let told: Arc<OnceLock<Weak<Shared>>> = Arc::default();
    let by_disk = told.clone();
    let journal = Journal::start(writer, move |trouble| {
        match trouble {
            Some(trouble) => tracing::error!("the journal cannot be written, so no new work is taken: {trouble}"),
            None => tracing::info!("the journal is written again"),
        }
        if let Some(shared) = by_disk.get().and_then(Weak::upgrade) {
            shared.apply(|machine, _| machine.set_keepable(trouble.is_none()));
        }
    });
    let journal = journal.map_err(|error| failed(&path, error))?;
    let shared = Arc::new(make(Some(journal)));
    // It is set once, here.
    let _ = told.set(Arc::downgrade(&shared));
    Ok(shared)
}
