//! The log lines of all attempts: kept until the server has them, sent in turn, bounded in memory.
//!
//! Every line of an attempt has an offset. What was sent and not acknowledged is sent again on the next stream, from
//! the offset the server acknowledged; it drops what it has. When the lines kept exceed the ring's bound, the oldest go;
//! the gap they leave between two batches is their count. An attempt's last line is never dropped but blanked, so that
//! every gap is followed by a line that tells of it.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use mainspring_proto::worker::v1::{LogBatch, LogEntry};
use prost::Message as _;

use super::attempt::Key;
use crate::{clock::Instant, job_error::cut};

/// All lines together.
const RING_BYTES: usize = 4 << 20;
/// Batches on their way; one stream never has megabytes of logs in front of a heartbeat.
const MAX_UNACKED_BATCHES: usize = 4;
/// A line waits this long for company.
const LINGER: Duration = Duration::from_millis(100);
/// So many bytes do not wait.
const FULL_ENOUGH: usize = 16 << 10;
const ACK_TIMEOUT: Duration = Duration::from_secs(10);
const LONGEST_ACK_TIMEOUT: Duration = Duration::from_secs(60);
/// What a line costs besides its text.
const LINE_OVERHEAD: usize = 64;
const DROPPED: &str = "[dropped: the worker's log buffer was full]";

/// The lines of all attempts.
pub(super) struct Logs {
    attempts: BTreeMap<Key, Lines>,
    /// Attempts with lines that should go now, in turn.
    ready: VecDeque<Key>,
    /// Attempts whose lines linger, by when they are ready.
    lingering: VecDeque<(Instant, Key)>,
    /// Every line kept, oldest first. Some may be gone already.
    ages: VecDeque<(Key, i64)>,
    kept: usize,
    bytes: usize,
    ring_bytes: usize,
    unacked: VecDeque<Batch>,
    /// Batches that ran into the timeout since the last acknowledgement.
    stalls: u32,
    max_batch_bytes: usize,
    max_line_bytes: usize,
}

#[derive(Default)]
struct Lines {
    kept: VecDeque<Line>,
    /// Offset of the next line.
    next: i64,
    /// The server has everything before this offset.
    acked: i64,
    /// Everything before this offset was sent on the present stream.
    sent: i64,
    unsent_bytes: usize,
    place: Place,
    /// No more lines will come.
    closed: bool,
}

/// Where an attempt's unsent lines wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// There are none.
    #[default]
    Nowhere,
    /// In `lingering`.
    Lingering,
    /// In `ready` (and what is left of them in `lingering` means nothing).
    Ready,
}

struct Line {
    offset: i64,
    entry: LogEntry,
    bytes: usize,
}

struct Batch {
    key: Key,
    end: i64,
    sent_at: Instant,
}

impl Logs {
    pub(super) fn new() -> Self {
        Self::bounded(RING_BYTES)
    }

    fn bounded(ring_bytes: usize) -> Self {
        Self {
            attempts: BTreeMap::new(),
            ready: VecDeque::new(),
            lingering: VecDeque::new(),
            ages: VecDeque::new(),
            kept: 0,
            bytes: 0,
            ring_bytes,
            unacked: VecDeque::new(),
            stalls: 0,
            max_batch_bytes: 64 << 10,
            max_line_bytes: 16 << 10,
        }
    }

    pub(super) fn limit(&mut self, max_batch_bytes: usize, max_line_bytes: usize) {
        self.max_batch_bytes = max_batch_bytes;
        self.max_line_bytes = max_line_bytes;
    }

    /// Offset of the attempt's next line.
    pub(super) fn next_offset(&self, key: &Key) -> i64 {
        self.attempts.get(key).map_or(0, |lines| lines.next)
    }

    /// Takes a line. Answers when [`ripen`](Self::ripen) should be called for it, if it has to wait.
    pub(super) fn push(&mut self, key: &Key, entry: LogEntry, now: Instant) -> Option<Instant> {
        let entry = shorten(entry, self.max_line_bytes);
        let lines = self.attempts.entry(key.clone()).or_default();
        if lines.closed {
            return None;
        }
        let offset = lines.next;
        let bytes = size(&entry);
        lines.next += 1;
        lines.unsent_bytes += bytes;
        lines.kept.push_back(Line { offset, entry, bytes });
        self.ages.push_back((key.clone(), offset));
        self.kept += 1;
        self.bytes += bytes;
        self.drop_oldest();
        self.queue(key, now)
    }

    /// No more lines of this attempt will come; what there is need not linger.
    pub(super) fn close(&mut self, key: &Key) {
        if let Some(lines) = self.attempts.get_mut(key) {
            lines.closed = true;
            if lines.kept.is_empty() {
                self.attempts.remove(key);
            } else if lines.place == Place::Lingering {
                lines.place = Place::Ready;
                self.ready.push_back(key.clone());
            }
        }
    }

    /// The attempt no longer counts, and its log with it.
    pub(super) fn forget(&mut self, key: &Key) {
        if let Some(lines) = self.attempts.remove(key) {
            self.kept -= lines.kept.len();
            self.bytes -= lines.kept.iter().map(|line| line.bytes).sum::<usize>();
            self.unacked.retain(|batch| batch.key != *key);
        }
    }

    /// Lets lines go that have lingered long enough. Answers when to call again.
    pub(super) fn ripen(&mut self, now: Instant) -> Option<Instant> {
        while let Some((at, _)) = self.lingering.front() {
            if *at > now {
                return Some(*at);
            }
            let Some((_, key)) = self.lingering.pop_front() else { break };
            if let Some(lines) = self.attempts.get_mut(&key).filter(|lines| lines.place == Place::Lingering) {
                lines.place = Place::Ready;
                self.ready.push_back(key);
            }
        }
        None
    }

    /// Whether [`next_batch`](Self::next_batch) may have something.
    pub(super) fn is_ready(&self) -> bool {
        !self.ready.is_empty() && self.unacked.len() < MAX_UNACKED_BATCHES
    }

    /// The next batch to send, and when [`rewind_overdue`](Self::rewind_overdue) should look for its acknowledgement.
    pub(super) fn next_batch(&mut self, now: Instant) -> Option<(LogBatch, Instant)> {
        while self.is_ready() {
            let key = self.ready.pop_front()?;
            let Some(lines) = self.attempts.get_mut(&key) else { continue };
            lines.place = Place::Nowhere;
            let Some(batch) = lines.take(&key, self.max_batch_bytes) else { continue };
            self.unacked.push_back(Batch { key: key.clone(), end: lines.sent, sent_at: now });
            if lines.sent < lines.next {
                lines.place = Place::Ready;
                self.ready.push_back(key);
            }
            return Some((batch, now + self.ack_timeout()));
        }
        None
    }

    /// The server has everything of this attempt before `next_offset`.
    pub(super) fn ack(&mut self, key: &Key, next_offset: i64) {
        self.stalls = 0;
        let Some(lines) = self.attempts.get_mut(key) else {
            self.unacked.retain(|batch| batch.key != *key);
            return;
        };
        lines.acked = lines.acked.max(next_offset.min(lines.next));
        while let Some(line) = lines.kept.pop_front_if(|line| line.offset < lines.acked) {
            if line.offset >= lines.sent {
                lines.unsent_bytes -= line.bytes;
            }
            self.kept -= 1;
            self.bytes -= line.bytes;
        }
        lines.sent = lines.sent.max(lines.acked);
        let acked = lines.acked;
        if lines.closed && lines.kept.is_empty() {
            self.attempts.remove(key);
        }
        self.unacked.retain(|batch| batch.key != *key || batch.end > acked);
    }

    /// Sends again what was not acknowledged in time. Answers when to look again.
    pub(super) fn rewind_overdue(&mut self, now: Instant) -> Option<Instant> {
        let timeout = self.ack_timeout();
        let (oldest, key) = self.unacked.front().map(|batch| (batch.sent_at, batch.key.clone()))?;
        if oldest + timeout > now {
            return Some(oldest + timeout);
        }
        self.stalls += 1;
        self.unacked.retain(|batch| batch.key != key);
        if let Some(lines) = self.attempts.get_mut(&key) {
            lines.rewind();
            if lines.place != Place::Ready {
                lines.place = Place::Ready;
                self.ready.push_back(key);
            }
        }
        self.unacked.front().map(|batch| batch.sent_at + timeout)
    }

    /// A new stream: nothing was sent on it, and everything the server has not acknowledged may go.
    pub(super) fn start_over(&mut self) {
        self.unacked.clear();
        self.ready.clear();
        self.lingering.clear();
        self.stalls = 0;
        for (key, lines) in &mut self.attempts {
            lines.rewind();
            lines.place = if lines.kept.is_empty() { Place::Nowhere } else { Place::Ready };
            if lines.place == Place::Ready {
                self.ready.push_back(key.clone());
            }
        }
    }

    /// Whether the server has every line.
    pub(super) fn is_empty(&self) -> bool {
        self.kept == 0
    }

    fn queue(&mut self, key: &Key, now: Instant) -> Option<Instant> {
        let lines = self.attempts.get_mut(key)?;
        let full = lines.unsent_bytes >= FULL_ENOUGH;
        match (lines.place, full) {
            (Place::Nowhere | Place::Lingering, true) => {
                lines.place = Place::Ready;
                self.ready.push_back(key.clone());
                None
            }
            (Place::Nowhere, false) => {
                lines.place = Place::Lingering;
                self.lingering.push_back((now + LINGER, key.clone()));
                Some(now + LINGER)
            }
            (Place::Lingering, false) | (Place::Ready, _) => None,
        }
    }

    fn drop_oldest(&mut self) {
        while self.bytes > self.ring_bytes {
            let Some((key, offset)) = self.ages.pop_front() else { return };
            let Some(lines) = self.attempts.get_mut(&key) else { continue };
            let is_last = offset == lines.next - 1;
            while let Some(line) = lines.kept.pop_front_if(|line| line.offset < offset + i64::from(!is_last)) {
                if line.offset >= lines.sent {
                    lines.unsent_bytes -= line.bytes;
                }
                self.kept -= 1;
                self.bytes -= line.bytes;
            }
            if let Some(line) = lines.kept.front_mut().filter(|line| line.offset == offset) {
                line.entry.message = DROPPED.into();
                line.entry.fields.clear();
                let bytes = size(&line.entry);
                if offset >= lines.sent {
                    lines.unsent_bytes = lines.unsent_bytes + bytes - line.bytes;
                }
                self.bytes = self.bytes + bytes - line.bytes;
                line.bytes = bytes;
            }
        }
        // Lines that were acknowledged leave their age behind.
        if self.ages.len() > 1_024 + 2 * self.kept {
            let attempts = &self.attempts;
            self.ages.retain(|(key, offset)| {
                attempts.get(key).and_then(|lines| lines.kept.front()).is_some_and(|line| line.offset <= *offset)
            });
        }
    }

    fn ack_timeout(&self) -> Duration {
        LONGEST_ACK_TIMEOUT.min(ACK_TIMEOUT * 2u32.saturating_pow(self.stalls.min(8)))
    }
}

impl Lines {
    fn rewind(&mut self) {
        self.sent = self.acked;
        self.unsent_bytes = self.kept.iter().map(|line| line.bytes).sum();
    }

    fn take(&mut self, key: &Key, max_bytes: usize) -> Option<LogBatch> {
        let start = self.kept.partition_point(|line| line.offset < self.sent);
        let first = self.kept.get(start)?.offset;
        let mut batch = LogBatch {
            attempt: Some(key.wire()),
            first_offset: first,
            entries: Vec::new(),
            dropped_count: first - self.sent,
        };
        let mut room = max_bytes.saturating_sub(batch.encoded_len());
        for line in self.kept.range(start..) {
            // A tag and a length before each entry.
            let cost = line.entry.encoded_len() + 6;
            if cost > room && !batch.entries.is_empty() {
                break;
            }
            room = room.saturating_sub(cost);
            batch.entries.push(line.entry.clone());
            self.sent = line.offset + 1;
            self.unsent_bytes -= line.bytes;
        }
        Some(batch)
    }
}

fn size(entry: &LogEntry) -> usize {
    let fields: usize = entry.fields.iter().map(|(name, value)| name.len() + value.len() + LINE_OVERHEAD).sum();
    entry.message.len() + fields + LINE_OVERHEAD
}

/// Cuts a line to `limit` bytes, with a marker. Fields may take half of it; what does not fit is left out.
fn shorten(mut entry: LogEntry, limit: usize) -> LogEntry {
    let mut room = limit / 2;
    let mut fields = BTreeMap::new();
    for (name, value) in std::mem::take(&mut entry.fields) {
        let cost = name.len() + value.len();
        if cost <= room {
            room -= cost;
            fields.insert(name, value);
        }
    }
    let room = limit - (limit / 2 - room);
    entry.fields = fields;
    if entry.message.len() > room {
        let marker = format!(" … [cut from {} bytes]", entry.message.len());
        entry.message = cut(entry.message, room.saturating_sub(marker.len()));
        entry.message.push_str(&marker);
    }
    entry
}

#[cfg(test)]
mod tests;
