//! What is measured, and what each figure means.

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum;

use super::{
    backlog, machine,
    stage::{self, Stage},
};

/// The lateness of a run is allowed for by nobody before it is due.
const DUE: u64 = 200;

/// A scenario by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// An idle server: memory, time to the first answer
    Idle,
    /// Durable submissions, one a call, 64 callers; and one caller alone
    SubmitSingle,
    /// Durable submissions in batches of 500
    SubmitBatch,
    /// From the first submission to the last recorded outcome; one worker with 500 slots
    E2e,
    /// The same with 50 slots
    E2eSmall,
    /// From before the call to the first line of the handler, at 50 a second
    Latency,
    /// 200 runs due at one instant: how late each begins
    LatenessSame,
    /// 200 runs due 50 ms apart: how late each begins
    LatenessSpread,
    /// 100,000 runs that wait for their time: memory and disk
    #[value(name = "scheduled-100k")]
    Scheduled100k,
    /// 1,000,000 runs that wait for their time: restart, lateness beside them
    #[value(name = "scheduled-1m")]
    Scheduled1m,
    /// Workers that hold a stream and do nothing: memory of each, heartbeats
    StreamsIdle,
    /// 1,000,000 runs that wait for a worker, in 1,000 fairness keys and 10 priorities: how fast they go beside how fast 10,000
    /// of the same shape go, how fairly, how soon an urgent one; restart, memory
    #[value(name = "backlog-1m")]
    Backlog1m,
    /// Pages of the list of runs beside 1,000,000
    #[value(name = "list-1m")]
    List1m,
}

pub(super) type Figures = Vec<(&'static str, f64)>;

impl Scenario {
    /// Its name on the command line.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::SubmitSingle => "submit-single",
            Self::SubmitBatch => "submit-batch",
            Self::E2e => "e2e",
            Self::E2eSmall => "e2e-small",
            Self::Latency => "latency",
            Self::LatenessSame => "lateness-same",
            Self::LatenessSpread => "lateness-spread",
            Self::Scheduled100k => "scheduled-100k",
            Self::Scheduled1m => "scheduled-1m",
            Self::StreamsIdle => "streams-idle",
            Self::Backlog1m => "backlog-1m",
            Self::List1m => "list-1m",
        }
    }

    /// Whether what it measures depends on what a commit promises.
    pub(super) fn flushes(self) -> bool {
        matches!(
            self,
            Self::SubmitSingle
                | Self::SubmitBatch
                | Self::E2e
                | Self::E2eSmall
                | Self::Latency
                | Self::LatenessSame
                | Self::LatenessSpread
        )
    }

    /// One repetition.
    pub(super) async fn play(self, synchronous: &str, smoke: bool) -> Result<Figures> {
        let scale = |count: u64| if smoke { count.div_ceil(100) } else { count };
        match self {
            Self::Idle => idle(synchronous).await,
            Self::SubmitSingle => submit_single(synchronous, scale(20_000)).await,
            Self::SubmitBatch => submit_batch(synchronous, scale(100_000)).await,
            Self::E2e => end_to_end(synchronous, scale(100_000), 500).await,
            Self::E2eSmall => end_to_end(synchronous, scale(50_000), 50).await,
            Self::Latency => latency(synchronous, scale(1_000)).await,
            Self::LatenessSame => lateness(synchronous, scale(DUE), 0).await,
            Self::LatenessSpread => lateness(synchronous, scale(DUE), 50).await,
            Self::Scheduled100k => scheduled(synchronous, scale(100_000)).await,
            Self::Scheduled1m => scheduled(synchronous, scale(1_000_000)).await,
            Self::StreamsIdle => streams(synchronous, scale(2_000)).await,
            Self::Backlog1m => backlog::play(synchronous, scale(1_000_000)).await,
            Self::List1m => list(synchronous, scale(1_000_000), scale(2_000)).await,
        }
    }
}

async fn idle(synchronous: &str) -> Result<Figures> {
    let mut stage = Stage::set(synchronous).await?;
    let begin = crate::harness::host::monotonic();
    stage.server.terminate(crate::harness::host::PATIENCE).await?;
    stage.server.restart().await?;
    let restart = super::figures::millis(crate::harness::host::monotonic() - begin);
    Ok(vec![("memory_mib", stage.memory()?), ("restart_ms", restart)])
}

async fn submit_single(synchronous: &str, count: u64) -> Result<Figures> {
    let stage = Stage::set(synchronous).await?;
    let many = stage.load("single", count, &[("callers", 64)]).await?;
    let alone = stage.load("single", count.div_ceil(20), &[("callers", 1)]).await?;
    Ok(vec![
        ("runs_per_s", rate(count, many.begin, many.end)),
        ("call_p50_ms", many.call.p50),
        ("call_p99_ms", many.call.p99),
        ("alone_p50_ms", alone.call.p50),
    ])
}

async fn submit_batch(synchronous: &str, count: u64) -> Result<Figures> {
    let stage = Stage::set(synchronous).await?;
    let load = stage.load("batch", count, &[]).await?;
    Ok(vec![("runs_per_s", rate(count, load.begin, load.end)), ("call_p99_ms", load.call.p99)])
}

async fn end_to_end(synchronous: &str, count: u64, slots: u32) -> Result<Figures> {
    let mut stage = Stage::set(synchronous).await?;
    let mut worker = stage.worker(slots, count).await?;
    let pid = stage.pid()?;
    let used = machine::processor(pid)?;
    let load = stage.load("batch", count, &[]).await?;
    worker.handled().await?;
    let over = stage.all_over().await?;
    let used = machine::processor(pid)? - used;
    Ok(vec![
        ("runs_per_s", rate(count, load.begin, over)),
        ("server_cpu_us_per_run", used * 1_000.0 / float(count)),
        ("memory_mib", stage.memory()?),
    ])
}

async fn latency(synchronous: &str, count: u64) -> Result<Figures> {
    let stage = Stage::set(synchronous).await?;
    let mut worker = stage.worker(50, count).await?;
    let load = stage.load("paced", count, &[("rate", 50)]).await?;
    let delay = worker.handled().await?.delay;
    Ok(vec![
        ("to_handler_p50_ms", delay.p50),
        ("to_handler_p99_ms", delay.p99),
        ("call_p50_ms", load.call.p50),
        ("call_p99_ms", load.call.p99),
    ])
}

async fn lateness(synchronous: &str, count: u64, apart_ms: u64) -> Result<Figures> {
    let stage = Stage::set(synchronous).await?;
    late(&stage, count, apart_ms).await
}

async fn late(stage: &Stage, count: u64, apart_ms: u64) -> Result<Figures> {
    let mut worker = stage.worker(500, count).await?;
    stage.load("due", count, &[("apart-ms", apart_ms)]).await?;
    let delay = worker.handled().await?.delay;
    Ok(vec![("late_p50_ms", delay.p50), ("late_p99_ms", delay.p99), ("late_max_ms", delay.max)])
}

async fn scheduled(synchronous: &str, count: u64) -> Result<Figures> {
    let mut stage = Stage::set(synchronous).await?;
    let before = stage.memory()?;
    let load = stage.load("far", count, &[]).await?;
    let grown = stage.memory()? - before;
    let begin = crate::harness::host::monotonic();
    stage.server.terminate(crate::harness::host::PATIENCE).await?;
    // Stopped in order, so that what the write-ahead log held is in the database.
    let disk = machine::on_disk(&stage.server.data())?;
    stage.server.restart().await?;
    let restart = super::figures::millis(crate::harness::host::monotonic() - begin);
    let mut figures = vec![
        ("runs_per_s", rate(count, load.begin, load.end)),
        ("memory_grown_mib", grown),
        ("disk_mib", disk),
        ("restart_ms", restart),
        ("memory_restarted_mib", stage.memory()?),
    ];
    figures.extend(late(&stage, DUE, 50).await?);
    Ok(figures)
}

async fn streams(synchronous: &str, count: u64) -> Result<Figures> {
    let mut stage = Stage::set(synchronous).await?;
    let before = stage.memory()?;
    let mut load = stage.start_load("streams", 10, &[("streams", count)])?;
    load.line_after("up").await?;
    let each = (stage.memory()? - before) * 1024.0 / float(count);
    let report: super::load::Report = stage::report(&mut load).await?;
    let (p50, p99) = (report.call.p50, report.call.p99);
    Ok(vec![("memory_each_kib", each), ("heartbeat_p50_ms", p50), ("heartbeat_p99_ms", p99)])
}

async fn list(synchronous: &str, rows: u64, calls: u64) -> Result<Figures> {
    let stage = Stage::set(synchronous).await?;
    stage.load("far", rows, &[]).await?;
    let report = stage.load("list", calls.min(rows / 50).max(1), &[]).await?;
    ensure!(report.answered > 0, "nothing was listed");
    Ok(vec![("call_p50_ms", report.call.p50), ("call_p99_ms", report.call.p99)])
}

pub(super) fn rate(count: u64, begin: i64, end: i64) -> f64 {
    let micros = u64::try_from(end - begin).context("time goes forwards").unwrap_or(1).max(1);
    float(count) * 1e6 / float(micros)
}

#[expect(clippy::cast_precision_loss, reason = "no measurement has 53 bits of precision")]
pub(super) fn float(count: u64) -> f64 {
    count as f64
}
