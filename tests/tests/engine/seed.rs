//! What everything random in a simulation follows from. A simulation that fails says how to see it fail again.

/// The seed of one simulation, of a test.
pub(crate) struct Seed {
    pub(crate) number: u64,
    test: &'static str,
}

impl Seed {
    /// The usual one of a test, or the one that `MAINSPRING_SIM_SEED` names.
    #[expect(clippy::disallowed_methods, reason = "a seed is given to one run of one test, by whoever repeats it")]
    pub(crate) fn of(test: &'static str) -> Self {
        let number = std::env::var("MAINSPRING_SIM_SEED").map_or(1, |seed| seed.parse().unwrap());
        Self { number, test }
    }
}

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self { number, test } = self;
            println!("again: MAINSPRING_SIM_SEED={number} cargo test --locked --workspace --test engine -- {test}");
        }
    }
}
