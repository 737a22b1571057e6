//! The result journal: what handlers have done survives the worker that did it.
//!
//! A result is written down, and on the disk, before it is sent; when the server has answered it, it is struck out. If
//! the process dies in between, the next worker that is given the same folder finds the file, sees by its lock that
//! nobody writes it any more, and delivers what is left by single calls. The attempt number fences it: a run that was
//! handed out again meanwhile keeps its own result, and one whose lease merely ended takes this one.
//!
//! Each worker writes a file of its own, named after its id, with a lock beside it that it holds as long as it lives:
//!
//! | file | what |
//! |---|---|
//! | `ID.journal` | results and strikes, only ever appended to ([`record`]); replaced as a whole to make it small |
//! | `ID.lock` | locked by the worker that writes it, or by the one that delivers what another left |
//!
//! The disk is waited for on a thread of its own ([`writer`]), many results at a time. A disk that takes no more costs
//! the protection, not the results: they go out at once, and the worker takes no new work until it can write again.

mod folder;
mod record;
mod writer;

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    thread,
};

use mainspring_proto::worker::v1::AttemptResult;
use parking_lot::Mutex;

use self::{folder::Paths, writer::Entry};
pub(crate) use self::{folder::open, writer::Writer};
use crate::state::Key;

/// What a worker writes to.
pub(crate) struct Journal {
    entries: mpsc::Sender<Entry>,
    thread: Mutex<Option<thread::JoinHandle<()>>>,
    path: PathBuf,
}

/// What a worker that is gone has left behind.
pub(crate) struct Legacy {
    /// Its lock, held until everything is delivered.
    lock: File,
    paths: Paths,
    /// The namespace of the runs.
    pub(crate) namespace: String,
    /// What the server has not answered.
    pub(crate) results: Vec<AttemptResult>,
}

impl Legacy {
    /// Everything in it is delivered.
    pub(crate) fn remove(self) {
        if let Err(error) = self.paths.remove() {
            tracing::warn!("the journal {} cannot be removed: {error}", self.path().display());
        }
        drop(self.lock);
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.paths.journal
    }
}

impl Journal {
    /// Starts the thread that writes. It tells `health` when the disk takes no more, and when it does again.
    #[expect(clippy::disallowed_methods, reason = "a flush blocks its thread, so the file has one of its own")]
    pub(crate) fn start(writer: Writer, health: impl Fn(Option<&str>) + Send + 'static) -> io::Result<Self> {
        let (entries, inbox) = mpsc::channel();
        let path = writer.path().to_owned();
        let work = move || writer.run(&inbox, &health);
        let thread = thread::Builder::new().name("mainspring-journal".into()).spawn(work)?;
        Ok(Self { entries, thread: Mutex::new(Some(thread)), path })
    }

    /// Calls `then` when the result is on the disk, or false where it cannot be.
    pub(crate) fn keep(&self, key: Key, result: Arc<AttemptResult>, then: impl FnOnce(bool) + Send + 'static) {
        let entry = Entry::Keep { key, result, then: Box::new(then) };
        // A writer that is gone protects nothing, and holds nothing up either.
        if let Err(mpsc::SendError(Entry::Keep { then, .. })) = self.entries.send(entry) {
            then(false);
        }
    }

    /// The result need not be kept any more.
    pub(crate) fn strike(&self, key: Key) {
        let _ = self.entries.send(Entry::Strike(key));
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes what there is to write, and lets go of the file: removed if it is empty, else left for another worker.
    pub(crate) fn close(&self) {
        let _ = self.entries.send(Entry::Close);
        if let Some(thread) = self.thread.lock().take() {
            // A thread that panicked has said so; what it wrote is there.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests;
