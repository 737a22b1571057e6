//! What the process uses, as Linux tells it. Elsewhere nothing is told, rather than something that is not so.

use std::{fmt, fs};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::gauge::ConstGauge,
};

/// Reads `/proc/self` at each scrape.
#[derive(Debug)]
pub(super) struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let resident = field(&status, "VmRSS:").map(|kilobytes| kilobytes * 1_024);
        let files = fs::read_dir("/proc/self/fd").ok().and_then(|files| i64::try_from(files.count()).ok());
        for (name, help, value) in [
            ("process_resident_memory_bytes", "Memory of the process that is in RAM", resident),
            ("process_threads", "Threads of the process", field(&status, "Threads:")),
            ("process_open_fds", "Files and sockets that the process has open", files),
        ] {
            let Some(value) = value else { continue };
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        Ok(())
    }
}

/// The number of a line such as `VmRSS:     1234 kB`.
fn field(status: &str, name: &str) -> Option<i64> {
    status.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}
