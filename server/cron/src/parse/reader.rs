//! The items of one field: values, names, ranges, steps, `H`, and the letters of the day fields.
//!
//! What a field allows by number and name comes from [`Field`]; which letters it allows is decided here. The order of
//! the attempts matters: a step is split off first, then the letters are tried, because `L-3` is not a range.

use super::Span;
use crate::{error::ParseError, field::Field, item::Item, nearest::nearest};

/// Reads the items of one field.
#[derive(Clone, Copy)]
pub(super) struct Reader {
    pub(super) field: Field,
}

impl Reader {
    fn error(self, at: Span<'_>, message: impl Into<String>) -> ParseError {
        ParseError::new(self.field, at.column, message)
    }

    /// Reads one item: anything between two commas.
    pub(super) fn item(self, span: Span<'_>) -> Result<Item, ParseError> {
        let (base, step) = match span.split_once('/') {
            Some((base, step)) => (base, Some(self.step(step)?)),
            None => (span, None),
        };
        if base.text.is_empty() {
            return Err(self
                .error(base, "a step needs something to step through")
                .suggest(format!("write `*{}`", span.text)));
        }
        if base.text.starts_with(['H', 'h']) {
            return self.hash(base, step);
        }
        if let Some(special) = self.day_letters(base)? {
            return match step {
                None => Ok(special),
                Some(_) => Err(self.error(span, format!("`{}` is a single day and takes no step", base.text))),
            };
        }
        let (min, max) = (self.field.min(), self.field.max());
        if base.text == "*" {
            return Ok(step.map_or(Item::Any, |step| Item::Range { from: min, to: max, step }));
        }
        if let Some((from, to)) = base.split_once('-') {
            let (from, to) = self.range(from, to)?;
            return Ok(Item::Range { from, to, step: step.unwrap_or(1) });
        }
        let value = self.value(base)?;
        Ok(step.map_or(Item::Value(value), |step| Item::Range { from: value, to: max, step }))
    }

    fn step(self, span: Span<'_>) -> Result<u16, ParseError> {
        if span.text.contains('/') {
            return Err(self.error(span, "a range takes one step only"));
        }
        let step = self.number(span, "a step")?;
        let limit = self.field.span();
        match step {
            0 => Err(self.error(span, "a step of 0 never advances").suggest("leave the step out to take every value")),
            step if step > u32::from(limit) => {
                let message = format!("step {} is larger than the field, which has {limit} values", span.text);
                let error = self.error(span, message);
                Err(match self.field {
                    Field::Minute | Field::Second | Field::Hour => {
                        error.suggest("use an interval rule for longer periods")
                    }
                    Field::DayOfMonth | Field::Month | Field::DayOfWeek | Field::Year => error,
                })
            }
            step => Ok(step as u16),
        }
    }

    /// `H`, `H(a-b)`, each with or without a step.
    fn hash(self, base: Span<'_>, step: Option<u16>) -> Result<Item, ParseError> {
        if self.field == Field::Year {
            return Err(self
                .error(base, "`H` would spread over eight thousand years")
                .suggest("write the year, or `*`"));
        }
        let rest = base.skip(1);
        let (from, to) = if rest.text.is_empty() {
            (self.field.min(), self.field.hash_max())
        } else {
            let inner = rest.text.strip_prefix('(').and_then(|text| text.strip_suffix(')'));
            let Some(inner) = inner else {
                return Err(self
                    .error(rest, format!("`{}` cannot follow `H`", rest.text))
                    .suggest("write `H`, `H(a-b)` or `H/s`"));
            };
            let inner = Span { text: inner, column: rest.column + 1 };
            let Some((from, to)) = inner.split_once('-') else {
                return Err(self.error(inner, "`H(…)` needs a range").suggest("write `H(a-b)`"));
            };
            self.range(from, to)?
        };
        Ok(step.map_or(Item::Hash { from, to }, |step| Item::HashStep { from, to, step }))
    }

    /// The forms with `L`, `W` and `#`, which only the day fields have.
    fn day_letters(self, base: Span<'_>) -> Result<Option<Item>, ParseError> {
        match self.field {
            Field::DayOfMonth => self.day_of_month_letters(base),
            Field::DayOfWeek => self.day_of_week_letters(base),
            Field::Second | Field::Minute | Field::Hour | Field::Month | Field::Year => Ok(None),
        }
    }

    fn day_of_month_letters(self, base: Span<'_>) -> Result<Option<Item>, ParseError> {
        let (body, weekday) = match base.text.strip_suffix(['W', 'w']) {
            Some(body) => (base.keep(body.len()), true),
            None => (base, false),
        };
        if body.text.is_empty() {
            return Err(self.error(base, "`W` needs a day").suggest("write `15W` or `LW`"));
        }
        if let Some(offset) = base.text.to_ascii_uppercase().strip_prefix("LW-") {
            return Err(self.error(base, "`W` stands last").suggest(format!("write `L-{offset}W`")));
        }
        let back = match body.text.as_bytes() {
            [b'L' | b'l'] => Some(0),
            [b'L' | b'l', b'-', ..] => {
                let offset = body.skip(2);
                match self.number(offset, "the offset from `L`")? {
                    0 => return Err(self.error(offset, "`L-0` is the last day itself").suggest("write `L`")),
                    n @ 1..=30 => Some(n as u8),
                    n => return Err(self.error(offset, format!("no month has a day {n} days before its last"))),
                }
            }
            _ => None,
        };
        match (back, weekday) {
            (Some(back), false) => Ok(Some(Item::Last { back })),
            (Some(back), true) => Ok(Some(Item::LastNearestWeekday { back })),
            (None, true) if body.text.contains('-') => {
                Err(self.error(base, "`W` takes one day, not a range").suggest(self.listed(body, "W")))
            }
            (None, true) => Ok(Some(Item::NearestWeekday { day: self.value(body)? as u8 })),
            (None, false) => Ok(None),
        }
    }

    fn day_of_week_letters(self, base: Span<'_>) -> Result<Option<Item>, ParseError> {
        if let Some((day, nth)) = base.split_once('#') {
            if day.text.contains('-') {
                return Err(self
                    .error(base, "`#` takes one weekday, not a range")
                    .suggest(self.listed(day, &format!("#{}", nth.text))));
            }
            let weekday = self.value(day)? as u8;
            if nth.text.eq_ignore_ascii_case("L") {
                return Err(self
                    .error(nth, "`#` takes a number from 1 to 5")
                    .suggest(format!("write `{}L`", day.text)));
            }
            return match self.number(nth, "the count after `#`")? {
                nth @ 1..=5 => Ok(Some(Item::Nth { weekday, nth: nth as u8 })),
                other => Err(self.error(nth, format!("no month has weekday number {other}")).suggest("use 1 to 5")),
            };
        }
        let Some(day) = base.text.strip_suffix(['L', 'l']) else { return Ok(None) };
        if day.is_empty() {
            let error = self.error(base, "`L` alone is read differently by every cron");
            return Err(error.suggest("write `6L` for the last Saturday, `SAT`, or `L` as day of month"));
        }
        let day = base.keep(day.len());
        if day.text.contains('-') {
            return Err(self.error(base, "`L` takes one weekday, not a range").suggest(self.listed(day, "L")));
        }
        Ok(Some(Item::LastWeekday { weekday: self.value(day)? as u8 }))
    }

    /// What to write where somebody typed a range of days before letters that take one.
    fn listed(self, days: Span<'_>, letters: &str) -> String {
        let range = days.split_once('-').and_then(|(from, to)| self.range(from, to).ok());
        let Some((low, high)) = range else { return format!("write one day before `{letters}`, and list the days") };
        let (first, last) = (self.field.min(), self.field.max());
        let mut days = std::iter::successors(Some(low), |day| {
            (*day != high).then_some(if *day == last { first } else { *day + 1 })
        });
        let list: Vec<_> = days.by_ref().take(usize::from(last) + 1).map(|day| format!("{day}{letters}")).collect();
        format!("list them: `{}`", list.join(","))
    }

    fn range(self, from: Span<'_>, to: Span<'_>) -> Result<(u16, u16), ParseError> {
        if self.field == Field::DayOfMonth && to.text.eq_ignore_ascii_case("L") {
            return Err(self.error(to, "`L` cannot end a range").suggest(format!("write `{}-31`", from.text)));
        }
        let (low, high) = (self.value(from)?, self.value(to)?);
        // A 7 has become 0 by now. As the end of a range it still means "through Sunday", so `0-7` is the whole week.
        if self.field == Field::DayOfWeek
            && to.text.trim_start_matches('0') == "7"
            && low == 0
            && !from.text.ends_with('7')
        {
            return Ok((0, 6));
        }
        if self.field == Field::Year && low > high {
            let error = self.error(from, "years do not come round again");
            return Err(error.suggest(format!("write `{high}-{low}`")));
        }
        Ok((low, high))
    }

    /// A number within the field's bounds, or a name.
    fn value(self, span: Span<'_>) -> Result<u16, ParseError> {
        if span.text.is_empty() {
            return Err(self.error(span, format!("the {} is missing here", self.field)));
        }
        if span.text.bytes().all(|b| b.is_ascii_alphabetic()) {
            return self.name(span);
        }
        let number = self.number(span, &format!("the {}", self.field))?;
        let (min, max) = (self.field.min(), self.field.max());
        if self.field == Field::DayOfWeek && number == 7 {
            return Ok(0);
        }
        if (u32::from(min)..=u32::from(max)).contains(&number) {
            return Ok(number as u16);
        }
        let shown_max = if self.field == Field::DayOfWeek { 7 } else { max };
        let error = self.error(span, format!("{} is out of range {min}-{shown_max}", span.text));
        Err(match (self.field, number) {
            (Field::Hour, 24) => error.suggest("midnight is hour 0, of the next day"),
            (Field::Second | Field::Minute, 60) => error.suggest("the full hour or minute is 0"),
            (Field::DayOfMonth, 0) => error.suggest("the first day is 1; the last day is `L`"),
            (Field::Month, 0) => error.suggest("January is 1"),
            (Field::DayOfWeek, _) => error.suggest("Sunday is 0 or 7, Saturday is 6"),
            _ => error,
        })
    }

    fn name(self, span: Span<'_>) -> Result<u16, ParseError> {
        let upper = span.text.to_ascii_uppercase();
        if let Some(value) = self.field.value_of_name(&upper) {
            return Ok(value);
        }
        let names = self.field.value_names();
        let message = match self.field {
            _ if !names.is_empty() => format!("`{}` is not the name of a {}", span.text, self.field),
            _ => format!("`{}` is not a number", span.text),
        };
        let error = self.error(span, message);
        let elsewhere =
            [Field::Month, Field::DayOfWeek].into_iter().find(|field| field.value_of_name(&upper).is_some());
        if let Some(field) = elsewhere {
            return Err(error.suggest(format!("`{upper}` belongs in the {field} field")));
        }
        // `MONDAY` and `Sept` are names in full; anything else may be a slip of the finger.
        let in_full = names.iter().find(|name| upper.starts_with(**name));
        match in_full.copied().or_else(|| nearest(&upper, names.iter().copied())) {
            Some(name) => Err(error.suggest(format!("did you mean `{name}`?"))),
            None if !names.is_empty() => Err(error.suggest(format!("names are {}", names.join(", ")))),
            None => Err(error),
        }
    }

    fn number(self, span: Span<'_>, what: &str) -> Result<u32, ParseError> {
        if span.text.is_empty() {
            return Err(self.error(span, format!("{what} is missing here")));
        }
        if let Some(at) = span.text.find(|c: char| !c.is_ascii_digit()) {
            let odd = span.skip(at);
            let error = self.error(odd, format!("{what} must be a number, and {:?} is none", &odd.text[..1]));
            return Err(match &odd.text[..1] {
                "?" => error.suggest("`?` stands alone, as day of month or day of week"),
                "*" => error.suggest("`*` stands alone or before a step: `*/5`"),
                "+" => error.suggest("`+` stands once, before the whole day-of-week field"),
                "~" => error.suggest("write `H(a-b)` for a spread start"),
                _ => error,
            });
        }
        // Out of u32 is out of every field; the callers' range checks word it.
        Ok(span.text.parse().unwrap_or(u32::MAX))
    }
}
