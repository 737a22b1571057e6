//! Required labels: what a worker must be, to be given a run.
//!
//! The labels that a run requires are part of its lane, in one canonical form. So whoever waits for a worker with a graphics
//! card waits in a lane of its own, holds up nobody, and costs nobody a look; a worker serves every lane of its handlers
//! whose selector its labels satisfy ([`crate::flow::stream`] tells it of those that come later).

use std::{collections::BTreeMap, fmt};

/// Labels that a worker must have, each with this value; mostly none.
///
/// Kept as text, since a lane is compared and copied all the time: JSON with sorted keys, and nothing where there are none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Selector(String);

impl Selector {
    /// That of these labels.
    pub fn of(labels: &BTreeMap<String, String>) -> Self {
        if labels.is_empty() {
            return Self::default();
        }
        let labels: serde_json::Map<_, _> =
            labels.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect();
        Self(serde_json::Value::Object(labels).to_string())
    }

    /// The one behind a text that was kept.
    pub fn read(text: String) -> Option<Self> {
        let selector = Self(text);
        let canonical = selector.0.is_empty() || Self::of(&selector.labels()) == selector;
        canonical.then_some(selector)
    }

    /// The text to be kept.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether any worker will do.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The labels.
    pub fn labels(&self) -> BTreeMap<String, String> {
        serde_json::from_str(&self.0).unwrap_or_default()
    }

    /// Whether a worker with these labels will do.
    pub fn is_met_by(&self, labels: &BTreeMap<String, String>) -> bool {
        self.is_empty() || self.labels().iter().all(|(name, value)| labels.get(name) == Some(value))
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let labels = self.labels();
        let labels: Vec<_> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        f.write_str(&labels.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
    }

    #[test]
    fn a_selector_has_one_form_and_comes_back() {
        let selector = Selector::of(&labels(&[("zone", "eu, \"north\""), ("gpu", "yes")]));
        assert_eq!(selector.to_string(), "gpu=yes, zone=eu, \"north\"");
        assert_eq!(Selector::read(selector.as_str().into()), Some(selector));
        assert_eq!(Selector::read(String::new()), Some(Selector::of(&labels(&[]))));
        for other in ["{}", "{ \"gpu\": \"yes\" }", "gpu"] {
            assert_eq!(Selector::read(other.into()), None, "{other}");
        }
    }

    #[test]
    fn a_worker_needs_every_label_with_its_value() {
        let selector = Selector::of(&labels(&[("gpu", "yes"), ("zone", "eu")]));
        assert!(selector.is_met_by(&labels(&[("gpu", "yes"), ("zone", "eu"), ("rack", "7")])));
        for short in [&[("gpu", "yes")][..], &[("gpu", "no"), ("zone", "eu")], &[]] {
            assert!(!selector.is_met_by(&labels(short)));
        }
        assert!(Selector::default().is_met_by(&labels(&[])));
    }
}
