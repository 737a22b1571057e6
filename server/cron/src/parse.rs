//! From text to [`Expr`]: splits into fields and fields into items, which [`reader`] reads, and explains what it
//! cannot read.
//!
//! Every sub-text travels with its column ([`Span`]), so that an error points at the character and not at the field.
//! Input is bounded and ASCII before anything else looks at it; from there on byte and character are the same.

use crate::{
    error::ParseError,
    expr::Expr,
    field::Field,
    item::{Item, Items},
    nearest::nearest,
};

mod reader;

use reader::Reader;

/// The longest expression accepted, in characters. The longest sensible one, every minute by number, is below 200.
pub const MAX_EXPRESSION_LENGTH: usize = 512;

/// The macros, as people write them.
const MACROS: [&str; 7] = ["@hourly", "@daily", "@midnight", "@weekly", "@monthly", "@yearly", "@annually"];

/// A piece of the input and the column it begins at.
#[derive(Clone, Copy)]
struct Span<'a> {
    text: &'a str,
    column: usize,
}

impl<'a> Span<'a> {
    /// The two pieces around the first `separator`.
    fn split_once(self, separator: char) -> Option<(Span<'a>, Span<'a>)> {
        let at = self.text.find(separator)?;
        let (left, right) = (&self.text[..at], &self.text[at + 1..]);
        Some((Span { text: left, column: self.column }, Span { text: right, column: self.column + at + 1 }))
    }

    fn skip(self, n: usize) -> Span<'a> {
        Span { text: &self.text[n..], column: self.column + n }
    }

    fn keep(self, n: usize) -> Span<'a> {
        Span { text: &self.text[..n], column: self.column }
    }
}

/// Parses a whole expression; see [`Expr::parse`].
pub(crate) fn expression(input: &str) -> Result<Expr, ParseError> {
    let odd = |c: &char| !c.is_ascii_graphic() && !c.is_ascii_whitespace();
    if let Some((i, c)) = input.chars().take(MAX_EXPRESSION_LENGTH).enumerate().find(|(_, c)| odd(c)) {
        let message = format!("{c:?} cannot stand in a cron expression");
        return Err(ParseError::new(None, i + 1, message).suggest("use plain ASCII characters"));
    }
    if input.len() > MAX_EXPRESSION_LENGTH {
        let message = format!("the expression is longer than {MAX_EXPRESSION_LENGTH} characters");
        return Err(ParseError::new(None, MAX_EXPRESSION_LENGTH + 1, message)
            .suggest("use ranges and steps, or several schedules"));
    }
    let spans = words(input);
    let Some(first) = spans.first() else {
        return Err(ParseError::new(None, 1, "the expression is empty").suggest("`0 9 * * *` is every day at 09:00"));
    };
    if first.text.starts_with('@') {
        return named(&spans);
    }
    if let [word] = *spans
        && let Some(meant) = nearest(&format!("@{}", word.text), MACROS)
    {
        let error = ParseError::new(None, word.column, format!("`{}` is not an expression", word.text));
        return Err(error.suggest(format!("did you mean `{meant}`?")));
    }
    if let Some((key, _)) = first.split_once('=') {
        let message = format!("`{}=` is not part of the expression", key.text);
        return Err(ParseError::new(None, first.column, message).suggest("set the schedule's time zone instead"));
    }
    fields(&spans)
}

fn words(input: &str) -> Vec<Span<'_>> {
    let start = input.as_ptr() as usize;
    input.split_ascii_whitespace().map(|text| Span { text, column: text.as_ptr() as usize - start + 1 }).collect()
}

/// `@daily` and its like.
fn named(spans: &[Span<'_>]) -> Result<Expr, ParseError> {
    let name = spans[0];
    let error = |message: &str| ParseError::new(None, name.column, message);
    let text = match name.text.to_ascii_lowercase().as_str() {
        "@hourly" => "0 * * * *",
        "@daily" | "@midnight" => "0 0 * * *",
        "@weekly" => "0 0 * * 0",
        "@monthly" => "0 0 1 * *",
        "@yearly" | "@annually" => "0 0 1 1 *",
        "@reboot" => {
            return Err(
                error("`@reboot` names no time").suggest("submit the job when the program that needs it starts")
            );
        }
        "@every" => {
            return Err(error("`@every` is not cron").suggest("use an interval rule: `--every 90m` of `job create`"));
        }
        "@at" => {
            return Err(error("`@at` is not cron").suggest("use a one-shot rule, with the instant to run at"));
        }
        other => {
            let error = error(&format!("`{}` is not a known macro", name.text));
            return Err(match nearest(other, MACROS) {
                Some(near) => error.suggest(format!("did you mean `{near}`?")),
                None => error.suggest(format!("known are {}", MACROS.join(", "))),
            });
        }
    };
    match spans.get(1) {
        Some(extra) => Err(ParseError::new(None, extra.column, format!("nothing may follow `{}`", name.text))),
        None => fields(&words(text)),
    }
}

fn fields(spans: &[Span<'_>]) -> Result<Expr, ParseError> {
    const ZERO: Span<'static> = Span { text: "0", column: 1 };
    const STAR: Span<'static> = Span { text: "*", column: 1 };
    let [second, minute, hour, day_of_month, month, day_of_week, year] = match *spans {
        [minute, hour, dom, month, dow] => [ZERO, minute, hour, dom, month, dow, STAR],
        [second, minute, hour, dom, month, dow] => [second, minute, hour, dom, month, dow, STAR],
        [second, minute, hour, dom, month, dow, year] => [second, minute, hour, dom, month, dow, year],
        _ => {
            let column = match (spans.get(7), spans.last()) {
                (Some(extra), _) => extra.column,
                (None, Some(last)) => last.column + last.text.len(),
                (None, None) => 1,
            };
            let message = format!("expected 5, 6 or 7 fields, found {}", spans.len());
            return Err(ParseError::new(None, column, message).suggest(
                "write `minute hour day-of-month month day-of-week`, with seconds first and the year last if needed",
            ));
        }
    };
    let (day_of_week, days_joined) = match day_of_week.text.strip_prefix('+') {
        Some(_) => (day_of_week.skip(1), true),
        None => (day_of_week, false),
    };
    Ok(Expr::from_items(
        [
            field(Field::Second, second)?,
            field(Field::Minute, minute)?,
            field(Field::Hour, hour)?,
            field(Field::DayOfMonth, day_of_month)?,
            field(Field::Month, month)?,
            field(Field::DayOfWeek, day_of_week)?,
            field(Field::Year, year)?,
        ],
        days_joined,
    ))
}

fn field(field: Field, span: Span<'_>) -> Result<Items, ParseError> {
    if span.text == "?" && field.is_day() {
        return Ok(Items(vec![Item::Any]));
    }
    if span.text.is_empty() {
        return Err(ParseError::new(field, span.column, format!("the {field} is missing here")));
    }
    let mut items = Vec::new();
    let mut rest = Some(span);
    while let Some(list) = rest {
        let (item, tail) = match list.split_once(',') {
            Some((item, tail)) => (item, Some(tail)),
            None => (list, None),
        };
        if item.text.is_empty() {
            let error = ParseError::new(field, item.column, "an element of the list is empty");
            return Err(error.suggest("remove the extra comma"));
        }
        items.push(Reader { field }.item(item)?);
        rest = tail;
    }
    Ok(Items::canonical(field, items))
}
