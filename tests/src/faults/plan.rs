//! What breaks when: drawn from the seed before anything runs.

use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

/// One fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hit {
    /// The server dies, and is started again after a while.
    Server { down: Duration },
    /// A worker dies, and another takes its place at once.
    Worker { index: usize },
}

/// A fault and how long after the one before it comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Blow {
    pub(super) after: Duration,
    pub(super) hit: Hit,
}

/// A run of faults of one character.
#[derive(Clone, Copy)]
enum Storm {
    Servers,
    Workers,
    Both,
}

/// `kills` deaths of the server and as many of workers, in storms of a few. After a storm of workers it is calm for
/// `calm`, so that their runs' way to other workers can be measured with nothing else broken.
pub(super) fn kills(seed: u64, kills: u32, workers: usize, calm: Duration) -> Vec<Blow> {
    let mut rng = StdRng::seed_from_u64(seed);
    let (mut servers_left, mut workers_left) = (kills, kills);
    let mut plan = Vec::new();
    let mut pause = Duration::ZERO;
    while servers_left + workers_left > 0 {
        let storm = [Storm::Servers, Storm::Workers, Storm::Both][rng.random_range(0..3)];
        for _ in 0..rng.random_range(2..=5) {
            let server = match storm {
                _ if servers_left + workers_left == 0 => break,
                _ if servers_left == 0 => false,
                _ if workers_left == 0 => true,
                Storm::Servers => true,
                Storm::Workers => false,
                Storm::Both => rng.random_bool(0.5),
            };
            let hit = if server {
                servers_left -= 1;
                Hit::Server { down: Duration::from_millis(rng.random_range(0..600)) }
            } else {
                workers_left -= 1;
                Hit::Worker { index: rng.random_range(0..workers) }
            };
            plan.push(Blow { after: pause + Duration::from_millis(rng.random_range(50..1_800)), hit });
            pause = Duration::ZERO;
        }
        if matches!(storm, Storm::Workers) {
            pause = calm;
        }
    }
    plan
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Hit, kills};

    #[test]
    fn a_seed_is_a_plan_of_as_many_deaths_of_each() {
        for seed in 0..50 {
            let plan = kills(seed, 10, 3, Duration::from_secs(5));
            let servers = plan.iter().filter(|blow| matches!(blow.hit, Hit::Server { .. })).count();
            assert_eq!((servers, plan.len()), (10, 20));
            assert_eq!(plan, kills(seed, 10, 3, Duration::from_secs(5)));
        }
        assert_ne!(kills(1, 10, 3, Duration::ZERO), kills(2, 10, 3, Duration::ZERO));
    }
}
