//! Remarks on rules that are valid and may still not mean what their author thinks.

use std::fmt;

use jiff::{SignedDuration, Timestamp};

use crate::rule::Rule;

/// The kind of a remark. Its [`Display`](fmt::Display) is the stable code of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LintCode {
    /// Both day fields restrict the day, and nothing says whether one or both must match.
    AmbiguousDayFields,
    /// The first fire is more than 366 days away.
    FirstFireFar,
}

/// A remark, with a sentence for the author.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lint {
    /// Which one.
    pub code: LintCode,
    /// What it is about, and how to be clear.
    pub message: String,
}

impl LintCode {
    /// The stable code, such as `AMBIGUOUS_DAY_FIELDS`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AmbiguousDayFields => "AMBIGUOUS_DAY_FIELDS",
            Self::FirstFireFar => "FIRST_FIRE_FAR",
        }
    }
}

impl fmt::Display for LintCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Lint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

const FAR: SignedDuration = SignedDuration::from_hours(366 * 24);

pub(crate) fn lints(rule: &Rule, now: Timestamp, first: Option<Timestamp>) -> Vec<Lint> {
    let mut lints = Vec::new();
    if let Rule::Cron(cron) = rule
        && cron.expr.has_ambiguous_days()
        && cron.day_match.is_none()
    {
        let message = "a day matches when day of month or day of week does; write `+` before the day of week, or set \
                       day_match, to say which is meant";
        lints.push(Lint { code: LintCode::AmbiguousDayFields, message: message.to_owned() });
    }
    if let Some(first) = first.filter(|first| first.duration_since(now) > FAR) {
        let message = format!("the first fire is more than a year away, at {first}");
        lints.push(Lint { code: LintCode::FirstFireFar, message });
    }
    lints
}
