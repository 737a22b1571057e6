//! A disk that is full, for one process: files it writes may not grow, until they may again. And a system that has no more
//! files for it.
//!
//! The limit is the kernel's (`RLIMIT_FSIZE`), so the database sees the error that a full disk gives, and nothing else on
//! the machine does.

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
