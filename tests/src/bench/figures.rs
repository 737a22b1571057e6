//! Samples to figures.

use serde::{Deserialize, Serialize};

/// Where the samples of one repetition lie.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub struct Percentiles {
    /// How many samples.
    pub count: usize,
    /// Half are below.
    pub p50: f64,
    /// 95 of a hundred are below.
    pub p95: f64,
    /// 99 of a hundred are below.
    pub p99: f64,
    /// None is above.
    pub max: f64,
}

impl Percentiles {
    /// Of nanoseconds, in milliseconds.
    pub fn of_nanos(mut samples: Vec<u64>) -> Self {
        samples.sort_unstable();
        let at = |percent: usize| {
            let index = (samples.len() * percent).div_ceil(100).saturating_sub(1);
            samples.get(index).map_or(0.0, |nanos| millis(*nanos))
        };
        Self { count: samples.len(), p50: at(50), p95: at(95), p99: at(99), max: at(100) }
    }
}

/// Nanoseconds as milliseconds.
#[expect(clippy::cast_precision_loss, reason = "no measurement has 53 bits of precision")]
pub(super) fn millis(nanos: u64) -> f64 {
    nanos as f64 / 1e6
}

/// One figure over the repetitions.
#[derive(Debug, Serialize)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) least: f64,
    pub(super) most: f64,
    pub(super) all: Vec<f64>,
}

impl Spread {
    pub(super) fn of(all: Vec<f64>) -> Self {
        let mut sorted = all.clone();
        sorted.sort_by(f64::total_cmp);
        let at = |index: usize| sorted.get(index).copied().unwrap_or_default();
        Self { median: at(sorted.len() / 2), least: at(0), most: at(sorted.len().saturating_sub(1)), all }
    }
}

/// A figure for the eye: three digits that matter.
pub(super) fn shown(value: f64) -> String {
    match value.abs() {
        large if large >= 1_000.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_samples() {
        let figures = Percentiles::of_nanos((1..=200).map(|n| n * 1_000_000).collect());
        assert_eq!(
            (figures.count, figures.p50, figures.p95, figures.p99, figures.max),
            (200, 100.0, 190.0, 198.0, 200.0)
        );
        let one = Percentiles::of_nanos(vec![5_000_000]);
        assert_eq!((one.p50, one.p99, one.max), (5.0, 5.0, 5.0));
        assert_eq!(Percentiles::of_nanos(Vec::new()).count, 0);
    }

    #[test]
    fn a_spread_has_a_middle() {
        let spread = Spread::of(vec![3.0, 1.0, 2.0]);
        assert_eq!((spread.median, spread.least, spread.most), (2.0, 1.0, 3.0));
        assert_eq!(spread.all, [3.0, 1.0, 2.0], "in the order in which they were measured");
    }
}
