//! Rates of queues and keys, as people type them and as tables show them.

use std::{ops::RangeInclusive, str::FromStr};

use mainspring_proto::scheduler::v1::RateLimit;

use crate::times::{self, Length};

/// So many a server takes.
const COUNTS: RangeInclusive<i32> = 1..=1_000_000;

/// A rate as it is typed: `100/1m`, or `none`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rate {
    /// No limit.
    None,
    /// So many in so long.
    Of(i32, Length),
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self::None);
        }
        let (count, per) = text.split_once('/').ok_or("a rate is N/LENGTH, like 100/1m, or none")?;
        let count = count.trim().parse().map_err(|_| format!("`{count}` is no number"))?;
        if !COUNTS.contains(&count) {
            let (least, most) = COUNTS.into_inner();
            return Err(format!("so many must be {least} to {most}, not {count}; `none` means no limit"));
        }
        // People leave the one out: 5/s.
        let per = if per.starts_with(|c: char| c.is_ascii_digit()) { per.to_owned() } else { format!("1{per}") };
        Ok(Self::Of(count, per.parse().map_err(|error: times::TimeError| error.to_string())?))
    }
}

impl Rate {
    /// For the wire.
    pub(crate) fn limit(self, burst: Option<i32>) -> Option<RateLimit> {
        match self {
            Self::None => None,
            Self::Of(count, per) => {
                Some(RateLimit { count, per: Some(per.to_proto()), burst: burst.unwrap_or_default() })
            }
        }
    }
}

impl Rate {
    /// How long after one another things happen that happen at it.
    pub(crate) fn pace(self) -> Option<prost_types::Duration> {
        match self {
            Self::None => None,
            Self::Of(count, Length(per)) => {
                let count = u32::try_from(count).ok().filter(|count| *count > 0)?;
                Some(Length(per / count).to_proto())
            }
        }
    }
}

/// `100/1m, 10 at once`.
pub(crate) fn told(limit: &RateLimit) -> String {
    let RateLimit { count, per, burst } = limit;
    let per = per.as_ref().map(times::length).unwrap_or_default();
    match burst {
        0 | 1 => format!("{count}/{per}"),
        burst => format!("{count}/{per}, {burst} at once"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_as_people_write_them() {
        let told = |text: &str| told(&text.parse::<Rate>().unwrap().limit(Some(1)).unwrap());
        assert_eq!([told("100/1m"), told("5/s"), told("1/1h30m")], ["100/1m", "5/1s", "1/1h30m"]);
        assert_eq!("none".parse::<Rate>(), Ok(Rate::None));
        let pace = |text: &str| text.parse::<Rate>().unwrap().pace().map(|pace| times::length(&pace));
        assert_eq!([pace("100/1m"), pace("2/s"), pace("none")], [Some("600ms".into()), Some("500ms".into()), None]);
        for bad in ["", "100", "x/1m", "1/", "1/never", "0/s", "-1/s", "1000001/s"] {
            assert!(bad.parse::<Rate>().is_err(), "{bad}");
        }
    }
}
