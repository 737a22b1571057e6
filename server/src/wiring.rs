//! From a configuration to a running server, and back to nothing: config, bind, store, identity, engine, serve, drain.
//!
//! The only place, besides `config`, that names a family.

mod files;
pub(crate) mod incoming;
mod listen;

use std::{
    error::Error as _,
    fmt::Display,
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use mainspring_cron::Zones;
use mainspring_engine::{
    domain::ids::ServerId,
    flow::{Engine, LOOK, Parts},
    ports::{clock::SharedClock, store::SharedStore},
    tasks::Tasks,
};
use parking_lot::Mutex;
use secrecy::SecretString;
use tokio::{net::TcpListener, sync::Semaphore, time::timeout};
use tokio_util::sync::CancellationToken;

use incoming::Incoming;

use crate::{
    adapters::{
        host_clock::HostClock,
        http::{HttpCourier, Reach, SealKey},
        inproc::{InprocBroker, InprocSignals},
        sql::{self, SqliteStore},
        zone_files,
    },
    auth::{Auth, SecretFileError},
    config::{Synchronous, WebhooksConfig},
    grpc::{self, Api, Health, page::Pages},
    schemas::Schemas,
    telemetry::{self, Page, Telemetry},
};
pub use crate::{
    adapters::{sql::OpenError, zone_files::ZoneFilesError},
    auth::bootstrap::BootstrapError,
    config::{Config, ConfigError, EnvError},
};

/// Connections of scrapers and probers at a time.
const SCRAPERS: usize = 64;
/// After the drain, connections have this long to close; tonic alone would wait for ever.
const CLOSE: Duration = Duration::from_secs(5);

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// It must not run like that.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The data directory cannot be used.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// A secret in the data directory cannot be used.
    #[error(transparent)]
    Secret(#[from] SecretFileError),
    /// The first credentials could not be made.
    #[error(transparent)]
    Bootstrap(#[from] BootstrapError),
    /// It cannot listen where it should.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The zone data cannot be used.
    #[error(transparent)]
    Zones(#[from] ZoneFilesError),
    /// The contract cannot be reflected: a bug.
    #[error("the contract cannot be reflected: {0}")]
    Reflection(String),
}

/// A running server.
#[derive(Debug)]
pub struct Running {
    addresses: Vec<SocketAddr>,
    metrics: Vec<SocketAddr>,
    data: PathBuf,
    /// Where its zone data come from, if they are not built in.
    zones: Option<PathBuf>,
    one_time_root_password: Option<SecretString>,
    dev_api_key: Option<SecretString>,
    store: Arc<SqliteStore>,
    tasks: Tasks,
    /// Let go of at the end: what the engine was given before is finished once nobody can give it more.
    api: Mutex<Option<Api>>,
    health: Health,
    /// Connections close.
    close: CancellationToken,
    /// Everything is over.
    over: CancellationToken,
}

/// Starts a server on the host's clock. It answers when this returns.
pub async fn start(config: Config) -> Result<Running, StartError> {
    start_by(config, Arc::new(HostClock::default())).await
}

/// Starts a server that lives by another clock than the machine's: a test's, which moves it.
pub async fn start_by(config: Config, clock: SharedClock) -> Result<Running, StartError> {
    let config = config.checked()?;
    let zones = zones(config.zones.directory.as_deref()).await?;
    // Bound before anything is touched: a server that cannot listen upgrades no database, and makes no password that
    // nobody would see.
    let listeners = listen::bind(&config.listen).await?;
    let addresses = listeners.iter().map(|(_, address)| *address).collect();
    let scraped = listen::bind_metrics(&config.listen)?;
    let metrics = scraped.iter().map(|(_, address)| *address).collect();
    let telemetry = Arc::new(Telemetry::new(clock.clone()));
    tracing::info!(data = %config.database.data.display(), "opening the database");
    let store = open(&config, zones, &telemetry).await?;
    let shared: SharedStore = store.clone();
    let data = config.database.data.clone();
    let auth = Auth::open(shared.clone(), clock.clone(), &data, config.auth.clone())?;
    let one_time_root_password = auth.ensure_root(config.auth.root_password.as_ref(), config.dev).await?;
    let dev_api_key = if config.dev { Some(auth.ensure_dev_key(&data).await?) } else { None };
    let tasks = Tasks::default();
    // Whoever tries things on a machine of their own has the receiver there too.
    let webhooks =
        WebhooksConfig { allow_loopback: config.dev || config.webhooks.allow_loopback, ..config.webhooks.clone() };
    let courier = HttpCourier::new(Reach::from(&webhooks), SealKey::new(&auth.seal_key()));
    let engine = Engine::start(parts(&config, (shared, Arc::new(courier)), clock, &telemetry, tasks.clone()));
    auth.start(&tasks);
    let api = Api::from(grpc::Parts {
        schemas: Schemas::new(engine.store().clone()),
        engine,
        pages: Pages::new(auth.page_key()),
        auth,
        limits: config.limits.clone(),
        draining: CancellationToken::new(),
    });
    let running = Running {
        addresses,
        metrics,
        data,
        zones: config.zones.directory.clone(),
        one_time_root_password,
        dev_api_key,
        store,
        tasks,
        api: Mutex::new(None),
        health: Health::new(),
        close: CancellationToken::new(),
        over: CancellationToken::new(),
    };
    running.scraped(&api, scraped, &telemetry);
    running.serve(api, listeners, &telemetry, config.dev).await?;
    Ok(running)
}

/// The zone data to count with: those of a folder, or those built in.
async fn zones(directory: Option<&Path>) -> Result<Zones, ZoneFilesError> {
    let zones = match directory {
        None => Zones::bundled(),
        Some(folder) => {
            let folder = folder.to_owned();
            let unread = folder.clone();
            let read = tokio::task::spawn_blocking(move || zone_files::read(&folder)).await;
            // It does not panic, and is not cancelled.
            read.unwrap_or_else(|error| {
                Err(ZoneFilesError::Unreadable { path: unread, source: io::Error::other(error) })
            })?
        }
    };
    let (version, count) = (zones.version(), zones.names().len());
    match directory {
        None => tracing::info!(version, count, "zone data: those built in"),
        Some(folder) => tracing::info!(version, count, folder = %folder.display(), "zone data: those of a folder"),
    }
    Ok(zones)
}

async fn open(config: &Config, zones: Zones, telemetry: &Telemetry) -> Result<Arc<SqliteStore>, OpenError> {
    let options = sql::OpenOptions {
        synchronous: match config.database.synchronous {
            Synchronous::Full => sql::Synchronous::Full,
            Synchronous::Normal => sql::Synchronous::Normal,
        },
        rules: config.lease_rules(),
        zones,
        meter: telemetry.writer.clone(),
        ..sql::OpenOptions::new(&config.database.data)
    };
    sql::open(options).await
}

fn parts(
    config: &Config,
    (store, courier): (SharedStore, Arc<HttpCourier>),
    clock: SharedClock,
    telemetry: &Telemetry,
    tasks: Tasks,
) -> Parts {
    Parts {
        store,
        courier,
        broker: Arc::new(InprocBroker::default()),
        signals: Arc::new(InprocSignals::default()),
        rules: config.lease_rules(),
        retention: config.retention,
        late_runs: config.limits.late_runs,
        server: ServerId::new(clock.now()),
        seed: rand::random(),
        meter: telemetry.runs.clone(),
        clock,
        tasks,
        look: LOOK,
    }
}

impl Running {
    async fn serve(
        &self,
        api: Api,
        listeners: Vec<(TcpListener, SocketAddr)>,
        telemetry: &Telemetry,
        open_reflection: bool,
    ) -> Result<(), StartError> {
        let places = Arc::new(Semaphore::new(files::room_for(api.limits.max_connections)));
        for (listener, address) in listeners {
            let calls = telemetry.calls.clone();
            let incoming = Incoming::new(listener, places.clone());
            let serving = grpc::serve(incoming, &api, &self.health, calls, open_reflection, self.close.clone())
                .await
                .map_err(|error| StartError::Reflection(error.to_string()))?;
            self.spawn(address, serving);
            tracing::info!(%address, "listening");
        }
        self.health.serving().await;
        self.health.watch(api.engine.store().clone(), api.engine.clock().clone(), &self.tasks);
        *self.api.lock() = Some(api);
        Ok(())
    }

    /// Serves the page of metrics.
    fn scraped(&self, api: &Api, listeners: Vec<(TcpListener, SocketAddr)>, telemetry: &Arc<Telemetry>) {
        let page = Page::new(api.engine.clone(), self.health.clone(), telemetry.clone());
        let places = Arc::new(Semaphore::new(SCRAPERS));
        for (listener, address) in listeners {
            let incoming = Incoming::new(listener, places.clone());
            self.spawn(address, telemetry::serve(incoming, page.clone(), self.close.clone()));
            tracing::info!(%address, "listening for scrapers");
        }
    }

    fn spawn<E: Display>(&self, address: SocketAddr, serving: impl Future<Output = Result<(), E>> + Send + 'static) {
        let hard = self.over.clone();
        self.tasks.spawn("serve", async move {
            tokio::select! {
                end = serving => if let Err(error) = end {
                    tracing::error!(%error, %address, "serving ended");
                },
                () = hard.cancelled() => {}
            }
        });
    }

    /// Where it listens, with the ports it was given.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Where the page of metrics is, with the ports it was given.
    pub fn metrics(&self) -> &[SocketAddr] {
        &self.metrics
    }

    /// Where it keeps everything.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Reads the folder of zone data anew and puts into force what is in it; none where it has no folder. Where that cannot be,
    /// those that are in force stay, and the log says why.
    pub async fn reread_zones(&self) -> Option<Zones> {
        let engine = self.api.lock().as_ref().map(|api| api.engine.clone())?;
        let folder = self.zones.as_deref()?;
        let in_force = engine.zones();
        match zones(Some(folder)).await {
            Ok(read) if read == in_force => {
                tracing::info!(version = read.version(), "the zone data are the same as before")
            }
            Ok(read) => {
                if let Err(error) = engine.use_zones(read.clone()).await {
                    let kept = in_force.version();
                    tracing::warn!(%error, kept, "the zone data cannot be put into force now; send SIGHUP again");
                }
            }
            Err(error) => {
                let (cause, kept) = (error.source().map(ToString::to_string).unwrap_or_default(), in_force.version());
                tracing::warn!(%error, cause, kept, "the zone data stay as they are; mend the folder and send SIGHUP again");
            }
        }
        Some(engine.zones())
    }

    /// The password of `root`, where this start made one up. It is known to nobody else and stored nowhere: show it. Every
    /// start makes another one, until `root` has chosen its own.
    pub fn one_time_root_password(&self) -> Option<&SecretString> {
        self.one_time_root_password.as_ref()
    }

    /// The key of `mainspring dev`.
    pub fn dev_api_key(&self) -> Option<&SecretString> {
        self.dev_api_key.as_ref()
    }

    /// Returns when the server is over: after [`Running::shutdown`], or at once where a part of it broke.
    pub async fn stopped(&self) {
        tokio::select! {
            () = self.over.cancelled() => {}
            () = self.tasks.broken() => {}
        }
    }

    /// Ends the server: it is reported as not serving, workers are asked to leave and get until `deadline`, streams end,
    /// connections close, everything that was begun is finished. Calling it again does nothing.
    #[expect(clippy::disallowed_methods, reason = "the end of a server is bounded, whatever hangs")]
    pub async fn shutdown(&self, deadline: Duration) {
        let Some(api) = self.api.lock().take() else { return };
        self.health.draining().await;
        api.draining.cancel();
        // The engine ends the sessions itself; the bound is for a broken one.
        if timeout(deadline + CLOSE, api.engine.drain(deadline)).await.is_err() {
            tracing::warn!("sessions did not end in time");
        }
        self.health.gone().await;
        self.close.cancel();
        self.tasks.stop();
        drop(api);
        if timeout(CLOSE, self.tasks.ended()).await.is_err() {
            tracing::warn!("connections or tasks did not end in time");
        }
        self.over.cancel();
        // Another process may hold the file. What is lost with it was answered to nobody.
        if timeout(CLOSE, self.store.close()).await.is_err() {
            tracing::warn!("the database did not close in time; the next start finishes what its log holds");
        }
    }
}
