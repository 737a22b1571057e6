//! [`FixedDelay`]: a fire so long after whatever the one before it started is over.
//!
//! Time alone does not say when that is, so this is the one rule that names no instants of its own: asked for what comes
//! after an instant, it takes that instant for the end of what ran last. Who runs things says when they ended, and asks no
//! further than one fire ahead. Where a fire starts nothing, the next comes a delay after it.

use jiff::Timestamp;

use crate::{
    error::RuleError,
    interval::{floor_us, on_grid},
};

/// A fire so much elapsed time after the end of what the last one started.
///
/// ```
/// use mainspring_cron::{FixedDelay, Rule, Zone};
///
/// let rule = Rule::FixedDelay(FixedDelay::new(300_000_000)?);
/// let end = "2026-03-28T12:00:07Z".parse().unwrap();
/// assert_eq!(rule.next_after(&Zone::utc(), end), Some("2026-03-28T12:05:07Z".parse().unwrap()));
/// assert_eq!(rule.explain(), "5m after the run before it ends");
/// # Ok::<(), mainspring_cron::RuleError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "Text", into = "Text")]
pub struct FixedDelay {
    delay_us: i64,
}

/// The stored form.
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    delay_us: i64,
}

impl FixedDelay {
    /// A delay of `delay_us` microseconds.
    ///
    /// # Errors
    /// If it is not positive.
    pub fn new(delay_us: i64) -> Result<Self, RuleError> {
        if delay_us <= 0 {
            return Err(RuleError::DelayNotPositive { delay_us });
        }
        Ok(Self { delay_us })
    }

    /// The delay, in microseconds.
    #[must_use]
    pub fn delay_us(&self) -> i64 {
        self.delay_us
    }

    pub(crate) fn next_after(&self, end: Timestamp) -> Option<Timestamp> {
        on_grid(floor_us(end) + i128::from(self.delay_us))
    }
}

impl TryFrom<Text> for FixedDelay {
    type Error = RuleError;

    fn try_from(text: Text) -> Result<Self, RuleError> {
        Self::new(text.delay_us)
    }
}

impl From<FixedDelay> for Text {
    fn from(FixedDelay { delay_us }: FixedDelay) -> Self {
        Self { delay_us }
    }
}
