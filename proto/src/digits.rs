//! Numbers as they are typed, and what a double makes of them: `Payload.json` carries nothing else.
//!
//! The CLI asks before it sends, the server before it answers JSON text as a value.
//!
//! `serde_json` reads a number that is too long as the double nearest to it and says nothing. So the text is looked at: a number
//! is kept where the double is written with the same digits again.

/// Whole numbers beyond this share their double with a neighbour.
pub const EXACT: u64 = 1 << 53;

/// The first number in a text of JSON that would lose digits. The text is known to be JSON.
pub fn lost(json: &str) -> Option<&str> {
    let mut rest = json;
    loop {
        rest = &rest[rest.find(|c: char| c == '"' || c == '-' || c.is_ascii_digit())?..];
        if let Some(text) = rest.strip_prefix('"') {
            rest = after_text(text);
            continue;
        }
        let end = rest.find(|c: char| !matches!(c, '0'..='9' | '+' | '-' | '.' | 'e' | 'E')).unwrap_or(rest.len());
        let (number, after) = rest.split_at(end);
        if !is_kept(number) {
            return Some(number);
        }
        rest = after;
    }
}

/// What follows the quote that ends a text.
fn after_text(text: &str) -> &str {
    let mut escaped = false;
    let end = text.find(|c| {
        let ends = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        ends
    });
    end.map_or("", |end| &text[end + 1..])
}

fn is_kept(number: &str) -> bool {
    let is_whole = !number.contains(['.', 'e', 'E']);
    if is_whole && number.parse::<i128>().map_or(true, |number| number.unsigned_abs() > u128::from(EXACT)) {
        return false;
    }
    let Ok(double) = number.parse::<f64>() else { return false };
    let read = Decimal::read(number);
    let shortest = Decimal::read(&format!("{double:e}"));
    // Two texts may be the shortest that a double has, as far from it as each other: whoever writes it takes either.
    let length = shortest.digits.len();
    let even = || Decimal::read(&format!("{double:.*e}", length.saturating_sub(1)));
    read == shortest || (read.digits.len() == length && read == even())
}

/// A number by its digits: `digits` times ten to the power of `exponent`, without zeros at either end.
#[derive(Debug, PartialEq, Eq)]
struct Decimal {
    digits: String,
    exponent: i64,
}

impl Decimal {
    fn read(number: &str) -> Self {
        let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
        let (whole, fraction) = mantissa.trim_start_matches('-').split_once('.').unwrap_or((mantissa, ""));
        let all = format!("{}{fraction}", whole.trim_start_matches('-'));
        let digits = all.trim_start_matches('0').trim_end_matches('0');
        if digits.is_empty() {
            return Self { digits: String::new(), exponent: 0 };
        }
        // One that is too long to be read is no exponent of a double either.
        let exponent: i64 = exponent.parse().unwrap_or(i64::MAX);
        let zeros = all.len() - all.trim_end_matches('0').len();
        let places = i64::try_from(zeros).unwrap_or(i64::MAX) - i64::try_from(fraction.len()).unwrap_or(i64::MAX);
        Self { digits: digits.into(), exponent: exponent.saturating_add(places) }
    }
}

#[cfg(test)]
mod tests {
    use super::lost;

    #[test]
    fn a_number_that_a_double_keeps_is_kept() {
        let kept = "0 -0 0.0 1 -1 10 100.0 0.1 -0.5 1.50 1e2 1E+2 1e-2 12.5e3 0.30000000000000004 1e300 5e-324 \
                    -567039322241743.2 567039322241743.3 \
                    0e99999999999999999999 9007199254740992 -9007199254740992 1.7976931348623157e308";
        for number in kept.split_whitespace() {
            assert_eq!(lost(number), None, "{number}");
        }
    }

    #[test]
    fn a_number_that_a_double_changes_is_found() {
        let lose = "9007199254740993 9007199254740994 -9007199254740993 18446744073709551615 18446744073709551616 -9223372036854775809 \
                    12345678901234567890123 0.1234567890123456789012 12345678901234567890e0 1.00000000000000000001 \
                    1e-400 -1e-99999999999999999999 100000000000000000000000000000000000000000";
        for number in lose.split_whitespace() {
            assert_eq!(lost(number), Some(number));
            assert_eq!(lost(&format!(r#" {{"a":[1,"x",{number}]}}"#)), Some(number));
        }
    }

    #[test]
    fn digits_in_a_text_are_no_number() {
        let long = "12345678901234567890123";
        for json in [format!(r#""{long}""#), format!(r#"{{"{long}":"\"{long}\\"}}"#), format!(r#"["\\\"{long}", 1]"#)] {
            assert!(serde_json::from_str::<serde_json::Value>(&json).is_ok(), "{json}");
            assert_eq!(lost(&json), None, "{json}");
        }
        // A text that ends with an escaped backslash hides nothing that comes after it.
        assert_eq!(lost(&format!(r#"["\\", {long}]"#)), Some(long));
    }
}
