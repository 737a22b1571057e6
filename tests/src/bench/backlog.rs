//! A great backlog beside a small one of the same shape: whether what waits costs anything.
//!
//! Both are submitted in batches through the API while no worker is there. The rate is that of the first runs that a worker
//! then handles, from the first to the last of them, so that neither connecting nor a drained lane's end is in it.

use anyhow::Result;

use super::{
    figures::millis,
    scenario::{Figures, float, rate},
    stage::Stage,
};
use crate::harness::host::{self, PATIENCE};

/// Of the small backlog, so many hundredths are timed, and as many runs of the large one.
const TIMED: u64 = 90;
/// Urgent runs, and how many come in a second.
const URGENT: (u64, u64) = (10, 4);

/// How far apart the keys of the highest priority are: between the one that had most runs leased and the one that had
/// fewest, in one view of the database.
const APART: &str = "SELECT max(leased) - min(leased) FROM (SELECT sum(ready_lane IS NULL) AS leased FROM run \
     WHERE priority = 9 GROUP BY fairness_key)";

pub(super) async fn play(synchronous: &str, count: u64) -> Result<Figures> {
    let (few, timed) = (count / 100, count / 100 * TIMED / 100);
    let small = {
        let stage = Stage::set(synchronous).await?;
        stage.load("backlog", few, &[]).await?;
        released(&stage, timed).await?.0
    };
    let mut stage = Stage::set(synchronous).await?;
    let idle = stage.memory()?;
    let load = stage.load("backlog", count, &[]).await?;
    let loaded = stage.memory()?;
    stage.server.terminate(PATIENCE).await?;
    let begin = host::monotonic();
    stage.server.restart().await?;
    let restart = millis(host::monotonic() - begin);
    let (large, apart) = released(&stage, timed).await?;
    let mut worker = stage.worker(500, timed * 10).await?;
    stage.load("urgent", URGENT.0, &[("rate", URGENT.1)]).await?;
    let handled = worker.handled().await?;
    Ok(vec![
        ("submitted_per_s", rate(count, load.begin, load.end)),
        ("small_runs_per_s", small),
        ("large_runs_per_s", large),
        ("large_to_small", large / small),
        ("later_runs_per_s", per_second(handled.count, handled.took)),
        ("keys_apart_runs", apart),
        ("overtaken_p50_ms", handled.delay.p50),
        ("overtaken_max_ms", handled.delay.max),
        ("restart_ms", restart),
        ("memory_grown_loading_mib", loaded - idle),
        ("memory_grown_releasing_mib", stage.memory()? - idle),
    ])
}

/// How fast a worker handles the first runs, and how far apart the keys of the highest priority are then.
async fn released(stage: &Stage, count: u64) -> Result<(f64, f64)> {
    let mut worker = stage.worker(500, count).await?;
    let handled = worker.handled().await?;
    let apart = u64::try_from(stage.ask(APART).await?)?;
    worker.leave().await?;
    Ok((per_second(count, handled.took), float(apart)))
}

fn per_second(count: u64, took_ms: f64) -> f64 {
    float(count) * 1e3 / took_ms.max(1e-3)
}
