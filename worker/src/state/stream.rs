//! One stream as the decisions see it: how far its handshake is, what was sent on it when, when it was last heard.

use std::{collections::VecDeque, time::Duration};

use crate::clock::Instant;

/// A stream, by its `Hello.connect_sequence`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct StreamId(pub(crate) i64);

/// Heartbeats older than the last thousand are of no use to anybody.
const REMEMBERED: usize = 1_024;

/// A stream that has not ended.
pub(super) struct Stream {
    pub(super) stage: Stage,
    pub(super) was_welcomed: bool,
    pub(super) session_id: String,
    /// When anything was last read.
    pub(super) heard: Instant,
    /// Whether a heartbeat is due.
    pub(super) heartbeat_due: bool,
    /// When each Hello (0) and Heartbeat was handed to the transport.
    sent: VecDeque<(i64, Instant)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// The call is on its way; Hello has not been composed.
    Opening,
    /// Hello was sent, Welcome has not been read.
    Greeting,
    /// A session.
    Live,
    /// Nothing more is sent; what the server still says is read.
    Closing,
}

impl Stream {
    pub(super) fn open(now: Instant) -> Self {
        Self {
            stage: Stage::Opening,
            was_welcomed: false,
            session_id: String::new(),
            heard: now,
            heartbeat_due: false,
            sent: VecDeque::new(),
        }
    }

    pub(super) fn is_live(&self) -> bool {
        self.stage == Stage::Live
    }

    /// Gives the next sequence number to a message that is handed to the transport now.
    pub(super) fn stamp(&mut self, now: Instant) -> i64 {
        let sequence = self.sent.back().map_or(0, |(last, _)| last + 1);
        if self.sent.len() == REMEMBERED {
            self.sent.pop_front();
        }
        self.sent.push_back((sequence, now));
        sequence
    }

    /// When the message with this sequence number was sent.
    pub(super) fn sent_at(&self, sequence: i64) -> Option<Instant> {
        let (first, _) = self.sent.front()?;
        let index = usize::try_from(sequence.checked_sub(*first)?).ok()?;
        self.sent.get(index).map(|(_, at)| *at)
    }

    pub(super) fn silent_at(&self, timeout: Duration) -> Instant {
        self.heard + timeout
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{REMEMBERED, Stream};
    use crate::clock::Instant;

    #[test]
    fn sequences_are_found_until_they_are_forgotten() {
        let at = |second| Instant::at(Duration::from_secs(second));
        let mut stream = Stream::open(at(0));
        assert_eq!(stream.sent_at(0), None);
        for second in 0..=REMEMBERED as u64 {
            assert_eq!(stream.stamp(at(second)), second as i64);
        }
        assert_eq!(stream.sent_at(0), None);
        assert_eq!(stream.sent_at(1), Some(at(1)));
        assert_eq!(stream.sent_at(REMEMBERED as i64), Some(at(REMEMBERED as u64)));
        assert_eq!(stream.sent_at(REMEMBERED as i64 + 1), None);
        assert_eq!(stream.sent_at(-1), None);
    }
}
