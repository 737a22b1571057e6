//! The evidence files: JSON lines, one event a line, appended by one process each.
//!
//! What the lines mean is told where they are read, in `tests/check/src/evidence.rs`. The judge shares no code with
//! this module on purpose; a line it cannot read ends the judgement.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::host;

/// One process' file. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Journal {
    file: Arc<File>,
}

impl Journal {
    /// Opens a file, to add to what is there.
    pub fn open(path: &Path) -> Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path);
        Ok(Self { file: Arc::new(file.with_context(|| format!("evidence file {}", path.display()))?) })
    }

    /// Appends an event, with the time. One write a line, so that lines of several threads do not mix.
    pub fn note(&self, event: Value) -> io::Result<()> {
        let mut line = stamped(event).to_string();
        line.push('\n');
        (&*self.file).write_all(line.as_bytes())
    }

    /// The same, and on disk before this returns.
    pub fn note_durably(&self, event: Value) -> io::Result<()> {
        self.note(event)?;
        self.file.sync_data()
    }
}

fn stamped(mut event: Value) -> Value {
    if let Some(fields) = event.as_object_mut() {
        fields.entry("t").or_insert_with(|| host::monotonic().into());
    }
    event
}

/// A folder of evidence.
#[derive(Clone, Debug)]
pub struct Evidence {
    folder: PathBuf,
}

impl Evidence {
    /// Makes the folder.
    pub fn create(folder: PathBuf) -> Result<Self> {
        fs::create_dir_all(&folder).with_context(|| format!("evidence folder {}", folder.display()))?;
        Ok(Self { folder })
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The path of a process' file.
    pub fn path(&self, process: &str) -> PathBuf {
        self.folder.join(format!("{process}.jsonl"))
    }

    /// A journal in this folder.
    pub fn journal(&self, process: &str) -> Result<Journal> {
        Journal::open(&self.path(process))
    }

    /// The whole lines of a kind, of all files.
    pub fn lines(&self, kind: &str) -> Result<Vec<Value>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let text = fs::read_to_string(entry?.path())?;
            let whole = text.rfind('\n').map_or("", |end| &text[..end]);
            let lines = whole.lines().filter_map(|line| serde_json::from_str(line).ok());
            found.extend(lines.filter(|line: &Value| line["e"] == kind));
        }
        Ok(found)
    }

    /// The lines of a kind about a run.
    pub fn lines_of(&self, kind: &str, run: &str) -> Result<Vec<Value>> {
        let mut lines = self.lines(kind)?;
        lines.retain(|line| line["run"] == run);
        Ok(lines)
    }
}
