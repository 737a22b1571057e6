//! Reads a page of metrics by the rules of the text format 0.0.4, and refuses whatever breaks them.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use super::http::get;

/// A page of metrics.
#[derive(Debug, Default)]
pub(crate) struct Exposition {
    /// By family, which type it is.
    pub(crate) types: BTreeMap<String, String>,
    /// By name and labels as they are written.
    samples: BTreeMap<String, f64>,
}

impl Exposition {
    /// Scrapes.
    pub(crate) async fn scrape(address: SocketAddr) -> Self {
        let (status, page) = get(address, "/metrics").await;
        assert_eq!(status, 200, "{page}");
        Self::read(&page)
    }

    /// The families, each with help and type and before its samples; samples with sound names, labels and values, once each;
    /// histograms whose buckets grow up to their count.
    fn read(page: &str) -> Self {
        let mut read = Self::default();
        let mut helped = BTreeSet::new();
        assert!(page.ends_with('\n'), "the last line has an end");
        for line in page.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, help) = help.split_once(' ').unwrap_or_else(|| panic!("no help: {line}"));
                assert!(helped.insert(name.to_owned()) && !help.is_empty(), "help comes once: {line}");
            } else if let Some(typed) = line.strip_prefix("# TYPE ") {
                let (name, kind) = typed.split_once(' ').unwrap_or_else(|| panic!("no type: {line}"));
                assert!(helped.contains(name), "help comes first: {line}");
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                assert!(read.types.insert(name.into(), kind.into()).is_none(), "a type comes once: {line}");
            } else {
                read.sample(line);
            }
        }
        read.histograms_are_sound();
        read
    }

    fn sample(&mut self, line: &str) {
        let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no value: {line}"));
        let value: f64 = value.parse().unwrap_or_else(|error| panic!("{error}: {line}"));
        let (name, labels) = series.split_once('{').map_or((series, ""), |(name, rest)| {
            (name, rest.strip_suffix('}').unwrap_or_else(|| panic!("labels without an end: {line}")))
        });
        let word = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') && !text.is_empty();
        assert!(word(name), "{line}");
        // No label of ours holds a quotation mark or a comma.
        for label in labels.split(',').filter(|label| !label.is_empty()) {
            let (key, value) = label.split_once('=').unwrap_or_else(|| panic!("{line}"));
            assert!(word(key) && value.len() >= 2 && value.starts_with('"') && value.ends_with('"'), "{line}");
        }
        let family = self.family(name).unwrap_or_else(|| panic!("of no family: {line}"));
        assert!(self.types[&family] != "counter" || value >= 0.0, "{line}");
        assert!(self.samples.insert(series.into(), value).is_none(), "twice: {line}");
    }

    fn family(&self, name: &str) -> Option<String> {
        let parts = ["_bucket", "_sum", "_count"].iter().filter_map(|part| name.strip_suffix(part));
        let mut histogram = parts.filter(|base| self.types.get(*base).is_some_and(|kind| kind == "histogram"));
        histogram.next().or_else(|| self.types.contains_key(name).then_some(name)).map(str::to_owned)
    }

    fn histograms_are_sound(&self) {
        for family in self.types.iter().filter(|(_, kind)| *kind == "histogram").map(|(name, _)| name) {
            let mut series: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
            for (sample, value) in &self.samples {
                let Some(labels) = sample.strip_prefix(&format!("{family}_bucket{{")) else { continue };
                let (mut bound, mut others) = (None, Vec::new());
                for label in labels.trim_end_matches('}').split(',') {
                    match label.strip_prefix("le=\"") {
                        Some(le) => bound = Some(le.trim_end_matches('"').parse::<f64>().unwrap()),
                        None => others.push(label),
                    }
                }
                series.entry(others.join(",")).or_default().push((bound.expect("a bucket has a bound"), *value));
            }
            for (labels, mut buckets) in series {
                buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
                let last = buckets.last().unwrap();
                assert!(buckets.is_sorted_by(|one, other| one.1 <= other.1), "{family} {labels}: {buckets:?}");
                assert_eq!((last.0, last.1), (f64::INFINITY, self.of(&format!("{family}_count"), &labels)));
                assert!(self.of(&format!("{family}_sum"), &labels) >= 0.0);
            }
        }
    }

    /// A sample by name and labels; zero where it is not there.
    pub(crate) fn of(&self, name: &str, labels: &str) -> f64 {
        let series = if labels.is_empty() { name.to_owned() } else { format!("{name}{{{labels}}}") };
        self.samples.get(&series).copied().unwrap_or_default()
    }

    /// That nothing that only grows has shrunk since.
    pub(crate) fn has_grown_since(&self, before: &Self) {
        for (series, value) in &before.samples {
            let name = series.split('{').next().unwrap();
            let family = self.family(name).unwrap();
            if self.types[&family] != "gauge" {
                assert!(self.samples[series] >= *value, "{series}: {value} and then {}", self.samples[series]);
            }
        }
    }
}
