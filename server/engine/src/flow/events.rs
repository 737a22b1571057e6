//! Events for watchers: a bounded ring per server. Hints, never rows.
//!
//! A cursor is good while its server lives and the ring reaches back to it; a watcher that falls behind, or comes with
//! another server's cursor, is told so and lists again.

use std::{collections::VecDeque, fmt, str::FromStr, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::domain::{event::Event, ids::ServerId};

/// Events a ring remembers.
const CAPACITY: usize = 16_384;

/// A place between two events of one server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    server: ServerId,
    sequence: u64,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.server.uuid().simple(), self.sequence)
    }
}

/// The text is not a cursor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor of WatchEvents")]
pub struct CursorError;

impl FromStr for Cursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        let (server, sequence) = text.split_once('.').ok_or(CursorError)?;
        Ok(Self {
            server: server.parse().map_err(|_| CursorError)?,
            sequence: sequence.parse().map_err(|_| CursorError)?,
        })
    }
}

/// The ring no longer reaches back to the cursor, or never did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the events after this cursor are gone; list again")]
pub struct CursorExpired;

/// The events of one server.
#[derive(Debug)]
pub struct Ring {
    server: ServerId,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    news: Notify,
}

#[derive(Debug, Default)]
struct State {
    events: VecDeque<Arc<Event>>,
    /// Sequence of the event right after the last one.
    end: u64,
}

impl Ring {
    pub(crate) fn new(server: ServerId) -> Self {
        Self { server, shared: Arc::default() }
    }

    pub(crate) fn push(&self, event: Arc<Event>) {
        let mut state = self.shared.state.lock();
        if state.events.len() == CAPACITY {
            state.events.pop_front();
        }
        state.events.push_back(event);
        state.end += 1;
        drop(state);
        self.shared.news.notify_waiters();
    }

    /// Events of other servers were lost: every watcher lists again.
    pub(crate) fn lose(&self) {
        let mut state = self.shared.state.lock();
        state.events.clear();
        state.end += 1;
        drop(state);
        self.shared.news.notify_waiters();
    }

    /// The place after the last event so far.
    pub fn cursor(&self) -> Cursor {
        Cursor { server: self.server, sequence: self.shared.state.lock().end }
    }

    /// Events right after `cursor`, or from now on.
    pub fn watch(&self, cursor: Option<Cursor>) -> Result<Watch, CursorExpired> {
        let cursor = cursor.unwrap_or_else(|| self.cursor());
        let state = self.shared.state.lock();
        let behind = state.end.checked_sub(cursor.sequence).ok_or(CursorExpired)?;
        if cursor.server != self.server || behind > state.events.len() as u64 {
            return Err(CursorExpired);
        }
        drop(state);
        Ok(Watch { shared: self.shared.clone(), cursor })
    }
}

/// Reads events one after the other.
#[derive(Debug)]
pub struct Watch {
    shared: Arc<Shared>,
    cursor: Cursor,
}

impl Watch {
    /// The next event and the place after it; waits for one.
    pub async fn next(&mut self) -> Result<(Cursor, Arc<Event>), CursorExpired> {
        loop {
            let shared = self.shared.clone();
            // Registered before looking, so that nothing comes in between unseen.
            let news = shared.news.notified();
            tokio::pin!(news);
            news.as_mut().enable();
            if let Some(found) = self.ready()? {
                return Ok(found);
            }
            news.await;
        }
    }

    /// The next event, if it is there.
    fn ready(&mut self) -> Result<Option<(Cursor, Arc<Event>)>, CursorExpired> {
        let state = self.shared.state.lock();
        let behind = state.end - self.cursor.sequence;
        if behind == 0 {
            return Ok(None);
        }
        let at = (state.events.len() as u64).checked_sub(behind).ok_or(CursorExpired)?;
        let event = usize::try_from(at).ok().and_then(|at| state.events.get(at)).cloned().ok_or(CursorExpired)?;
        self.cursor.sequence += 1;
        Ok(Some((self.cursor, event)))
    }

    /// The place before the next event.
    pub fn cursor(&self) -> Cursor {
        self.cursor
    }
}

#[cfg(test)]
mod tests {
    use super::{Arc, CAPACITY, Cursor, CursorExpired, Event, Ring, ServerId};
    use crate::domain::{event::Detail, ids::RunId, instant::Instant};

    fn event(at: i64) -> Arc<Event> {
        let time = Instant::from_micros(at);
        Arc::new(Event { time, namespace: None, detail: Detail::Logs { run: RunId::new(time) } })
    }

    #[tokio::test]
    async fn whoever_watched_while_events_were_lost_is_told_so() {
        let ring = Ring::new(ServerId::new(Instant::EPOCH));
        let (mut waiting, before) = (ring.watch(None).unwrap(), ring.cursor());
        ring.lose();
        assert_eq!(waiting.next().await.unwrap_err(), CursorExpired);
        assert_eq!(ring.watch(Some(before)).unwrap_err(), CursorExpired);
        let mut after = ring.watch(None).unwrap();
        ring.push(event(1));
        assert_eq!(after.next().await.unwrap().1.time.as_micros(), 1);
    }

    #[tokio::test]
    async fn watchers_see_every_event_once_and_resume_by_cursor() {
        let ring = Ring::new(ServerId::new(Instant::EPOCH));
        let mut watch = ring.watch(None).unwrap();
        (1..=3).for_each(|at| ring.push(event(at)));
        let (cursor, first) = watch.next().await.unwrap();
        assert_eq!(first.time.as_micros(), 1);
        let text = cursor.to_string();
        let mut resumed = ring.watch(Some(text.parse::<Cursor>().unwrap())).unwrap();
        for expected in [2, 3] {
            assert_eq!(resumed.next().await.unwrap().1.time.as_micros(), expected);
        }
    }

    #[tokio::test]
    async fn a_cursor_that_the_ring_has_left_behind_is_expired() {
        let ring = Ring::new(ServerId::new(Instant::EPOCH));
        let start = ring.cursor();
        let mut slow = ring.watch(None).unwrap();
        for at in 0..=CAPACITY {
            ring.push(event(i64::try_from(at).unwrap()));
        }
        assert_eq!(slow.next().await.unwrap_err(), CursorExpired);
        assert_eq!(ring.watch(Some(start)).unwrap_err(), CursorExpired);
        let ahead: Cursor = format!("{}.{}", ring.server, u64::MAX).parse().unwrap();
        assert_eq!(ring.watch(Some(ahead)).unwrap_err(), CursorExpired);
        let other = Ring::new(ServerId::new(Instant::from_micros(1_000_000)));
        assert_eq!(ring.watch(Some(other.cursor())).unwrap_err(), CursorExpired);
    }
}
