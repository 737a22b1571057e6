//! Between the wire and the domain: the only place where both are named.
//!
//! Reading collects every bad field before it refuses ([`Check`]); a message that was read is valid, so that nothing
//! behind this module checks again. Writing never fails. Both destructure, so that a new field does not compile until it
//! is placed.

use std::{collections::BTreeMap, fmt::Display, str::FromStr, sync::Arc};

use mainspring_cron::Zones;
use mainspring_engine::{
    domain::{
        names::{NamespaceName, Scope},
        namespace::NamespaceSettings,
    },
    ports::store::RequestKey,
};

use super::status::{BadField, Reason, Refusal};

pub(crate) mod auto_disable;
pub(crate) mod backfill;
pub(crate) mod calendar;
pub(crate) mod catch_up;
pub(crate) mod event;
pub(crate) mod failure;
pub(crate) mod from_worker;
pub(crate) mod instant;
pub(crate) mod job;
pub(crate) mod json;
pub(crate) mod namespace;
pub(crate) mod overlap;
pub(crate) mod payload;
pub(crate) mod policy;
pub(crate) mod queue;
pub(crate) mod run;
pub(crate) mod schedule;
pub(crate) mod sink;
pub(crate) mod stop;
pub(crate) mod submission;
pub(crate) mod time;
pub(crate) mod to_worker;

/// Labels of anything: at most so many.
const MAX_LABELS: usize = 64;
/// A label's value is at most so long.
const MAX_LABEL_VALUE: usize = 256;
/// Notes and reasons that callers give.
pub(crate) const MAX_NOTE: usize = 1_024;
/// Request ids.
const MAX_REQUEST_ID: usize = 128;

/// What a request is read against, beside itself.
#[derive(Clone, Debug)]
pub(crate) struct House {
    /// What the request's namespace says where the request says nothing.
    pub(crate) settings: Arc<NamespaceSettings>,
    /// What zones are looked up in.
    pub(crate) zones: Zones,
}

/// Collects what is wrong with a request while it is read.
#[derive(Debug, Default)]
pub(crate) struct Check {
    path: String,
    bad: Vec<BadField>,
    /// What the request is read against; none where it asks for nothing there, as what workers say does.
    house: Option<House>,
}

impl Check {
    /// What zones are looked up in.
    fn zones(&self) -> Zones {
        self.house.as_ref().map(|house| house.zones.clone()).unwrap_or_default()
    }

    /// What the namespace says where the request says nothing.
    fn settings_in_force(&self) -> Arc<NamespaceSettings> {
        self.house.as_ref().map(|house| Arc::clone(&house.settings)).unwrap_or_default()
    }

    /// Reads what lies below `field`.
    pub(crate) fn under<T>(&mut self, field: &str, read: impl FnOnce(&mut Self) -> T) -> T {
        let outer = self.path.len();
        if outer > 0 && !field.starts_with('[') {
            self.path.push('.');
        }
        self.path.push_str(field);
        let value = read(self);
        self.path.truncate(outer);
        value
    }

    /// Reads each item of a repeated field.
    pub(crate) fn each<T, U>(
        &mut self,
        field: &str,
        items: impl IntoIterator<Item = T>,
        mut read: impl FnMut(&mut Self, T) -> Option<U>,
    ) -> Vec<U> {
        let mut values = Vec::new();
        for (at, item) in items.into_iter().enumerate() {
            values.extend(self.under(&format!("{field}[{at}]"), |check| read(check, item)));
        }
        values
    }

    /// The field cannot be what it is.
    pub(crate) fn refuse(&mut self, field: &str, description: impl Into<String>) {
        self.refuse_as(Reason::FieldInvalid, field, description);
    }

    /// The field cannot be what it is, for a reason that has a name.
    pub(crate) fn refuse_as(&mut self, reason: Reason, field: &str, description: impl Into<String>) {
        let field = match (self.path.as_str(), field) {
            (path, "") => path.to_owned(),
            ("", field) => field.to_owned(),
            (path, field) => format!("{path}.{field}"),
        };
        self.bad.push(BadField::new(reason, field, description));
    }

    /// More for programs about what was refused last.
    pub(crate) fn detail(&mut self, key: &str, value: impl Display) {
        if let Some(bad) = self.bad.last_mut() {
            bad.tell(key, value);
        }
    }

    /// Whether nothing was refused so far.
    pub(crate) fn is_clean(&self) -> bool {
        self.bad.is_empty()
    }

    /// A text that must be there and be a `T`.
    pub(crate) fn required<T: FromStr<Err: Display>>(&mut self, field: &str, text: &str) -> Option<T> {
        match text.parse() {
            Ok(value) => Some(value),
            Err(_) if text.is_empty() => {
                self.refuse(field, "is required");
                None
            }
            Err(error) => {
                self.refuse(field, error.to_string());
                None
            }
        }
    }

    /// A text that is a `T`, or nothing.
    pub(crate) fn optional<T: FromStr<Err: Display>>(&mut self, field: &str, text: &str) -> Option<T> {
        if text.is_empty() { None } else { self.required(field, text) }
    }

    /// A name, or the one that stands for none.
    pub(crate) fn or_default<T: FromStr<Err: Display> + Default>(&mut self, field: &str, text: &str) -> T {
        self.optional(field, text).unwrap_or_default()
    }

    /// The namespace of a request.
    pub(crate) fn scope(&mut self, namespace: &str) -> Scope {
        Scope(self.or_default::<NamespaceName>("namespace", namespace))
    }

    /// A text of bounded length, which may have several lines.
    pub(crate) fn text(&mut self, field: &str, text: String, max: usize) -> String {
        self.bounded(field, &text, max);
        if text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
            self.refuse(field, "must not contain control characters but line ends and tabs");
        }
        text
    }

    /// A text of bounded length, on one line.
    pub(crate) fn line(&mut self, field: &str, text: String, max: usize) -> String {
        self.one_line(field, &text, max);
        text
    }

    fn one_line(&mut self, field: &str, text: &str, max: usize) {
        self.bounded(field, text, max);
        if text.chars().any(char::is_control) {
            self.refuse(field, "must not contain control characters");
        }
    }

    fn bounded(&mut self, field: &str, text: &str, max: usize) {
        if text.chars().nth(max).is_some() {
            self.refuse(field, format!("must be at most {max} characters"));
        }
    }

    /// The request id of a call; see [`super::replay`].
    pub(crate) fn request_id(&mut self, key: Option<&RequestKey>) {
        if let Some(key) = key {
            self.one_line("request_id", &key.id, MAX_REQUEST_ID);
        }
    }

    /// Which way a list goes: one of `orders`, the first where nothing is said. "asc" may be said and means nothing.
    pub(crate) fn order<T: Copy, const N: usize>(&mut self, text: &str, orders: &[(&str, T); N]) -> T {
        let mut words: Vec<_> = text.split_whitespace().collect();
        if words.len() > 1 && words.last() == Some(&"asc") {
            words.pop();
        }
        let wanted = words.join(" ");
        let first = orders[0].1;
        if wanted.is_empty() {
            return first;
        }
        orders.iter().find(|(name, _)| *name == wanted).map_or_else(
            || {
                let names: Vec<_> = orders.iter().map(|(name, _)| format!("`{name}`")).collect();
                let (last, others) = names
                    .split_last()
                    .map_or((String::new(), String::new()), |(last, others)| (last.clone(), others.join(", ")));
                self.refuse("order_by", format!("must be {others} or {last}"));
                first
            },
            |(_, order)| *order,
        )
    }

    /// Paths of an update mask that name what can be changed.
    pub(crate) fn mask(&mut self, paths: &[String], mutable: &[&str]) {
        for path in paths.iter().filter(|path| !mutable.contains(&path.as_str())) {
            let shown: String = path.chars().take(64).collect();
            self.refuse("update_mask", format!("`{shown}` cannot be changed; what can is {}", mutable.join(", ")));
        }
    }

    /// The namespace inside a resource, which must not contradict the request's.
    pub(crate) fn same_namespace(&mut self, namespace: &str, scope: &str) {
        if !namespace.is_empty() && namespace != scope {
            self.refuse("namespace", format!("must be empty or `{scope}`, the request's"));
        }
    }

    /// Labels: keys like job names, bounded.
    pub(crate) fn labels(&mut self, field: &str, labels: BTreeMap<String, String>) -> BTreeMap<String, String> {
        if labels.len() > MAX_LABELS {
            self.refuse(field, format!("must be at most {MAX_LABELS}"));
        }
        for (key, value) in labels.iter().take(MAX_LABELS) {
            // A label's key has the shape of a job's name.
            if let Err(error) = key.parse::<mainspring_engine::domain::names::JobName>() {
                let shown: String = key.chars().take(64).collect();
                self.refuse(field, format!("key {shown:?} {error}"));
            }
            if value.chars().nth(MAX_LABEL_VALUE).is_some() {
                self.refuse(field, format!("the value of `{key}` must be at most {MAX_LABEL_VALUE} characters"));
            } else if value.chars().any(char::is_control) {
                self.refuse(field, format!("the value of `{key}` must not contain control characters"));
            }
        }
        labels
    }

    /// A number within bounds.
    pub(crate) fn within(&mut self, field: &str, number: i32, bounds: std::ops::RangeInclusive<i32>) -> i32 {
        if !bounds.contains(&number) {
            self.refuse(field, format!("must be {} to {}, not {number}", bounds.start(), bounds.end()));
        }
        number
    }

    /// An enum's value. A number that the contract does not have is refused; zero stands for `default`.
    pub(crate) fn choice<P, D>(&mut self, field: &str, number: i32, read: impl FnOnce(P) -> Option<D>) -> Option<D>
    where
        P: TryFrom<i32>,
    {
        match P::try_from(number) {
            Ok(value) => read(value),
            Err(_) => {
                self.refuse(
                    field,
                    format!("{number} is not a value of this enum; the client may be newer than the server"),
                );
                None
            }
        }
    }

    /// The value that was read, or everything that was wrong.
    pub(crate) fn finish<T>(self, value: Option<T>) -> Result<T, Refusal> {
        match value {
            Some(value) if self.bad.is_empty() => Ok(value),
            None if self.bad.is_empty() => Err(Refusal::bug("a request was refused without saying why")),
            _ => Err(Refusal::fields(self.bad)),
        }
    }
}

/// Reads a request, all of it before anything is refused.
pub(crate) fn read<T>(read: impl FnOnce(&mut Check) -> Option<T>) -> Result<T, Refusal> {
    read_by(Check::default(), read)
}

/// Reads a request where the house has something to say.
pub(crate) fn read_in<T>(house: House, read: impl FnOnce(&mut Check) -> Option<T>) -> Result<T, Refusal> {
    read_by(Check { house: Some(house), ..Check::default() }, read)
}

fn read_by<T>(mut check: Check, read: impl FnOnce(&mut Check) -> Option<T>) -> Result<T, Refusal> {
    let value = read(&mut check);
    check.finish(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bad_field_is_listed_with_its_path() {
        let refusal = read(|check| {
            check.scope("Not A Name");
            check.under("job", |check| {
                check.text("display_name", "x".repeat(129), 128);
                check.each("schedules", ["", "B"], |check, name| check.required::<NamespaceName>("name", name));
            });
            Some(())
        })
        .unwrap_err();
        let status = tonic::Status::from(refusal);
        let details = tonic_types::StatusExt::get_error_details(&status);
        let fields: Vec<_> =
            details.bad_request().unwrap().field_violations.iter().map(|bad| bad.field.as_str()).collect();
        assert_eq!(fields, ["namespace", "job.display_name", "job.schedules[0].name", "job.schedules[1].name"]);
    }

    #[test]
    fn control_characters_are_nowhere_but_line_ends_in_texts() {
        let ok = |read: fn(&mut Check, String) -> String, text: &str| {
            super::read(|check| Some(read(check, text.to_owned()))).is_ok()
        };
        let (text, line) = (|c: &mut Check, s| c.text("t", s, 9), |c: &mut Check, s| c.line("t", s, 9));
        for (written, as_text, as_line) in
            [("Ops & ä", true, true), ("a\nb\tc", true, false), ("a\0b", false, false), ("a\u{1b}[m", false, false)]
        {
            assert_eq!((ok(text, written), ok(line, written)), (as_text, as_line), "{written:?}");
        }
        assert!(!ok(text, "ten letters") && !ok(line, "ten letters"));
    }

    #[test]
    fn orders_are_read_as_people_write_them() {
        const ORDERS: [(&str, u8); 3] = [("job", 0), ("job desc", 1), ("create_time", 2)];
        let order = |text: &str| read(|check| Some(check.order(text, &ORDERS)));
        for (text, expected) in [("", 0), ("job", 0), (" job  asc ", 0), ("job desc", 1), ("create_time asc", 2)] {
            assert_eq!(order(text).unwrap(), expected, "{text}");
        }
        for bad in ["desc", "asc", "job down", "owner", "job, create_time"] {
            let refusal = order(bad).unwrap_err();
            assert!(refusal.message().contains("`job`, `job desc` or `create_time`"), "{}", refusal.message());
        }
    }

    #[test]
    fn labels_are_bounded() {
        let many = (0..65).map(|n| (format!("k{n}"), String::new())).collect();
        assert!(read(|check| Some(check.labels("labels", many))).is_err());
        for (key, value) in [("Not ok", ""), ("team", "a\0b"), ("team", "a\nb")] {
            let bad = [(key.to_owned(), value.to_owned())].into();
            assert!(read(|check| Some(check.labels("labels", bad))).is_err(), "{key} = {value:?}");
        }
        let fine = [("team".to_owned(), "Ops & more".to_owned())].into();
        assert!(read(|check| Some(check.labels("labels", fine))).is_ok());
    }
}
