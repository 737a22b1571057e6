//! Remarks on rules that are valid and may still not mean what their author thinks.

use std::fmt;

use jiff::{SignedDuration, Timestamp};

use crate::{expr::Expr, field::Field, item::Item, rule::Rule};

/// The kind of a remark. Its [`Display`](fmt::Display) is the stable code of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LintCode {
    /// Both day fields restrict the day, and nothing says whether one or both must match.
    AmbiguousDayFields,
    /// The first fire is more than 366 days away.
    FirstFireFar,
    /// A step that does not divide its field, so that the last interval of each round is shorter.
    UnevenStep,
    /// A day of the month that some of the months do not have.
    ShortMonths,
    /// A seconds field that lets the rule fire every second.
    EverySecond,
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
            Self::UnevenStep => "UNEVEN_STEP",
            Self::ShortMonths => "SHORT_MONTHS",
            Self::EverySecond => "EVERY_SECOND",
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
    if let Rule::Cron(cron) = rule {
        lints.extend(ambiguity(rule));
        expression(&cron.expr, &mut lints);
    }
    // A one-shot says itself how far away it is.
    lints.extend(first.filter(|_| !matches!(rule, Rule::At(_))).and_then(|first| Lint::far(now, first)));
    lints
}

impl Lint {
    /// The remark on a first fire that is more than a year away: for whoever knows better than the rule when that is.
    #[must_use]
    pub fn far(now: Timestamp, first: Timestamp) -> Option<Self> {
        let message = format!("the first fire is more than a year away, at {first}");
        (first.duration_since(now) > FAR).then_some(Self { code: LintCode::FirstFireFar, message })
    }
}

/// The remark on two day fields that do not say how they count together.
pub(crate) fn ambiguity(rule: &Rule) -> Option<Lint> {
    let Rule::Cron(cron) = rule else { return None };
    let message = "a day matches when day of month or day of week does; write `+` before the day of week, or set \
                   day_match (`--day-match`), to say which is meant";
    (cron.expr.has_ambiguous_days() && cron.day_match.is_none())
        .then(|| Lint { code: LintCode::AmbiguousDayFields, message: message.to_owned() })
}

fn expression(expr: &Expr, lints: &mut Vec<Lint>) {
    if expr.second.is_any() {
        let message = "the first of six fields is the second, and `*` there fires every second; write `0` for once a \
                       minute";
        lints.push(Lint { code: LintCode::EverySecond, message: message.to_owned() });
    }
    for (field, items, round) in [
        (Field::Second, &expr.second, "minute"),
        (Field::Minute, &expr.minute, "hour"),
        (Field::Hour, &expr.hour, "day"),
    ] {
        for item in &items.0 {
            if let Item::Range { from: 0, to, step } = *item
                && to == field.max()
                && field.span() % step != 0
            {
                let rest = field.span() % step;
                let message = format!(
                    "`*/{step}` starts anew every {round}, so the last step of each is {rest} instead of {step}; use \
                     an interval for an even beat"
                );
                lints.push(Lint { code: LintCode::UnevenStep, message });
            }
        }
    }
    let surely = |month| match month {
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    let shortest = expr.month.values(Field::Month).map(surely).min();
    for item in &expr.day_of_month.0 {
        let day = match *item {
            Item::Value(day) => day,
            Item::NearestWeekday { day } => u16::from(day),
            _ => continue,
        };
        if shortest.is_some_and(|shortest| day > shortest) {
            let message = format!("months without a day {day} are left out; `L` is the last day of every month");
            lints.push(Lint { code: LintCode::ShortMonths, message });
        }
    }
}
