//! The parser: one pass over the text, by descent, bounded in depth.

use std::num::{IntErrorKind, ParseIntError};

use super::{Field, Filter, FilterError, Instant, Kind, Op, Value};

/// A filter's text is at most so long, in bytes.
pub const MAX_LENGTH: usize = 4_096;
/// A filter has at most so many comparisons.
pub const MAX_TESTS: usize = 100;
/// Parentheses and NOTs are nested at most so deep.
pub const MAX_DEPTH: usize = 32;

/// Reads a filter over these fields. `now` is what relative times count from. A blank text is [`Filter::All`].
pub fn parse(text: &str, fields: &[Field], now: Instant) -> Result<Filter, FilterError> {
    if text.len() > MAX_LENGTH {
        return Err(FilterError { column: 1, message: format!("the filter is longer than {MAX_LENGTH} bytes") });
    }
    let mut parser = Parser { text, at: 0, fields, now, tests: 0 };
    parser.blanks();
    if parser.rest().is_empty() {
        return Ok(Filter::All);
    }
    let filter = parser.all(0)?;
    match parser.rest().chars().next() {
        None => Ok(filter),
        Some(')') => parser.fail("this `)` closes nothing"),
        Some(_) => parser.fail("AND, OR or the end of the filter was expected here"),
    }
}

struct Parser<'a> {
    text: &'a str,
    /// In bytes, at a character.
    at: usize,
    fields: &'a [Field],
    now: Instant,
    tests: usize,
}

impl<'a> Parser<'a> {
    /// `any AND any AND …`
    fn all(&mut self, depth: usize) -> Result<Filter, FilterError> {
        let mut parts = vec![self.any(depth)?];
        while self.keyword("AND") {
            parts.push(self.any(depth)?);
        }
        Ok(joined(parts, Filter::And))
    }

    /// `one OR one OR …`
    fn any(&mut self, depth: usize) -> Result<Filter, FilterError> {
        let mut parts = vec![self.one(depth)?];
        while self.keyword("OR") {
            parts.push(self.one(depth)?);
        }
        Ok(joined(parts, Filter::Or))
    }

    /// `NOT one`, `( all )` or a comparison.
    fn one(&mut self, depth: usize) -> Result<Filter, FilterError> {
        if depth > MAX_DEPTH {
            return self.fail(format!("the filter is nested deeper than {MAX_DEPTH} levels"));
        }
        if self.keyword("NOT") {
            return Ok(Filter::Not(Box::new(self.one(depth + 1)?)));
        }
        if self.symbol("(") {
            let inner = self.all(depth + 1)?;
            if !self.symbol(")") {
                return self.fail("a `)` is missing");
            }
            return Ok(inner);
        }
        self.test()
    }

    fn test(&mut self) -> Result<Filter, FilterError> {
        let start = self.at;
        let name = self.word(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.');
        let Some(field) = self.fields.iter().find(|field| field.name == name) else {
            let known = self.fields.iter().map(|field| field.name).collect::<Vec<_>>().join(", ");
            self.at = start;
            return match name {
                "" => self.fail(format!("a field was expected here: {known}")),
                name => self.fail(format!("`{name}` is no field of this list; it has {known}")),
            };
        };
        self.blanks();
        self.tests += 1;
        if self.tests > MAX_TESTS {
            return self.fail(format!("the filter has more than {MAX_TESTS} comparisons"));
        }
        let op = self.operator(field)?;
        let start = self.at;
        let value = self.value()?;
        self.typed(*field, op, value)
            .map_err(|Odd { at, message }| FilterError { column: self.column(start) + at, message })
    }

    fn operator(&mut self, field: &Field) -> Result<Op, FilterError> {
        // The longer ones first.
        const OPERATORS: [(&str, Op); 7] = [
            ("!=", Op::NotEqual),
            ("<=", Op::LessEqual),
            (">=", Op::GreaterEqual),
            ("=", Op::Equal),
            (":", Op::Equal),
            ("<", Op::Less),
            (">", Op::Greater),
        ];
        let Some((text, op)) = OPERATORS.into_iter().find(|(text, _)| self.rest().starts_with(text)) else {
            return self.fail(format!("one of = != < <= > >= : was expected after `{}`", field.name));
        };
        let ordered = matches!(field.kind, Kind::Number | Kind::Time);
        if !ordered && !matches!(op, Op::Equal | Op::NotEqual) {
            return self.fail(format!("`{}` has no order; it knows = != and :", field.name));
        }
        self.at += text.len();
        self.blanks();
        Ok(op)
    }

    fn typed(&self, field: Field, op: Op, value: Written) -> Result<Filter, Odd> {
        let Field { name, kind } = field;
        let Written { text, star } = value;
        if star && !matches!(kind, Kind::Text) {
            return Err(format!("`{name}` is not a text; a trailing `*` means nothing here").into());
        }
        let value = match kind {
            Kind::Text if star => {
                let prefix = Filter::Test { field: name, op: Op::Prefix, value: Value::Text(text) };
                return Ok(if op == Op::NotEqual { Filter::Not(Box::new(prefix)) } else { prefix });
            }
            Kind::Text => Value::Text(text),
            Kind::Id if text.is_empty() => Value::Text(text),
            Kind::Id => {
                let id = uuid::Uuid::try_parse(&text).map_err(|_| format!("`{text}` is not a UUID"))?;
                Value::Text(id.to_string())
            }
            Kind::Bool => match text.to_ascii_lowercase().as_str() {
                "true" => Value::Number(1),
                "false" => Value::Number(0),
                _ => return Err(format!("`{text}` is neither true nor false").into()),
            },
            Kind::Number => Value::Number(whole(&text)?),
            Kind::Time => Value::Time(self.time(&text)?),
            Kind::Enum(values) => {
                let found = values.iter().find(|(value, _)| value.eq_ignore_ascii_case(&text));
                let known = || values.iter().map(|(value, _)| *value).collect::<Vec<_>>().join(", ");
                Value::Number(found.ok_or_else(|| format!("`{text}` is no value of `{name}`; it has {}", known()))?.1)
            }
        };
        Ok(Filter::Test { field: name, op, value })
    }

    fn time(&self, text: &str) -> Result<Instant, Odd> {
        let length = |text: &str| {
            let micros = mainspring_cron::parse_duration(text).map_err(|error| {
                let mend = error.suggestion.map(|mend| format!("; {mend}")).unwrap_or_default();
                // Behind `now-`, in the caller's own text.
                Odd { at: BEFORE_LENGTH + error.column - 1, message: format!("{}{mend}", error.message) }
            })?;
            Ok::<_, Odd>(std::time::Duration::from_micros(micros.unsigned_abs()))
        };
        match text.strip_prefix("now") {
            Some("") => Ok(self.now),
            Some(offset) if offset.starts_with('-') => Ok(self.now.minus(length(&offset[1..])?)),
            Some(offset) if offset.starts_with('+') => Ok(self.now.plus(length(&offset[1..])?)),
            _ => text.parse().map_err(|_| {
                format!("`{text}` is not a time; write for example `2026-01-31T12:00:00Z` or `now-1h`").into()
            }),
        }
    }

    fn value(&mut self) -> Result<Written, FilterError> {
        match self.rest().chars().next() {
            Some(quote @ ('"' | '\'')) => self.quoted(quote),
            _ => {
                let text = self.word(|c| !c.is_whitespace() && !matches!(c, '(' | ')' | '"' | '\''));
                if text.is_empty() {
                    return self.fail("a value was expected here");
                }
                self.blanks();
                Ok(match text.strip_suffix('*') {
                    Some(stem) => match stem.strip_suffix('\\') {
                        Some(stem) => Written { text: format!("{stem}*"), star: false },
                        None => Written { text: stem.into(), star: true },
                    },
                    None => Written { text: text.into(), star: false },
                })
            }
        }
    }

    fn quoted(&mut self, quote: char) -> Result<Written, FilterError> {
        let opening = self.at;
        self.at += quote.len_utf8();
        let mut text = String::new();
        let mut star = false;
        loop {
            let Some(c) = self.rest().chars().next() else {
                self.at = opening;
                return self.fail("this quote is not closed");
            };
            self.at += c.len_utf8();
            star = match c {
                c if c == quote => break,
                '\\' => {
                    if let Some(taken) = self.rest().chars().next() {
                        self.at += taken.len_utf8();
                        text.push(taken);
                    }
                    false
                }
                c => {
                    text.push(c);
                    c == '*'
                }
            };
        }
        if star {
            text.pop();
        }
        if self.rest().starts_with(|c: char| !c.is_whitespace() && c != ')' && c != '(') {
            return self.fail("a blank was expected after the closing quote");
        }
        self.blanks();
        Ok(Written { text, star })
    }

    /// Takes a keyword, in any case, if it stands here as a word of its own.
    fn keyword(&mut self, keyword: &str) -> bool {
        let rest = self.rest();
        let Some(found) = rest.get(..keyword.len()) else { return false };
        let after = rest[keyword.len()..].chars().next();
        let whole = after.is_none_or(|c| c.is_whitespace() || c == '(' || c == ')');
        if !found.eq_ignore_ascii_case(keyword) || !whole {
            return false;
        }
        self.at += keyword.len();
        self.blanks();
        true
    }

    fn symbol(&mut self, symbol: &str) -> bool {
        let found = self.rest().starts_with(symbol);
        if found {
            self.at += symbol.len();
            self.blanks();
        }
        found
    }

    fn word(&mut self, part: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|c| !part(c)).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    fn blanks(&mut self) {
        self.word(char::is_whitespace);
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn column(&self, at: usize) -> usize {
        self.text[..at].chars().count() + 1
    }

    fn fail<T>(&self, message: impl Into<String>) -> Result<T, FilterError> {
        Err(FilterError { column: self.column(self.at), message: message.into() })
    }
}

fn whole(text: &str) -> Result<i64, String> {
    text.parse().map_err(|error: ParseIntError| {
        if *error.kind() == IntErrorKind::PosOverflow {
            format!("`{text}` is too large; a number is at most {}", i64::MAX)
        } else if *error.kind() == IntErrorKind::NegOverflow {
            format!("`{text}` is too small; a number is at least {}", i64::MIN)
        } else {
            format!("`{text}` is not a whole number")
        }
    })
}

/// What comes before the length in `now-1h`.
const BEFORE_LENGTH: usize = 4;

/// What is wrong with a value.
struct Odd {
    /// Where in it, in characters.
    at: usize,
    message: String,
}

impl From<String> for Odd {
    fn from(message: String) -> Self {
        Self { at: 0, message }
    }
}

/// A value as it was written.
struct Written {
    text: String,
    /// It ended in a `*` that means "and whatever follows".
    star: bool,
}

fn joined(mut parts: Vec<Filter>, join: impl FnOnce(Vec<Filter>) -> Filter) -> Filter {
    match parts.len() {
        1 => parts.swap_remove(0),
        _ => join(parts),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FIELDS: &[Field] = &[
        Field { name: "job", kind: Kind::Text },
        Field { name: "worker_id", kind: Kind::Id },
        Field { name: "priority", kind: Kind::Number },
        Field { name: "create_time", kind: Kind::Time },
        Field { name: "state", kind: Kind::Enum(&[("QUEUED", 2), ("FAILED", 7), ("TIMED_OUT", 9)]) },
    ];

    fn now() -> Instant {
        "2026-11-21T12:00:00Z".parse().unwrap()
    }

    fn read(text: &str) -> Result<Filter, FilterError> {
        parse(text, FIELDS, now())
    }

    fn test(field: &'static str, op: Op, value: Value) -> Filter {
        Filter::Test { field, op, value }
    }

    fn text(field: &'static str, value: &str) -> Filter {
        test(field, Op::Equal, Value::Text(value.into()))
    }

    fn state(code: i64) -> Filter {
        test("state", Op::Equal, Value::Number(code))
    }

    #[test]
    fn comparisons_have_the_kind_of_their_field() {
        assert_eq!(read(" "), Ok(Filter::All));
        assert_eq!(read("job=nightly"), Ok(text("job", "nightly")));
        assert_eq!(read("job : 'a \"b\" \\' c'"), Ok(text("job", "a \"b\" ' c")));
        assert_eq!(read("state = failed"), Ok(state(7)));
        assert_eq!(read("state != Timed_Out"), Ok(test("state", Op::NotEqual, Value::Number(9))));
        assert_eq!(read("priority >= 5"), Ok(test("priority", Op::GreaterEqual, Value::Number(5))));
        let time = "2026-01-31T12:00:00Z".parse().unwrap();
        assert_eq!(read("create_time<2026-01-31T13:00:00+01:00"), Ok(test("create_time", Op::Less, Value::Time(time))));
        let hour_ago = "2026-11-21T10:30:00Z".parse().unwrap();
        assert_eq!(read("create_time > now-1h30m"), Ok(test("create_time", Op::Greater, Value::Time(hour_ago))));
        let id = "019ab000-0000-7000-8000-00000000000A";
        assert_eq!(read(&format!("worker_id={id}")), Ok(text("worker_id", &id.to_lowercase())));
    }

    #[test]
    fn a_trailing_star_is_a_prefix() {
        let prefix = test("job", Op::Prefix, Value::Text("night".into()));
        for written in ["job=night*", "job:night*", "job = \"night*\""] {
            assert_eq!(read(written), Ok(prefix.clone()), "{written}");
        }
        assert_eq!(read("job != night*"), Ok(Filter::Not(Box::new(prefix))));
        assert_eq!(read("job = 'night\\*'"), Ok(text("job", "night*")));
        assert_eq!(read("job = night\\*"), Ok(text("job", "night*")));
        assert_eq!(read("job = *"), Ok(test("job", Op::Prefix, Value::Text(String::new()))));
    }

    #[test]
    fn or_binds_closer_than_and_as_aip_160_has_it() {
        let or = Filter::Or(vec![state(7), state(9)]);
        let both = Filter::And(vec![text("job", "a"), or]);
        assert_eq!(read("job=a AND state=FAILED OR state=TIMED_OUT"), Ok(both.clone()));
        assert_eq!(read("job=a and (state=FAILED or state=TIMED_OUT)"), Ok(both));
        let grouped = Filter::Or(vec![Filter::And(vec![text("job", "a"), state(7)]), state(9)]);
        assert_eq!(read("(job=a AND state=FAILED) OR state=TIMED_OUT"), Ok(grouped));
        let not = Filter::And(vec![Filter::Not(Box::new(state(7))), text("job", "not")]);
        assert_eq!(read("NOT state=FAILED AND job=not"), Ok(not));
        assert_eq!(read("NOT(state=FAILED)"), Ok(Filter::Not(Box::new(state(7)))));
    }

    #[test]
    fn errors_say_where() {
        for (written, column, part) in [
            ("jobs=a", 1, "`jobs` is no field"),
            ("job", 4, "was expected after `job`"),
            ("job=", 5, "a value was expected"),
            ("job<a", 4, "has no order"),
            ("state=BROKEN", 7, "it has QUEUED, FAILED, TIMED_OUT"),
            ("priority = high", 12, "not a whole number"),
            ("priority > 99999999999999999999", 12, "is too large; a number is at most 9223372036854775807"),
            ("priority > -99999999999999999999", 12, "is too small; a number is at least -9223372036854775808"),
            ("create_time > yesterday", 15, "not a time"),
            ("create_time > now-1", 20, "unit is missing"),
            ("create_time > now-99999999999999w", 19, "99999999999999w is longer than can be counted"),
            ("job=a job=b", 7, "AND, OR or the end"),
            ("(job=a", 7, "`)` is missing"),
            ("job=a)", 6, "closes nothing"),
            ("job='a", 5, "not closed"),
            ("job='a'b", 8, "a blank was expected"),
            ("job=a AND", 10, "a field was expected"),
            ("state=F*", 7, "not a text"),
            ("jöb=a", 1, "`j` is no field"),
            ("job='ä' AND ?", 13, "a field was expected"),
        ] {
            let error = read(written).unwrap_err();
            assert_eq!(error.column, column, "{written}: {error}");
            assert!(error.message.contains(part), "{written}: {error}");
        }
    }

    #[test]
    fn the_work_is_bounded() {
        let deep = |levels: usize| format!("{}job=a{}", "(".repeat(levels), ")".repeat(levels));
        assert!(read(&deep(MAX_DEPTH)).is_ok());
        assert!(read(&deep(MAX_DEPTH + 1)).is_err());
        assert!(read(&format!("{}job=a", "NOT ".repeat(MAX_DEPTH + 1))).is_err());
        let wide = |tests: usize| vec!["job=a"; tests].join(" OR ");
        assert!(read(&wide(MAX_TESTS)).is_ok());
        assert!(read(&wide(MAX_TESTS + 1)).is_err());
        assert!(read(&" ".repeat(MAX_LENGTH + 1)).is_err());
    }

    proptest! {
        #[test]
        fn nothing_panics(written in "\\PC{0,60}") {
            let _ = read(&written);
        }

        #[test]
        fn nothing_made_of_the_words_of_filters_panics(
            words in prop::collection::vec(
                prop::sample::select(vec![
                    "job", "state", "create_time", "=", "!=", ":", "<", "(", ")", "AND", "OR", "NOT", "'", "\"", "\\",
                    "*", "a", "FAILED", "now-1h", "ä", " ",
                ]),
                0..40,
            ),
            joint in prop::sample::select(vec!["", " "]),
        ) {
            let _ = read(&words.join(joint));
        }

        #[test]
        fn any_text_can_be_quoted(value in "\\PC{0,20}") {
            let quoted: String = value.chars().flat_map(|c| ['\\', c]).collect();
            prop_assert_eq!(read(&format!("job = \"{quoted}\"")), Ok(text("job", &value)));
        }
    }
}
