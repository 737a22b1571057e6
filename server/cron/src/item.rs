//! One element of a field's list, and the field as a list of them.
//!
//! An item keeps *how* a value was written, not just which values it names: whether an hour is an appointment or a
//! rhythm (see [`crate::dst`]) and whether a day field is restricted both hang on the notation.

use std::fmt;

use crate::{field::Field, hash};

/// An element of a list. The letters of the day fields have variants of their own, so a [`Item`] is always meaningful
/// for the field it was parsed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Item {
    /// `*` or `?`.
    Any,
    /// `n`
    Value(u16),
    /// `a-b`, `a-b/s`, `a/s` and `*/s`; `from > to` wraps.
    Range { from: u16, to: u16, step: u16 },
    /// `H`, `H(a-b)`: one value, chosen by the schedule's uid.
    Hash { from: u16, to: u16 },
    /// `H/s`, `H(a-b)/s`: every s-th value from a start chosen by the schedule's uid.
    HashStep { from: u16, to: u16, step: u16 },
    /// `L`, `L-n`: n days before the month's last.
    Last { back: u8 },
    /// `nW`: the weekday nearest to day n, within the month.
    NearestWeekday { day: u8 },
    /// `LW`, `L-nW`: the weekday nearest to n days before the month's last.
    LastNearestWeekday { back: u8 },
    /// `n#k`: the k-th such weekday of the month.
    Nth { weekday: u8, nth: u8 },
    /// `nL`: the last such weekday of the month.
    LastWeekday { weekday: u8 },
}

impl Item {
    pub(crate) const fn is_hash(self) -> bool {
        matches!(self, Self::Hash { .. } | Self::HashStep { .. })
    }

    /// The item with `H` decided for one schedule. A hashed value becomes a literal; a hashed step becomes a range.
    pub(crate) fn resolve(self, field: Field, seed: &[u8]) -> Self {
        match self {
            Self::Hash { from, to } => {
                let offset = hash::pick(seed, field.word(), u64::from(width(field, from, to)));
                Self::Value(wrap(field, from, offset as u16))
            }
            Self::HashStep { from, to, step } => {
                let reach = step.min(width(field, from, to));
                let offset = hash::pick(seed, field.word(), u64::from(reach));
                Self::Range { from: wrap(field, from, offset as u16), to, step }
            }
            other => other,
        }
    }

    /// Every plain value the item names. The letters of the day fields name none: they depend on the month.
    pub(crate) fn values(self, field: Field) -> impl Iterator<Item = u16> {
        let (from, to, step) = match self {
            Self::Any => (field.min(), field.max(), 1),
            Self::Value(value) => (value, value, 1),
            Self::Range { from, to, step } => (from, to, step),
            _ => (field.min(), field.min(), 0),
        };
        let count = (width(field, from, to) - 1).checked_div(step).map_or(0, |steps| steps + 1);
        (0..count).map(move |i| wrap(field, from, i * step))
    }

    pub(crate) fn write(self, field: Field, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Value(value) => field.write_value(value, f),
            Self::Range { from, to, step } => {
                if step > 1 && from == field.min() && to == field.max() {
                    return write!(f, "*/{step}");
                }
                field.write_value(from, f)?;
                f.write_str("-")?;
                field.write_value(to, f)?;
                if step > 1 { write!(f, "/{step}") } else { Ok(()) }
            }
            Self::Hash { from, to } => write_hash(field, from, to, f),
            Self::HashStep { from, to, step } => {
                write_hash(field, from, to, f)?;
                write!(f, "/{step}")
            }
            Self::Last { back: 0 } => f.write_str("L"),
            Self::Last { back } => write!(f, "L-{back}"),
            Self::NearestWeekday { day } => write!(f, "{day}W"),
            Self::LastNearestWeekday { back: 0 } => f.write_str("LW"),
            Self::LastNearestWeekday { back } => write!(f, "L-{back}W"),
            Self::Nth { weekday, nth } => {
                field.write_value(u16::from(weekday), f)?;
                write!(f, "#{nth}")
            }
            Self::LastWeekday { weekday } => {
                field.write_value(u16::from(weekday), f)?;
                f.write_str("L")
            }
        }
    }
}

fn write_hash(field: Field, from: u16, to: u16, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if from == field.min() && to == field.hash_max() {
        return f.write_str("H");
    }
    f.write_str("H(")?;
    field.write_value(from, f)?;
    f.write_str("-")?;
    field.write_value(to, f)?;
    f.write_str(")")
}

/// How many values a range spans, wrapping or not.
pub(crate) const fn width(field: Field, from: u16, to: u16) -> u16 {
    if from <= to { to - from + 1 } else { to + field.span() - from + 1 }
}

/// The value `offset` places after `from`, turning over at the field's end.
const fn wrap(field: Field, from: u16, offset: u16) -> u16 {
    field.min() + (from - field.min() + offset) % field.span()
}

/// What one field says: a sorted list without repetitions.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Items(pub(crate) Vec<Item>);

impl Items {
    /// Brings a parsed list into canonical form. Only what does not change the meaning is merged: in an hour field
    /// `*,9` keeps its 9, which is an appointment; in a day field `1-31` stays a restriction.
    pub(crate) fn canonical(field: Field, mut items: Vec<Item>) -> Self {
        for item in &mut items {
            match *item {
                // As an hour, `9-9` is a rhythm and `9` an appointment.
                Item::Range { from, to, .. } if from == to && field == Field::Hour => {
                    *item = Item::Range { from, to, step: 1 };
                }
                Item::Range { from, to, .. } if from == to => *item = Item::Value(from),
                _ => {}
            }
        }
        if !field.is_day() {
            for item in &mut items {
                if *item == (Item::Range { from: field.min(), to: field.max(), step: 1 }) {
                    *item = Item::Any;
                }
            }
            if field != Field::Hour && items.contains(&Item::Any) {
                items = vec![Item::Any];
            }
        }
        items.sort_unstable();
        items.dedup();
        Self(items)
    }

    /// A lone `*` or `?`: the only unrestricted form.
    pub(crate) fn is_any(&self) -> bool {
        self.0 == [Item::Any]
    }

    pub(crate) fn resolve(&self, field: Field, seed: &[u8]) -> Self {
        Self::canonical(field, self.0.iter().map(|item| item.resolve(field, seed)).collect())
    }

    pub(crate) fn values(&self, field: Field) -> impl Iterator<Item = u16> {
        self.0.iter().flat_map(move |item| item.values(field))
    }

    pub(crate) fn write(&self, field: Field, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, item) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            item.write(field, f)?;
        }
        Ok(())
    }
}
