//! Case `stream`: the connections of workers break for less than a lease, and nobody is to notice: what ran goes on, and
//! no attempt is repeated.

use std::{collections::BTreeMap, time::Duration};

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
    println!("stream: {kills} breaks of workers' streams, each shorter than the lease of {lease:?}, seed {seed}");
    scene.add_workers(WORKERS, SLOTS, true).await?;
    let load = Load::start(scene.client.clone(), scene.diary.clone(), RATE, seed, Mix::Long);
    let mut rng = StdRng::seed_from_u64(seed);
    for _ in 0..kills {
        host::pass_time(Duration::from_millis(rng.random_range(500..2_000)), "moments drawn from the seed").await;
        break_stream(
            scene,
            rng.random_range(0..WORKERS),
            lease.mul_f64(rng.random_range(0.1..0.6)),
            rng.random_bool(0.6),
        )
        .await?;
    }
    let (_, allowed) = scene.allowed(RATE).await?;
    let healed = scene.heal(allowed).await?;
    load.stop().await;
    let rest = scene.rest(healed["wall"].as_i64().unwrap_or_default(), allowed).await;
    let code = conclude(scene, rest, &["jobs"]).await?;
    let Adopted { under_way, repeated } = adopted(&scene.evidence)?;
    println!("{under_way} attempts were under way when their stream broke, {repeated} were repeated");
    Ok(match (repeated, under_way) {
        (1.., _) => 1,
        (0, 0) => code.max(2),
        (0, _) => code,
    })
}

/// Breaks the stream of a worker for a while: either its connections end and no new one is let in, or nothing arrives.
async fn break_stream(scene: &mut Scene, index: usize, length: Duration, sever: bool) -> Result<()> {
    let kind = if sever { "SEVER" } else { "SILENCE" };
    scene.note_stream(index, kind, true)?;
    if let Some(proxy) = scene.places.get(index).and_then(|place| place.proxy.as_ref()) {
        if sever {
            proxy.sever()
        } else {
            proxy.silence()
        }
        host::pass_time(length, "a broken stream, for less than a lease").await;
        proxy.heal();
    }
    scene.note_stream(index, kind, false)?;
    if let Some(place) = scene.places.get_mut(index) {
        place.worker.connected().await?;
    }
    println!("{kind} of worker {index} for {length:?}");
    Ok(())
}

struct Adopted {
    under_way: usize,
    repeated: usize,
}

/// From the evidence alone: attempts that had started and not ended when their worker's stream broke, and runs that
/// started more than once.
fn adopted(evidence: &Evidence) -> Result<Adopted> {
    let t = |line: &Value| line["t"].as_u64().unwrap_or_default();
    let key = |line: &Value| (line["run"].to_string(), line["attempt"].to_string());
    let ends: BTreeMap<_, _> = evidence.lines("END")?.iter().map(|line| (key(line), t(line))).collect();
    let starts = evidence.lines("START")?;
    let mut under_way = 0;
    for fault in evidence.lines("FAULT")? {
        let at = t(&fault);
        let held = |start: &&Value| {
            start["worker"] == fault["worker"] && t(start) < at && ends.get(&key(start)).is_none_or(|end| *end > at)
        };
        under_way += starts.iter().filter(held).count();
    }
    let mut runs: BTreeMap<String, usize> = BTreeMap::new();
    for start in &starts {
        *runs.entry(start["run"].to_string()).or_default() += 1;
    }
    Ok(Adopted { under_way, repeated: runs.values().filter(|count| **count > 1).count() })
}
