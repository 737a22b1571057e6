//! Nothing that a stranger sends breaks the server: a short attack on every rpc. The long one is `cargo xtask hostile`.
//!
//! `MAINSPRING_HOSTILE_SEED` replays another seed than the usual one.

#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap like the tests themselves")]

use mainspring_tests::hostile::{self, Options};

/// Requests to each rpc.
const REQUESTS: u64 = 200;
/// Passwords are hashed slowly on purpose.
const HASHED: u64 = 60;

#[expect(clippy::disallowed_methods, reason = "a seed that was found at night is looked at by day")]
fn seed() -> u64 {
    std::env::var("MAINSPRING_HOSTILE_SEED").map_or(1, |seed| seed.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_to_random_requests_is_the_contracts() {
    let options = Options { requests: REQUESTS, hashed: HASHED, seed: seed(), only: None, number: None };
    let tally = hostile::run(&options).await.unwrap();
    println!("{tally}");
    assert!(tally.findings.is_empty(), "{} answers were not the contract's", tally.findings.len());
    // An attack that never gets past the first check would find nothing behind it.
    for (rpc, line) in &tally.lines {
        let through = ["OK", "(open)"].iter().filter_map(|answer| line.answers.get(answer)).sum::<u64>();
        assert!(through > 0, "no request to {rpc} was answered: {:?}", line.answers);
        assert!(line.answers.contains_key("UNAUTHENTICATED") || through > 10, "{rpc}: {:?}", line.answers);
    }
}
