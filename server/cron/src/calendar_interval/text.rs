//! A calendar interval as it is written and read: `every 3 months from 2026-01-31 at 09:00`.

use std::{fmt, str::FromStr};

use jiff::civil::{Date, Time};

use super::{CalendarInterval, Unit};
use crate::{error::ParseError, nearest::nearest};

const EXAMPLE: &str = "write for example `every 3 months from 2026-01-31 at 09:00`";
/// The longest text that is read at all.
const MAX_LENGTH: usize = 128;

impl fmt::Display for CalendarInterval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { every, unit, first, time, gap: _, overlap: _ } = self;
        match every {
            1 => write!(f, "every {unit}")?,
            every => write!(f, "every {every} {unit}s")?,
        }
        write!(f, " from {first} at {}", time_of_day(*time))
    }
}

/// `09:00`, with seconds where there are any.
pub(super) fn time_of_day(time: Time) -> String {
    let format = if time.second() == 0 { "%H:%M" } else { "%H:%M:%S" };
    time.strftime(format).to_string()
}

impl FromStr for CalendarInterval {
    type Err = ParseError;

    /// Reads what [`Display`](fmt::Display) writes. `every` may be left out, and so may the time, which is then midnight.
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let mut words = Words::of(text)?;
        if words.peek().is_some_and(|word| word.eq_ignore_ascii_case("every")) {
            words.next();
        }
        let (every, counted) = match words.peek() {
            Some(word) if word.starts_with(|c: char| c.is_ascii_digit()) => (words.number()?, true),
            Some(_) | None => (1, false),
        };
        let unit = words.unit(counted)?;
        words.word("from")?;
        let first = words.date()?;
        let time = if words.peek().is_some() {
            words.word("at")?;
            words.time()?
        } else {
            Time::midnight()
        };
        words.end()?;
        Self::new(every, unit, first, time).map_err(|error| ParseError::new(None, 1, error.to_string()))
    }
}

/// The words of a text, each with the column it begins at.
struct Words<'a> {
    words: std::iter::Peekable<std::vec::IntoIter<(usize, &'a str)>>,
    end: usize,
}

impl<'a> Words<'a> {
    fn of(text: &'a str) -> Result<Self, ParseError> {
        if text.len() > MAX_LENGTH {
            return Err(ParseError::new(None, MAX_LENGTH + 1, "the rule is too long").suggest(EXAMPLE));
        }
        if let Some(at) = text.chars().position(|c| !c.is_ascii_graphic() && c != ' ') {
            return Err(ParseError::new(None, at + 1, "a rule is plain ASCII").suggest(EXAMPLE));
        }
        let start = text.as_ptr() as usize;
        let words: Vec<_> =
            text.split_ascii_whitespace().map(|word| (word.as_ptr() as usize - start + 1, word)).collect();
        Ok(Self { words: words.into_iter().peekable(), end: text.trim_end().len() + 1 })
    }

    fn peek(&mut self) -> Option<&'a str> {
        self.words.peek().map(|(_, word)| *word)
    }

    fn next(&mut self) -> Option<(usize, &'a str)> {
        self.words.next()
    }

    /// The next word, or where it is missing.
    fn take(&mut self, what: &str) -> Result<(usize, &'a str), ParseError> {
        let end = self.end;
        self.next().ok_or_else(|| ParseError::new(None, end, format!("{what} is missing here")).suggest(EXAMPLE))
    }

    fn word(&mut self, wanted: &str) -> Result<(), ParseError> {
        let (column, word) = self.take(&format!("`{wanted}`"))?;
        if word.eq_ignore_ascii_case(wanted) {
            return Ok(());
        }
        Err(ParseError::new(None, column, format!("`{word}` stands where `{wanted}` must")).suggest(EXAMPLE))
    }

    fn number(&mut self) -> Result<u16, ParseError> {
        let (column, word) = self.take("a number")?;
        word.parse().map_err(|_| {
            let error = ParseError::new(None, column, format!("`{word}` is not a number of 1 to {}", u16::MAX));
            error.suggest("write `3 months`; lengths such as `90m` are intervals")
        })
    }

    fn unit(&mut self, counted: bool) -> Result<Unit, ParseError> {
        const UNITS: [(&str, Unit); 4] =
            [("day", Unit::Day), ("week", Unit::Week), ("month", Unit::Month), ("year", Unit::Year)];
        let (column, word) = self.take("a unit")?;
        let lower = word.to_ascii_lowercase();
        let singular = lower.strip_suffix('s').filter(|_| counted).unwrap_or(&lower);
        if let Some((_, unit)) = UNITS.into_iter().find(|(name, _)| *name == singular) {
            return Ok(unit);
        }
        let error = ParseError::new(None, column, format!("`{word}` is not a unit of the calendar"));
        Err(match nearest(singular, UNITS.map(|(name, _)| name)) {
            Some(near) => error.suggest(format!("did you mean `{near}`?")),
            None => error.suggest("units are day, week, month and year; shorter ones are intervals"),
        })
    }

    fn date(&mut self) -> Result<Date, ParseError> {
        let (column, word) = self.take("a date")?;
        parse_date(word).ok_or_else(|| {
            ParseError::new(None, column, format!("`{word}` is not a date")).suggest("write it as 2026-01-31")
        })
    }

    fn time(&mut self) -> Result<Time, ParseError> {
        let (column, word) = self.take("a time of day")?;
        parse_time(word).ok_or_else(|| {
            let error = ParseError::new(None, column, format!("`{word}` is not a time of day"));
            error.suggest("write it as 09:00 or 09:00:30; midnight is 00:00")
        })
    }

    fn end(&mut self) -> Result<(), ParseError> {
        match self.next() {
            None => Ok(()),
            Some((column, word)) => {
                let error = ParseError::new(None, column, format!("nothing may follow the time, and `{word}` does"));
                Err(error.suggest("the zone is the schedule's own"))
            }
        }
    }
}

/// Reads `2026-01-31`, and nothing that is merely like it.
#[must_use]
pub fn parse_date(text: &str) -> Option<Date> {
    let [year, month, day] = numbers(text, '-', [4, 2, 2])?;
    Date::new(year, i8::try_from(month).ok()?, i8::try_from(day).ok()?).ok()
}

/// Reads `09:00` or `09:00:30`, and nothing that is merely like it.
#[must_use]
pub fn parse_time(text: &str) -> Option<Time> {
    let [hour, minute, second] = match numbers(text, ':', [2, 2]) {
        Some([hour, minute]) => [hour, minute, 0],
        None => numbers(text, ':', [2, 2, 2])?,
    };
    let part = |number: i16| i8::try_from(number).ok();
    Time::new(part(hour)?, part(minute)?, part(second)?, 0).ok()
}

/// Numbers of these widths.
fn numbers<const N: usize>(text: &str, separator: char, widths: [usize; N]) -> Option<[i16; N]> {
    let mut numbers = [0; N];
    let mut parts = text.split(separator);
    for (number, width) in numbers.iter_mut().zip(widths) {
        let part = parts.next().filter(|part| part.len() == width && part.bytes().all(|b| b.is_ascii_digit()))?;
        *number = part.parse().ok()?;
    }
    parts.next().is_none().then_some(numbers)
}

#[cfg(test)]
mod tests {
    use crate::CalendarInterval;

    #[test]
    fn reads_and_writes_alike() {
        for text in [
            "every day from 2026-01-31 at 09:00",
            "every 2 weeks from 2026-01-05 at 00:00",
            "every month from 2024-02-29 at 23:59:59",
            "every 10 years from 1970-01-01 at 12:30",
        ] {
            assert_eq!(text.parse::<CalendarInterval>().unwrap().to_string(), text);
        }
        for (text, meant) in [
            ("3 Months from 2026-01-31", "every 3 months from 2026-01-31 at 00:00"),
            ("week from 2026-01-31 at 08:00:00", "every week from 2026-01-31 at 08:00"),
            ("  every  1 day  FROM 2026-01-31  AT 08:00 ", "every day from 2026-01-31 at 08:00"),
        ] {
            assert_eq!(text.parse::<CalendarInterval>().unwrap().to_string(), meant);
        }
    }

    #[test]
    fn says_where_and_why() {
        for (text, message) in [
            ("", "column 1: a unit is missing here"),
            ("every 3 moths from 2026-01-31", "column 9: `moths` is not a unit of the calendar; did you mean `month`?"),
            ("every 90m from 2026-01-31", "column 7: `90m` is not a number of 1 to 65535"),
            ("every 3 hours from 2026-01-31", "column 9: `hours` is not a unit of the calendar; units are day"),
            ("every months from 2026-01-31", "column 7: `months` is not a unit of the calendar; did you mean `month`?"),
            ("every 3 months", "column 15: `from` is missing here"),
            ("every 3 months on 2026-01-31", "column 16: `on` stands where `from` must"),
            ("every 3 months from 2026-1-31", "column 21: `2026-1-31` is not a date; write it as 2026-01-31"),
            ("every 3 months from 2026-02-30", "column 21: `2026-02-30` is not a date"),
            ("every 3 months from 2026-01-31 at 9:00", "column 35: `9:00` is not a time of day; write it as 09:00"),
            ("every 3 months from 2026-01-31 at 24:00", "column 35: `24:00` is not a time of day"),
            ("every 3 months from 2026-01-31 at 09:00 UTC", "column 41: nothing may follow the time"),
            ("every 0 days from 2026-01-31", "column 1: a calendar interval has a step of at least 1"),
            ("every day from 1969-12-31", "column 1: the first date must be in the years 1970 to 9999"),
            ("every dáy from 2026-01-31", "column 8: a rule is plain ASCII"),
        ] {
            let error = text.parse::<CalendarInterval>().unwrap_err().to_string();
            assert!(error.starts_with(message), "{text}: {error}");
        }
    }
}
