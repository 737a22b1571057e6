//! Case `due`: the server dies within a tenth of a second of instants at which fifty jobs are due, before and after.
//! Nobody submits or cancels anything: what is judged is what became of the instants.

use std::time::Duration;

use anyhow::Result;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use super::{Options, conclude};
use crate::harness::{host, scene::Scene};

const WORKERS: usize = 2;
const SLOTS: u32 = 32;
/// Each is due every second.
const JOBS: usize = 50;
/// How far from the instant it dies at most.
const NEAR_MICROS: i64 = 100_000;
/// Between a return and the next death it fires at least one instant in peace.
const PEACE: Duration = Duration::from_millis(1_200);
/// How often the case says how far it is.
const TELL_EVERY: u32 = 20;
const SECOND: i64 = 1_000_000;

pub(super) async fn play(scene: &mut Scene, options: &Options) -> Result<u8> {
    let Options { kills, seed, lease, rate: _, keep: _ } = options.clone();
    println!("due: {kills} SIGKILLs within 100 ms of an instant of {JOBS} jobs, seed {seed}, lease {lease:?}");
    scene.add_workers(WORKERS, SLOTS, false).await?;
    scene.add_jobs(JOBS).await?;
    let mut rng = StdRng::seed_from_u64(seed);
    let (mut before, mut farthest, mut late) = (0, 0, 0);
    for number in 1..=kills {
        let down = Duration::from_millis(rng.random_range(0..400));
        let missed_by = loop {
            let offset = rng.random_range(-NEAR_MICROS..=NEAR_MICROS);
            host::pass_time(until(host::wall(), offset), "a server dies near an instant").await;
            // A busy machine may come too late; then it is the next instant.
            match distance(host::wall()) {
                near if near.abs() <= NEAR_MICROS => break near,
                _ => late += 1,
            }
        };
        scene.strike_server()?;
        farthest = farthest.max(missed_by.abs());
        before += u32::from(missed_by < 0);
        scene.revive_server(down).await?;
        if number % TELL_EVERY == 0 || number == kills {
            println!(
                "killed: {number}, {before} of them before the instant, the farthest {} ms from it",
                farthest / 1_000
            );
        }
    }
    println!("{late} instants were let pass, since the machine was too late for them");
    let (backlog, allowed) = scene.allowed(u32::try_from(JOBS)?).await?;
    let healed = scene.heal(allowed).await?;
    println!("healed: {backlog} runs unfinished, to be over within {allowed:?}");
    let rest = scene.rest(healed["wall"].as_i64().unwrap_or_default(), allowed).await;
    conclude(scene, rest, &["submissions", "cancels"]).await
}

/// How long it is to the moment `offset` after a full second that lies at least [`PEACE`] ahead of `now`.
fn until(now: i64, offset: i64) -> Duration {
    let earliest = now + i64::try_from(PEACE.as_micros()).unwrap_or(SECOND) - offset;
    let instant = (earliest + SECOND - 1).div_euclid(SECOND) * SECOND;
    Duration::from_micros(u64::try_from(instant + offset - now).unwrap_or_default())
}

/// How far after the nearest full second, or before it.
fn distance(now: i64) -> i64 {
    (now + SECOND / 2).rem_euclid(SECOND) - SECOND / 2
}

#[cfg(test)]
mod tests {
    use super::{PEACE, distance, until};

    #[test]
    fn a_death_is_as_far_from_a_second_as_was_drawn() {
        for now in [0, 1, 499_999, 999_999, 1_800_000_000_123_456] {
            for offset in [-100_000, -1, 0, 1, 100_000] {
                let wait = until(now, offset);
                assert!(wait >= PEACE && wait.as_micros() < PEACE.as_micros() + 1_000_000, "{now} {offset}: {wait:?}");
                assert_eq!(distance(now + wait.as_micros() as i64), offset);
            }
        }
    }
}
