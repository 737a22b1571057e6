//! Rules that are broken: an evaluation that panics is the error of the schedule whose rule it is, and of nobody else.
//!
//! Rules are people's, and many are evaluated in one step: by firing, by backfills, and where other zone data come into force.
//! Whoever does so asks through here, or one rule takes the step, and with it everybody else's, down.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::ledger::FateReason;

/// What an evaluation says, or why it says nothing. What it is lent must be as good as before when it is left half way.
pub fn guarded<T>(evaluate: impl FnOnce() -> T) -> Result<T, FateReason> {
    catch_unwind(AssertUnwindSafe(evaluate)).map_err(|_| FateReason::RuleBroken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_that_panics_is_broken_and_stops_nobody() {
        let rules: [fn() -> u8; 3] = [|| 1, || panic!("this rule is broken"), || 3];
        assert_eq!(rules.map(guarded), [Ok(1), Err(FateReason::RuleBroken), Ok(3)]);
    }
}
