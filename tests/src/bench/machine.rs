//! What a figure depends on beside the product: the machine and how busy it is.

use std::{fs, io::Write as _, path::Path};

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::figures::{Percentiles, millis};
use crate::harness::host;

/// How many flushes are timed.
const FLUSHES: usize = 50;
/// What is written before each.
const BLOCK: usize = 8 << 10;

/// The machine, just before a scenario.
#[derive(Debug, Serialize)]
pub(super) struct Machine {
    pub(super) cores: usize,
    /// Of the last minute.
    pub(super) load_average: f64,
    /// The median `fdatasync` of 8 KiB, in the folder that databases are made in.
    pub(super) flush_ms: f64,
    pub(super) kernel: String,
}

impl Machine {
    pub(super) fn now() -> Result<Self> {
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let load = load.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or_default();
        Ok(Self {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            load_average: load,
            flush_ms: flush().context("how long a flush takes")?,
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
        })
    }
}

fn flush() -> Result<f64> {
    let mut file = tempfile::tempfile()?;
    let block = vec![7_u8; BLOCK];
    let mut samples = Vec::with_capacity(FLUSHES);
    for _ in 0..FLUSHES {
        file.write_all(&block)?;
        let begin = host::monotonic();
        file.sync_data()?;
        samples.push(host::monotonic() - begin);
    }
    Ok(Percentiles::of_nanos(samples).p50)
}

/// The processor time a process has used so far, in milliseconds.
pub(super) fn processor(pid: u32) -> Result<f64> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task")).context("a process that is measured")? {
        let stat = fs::read_to_string(task?.path().join("schedstat")).unwrap_or_default();
        sum += stat.split(' ').next().and_then(|word| word.parse::<u64>().ok()).unwrap_or_default();
    }
    Ok(millis(sum))
}

/// The files of a database, in MiB.
pub(super) fn on_disk(folder: &Path) -> Result<f64> {
    let mut sum = 0;
    for file in fs::read_dir(folder)? {
        let file = file?;
        if file.file_name().to_string_lossy().starts_with("mainspring.db") {
            sum += file.metadata()?.len();
        }
    }
    Ok(mebi(sum))
}

/// Bytes in MiB.
#[expect(clippy::cast_precision_loss, reason = "no measurement has 53 bits of precision")]
pub(super) fn mebi(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
