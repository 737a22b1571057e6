//! A rule as an English sentence, for previews and for people who do not read cron.
//!
//! The sentence has the order time, day, month, year: "At 09:30 on Monday through Friday in January". It says what
//! the expression says, with OR and AND spelled out; clock changes are told by the notes of [`crate::DstNote`].

use crate::{
    calendar_interval::CalendarInterval,
    dst::{Gap, Overlap},
    duration::format_duration,
    expr::Expr,
    field::Field,
    interval::Anchor,
    item::{Item, Items},
    plan::DayMatch,
    rule::{Cron, Rule},
};

/// So many times of day are still listed one by one.
const MAX_LISTED_TIMES: usize = 6;

impl Expr {
    /// The expression in English.
    ///
    /// ```
    /// use mainspring_cron::Expr;
    ///
    /// let expr = Expr::parse("30 9 * * MON-FRI")?;
    /// assert_eq!(expr.explain(), "At 09:30 on Monday through Friday");
    /// # Ok::<(), mainspring_cron::ParseError>(())
    /// ```
    #[must_use]
    pub fn explain(&self) -> String {
        self.sentence(self.plan.day_match)
    }

    fn sentence(&self, day_match: DayMatch) -> String {
        let (time, daily) = self.time_phrase();
        let mut sentence = time;
        match (self.day_of_month.is_any(), self.day_of_week.is_any()) {
            (true, true) if daily => sentence.push_str(" every day"),
            (true, true) => {}
            (false, true) => sentence.push_str(&format!(" on {}", self.month_days())),
            (true, false) => sentence.push_str(&format!(" on {}", self.week_days())),
            (false, false) => match day_match {
                DayMatch::Or => sentence.push_str(&format!(" on {} or on {}", self.month_days(), self.week_days())),
                DayMatch::And => {
                    sentence.push_str(&format!(" on {} if that is {}", self.month_days(), self.week_days()))
                }
            },
        }
        if !self.month.is_any() {
            sentence.push_str(&format!(" in {}", values(Field::Month, &self.month, "month")));
        }
        if !self.year.is_any() {
            sentence.push_str(&format!(" in {}", values(Field::Year, &self.year, "year")));
        }
        let mut chars = sentence.chars();
        chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
    }

    /// The time of day, and whether it is a plain list of times, which wants "every day" after it.
    fn time_phrase(&self) -> (String, bool) {
        if let Some(times) = self.listed_times() {
            return (format!("at {times}"), true);
        }
        let mut phrase = String::new();
        let mut connector = "";
        if self.has_seconds() {
            phrase = beat(Field::Second, &self.second);
            connector = if is_beat(&self.second) { " of " } else { " past " };
        }
        let every_minute = self.minute.is_any();
        if !(self.has_seconds() && every_minute && self.hour.is_any() && is_beat(&self.second)) {
            let minutes = beat(Field::Minute, &self.minute);
            let minutes = if connector.is_empty() { minutes } else { minutes.trim_start_matches("at ").to_owned() };
            phrase.push_str(connector);
            phrase.push_str(&minutes);
        }
        if !self.hour.is_any() || !is_beat(&self.minute) {
            phrase.push_str(if is_beat(&self.minute) { " during " } else { " past " });
            phrase.push_str(&hours(&self.hour));
        }
        (phrase, false)
    }

    /// `02:30 and 14:30`, when hour, minute and second are few literals.
    fn listed_times(&self) -> Option<String> {
        let (hours, minutes, seconds) = (literals(&self.hour)?, literals(&self.minute)?, literals(&self.second)?);
        if hours.len() * minutes.len() * seconds.len() > MAX_LISTED_TIMES {
            return None;
        }
        let mut times = Vec::new();
        for hour in &hours {
            for minute in &minutes {
                for second in &seconds {
                    times.push(match self.has_seconds() {
                        true => format!("{hour:02}:{minute:02}:{second:02}"),
                        false => format!("{hour:02}:{minute:02}"),
                    });
                }
            }
        }
        Some(list(&times))
    }

    fn month_days(&self) -> String {
        let parts: Vec<_> = self.day_of_month.0.iter().map(|item| month_day(*item)).collect();
        format!("{} of the month", list(&parts))
    }

    fn week_days(&self) -> String {
        let parts: Vec<_> = self.day_of_week.0.iter().map(|item| week_day(*item)).collect();
        list(&parts)
    }
}

impl Rule {
    /// The rule in English.
    #[must_use]
    pub fn explain(&self) -> String {
        match self {
            Self::Cron(cron) => cron.explain(),
            Self::Interval(interval) => {
                let every = format_duration(interval.every_us());
                match interval.anchor() {
                    Anchor::Epoch { phase_us: 0 } => format!("Every {every}, counted from 1970-01-01T00:00:00Z"),
                    Anchor::Epoch { phase_us } => {
                        format!("Every {every}, counted from {} after 1970-01-01T00:00:00Z", format_duration(phase_us))
                    }
                    Anchor::Hashed => format!("Every {every}, with a phase of the schedule's own"),
                    Anchor::Start(at) => format!("Every {every}, starting at {at}"),
                }
            }
            Self::CalendarInterval(interval) => interval.explain(),
            Self::FixedDelay(delay) => format!("{} after the run before it ends", format_duration(delay.delay_us())),
            Self::At(at) => format!("Once, at {}", at.instant()),
        }
    }
}

impl Cron {
    fn explain(&self) -> String {
        let mut sentence = self.expr.sentence(self.effective_day_match());
        overrides(&mut sentence, self.gap, self.overlap);
        sentence
    }
}

impl CalendarInterval {
    fn explain(&self) -> String {
        let (time, unit) = (self.time_of_day(), self.unit());
        let mut sentence = match self.every() {
            1 => format!("At {time} every {unit}, first on {}", self.first()),
            every => format!("At {time} every {every} {unit}s, first on {}", self.first()),
        };
        if self.clamps() {
            sentence.push_str("; in a month that is too short on its last day");
        }
        overrides(&mut sentence, self.gap, self.overlap);
        sentence
    }
}

/// What a rule says about clock changes, where it says anything.
fn overrides(sentence: &mut String, gap: Option<Gap>, overlap: Option<Overlap>) {
    sentence.push_str(match gap {
        None => "",
        Some(Gap::NextValid) => "; times that a clock change skips fire right after it",
        Some(Gap::Skip) => "; times that a clock change skips do not fire",
        Some(Gap::Shift) => "; times that a clock change skips fire later by as much",
    });
    sentence.push_str(match overlap {
        None => "",
        Some(Overlap::First) => "; times that a clock change repeats fire the first time",
        Some(Overlap::Last) => "; times that a clock change repeats fire the last time",
        Some(Overlap::Both) => "; times that a clock change repeats fire both times",
    });
}

/// The values, if all are literals.
fn literals(items: &Items) -> Option<Vec<u16>> {
    items.0.iter().map(|item| if let Item::Value(value) = item { Some(*value) } else { None }).collect()
}

/// Whether the field is one regular beat: `*` or `*/n`.
fn is_beat(items: &Items) -> bool {
    matches!(items.0[..], [Item::Any] | [Item::Range { from: 0, to: 59, .. }] | [Item::HashStep { .. }])
}

/// A second or minute field: "every 15 minutes", "at minutes 5 and 20".
fn beat(field: Field, items: &Items) -> String {
    let word = field.word();
    match items.0[..] {
        [Item::Any] => format!("every {word}"),
        [Item::Range { from: 0, to: 59, step } | Item::HashStep { step, .. }] => format!("every {step} {word}s"),
        [Item::Value(value)] => format!("at {word} {value}"),
        [Item::Range { step: 2.., .. }] => values(field, items, word),
        [Item::Hash { from: 0, to: 59 }] => format!("at one {word} of the schedule's own"),
        _ => format!("at {}", values(field, items, word)),
    }
}

fn hours(items: &Items) -> String {
    match items.0[..] {
        [Item::Any] => "every hour".to_owned(),
        [Item::Range { from, to, step: 1 }] => format!("every hour from {from} through {to}"),
        [Item::Hash { from: 0, to: 23 }] => "one hour of the schedule's own".to_owned(),
        [Item::Value(hour)] => format!("hour {hour}"),
        [Item::Hash { from, to }] => format!("one of hours {from} through {to}"),
        [Item::Range { .. } | Item::HashStep { .. }] => values(Field::Hour, items, "hour"),
        _ => format!("hours {}", values(Field::Hour, items, "hour")),
    }
}

/// A list of values with names where the field has them: "0, 15 and 30 through 45", "January and March".
fn values(field: Field, items: &Items, word: &str) -> String {
    let parts: Vec<_> = items.0.iter().map(|item| value(field, *item, word)).collect();
    let counted = field.value_names().is_empty() && !matches!(field, Field::Year | Field::Hour);
    match items.0[..] {
        [Item::Range { step: 1, .. }] | [_, _, ..] if counted => format!("{word}s {}", list(&parts)),
        _ => list(&parts),
    }
}

fn value(field: Field, item: Item, word: &str) -> String {
    let name = |value: u16| full_name(field, value);
    match item {
        Item::Any => format!("every {word}"),
        Item::Value(value) => name(value),
        Item::Range { from, to, step: 1 } => format!("{} through {}", name(from), name(to)),
        Item::Hash { from, to } => format!("one of {} through {}", name(from), name(to)),
        Item::Range { from, to, step } | Item::HashStep { from, to, step } => {
            let whole = from == field.min() && (to == field.max() || (item.is_hash() && to == field.hash_max()));
            let every = format!("every {} {word}", ordinal(step));
            if whole { every } else { format!("{every} from {} through {}", name(from), name(to)) }
        }
        Item::Last { .. }
        | Item::NearestWeekday { .. }
        | Item::LastNearestWeekday { .. }
        | Item::Nth { .. }
        | Item::LastWeekday { .. } => String::new(),
    }
}

fn month_day(item: Item) -> String {
    match item {
        Item::Value(day) => format!("day {day}"),
        Item::Range { from, to, step: 1 } => format!("days {from} through {to}"),
        Item::Hash { from, to } => format!("one of days {from} through {to}"),
        Item::Last { back: 0 } => "the last day".to_owned(),
        Item::Last { back: 1 } => "the day before the last".to_owned(),
        Item::Last { back } => format!("the day {back} days before the last"),
        Item::NearestWeekday { day } => format!("the weekday nearest day {day}"),
        Item::LastNearestWeekday { back: 0 } => "the last weekday".to_owned(),
        Item::LastNearestWeekday { back } => {
            format!("the weekday nearest the day {back} day{} before the last", if back == 1 { "" } else { "s" })
        }
        Item::Any | Item::Range { .. } | Item::HashStep { .. } | Item::Nth { .. } | Item::LastWeekday { .. } => {
            value(Field::DayOfMonth, item, "day")
        }
    }
}

fn week_day(item: Item) -> String {
    match item {
        Item::Nth { weekday, nth } => {
            format!("the {} {} of the month", ordinal(nth.into()), full_name(Field::DayOfWeek, weekday.into()))
        }
        Item::LastWeekday { weekday } => {
            format!("the last {} of the month", full_name(Field::DayOfWeek, weekday.into()))
        }
        Item::Any
        | Item::Value(_)
        | Item::Range { .. }
        | Item::Hash { .. }
        | Item::HashStep { .. }
        | Item::Last { .. }
        | Item::NearestWeekday { .. }
        | Item::LastNearestWeekday { .. } => value(Field::DayOfWeek, item, "day of the week"),
    }
}

fn full_name(field: Field, value: u16) -> String {
    const MONTHS: [&str; 12] = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    const WEEKDAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
    let names: &[&str] = match field {
        Field::Month => &MONTHS,
        Field::DayOfWeek => &WEEKDAYS,
        Field::Second | Field::Minute | Field::Hour | Field::DayOfMonth | Field::Year => &[],
    };
    let index = usize::from(value.saturating_sub(field.min()));
    names.get(index).map_or_else(|| value.to_string(), |name| (*name).to_owned())
}

fn ordinal(n: u16) -> String {
    let suffix = match (n % 10, n % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    format!("{n}{suffix}")
}

/// `a`, `a and b`, `a, b and c`.
fn list(parts: &[String]) -> String {
    match parts {
        [] => String::new(),
        [one] => one.clone(),
        [rest @ .., last] => format!("{} and {last}", rest.join(", ")),
    }
}
