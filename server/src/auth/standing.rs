//! Long streams under credentials that may end before them.
//!
//! A stream is admitted once and lives for hours. Each registers its credential here; one task looks every two seconds
//! whether they all still stand, and ends the streams whose credential does not. Who revokes something hurries it.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicU64, Ordering},
};

use mainspring_engine::tasks::Tasks;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use super::{Auth, Caller, Credential, Denied, secret::FRESH};

/// The use of keys is told to the store once in so many rounds: each minute.
const ROUNDS_PER_NOTE: u64 = 30;

/// Who stands.
#[derive(Debug, Default)]
pub(super) struct Register {
    next: AtomicU64,
    entries: Mutex<HashMap<u64, Entry>>,
    hurry: Notify,
}

#[derive(Debug)]
struct Entry {
    caller: Caller,
    end: oneshot::Sender<Denied>,
}

impl Register {
    /// Look now.
    pub(super) fn hurry(&self) {
        self.hurry.notify_one();
    }
}

/// A stream's hold on its credential; let go by dropping it.
#[derive(Debug)]
pub(crate) struct Standing {
    auth: Auth,
    id: u64,
    end: oneshot::Receiver<Denied>,
}

impl Standing {
    /// Returns once the credential no longer stands. Cancel safe.
    pub(crate) async fn ended(&mut self) -> Denied {
        match (&mut self.end).await {
            Ok(denied) => denied,
            // Nobody looks any more: the server stops, and ends its streams by itself.
            Err(_) => std::future::pending().await,
        }
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        self.auth.0.standing.entries.lock().remove(&self.id);
    }
}

impl Auth {
    /// Registers a stream of this caller.
    pub(crate) fn stand(&self, caller: &Caller) -> Standing {
        let register = &self.0.standing;
        let id = register.next.fetch_add(1, Ordering::Relaxed);
        let (end, ended) = oneshot::channel();
        register.entries.lock().insert(id, Entry { caller: caller.clone(), end });
        Standing { auth: self.clone(), id, end: ended }
    }

    /// Starts looking after the credentials of streams, and telling the store which keys are used.
    pub(crate) fn start(&self, tasks: &Tasks) {
        let (auth, stop) = (self.clone(), tasks.token());
        tasks.spawn("auth-standing", async move {
            let mut timer = auth.0.clock.timer("auth-standing");
            for round in 1_u64.. {
                tokio::select! {
                    () = timer.sleep_until(auth.now().plus(FRESH)) => {}
                    () = auth.0.standing.hurry.notified() => {}
                    () = stop.cancelled() => break,
                }
                auth.look().await;
                if round % ROUNDS_PER_NOTE == 0 {
                    auth.note_uses().await;
                }
            }
            auth.note_uses().await;
        });
    }

    async fn look(&self) {
        let callers: Vec<_> =
            self.0.standing.entries.lock().iter().map(|(id, entry)| (*id, entry.caller.clone())).collect();
        // Thousands of streams share a few credentials.
        let mut known: HashMap<String, Option<Denied>> = HashMap::new();
        for (id, caller) in callers {
            let of = match &caller.credential {
                Credential::Token { session, user: _ } => session.clone(),
                Credential::Key { id } => id.clone(),
            };
            let fallen = match known.get(&of) {
                Some(fallen) => fallen.clone(),
                None => {
                    let fallen = self.still_stands(&caller.credential).await.err();
                    known.insert(of, fallen.clone());
                    fallen
                }
            };
            let expired = caller.expire_time.filter(|end| *end <= self.now()).map(Denied::Expired);
            if let Some(denied) = fallen.or(expired)
                && let Some(entry) = self.0.standing.entries.lock().remove(&id)
            {
                // The stream may have ended by itself.
                let _ = entry.end.send(denied);
            }
        }
    }

    /// While the store is away nobody is judged.
    async fn still_stands(&self, credential: &Credential) -> Result<(), Denied> {
        match credential {
            Credential::Token { session, user: _ } => match self.session(session).await {
                Ok(Some(session)) => self.live(&session),
                Ok(None) => Err(Denied::Revoked),
                Err(_) => Ok(()),
            },
            Credential::Key { id } => match self.key(id).await {
                Ok(Some(record)) => self.key_stands(&record),
                Ok(None) => Err(Denied::Revoked),
                Err(_) => Ok(()),
            },
        }
    }
}
