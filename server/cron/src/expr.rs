//! [`Expr`]: a parsed cron expression in canonical form.
//!
//! Two expressions are equal when their canonical forms are. The text is the stored form; the masks of
//! [`crate::plan`] are derived from it and ride along so that evaluation needs no further work.

use std::{fmt, str::FromStr, sync::Arc};

use crate::{
    error::ParseError,
    field::Field,
    item::{Item, Items},
    parse,
    plan::Plan,
};

/// A cron expression: five fields, six with seconds first, seven with seconds first and the year last.
///
/// ```
/// use mainspring_cron::Expr;
///
/// let expr = Expr::parse("*/15 9-17 * * mon-fri")?;
/// assert_eq!(expr.to_string(), "*/15 9-17 * * MON-FRI");
///
/// let error = Expr::parse("0 24 * * *").unwrap_err();
/// assert_eq!(error.column, 3);
/// assert_eq!(
///     error.to_string(),
///     "hour field, column 3: 24 is out of range 0-23; midnight is hour 0, of the next day",
/// );
/// # Ok::<(), mainspring_cron::ParseError>(())
/// ```
#[derive(Clone)]
pub struct Expr {
    pub(crate) second: Items,
    pub(crate) minute: Items,
    pub(crate) hour: Items,
    pub(crate) day_of_month: Items,
    pub(crate) month: Items,
    pub(crate) day_of_week: Items,
    pub(crate) year: Items,
    /// The `+` before the day of week: both day fields must match.
    pub(crate) days_joined: bool,
    pub(crate) plan: Arc<Plan>,
}

impl Expr {
    /// Reads an expression.
    ///
    /// # Errors
    /// [`ParseError`] with field, column and, where one can be guessed, a suggestion.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        parse::expression(text)
    }

    pub(crate) fn from_items(items: [Items; 7], days_joined: bool) -> Self {
        let [second, minute, hour, day_of_month, month, day_of_week, year] = items;
        let plan = Arc::new(Plan::empty());
        let mut expr = Self { second, minute, hour, day_of_month, month, day_of_week, year, days_joined, plan };
        expr.plan = Arc::new(Plan::compile(&expr));
        expr
    }

    /// The expression with every `H` decided by `seed`, the bytes of the schedule's uid. The same seed gives the same
    /// values for ever; other schedules get other values.
    ///
    /// An expression that is evaluated with an `H` still in it uses the empty seed, which is good for a preview of a
    /// schedule that has no uid yet, and for nothing else.
    ///
    /// ```
    /// use mainspring_cron::Expr;
    ///
    /// let expr = Expr::parse("H H(1-4) * * *")?;
    /// assert_eq!(expr.resolve(b"uid"), expr.resolve(b"uid"));
    /// assert!(!expr.resolve(b"uid").has_hash());
    /// # Ok::<(), mainspring_cron::ParseError>(())
    /// ```
    #[must_use]
    pub fn resolve(&self, seed: &[u8]) -> Self {
        if !self.has_hash() {
            return self.clone();
        }
        Self::from_items(self.fields().map(|(field, items)| items.resolve(field, seed)), self.days_joined)
    }

    /// Whether an `H` is still to be decided by [`Expr::resolve`].
    #[must_use]
    pub fn has_hash(&self) -> bool {
        self.fields().iter().any(|(_, items)| items.0.iter().any(|item| item.is_hash()))
    }

    /// Whether both day fields restrict the day without the expression saying how they combine.
    #[must_use]
    pub fn has_ambiguous_days(&self) -> bool {
        !self.days_joined && !self.day_of_month.is_any() && !self.day_of_week.is_any()
    }

    /// Whether a `+` asks that both day fields match.
    #[must_use]
    pub fn joins_days(&self) -> bool {
        self.days_joined
    }

    pub(crate) fn fields(&self) -> [(Field, &Items); 7] {
        [
            (Field::Second, &self.second),
            (Field::Minute, &self.minute),
            (Field::Hour, &self.hour),
            (Field::DayOfMonth, &self.day_of_month),
            (Field::Month, &self.month),
            (Field::DayOfWeek, &self.day_of_week),
            (Field::Year, &self.year),
        ]
    }

    /// Whether the canonical form needs a seconds field.
    pub(crate) fn has_seconds(&self) -> bool {
        self.second.0 != [Item::Value(0)]
    }
}

impl fmt::Display for Expr {
    /// The canonical form: the fewest fields, upper-case names for months and weekdays, sorted lists, `*` for `?`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let has_year = !self.year.is_any();
        for (field, items) in self.fields() {
            match field {
                Field::Second if !has_year && !self.has_seconds() => continue,
                Field::Year if !has_year => continue,
                Field::DayOfWeek if self.days_joined => f.write_str("+")?,
                _ => {}
            }
            items.write(field, f)?;
            let last = field == Field::Year || (field == Field::DayOfWeek && !has_year);
            if !last {
                f.write_str(" ")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Expr({self})")
    }
}

impl PartialEq for Expr {
    fn eq(&self, other: &Self) -> bool {
        self.days_joined == other.days_joined && self.fields() == other.fields()
    }
}

impl Eq for Expr {}

impl FromStr for Expr {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        Self::parse(text)
    }
}

impl serde::Serialize for Expr {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Expr {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}
