//! Case `pause`: workers stand still for longer than their lease, and then go on as if nothing had happened.
//!
//! Their runs have started elsewhere by then, so what they have to report is too late and must count for nothing.
//! Executions overlap here, which at-least-once allows; the judge demands one end and one attempt that decided.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::Result;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::Value;

use super::{
    Options, conclude,
    load::{Load, Mix},
};
use crate::harness::{host, journal::Evidence, scene::Scene};

const WORKERS: usize = 3;
const SLOTS: u32 = 8;
/// Long runs: more would only wait.
const RATE: u32 = 8;

pub(super) async fn play(scene: &mut Scene, options: &Options) -> Result<u8> {
    let Options { kills, seed, lease, .. } = options.clone();
    println!("pause: workers stand still {kills} times for longer than their lease of {lease:?}, seed {seed}");
    scene.add_workers(WORKERS, SLOTS, false).await?;
    let load = Load::start(scene.client.clone(), scene.diary.clone(), RATE, seed, Mix::Long);
    let mut rng = StdRng::seed_from_u64(seed);
    for _ in 0..kills {
        host::pass_time(Duration::from_millis(rng.random_range(500..1_500)), "moments drawn from the seed").await;
        let index = rng.random_range(0..WORKERS);
        let length = lease.mul_f64(rng.random_range(1.1..1.8));
        scene.pause_worker(index, length).await?;
        println!("worker {index} stood still for {length:?}");
    }
    let (_, allowed) = scene.allowed(RATE).await?;
    let healed = scene.heal(allowed).await?;
    load.stop().await;
    let rest = scene.rest(healed["wall"].as_i64().unwrap_or_default(), allowed).await;
    let code = conclude(scene, rest, &["jobs"]).await?;
    let Late { repeated, uncounted } = late(&scene.evidence)?;
    println!("{repeated} runs started again elsewhere, {uncounted} results came too late and counted for nothing");
    // A case in which nobody came too late has shown nothing.
    Ok(if uncounted == 0 { code.max(2) } else { code })
}

struct Late {
    repeated: usize,
    uncounted: usize,
}

/// From the evidence alone: runs that started more than once, and attempts that ended well without being applied. The
/// server tells a worker that comes back which attempts to abandon, so most of these results are never even sent.
fn late(evidence: &Evidence) -> Result<Late> {
    let key = |line: &Value| (line["run"].to_string(), line["attempt"].to_string());
    let mut runs: BTreeMap<String, usize> = BTreeMap::new();
    for start in evidence.lines("START")? {
        *runs.entry(start["run"].to_string()).or_default() += 1;
    }
    let counts = |ack: &&Value| ack["disposition"] == "APPLIED" || ack["disposition"] == "DUPLICATE";
    let applied: BTreeSet<_> = evidence.lines("ACK")?.iter().filter(counts).map(key).collect();
    let ends = evidence.lines("END")?;
    let uncounted = ends.iter().filter(|end| !applied.contains(&key(end))).count();
    Ok(Late { repeated: runs.values().filter(|starts| **starts > 1).count(), uncounted })
}
