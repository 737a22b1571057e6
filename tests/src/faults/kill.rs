//! Case `kill`: the server and its workers die again and again, under load.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use anyhow::Result;

use super::{
    Options, conclude,
    load::{Counts, Load, Mix},
    plan::{self, Hit},
};
use crate::harness::{
    host,
    scene::{REDISPATCH_GRACE, Scene},
};

const WORKERS: usize = 3;
const SLOTS: u32 = 8;
const JOBS: usize = 5;
/// How often the case says how far it is.
const TELL_EVERY: u64 = 5_000_000_000;

pub(super) async fn play(scene: &mut Scene, options: &Options) -> Result<u8> {
    let Options { kills, seed, lease, rate, keep: _ } = options.clone();
    println!(
        "kill: {kills} SIGKILLs of the server and {kills} of workers, seed {seed}, lease {lease:?}, {rate} runs/s"
    );
    scene.add_workers(WORKERS, SLOTS, false).await?;
    scene.add_jobs(JOBS).await?;
    let load = Load::start(scene.client.clone(), scene.diary.clone(), rate, seed, Mix::Everything);
    host::pass_time(Duration::from_secs(1), "the load is to be under way before anything breaks").await;
    break_things(scene, &plan::kills(seed, kills, WORKERS, lease + REDISPATCH_GRACE), &load.counts).await?;

    let (backlog, allowed) = scene.allowed(rate).await?;
    let healed = scene.heal(allowed).await?;
    println!("healed: {backlog} runs unfinished, to be over within {allowed:?}");
    let counts = load.counts.clone();
    load.stop().await;
    let rest = scene.rest(healed["wall"].as_i64().unwrap_or_default(), allowed).await;
    let code = conclude(scene, rest, &[]).await?;
    match counts.refused.load(Relaxed) {
        0 => Ok(code),
        refused => {
            println!("{refused} submissions were refused, and none should be");
            Ok(code.max(1))
        }
    }
}

async fn break_things(scene: &mut Scene, plan: &[plan::Blow], counts: &Counts) -> Result<()> {
    let (mut servers, mut workers, mut told) = (0, 0, host::monotonic());
    for blow in plan {
        host::pass_time(blow.after, "faults come at moments drawn from the seed").await;
        match blow.hit {
            Hit::Server { down } => {
                scene.kill_server(down).await?;
                servers += 1;
            }
            Hit::Worker { index } => {
                scene.kill_worker(index).await?;
                workers += 1;
            }
        }
        let now = host::monotonic();
        if now - told > TELL_EVERY || servers + workers == plan.len() {
            told = now;
            let [sent, acked, unknown, cancelled] =
                [&counts.sent, &counts.acked, &counts.unknown, &counts.cancelled].map(|count| count.load(Relaxed));
            println!(
                "killed: server {servers}, workers {workers}   sent {sent}, acknowledged {acked}, unknown {unknown}, \
                 cancelled {cancelled}"
            );
        }
    }
    Ok(())
}
