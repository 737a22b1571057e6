//! A disk that is full, for one process, in two ways: its files may not grow, or it has a small disk of its own.
//! And a system that has no more files for it.
//!
//! The first is a limit of the kernel (`RLIMIT_FSIZE`) and works everywhere: the database sees an error as it is written. The
//! second is a file system in memory, mounted where only the process sees it, by a namespace that needs no right of root and
//! ends with the process.

use std::{
    fs::{self, File},
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit, setrlimit};

/// Begins a line of a shell that starts a process for [`fill`]: a write beyond the limit is an error for it, not its end.
pub const HARDENED: &str = "trap '' XFSZ; exec";

/// No file of the process grows any more.
pub fn fill(pid: u32) -> Result<()> {
    limit(pid, Some(0))
}

/// There is room again.
pub fn free(pid: u32) -> Result<()> {
    limit(pid, None)
}

fn limit(pid: u32, size: Option<u64>) -> Result<()> {
    let pid = Pid::from_raw(i32::try_from(pid)?).context("a process has a number")?;
    prlimit(Some(pid), Resource::Fsize, Rlimit { current: size, maximum: None })?;
    Ok(())
}

/// A line of a shell that becomes `program`, with a disk of 16 MiB at `folder`.
pub fn small(folder: &str, program: &str) -> String {
    mounted(folder, "-o size=16m,mode=700", program)
}

/// A line of a shell that becomes `program`, with a folder that can only be read.
pub fn read_only(folder: &str, program: &str) -> String {
    mounted(folder, "-o ro", program)
}

fn mounted(folder: &str, options: &str, program: &str) -> String {
    format!(
        "exec unshare --user --map-root-user --mount sh -c 'mkdir -p {folder} && mount -t tmpfs {options} none {folder} && exec {program}'"
    )
}

/// The small disk of a process, seen from outside.
#[derive(Debug)]
pub struct Small {
    filler: PathBuf,
}

impl Small {
    /// The disk that process `pid` has at `folder`.
    pub fn of(pid: u32, folder: &Path) -> Self {
        let seen = PathBuf::from(format!("/proc/{pid}/root{}", folder.display()));
        Self { filler: seen.join("filler") }
    }

    /// Takes all room there is.
    pub fn fill(&self) -> Result<()> {
        let mut filler = File::create(&self.filler).with_context(|| format!("{}", self.filler.display()))?;
        loop {
            match filler.write_all(&[0; 4_096]) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Gives it back.
    pub fn free(&self) -> Result<()> {
        Ok(fs::remove_file(&self.filler)?)
    }
}

/// The process has so many files open at most; those that are open stay so.
pub fn limit_files(pid: u32, files: u64) -> Result<()> {
    let pid = Pid::from_raw(i32::try_from(pid)?).context("a process has a number")?;
    prlimit(Some(pid), Resource::Nofile, Rlimit { current: Some(files), maximum: most_files() })?;
    Ok(())
}

fn most_files() -> Option<u64> {
    getrlimit(Resource::Nofile).maximum
}

/// This process may have as many files open as the system allows; returns how many that are.
pub fn raise_files() -> Result<u64> {
    let maximum = most_files();
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    Ok(maximum.unwrap_or(u64::MAX))
}
