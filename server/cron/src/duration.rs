//! The shorthand for elapsed time: `30s`, `5m`, `1h30m`, `2d`.
//!
//! For people at a command line, and for messages to them. Stored rules and the API carry microseconds. Months and
//! years have no unit here: they differ in length, so they are calendar rules and not elapsed time.

use crate::error::ParseError;

/// From long to short, the order in which they may be combined.
const UNITS: [(&str, i64); 7] = [
    ("w", 7 * 86_400_000_000),
    ("d", 86_400_000_000),
    ("h", 3_600_000_000),
    ("m", 60_000_000),
    ("s", 1_000_000),
    ("ms", 1_000),
    ("us", 1),
];

/// Reads an elapsed time such as `1h30m`, in microseconds.
///
/// Units are `w`, `d`, `h`, `m`, `s`, `ms` and `us`, each at most once, the longer before the shorter.
///
/// ```
/// use mainspring_cron::parse_duration;
///
/// assert_eq!(parse_duration("1h30m"), Ok(90 * 60 * 1_000_000));
/// assert_eq!(parse_duration("90").unwrap_err().suggestion.as_deref(), Some("write `90s` or `90m`"));
/// ```
///
/// # Errors
/// [`ParseError`] without a field, with the column of what cannot be read.
pub fn parse_duration(text: &str) -> Result<i64, ParseError> {
    let error = |at: usize, message: String| ParseError::new(None, at + 1, message);
    if let Some(at) = text.chars().position(|c| !c.is_ascii_alphanumeric()) {
        let error = error(at, "a duration is made of whole numbers and units".to_owned());
        return Err(error.suggest("write for example `1h30m`"));
    }
    if text.is_empty() {
        return Err(error(0, "the duration is empty".to_owned()).suggest("write for example `30s`, `5m` or `1h30m`"));
    }
    let (mut total, mut at, mut allowed) = (0i64, 0, 0);
    while at < text.len() {
        let rest = &text[at..];
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let letters = rest[digits..].bytes().take_while(u8::is_ascii_alphabetic).count();
        let (number, unit) = (&rest[..digits], &rest[digits..digits + letters]);
        if number.is_empty() {
            return Err(error(at, format!("a number is missing before `{unit}`")));
        }
        if unit.is_empty() {
            let error = error(at + digits, format!("a unit is missing after {number}"));
            return Err(error.suggest(format!("write `{number}s` or `{number}m`")));
        }
        let Some(index) = UNITS.iter().position(|(name, _)| *name == unit) else {
            return Err(unknown_unit(at + digits, unit));
        };
        if index < allowed {
            let error = error(at, format!("`{unit}` comes twice, or after a shorter unit"));
            return Err(error.suggest("put the longer unit first, as in `1h30m`"));
        }
        allowed = index + 1;
        total = number
            .parse::<i64>()
            .ok()
            .and_then(|number| number.checked_mul(UNITS[index].1))
            .and_then(|part| total.checked_add(part))
            .ok_or_else(|| error(at, format!("{number}{unit} is longer than can be counted")))?;
        at += digits + letters;
    }
    Ok(total)
}

fn unknown_unit(at: usize, unit: &str) -> ParseError {
    let error = ParseError::new(None, at + 1, format!("`{unit}` is not a unit"));
    let lower = unit.to_ascii_lowercase();
    if unit == "M" || ["mo", "month", "months", "y", "year", "years"].contains(&lower.as_str()) {
        return error.suggest("months and years differ in length: use a cron rule, or `30d`");
    }
    // `min`, `hours`, `D`: the unit that begins alike.
    let alike = UNITS.iter().find(|(name, _)| *name == lower).or_else(|| {
        UNITS.iter().find(|(name, _)| lower.starts_with(*name) && lower != "milliseconds" && lower != "microseconds")
    });
    match (alike, lower.as_str()) {
        (_, "milliseconds") => error.suggest("did you mean `ms`?"),
        (_, "microseconds") => error.suggest("did you mean `us`?"),
        (Some((name, _)), _) => error.suggest(format!("did you mean `{name}`?")),
        (None, _) => error.suggest("units are w, d, h, m, s, ms, us"),
    }
}

/// Writes an elapsed time the way [`parse_duration`] reads it. A negative time, which cannot be read, gets a sign.
///
/// ```
/// use mainspring_cron::format_duration;
///
/// assert_eq!(format_duration(90 * 60 * 1_000_000), "1h30m");
/// ```
#[must_use]
pub fn format_duration(us: i64) -> String {
    let mut rest = us.unsigned_abs();
    if rest == 0 {
        return "0s".to_owned();
    }
    let mut text = if us < 0 { "-".to_owned() } else { String::new() };
    for (name, length) in UNITS {
        let length = length.unsigned_abs();
        // Weeks only where nothing else is: `14d` says more than `2w` does beside hours.
        if name == "w" && !rest.is_multiple_of(length) {
            continue;
        }
        if rest >= length {
            text.push_str(&format!("{}{name}", rest / length));
            rest %= length;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{format_duration, parse_duration};

    #[test]
    fn reads_and_writes_alike() {
        for (text, us) in [
            ("30s", 30_000_000),
            ("5m", 300_000_000),
            ("1h30m", 5_400_000_000),
            ("2d", 172_800_000_000),
            ("1w", 604_800_000_000),
            ("8d1h", 694_800_000_000),
            ("1s500ms", 1_500_000),
            ("250us", 250),
        ] {
            assert_eq!(parse_duration(text), Ok(us), "{text}");
            assert_eq!(format_duration(us), text);
        }
        assert_eq!(parse_duration("90m"), Ok(5_400_000_000));
        assert_eq!(format_duration(-1_000_000), "-1s");
    }

    #[test]
    fn says_where_and_why() {
        for (text, message) in [
            ("", "column 1: the duration is empty; write for example `30s`, `5m` or `1h30m`"),
            ("90", "column 3: a unit is missing after 90; write `90s` or `90m`"),
            ("h", "column 1: a number is missing before `h`"),
            ("1.5h", "column 2: a duration is made of whole numbers and units; write for example `1h30m`"),
            ("5min", "column 2: `min` is not a unit; did you mean `m`?"),
            ("5H", "column 2: `H` is not a unit; did you mean `h`?"),
            ("3mo", "column 2: `mo` is not a unit; months and years differ in length: use a cron rule, or `30d`"),
            ("30m1h", "column 4: `h` comes twice, or after a shorter unit; put the longer unit first, as in `1h30m`"),
            ("99999999999w", "column 1: 99999999999w is longer than can be counted"),
            ("1w99999999999999999999s", "column 3: 99999999999999999999s is longer than can be counted"),
            ("5ü", "column 2: a duration is made of whole numbers and units; write for example `1h30m`"),
        ] {
            assert_eq!(parse_duration(text).unwrap_err().to_string(), message, "{text}");
        }
    }
}
