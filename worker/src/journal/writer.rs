//! The thread that writes: what waits is written together and waited for once.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write as _},
    path::Path,
    sync::{Arc, mpsc},
    time::Duration,
};

use mainspring_proto::worker::v1::AttemptResult;
use prost::Message as _;

use super::{
    folder::{Paths, create, remove, sync_folder},
    record::{self, Whose},
};
use crate::{clock, state::Key};

/// So many entries share one wait for the disk.
const MAX_BATCH: usize = 1_000;
/// How long a disk that takes no more is left alone.
const TRY_AGAIN: Duration = Duration::from_secs(5);
/// A file this small is never made smaller.
const SMALL_BYTES: usize = 4 << 20;

/// What is to be written.
pub(super) enum Entry {
    /// A result that must outlive this process.
    Keep { key: Key, result: Arc<AttemptResult>, then: Box<dyn FnOnce(bool) + Send> },
    /// It need not any more.
    Strike(Key),
    /// Nothing more will come.
    Close,
}

/// A journal and everything that is in it.
pub(crate) struct Writer {
    paths: Paths,
    /// Held as long as the journal is written.
    _lock: File,
    file: File,
    /// What the file begins with.
    beginning: Vec<u8>,
    length: usize,
    live: BTreeMap<Key, Arc<AttemptResult>>,
    live_bytes: usize,
    /// When the disk, having failed, is tried again.
    try_again: Option<clock::Instant>,
}

impl Writer {
    /// An empty journal, on the disk.
    pub(super) fn create(paths: Paths, lock: File, whose: &Whose) -> io::Result<Self> {
        let beginning = record::beginning(whose);
        let file = put(&paths, &beginning)?;
        let length = beginning.len();
        Ok(Self { paths, _lock: lock, file, beginning, length, live: BTreeMap::new(), live_bytes: 0, try_again: None })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.paths.journal
    }

    /// Writes until there is nothing more to come.
    pub(super) fn run(mut self, inbox: &mpsc::Receiver<Entry>, health: &dyn Fn(Option<&str>)) {
        let mut closing = false;
        while !closing {
            let Some(first) = self.wait(inbox) else { break };
            let mut bytes = Vec::new();
            let mut waiting = Vec::new();
            for entry in first.into_iter().chain(inbox.try_iter().take(MAX_BATCH - 1)) {
                match entry {
                    Entry::Keep { key, result, then } => {
                        record::keep(&mut bytes, &result);
                        self.live_bytes += result.encoded_len();
                        self.live.insert(key, result);
                        waiting.push(then);
                    }
                    Entry::Strike(key) => {
                        if let Some(result) = self.live.remove(&key) {
                            self.live_bytes -= result.encoded_len();
                            record::strike(&mut bytes, &key);
                        }
                    }
                    Entry::Close => closing = true,
                }
            }
            if closing {
                self.try_again = self.try_again.map(|_| clock::now());
            }
            let on_disk = self.write(&bytes, !waiting.is_empty(), health);
            waiting.into_iter().for_each(|then| then(on_disk));
        }
        if self.live.is_empty()
            && let Err(error) = self.paths.remove()
        {
            tracing::warn!("the journal {} cannot be removed: {error}", self.paths.journal.display());
        }
    }

    /// The next entry, or none where it is time to try the disk again; `None` where nothing more will come.
    fn wait(&self, inbox: &mpsc::Receiver<Entry>) -> Option<Option<Entry>> {
        let Some(at) = self.try_again else { return inbox.recv().ok().map(Some) };
        match inbox.recv_timeout(at.since(clock::now())) {
            Ok(entry) => Some(Some(entry)),
            Err(mpsc::RecvTimeoutError::Timeout) => Some(None),
            Err(mpsc::RecvTimeoutError::Disconnected) => None,
        }
    }

    /// Answers whether everything that must be kept is on the disk.
    fn write(&mut self, bytes: &[u8], durably: bool, health: &dyn Fn(Option<&str>)) -> bool {
        let was_broken = self.try_again.is_some();
        if self.try_again.is_some_and(|at| at > clock::now()) {
            return false;
        }
        let grown = self.length + bytes.len() > SMALL_BYTES.max(2 * (self.live_bytes + self.beginning.len()));
        // After a failure nobody knows what the file holds, so it is never appended to again.
        match if was_broken || grown { self.replace() } else { self.append(bytes, durably) } {
            Ok(()) => {
                self.try_again = None;
                if was_broken {
                    health(None);
                }
                true
            }
            Err(error) => {
                self.try_again = Some(clock::now() + TRY_AGAIN);
                if !was_broken {
                    health(Some(&format!("{}: {error}", self.paths.journal.display())));
                }
                false
            }
        }
    }

    fn append(&mut self, bytes: &[u8], durably: bool) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.length += bytes.len();
        // A strike that is lost costs a repeated delivery, which the server recognises.
        if durably { self.file.sync_data() } else { Ok(()) }
    }

    /// Writes a new file with nothing but what must be kept, and puts it in the old one's place.
    fn replace(&mut self) -> io::Result<()> {
        let mut bytes = self.beginning.clone();
        self.live.values().for_each(|result| record::keep(&mut bytes, result));
        self.file = put(&self.paths, &bytes)?;
        self.length = bytes.len();
        Ok(())
    }

    /// The same journal, on another file.
    #[cfg(test)]
    pub(super) fn on(mut self, file: File) -> Self {
        self.file = file;
        self
    }
}

/// Puts a file with these bytes in the journal's place, on the disk; answers it, for more to be appended.
fn put(paths: &Paths, bytes: &[u8]) -> io::Result<File> {
    remove(&paths.new)?;
    let mut file = create(&paths.new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&paths.new, &paths.journal)?;
    sync_folder(&paths.journal)?;
    Ok(file)
}
