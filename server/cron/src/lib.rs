//! Time rules: parse, explain, next and previous instants; pure.
//!
//! A [`Rule`] says when a schedule fires; a [`Zone`] says what its wall clock means. Nothing here reads a clock, a
//! file or the system's zone data: the same rule, zone data and instant give the same answer everywhere.
//!
//! ```
//! use mainspring_cron::{Expr, Rule, Zone};
//!
//! let rule = Rule::cron(Expr::parse("0 9 * * MON-FRI")?);
//! let zone = Zone::parse("Europe/Berlin").unwrap();
//! let friday_noon = "2026-01-02T12:00:00Z".parse().unwrap();
//! assert_eq!(rule.next_after(&zone, friday_noon), Some("2026-01-05T08:00:00Z".parse().unwrap()));
//! # Ok::<(), mainspring_cron::ParseError>(())
//! ```
//!
//! The way through the crate: `parse` turns text into [`Expr`] (fields of `item`s), `plan` compiles it to masks
//! and finds matching wall-clock times, `search` lays those on the time line under the clock-change policy of `dst`,
//! and `rule` is the face that the server talks to.
#![warn(missing_docs)]

mod calendar;
mod calendar_interval;
mod dst;
mod duration;
mod error;
mod explain;
mod expr;
mod field;
mod fixed_delay;
mod hash;
mod interval;
mod item;
mod jitter;
mod lint;
mod nearest;
mod parse;
mod placed;
mod plan;
mod rule;
mod search;
mod skipped;
mod zone;
mod zones;

pub use calendar::{Calendar, Hours, Roll, ical::CalendarError, rolled::Rolled};
pub use calendar_interval::{CalendarInterval, Unit, parse_date, parse_time};
pub use dst::{DstEffect, DstNote, Gap, Overlap};
pub use duration::{format_duration, parse_duration};
pub use error::{ParseError, RuleError, ZoneError};
pub use expr::Expr;
pub use field::Field;
pub use fixed_delay::FixedDelay;
pub use interval::{Anchor, Interval};
pub use jitter::{JitterBounds, jittered};
pub use lint::{Lint, LintCode};
pub use parse::MAX_EXPRESSION_LENGTH;
pub use plan::DayMatch;
pub use rule::{At, Cron, Fires, Rule};
pub use search::Fire;
pub use skipped::Skipped;
pub use zone::Zone;
pub use zones::{Zones, ZonesError};
