//! A worker under test: what it does comes out as events.

use std::{sync::Arc, time::Duration};

use mainspring_worker::{Backoff, Error, Observed, Worker};
use tokio::{
    sync::{Mutex, Semaphore, mpsc},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use crate::server::{Server, soon, spawn};

pub(crate) struct Running {
    pub(crate) events: mpsc::UnboundedReceiver<Observed>,
    pub(crate) stop: CancellationToken,
    task: JoinHandle<Result<(), Error>>,
}

/// A worker for this server that connects again quickly.
pub(crate) fn worker(server: &Server) -> Worker {
    Worker::connect_to(&server.address)
        .name("test")
        .reconnect(Backoff::between(Duration::from_millis(10), Duration::from_millis(50)))
}

pub(crate) fn run(worker: Worker) -> Running {
    let (event, events) = mpsc::unbounded_channel();
    let stop = CancellationToken::new();
    let worker = worker.observe(move |observed| {
        let _ = event.send(observed.clone());
    });
    let task = spawn(worker.run_until(stop.clone().cancelled_owned()));
    Running { events, stop, task }
}

impl Running {
    /// The next event of an attempt; sessions coming and going are left out.
    pub(crate) async fn event(&mut self) -> Observed {
        loop {
            match soon("an event", self.events.recv()).await.expect("the worker is there") {
                Observed::Session { .. } => {}
                event => return event,
            }
        }
    }

    /// Waits until the worker has left.
    pub(crate) async fn left(self) -> Result<(), Error> {
        soon("the worker's end", self.task).await.unwrap()
    }

    /// Drops the worker.
    pub(crate) fn abort(&self) {
        self.task.abort();
    }
}

/// Lets handlers go one by one.
#[derive(Clone)]
pub(crate) struct Gate(Arc<Semaphore>);

impl Gate {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(0)))
    }

    pub(crate) fn open(&self) {
        self.0.add_permits(1);
    }

    pub(crate) async fn pass(&self) {
        self.0.acquire().await.unwrap().forget();
    }
}

/// Words from inside handlers.
#[derive(Clone)]
pub(crate) struct Whispers {
    say: mpsc::UnboundedSender<String>,
    heard: Arc<Mutex<mpsc::UnboundedReceiver<String>>>,
}

impl Whispers {
    pub(crate) fn new() -> Self {
        let (say, heard) = mpsc::unbounded_channel();
        Self { say, heard: Arc::new(Mutex::new(heard)) }
    }

    pub(crate) fn say(&self, what: impl Into<String>) {
        let _ = self.say.send(what.into());
    }

    pub(crate) async fn next(&self) -> String {
        soon("a word from a handler", async { self.heard.lock().await.recv().await }).await.unwrap()
    }

    /// Says something when it is dropped.
    pub(crate) fn on_drop(&self, what: &str) -> impl Drop + use<> {
        struct OnDrop(Whispers, String);
        impl Drop for OnDrop {
            fn drop(&mut self) {
                self.0.say(self.1.clone());
            }
        }
        OnDrop(self.clone(), what.into())
    }
}
