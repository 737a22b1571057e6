//! The masks an expression compiles to, and the search for the next wall-clock time they match.
//!
//! This is the calendar half of evaluation and knows nothing of zones: [`crate::search`] lays the wall-clock times on
//! the time line. Days are found a month at a time, as a mask of 31 bits, so that four hundred years without a match
//! cost 4 800 small steps and not 146 097; that is what makes "never fires" cheap to prove.

use jiff::civil::{Date, DateTime, Time, Weekday};

use crate::{
    expr::Expr,
    field::Field,
    item::{Item, Items},
};

/// How the two day fields combine when both restrict the day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum DayMatch {
    /// A day matches when either field does: what cron has always done.
    Or,
    /// A day matches when both fields do.
    And,
}

/// Counts the work of a search, so that tests can hold it to a bound.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Steps(pub(crate) u64);

/// An expression as bit masks. `H` is decided by the empty seed if it is still there.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    seconds: u64,
    minutes: u64,
    /// Hours written as a literal.
    pub(crate) appointments: u32,
    /// Hours that come from `*`, a range or a step and are not appointments as well.
    pub(crate) rhythms: u32,
    months: u32,
    /// Bit per year from 1970; `None` is every year.
    years: Option<Box<[u64]>>,
    by_month: Option<MonthDays>,
    by_week: Option<WeekDays>,
    pub(crate) day_match: DayMatch,
}

/// The day-of-month field, when it restricts.
#[derive(Debug, Clone, Default)]
struct MonthDays {
    plain: u32,
    /// Bit n: n days before the last.
    last: u32,
    nearest: u32,
    last_nearest: u32,
}

/// The day-of-week field, when it restricts.
#[derive(Debug, Clone, Default)]
struct WeekDays {
    plain: u32,
    /// Per weekday (Sunday first), bit k: the k-th one of the month.
    nth: [u32; 7],
    last: u32,
}

const YEAR_WORDS: usize = (9999 - 1970 + 64) / 64;

impl Plan {
    /// A stand-in that matches nothing, for the moment before [`Plan::compile`].
    pub(crate) fn empty() -> Self {
        Self {
            seconds: 0,
            minutes: 0,
            appointments: 0,
            rhythms: 0,
            months: 0,
            years: None,
            by_month: None,
            by_week: None,
            day_match: DayMatch::Or,
        }
    }

    pub(crate) fn compile(expr: &Expr) -> Self {
        let [second, minute, hour, day_of_month, month, day_of_week, year] =
            expr.fields().map(|(field, items)| items.resolve(field, b""));
        let literal = |item: &&Item| matches!(item, Item::Value(_));
        let appointments = bits(hour.0.iter().filter(literal).flat_map(|item| item.values(Field::Hour))) as u32;
        Self {
            seconds: bits(second.values(Field::Second)),
            minutes: bits(minute.values(Field::Minute)),
            appointments,
            rhythms: bits(hour.values(Field::Hour)) as u32 & !appointments,
            months: bits(month.values(Field::Month)) as u32,
            years: (!year.is_any()).then(|| {
                let mut words = vec![0u64; YEAR_WORDS];
                for value in year.values(Field::Year) {
                    let bit = usize::from(value - Field::Year.min());
                    words[bit / 64] |= 1 << (bit % 64);
                }
                words.into_boxed_slice()
            }),
            by_month: (!day_of_month.is_any()).then(|| MonthDays::compile(&day_of_month)),
            by_week: (!day_of_week.is_any()).then(|| WeekDays::compile(&day_of_week)),
            day_match: if expr.days_joined { DayMatch::And } else { DayMatch::Or },
        }
    }

    /// All hours, appointments and rhythms.
    pub(crate) fn hours(&self) -> u32 {
        self.appointments | self.rhythms
    }

    /// Whether the expression names years, so that the calendar does not repeat every 400.
    pub(crate) fn names_years(&self) -> bool {
        self.years.is_some()
    }

    /// The first matching wall-clock time in `[from, until)` whose hour is in `hours`.
    pub(crate) fn next_wall(
        &self,
        from: DateTime,
        until: DateTime,
        hours: u32,
        day_match: DayMatch,
        steps: &mut Steps,
    ) -> Option<DateTime> {
        if from >= until || hours == 0 {
            return None;
        }
        let mut start = from;
        loop {
            let date = self.next_day(start.date(), until.date(), day_match, steps)?;
            let floor = if date == start.date() { start.time() } else { Time::midnight() };
            if let Some(time) = self.next_time(floor, hours) {
                let found = date.to_datetime(time);
                return (found < until).then_some(found);
            }
            // Only the first day can be exhausted: every later one is searched from midnight.
            start = date.tomorrow().ok()?.to_datetime(Time::midnight());
        }
    }

    /// The first matching day in `[from, last]`.
    pub(crate) fn next_day(&self, from: Date, last: Date, day_match: DayMatch, steps: &mut Steps) -> Option<Date> {
        let (mut year, mut month, mut day) = (from.year(), from.month(), from.day());
        loop {
            steps.0 += 1;
            let open_year = self.next_year(year)?;
            if open_year != year {
                (year, month, day) = (open_year, 1, 1);
            }
            match next_bit(u64::from(self.months), month.unsigned_abs().into()) {
                Some(open_month) if open_month != month.unsigned_abs().into() => (month, day) = (open_month as i8, 1),
                Some(_) => {}
                None => {
                    (year, month, day) = (year.checked_add(1)?, 1, 1);
                    if year > 9999 {
                        return None;
                    }
                    continue;
                }
            }
            let first = Date::new(year, month, 1).ok()?;
            if first > last {
                return None;
            }
            if let Some(found) = next_bit(u64::from(self.month_mask(first, day_match)), day.unsigned_abs().into()) {
                let date = Date::new(year, month, found as i8).ok()?;
                return (date <= last).then_some(date);
            }
            (month, day) = (month + 1, 1);
            if month > 12 {
                (year, month) = (year + 1, 1);
                if year > 9999 {
                    return None;
                }
            }
        }
    }

    /// The first open year at or after `year`.
    pub(crate) fn next_year(&self, year: i16) -> Option<i16> {
        let Some(years) = &self.years else { return Some(year) };
        let start = usize::try_from(year - 1970).unwrap_or(0);
        let (word, bit) = (start / 64, start % 64);
        let head = years.get(word).copied().unwrap_or(0) & (u64::MAX << bit);
        let tail = years.iter().copied().enumerate().skip(word + 1);
        let (word, bits) = std::iter::once((word, head)).chain(tail).find(|(_, bits)| *bits != 0)?;
        i16::try_from(1970 + word * 64 + bits.trailing_zeros() as usize).ok()
    }

    /// The matching days of the month that begins at `first`, as bits 1–31.
    fn month_mask(&self, first: Date, day_match: DayMatch) -> u32 {
        let len = first.days_in_month().unsigned_abs();
        let whole = ((1u64 << (len + 1)) - 2) as u32;
        let weekday = weekday_index(first.weekday());
        match (&self.by_month, &self.by_week) {
            (None, None) => whole,
            (Some(days), None) => days.mask(len, weekday) & whole,
            (None, Some(days)) => days.mask(len, weekday) & whole,
            (Some(by_month), Some(by_week)) => {
                let (by_month, by_week) = (by_month.mask(len, weekday), by_week.mask(len, weekday));
                whole
                    & match day_match {
                        DayMatch::Or => by_month | by_week,
                        DayMatch::And => by_month & by_week,
                    }
            }
        }
    }

    /// The first matching time of day at or after `floor`, its hour taken from `hours`.
    fn next_time(&self, floor: Time, hours: u32) -> Option<Time> {
        let hours = u64::from(hours & self.hours());
        let (h, m, s) = (floor.hour() as u32, floor.minute() as u32, floor.second() as u32);
        let time = |h: u32, m: u32, s: u32| Time::new(h as i8, m as i8, s as i8, 0).ok();
        let (first_minute, first_second) = (next_bit(self.minutes, 0)?, next_bit(self.seconds, 0)?);
        if hours >> h & 1 == 1 {
            if self.minutes >> m & 1 == 1
                && let Some(s) = next_bit(self.seconds, s)
            {
                return time(h, m, s);
            }
            if let Some(m) = next_bit(self.minutes, m + 1) {
                return time(h, m, first_second);
            }
        }
        time(next_bit(hours, h + 1)?, first_minute, first_second)
    }
}

impl MonthDays {
    fn compile(items: &Items) -> Self {
        let mut days = Self { plain: bits(items.values(Field::DayOfMonth)) as u32, ..Self::default() };
        for item in &items.0 {
            match *item {
                Item::Last { back } => days.last |= 1 << back,
                Item::NearestWeekday { day } => days.nearest |= 1 << day,
                Item::LastNearestWeekday { back } => days.last_nearest |= 1 << back,
                _ => {}
            }
        }
        days
    }

    /// The days named in a month of `len` days whose first is the given weekday. Bits beyond `len` may be set.
    fn mask(&self, len: u8, first: u8) -> u32 {
        let mut mask = self.plain;
        for back in ones(self.last).filter(|back| *back < len) {
            mask |= 1 << (len - back);
        }
        let nearest = ones(self.nearest).filter(|day| *day <= len);
        let last_nearest = ones(self.last_nearest).filter(|back| *back < len).map(|back| len - back);
        for day in nearest.chain(last_nearest) {
            mask |= 1 << nearest_weekday(day, len, first);
        }
        mask
    }
}

impl WeekDays {
    fn compile(items: &Items) -> Self {
        let mut days = Self { plain: bits(items.values(Field::DayOfWeek)) as u32, ..Self::default() };
        for item in &items.0 {
            match *item {
                Item::Nth { weekday, nth } => days.nth[usize::from(weekday)] |= 1 << nth,
                Item::LastWeekday { weekday } => days.last |= 1 << weekday,
                _ => {}
            }
        }
        days
    }

    fn mask(&self, len: u8, first: u8) -> u32 {
        /// Bits 0, 7, 14, 21 and 28: a weekday's days, counted from its first.
        const WEEKLY: u32 = 0x1020_4081;
        let mut mask = 0;
        for weekday in 0..7u8 {
            let opening = 1 + (weekday + 7 - first) % 7;
            if self.plain >> weekday & 1 == 1 {
                mask |= WEEKLY << opening;
            }
            for nth in ones(self.nth[usize::from(weekday)]) {
                let day = opening + 7 * (nth - 1);
                if day <= len {
                    mask |= 1 << day;
                }
            }
            if self.last >> weekday & 1 == 1 {
                mask |= 1 << (opening + (len - opening) / 7 * 7);
            }
        }
        mask
    }
}

/// The weekday (Monday to Friday) nearest to a day, without leaving the month.
fn nearest_weekday(day: u8, len: u8, first: u8) -> u8 {
    const SUNDAY: u8 = 0;
    const SATURDAY: u8 = 6;
    match (first + day - 1) % 7 {
        SATURDAY if day == 1 => 3,
        SATURDAY => day - 1,
        SUNDAY if day == len => day - 2,
        SUNDAY => day + 1,
        _ => day,
    }
}

fn weekday_index(weekday: Weekday) -> u8 {
    weekday.to_sunday_zero_offset().unsigned_abs()
}

fn bits(values: impl Iterator<Item = u16>) -> u64 {
    values.fold(0, |mask, value| mask | 1 << value)
}

fn ones(mask: u32) -> impl Iterator<Item = u8> {
    (0..32u8).filter(move |bit| mask >> bit & 1 == 1)
}

/// The lowest set bit at or above `from`.
fn next_bit(mask: u64, from: u32) -> Option<u32> {
    let rest = mask.checked_shr(from)?;
    (rest != 0).then(|| from + rest.trailing_zeros())
}
