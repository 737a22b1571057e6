//! Which instants a rule names: the checker's own reading, for the rhythms its tests use.
//!
//! The server's time rules are a crate of a thousand lines; a checker that shared it would share its mistakes. All that
//! is needed here are rhythms of whole seconds that divide a minute.

use anyhow::{Result, bail};

const SECOND: i64 = 1_000_000;

/// A rhythm of whole seconds, counted from the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rhythm {
    /// Microseconds.
    pub(crate) period: i64,
}

impl Rhythm {
    /// Reads `* * * * * *` and `*/N * * * * *` where N divides 60.
    pub(crate) fn parse(rule: &str) -> Result<Self> {
        let fields: Vec<&str> = rule.split_whitespace().collect();
        let [seconds, rest @ ..] = fields.as_slice() else { bail!("`{rule}` is no rule") };
        if rest.len() != 5 || rest.iter().any(|field| *field != "*") {
            bail!("`{rule}`: the checker reads rhythms of seconds only");
        }
        let step = match seconds.strip_prefix('*') {
            Some("") => 1,
            Some(step) => step.trim_start_matches('/').parse().unwrap_or(0),
            None => 0,
        };
        if step < 1 || 60 % step != 0 {
            bail!("`{rule}`: the seconds must be `*`, or `*/N` where N divides 60");
        }
        Ok(Self { period: step * SECOND })
    }

    /// Whether the rule names this instant.
    pub(crate) fn names(self, instant: i64) -> bool {
        instant.rem_euclid(self.period) == 0
    }

    /// The first instant after `time`.
    pub(crate) fn after(self, time: i64) -> i64 {
        (time.div_euclid(self.period) + 1) * self.period
    }

    /// How many instants there are in [first, last], both named by the rule.
    pub(crate) fn count(self, first: i64, last: i64) -> i64 {
        (last - first) / self.period + 1
    }
}

#[cfg(test)]
mod tests {
    use super::{Rhythm, SECOND};

    #[test]
    fn rhythms_are_read_and_nothing_else() {
        assert_eq!(Rhythm::parse("* * * * * *").unwrap().period, SECOND);
        assert_eq!(Rhythm::parse("*/5 * * * * *").unwrap().period, 5 * SECOND);
        for other in ["", "* * * * *", "*/7 * * * * *", "1 * * * * *", "* * 3 * * *", "*/0 * * * * *"] {
            assert!(Rhythm::parse(other).is_err(), "{other}");
        }
    }

    #[test]
    fn instants_are_whole_periods_since_the_epoch() {
        let rhythm = Rhythm::parse("*/5 * * * * *").unwrap();
        assert_eq!(rhythm.after(0), 5 * SECOND);
        assert_eq!(rhythm.after(5 * SECOND - 1), 5 * SECOND);
        assert!(rhythm.names(10 * SECOND) && !rhythm.names(10 * SECOND + 1));
        assert_eq!(rhythm.count(5 * SECOND, 20 * SECOND), 4);
    }
}
