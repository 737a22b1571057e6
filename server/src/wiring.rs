//! From a configuration to a running server, and back to nothing: config, store, identity, bind, engine, serve, drain.
//!
//! The only place, besides `config`, that names a family.

mod listen;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use mainspring_engine::{
    domain::ids::ServerId,
    flow::{Engine, LOOK, Parts},
    ports::{clock::SharedClock, store::SharedStore},
    tasks::Tasks,
};
use parking_lot::Mutex;
use secrecy::SecretString;
use tokio::{net::TcpListener, time::timeout};
use tokio_util::sync::CancellationToken;

pub use crate::{
    adapters::sql::OpenError,
    auth::bootstrap::BootstrapError,
    config::{Config, ConfigError, EnvError},
};
use crate::{
    adapters::{
        host_clock::HostClock,
        inproc::{InprocBroker, InprocSignals},
        sql::{self, SqliteStore},
    },
    auth::{Auth, SecretFileError},
    config::Synchronous,
    grpc::{self, Api, Health, page::Pages},
};

/// After the drain, connections have this long to close; tonic alone would wait for ever.
const CLOSE: Duration = Duration::from_secs(5);
/// Exit code of a server that refuses its configuration (`EX_CONFIG`).
const EX_CONFIG: u8 = 78;

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
        source: std::io::Error,
    },
    /// The contract cannot be reflected: a bug.
    #[error("the contract cannot be reflected: {0}")]
    Reflection(String),
}

impl StartError {
    /// What the process exits with.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) => EX_CONFIG,
            Self::Store(_) | Self::Secret(_) | Self::Bootstrap(_) | Self::Listen { .. } | Self::Reflection(_) => 1,
        }
    }
}

/// A running server.
#[derive(Debug)]
pub struct Running {
    addresses: Vec<SocketAddr>,
    data: PathBuf,
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

/// Starts a server. It answers when this returns.
pub async fn start(config: Config) -> Result<Running, StartError> {
    let config = config.checked()?;
    let clock: SharedClock = Arc::new(HostClock::default());
    let store = open(&config).await?;
    let shared: SharedStore = store.clone();
    let data = config.database.data.clone();
    let auth = Auth::open(shared.clone(), clock.clone(), &data, config.auth.clone())?;
    let one_time_root_password = auth.ensure_root(config.auth.root_password.as_ref()).await?;
    let dev_api_key = if config.dev { Some(auth.ensure_dev_key(&data).await?) } else { None };
    // Bound before the engine starts: nothing fires on behalf of a server that nobody can reach.
    let listeners = listen::bind(&config.listen).await?;
    let addresses = listeners.iter().map(|(_, address)| *address).collect();
    let tasks = Tasks::default();
    let engine = Engine::start(parts(&config, shared, clock, tasks.clone()));
    auth.start(&tasks);
    let api = Api::from(grpc::Parts {
        engine,
        pages: Pages::new(auth.page_key()),
        auth,
        limits: config.limits.clone(),
        draining: CancellationToken::new(),
    });
    let running = Running {
        addresses,
        data,
        one_time_root_password,
        dev_api_key,
        store,
        tasks,
        api: Mutex::new(None),
        health: Health::new(),
        close: CancellationToken::new(),
        over: CancellationToken::new(),
    };
    running.serve(api, listeners, config.dev).await?;
    Ok(running)
}

async fn open(config: &Config) -> Result<Arc<SqliteStore>, OpenError> {
    let options = sql::OpenOptions {
        synchronous: match config.database.synchronous {
            Synchronous::Full => sql::Synchronous::Full,
            Synchronous::Normal => sql::Synchronous::Normal,
        },
        rules: config.lease_rules(),
        ..sql::OpenOptions::new(&config.database.data)
    };
    sql::open(options).await
}

fn parts(config: &Config, store: SharedStore, clock: SharedClock, tasks: Tasks) -> Parts {
    Parts {
        store,
        broker: Arc::new(InprocBroker::default()),
        signals: Arc::new(InprocSignals::default()),
        rules: config.lease_rules(),
        retention: config.retention,
        server: ServerId::new(clock.now()),
        seed: rand::random(),
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
        open_reflection: bool,
    ) -> Result<(), StartError> {
        for (listener, address) in listeners {
            let serving = grpc::serve(listener, &api, &self.health, open_reflection, self.close.clone())
                .await
                .map_err(|error| StartError::Reflection(error.to_string()))?;
            let hard = self.over.clone();
            self.tasks.spawn("serve", async move {
                tokio::select! {
                    end = serving => if let Err(error) = end {
                        tracing::error!(%error, %address, "serving ended");
                    },
                    () = hard.cancelled() => {}
                }
            });
            tracing::info!(%address, "listening");
        }
        *self.api.lock() = Some(api);
        self.health.serving().await;
        Ok(())
    }

    /// Where it listens, with the ports it was given.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Where it keeps everything.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The password of `root`, where this start made one up. It is known to nobody else and stored nowhere: show it.
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
    pub async fn shutdown(&self, deadline: Duration) {
        let Some(api) = self.api.lock().take() else { return };
        self.health.draining().await;
        api.draining.cancel();
        // The engine ends the sessions itself; the bound is for a broken one.
        if timeout(deadline + CLOSE, api.engine.drain(deadline)).await.is_err() {
            tracing::warn!("sessions did not end in time");
        }
        self.close.cancel();
        self.tasks.stop();
        drop(api);
        if timeout(CLOSE, self.tasks.ended()).await.is_err() {
            tracing::warn!("connections or tasks did not end in time");
        }
        self.over.cancel();
        self.store.close().await;
    }
}
