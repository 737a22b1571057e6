//! Catching up: what a job says about instants that passed while nobody could fire them.

use mainspring_engine::domain::catch_up::{CatchUp, Mode};
use mainspring_proto::scheduler::v1 as wire;

use super::{Check, time};

/// The fields of a job that say it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Fields {
    pub(crate) catch_up: i32,
    pub(crate) catch_up_max: i32,
    pub(crate) catch_up_pace: Option<prost_types::Duration>,
    pub(crate) max_lateness: Option<prost_types::Duration>,
}

impl Check {
    /// What a job wants of missed instants.
    pub(crate) fn catch_up(&mut self, fields: Fields) -> CatchUp {
        let Fields { catch_up, catch_up_max, catch_up_pace, max_lateness } = fields;
        let mode = self.catch_up_mode("catch_up", catch_up).unwrap_or(Mode::Latest);
        let max = self.within("catch_up_max", catch_up_max, 0..=CatchUp::MOST.cast_signed());
        if max > 0 && mode != Mode::All {
            self.refuse("catch_up_max", "is for ALL; leave it out, or choose it");
        }
        let max = u32::try_from(max).ok().filter(|max| *max > 0).unwrap_or(CatchUp::MAX);
        let pace = self.length("catch_up_pace", catch_up_pace).unwrap_or_default();
        if !pace.is_zero() && mode != Mode::All {
            self.refuse("catch_up_pace", "is for ALL; leave it out, or choose it");
        }
        let max_lateness = self.length("max_lateness", max_lateness).filter(|length| !length.is_zero());
        CatchUp { mode, max, pace, max_lateness }
    }

    /// A mode; none where nothing is said.
    pub(crate) fn catch_up_mode(&mut self, field: &str, mode: i32) -> Option<Mode> {
        self.choice(field, mode, |value| {
            Some(match value {
                wire::CatchUp::Unspecified => None,
                wire::CatchUp::Latest => Some(Mode::Latest),
                wire::CatchUp::None => Some(Mode::None),
                wire::CatchUp::All => Some(Mode::All),
            })
        })?
    }
}

/// What a job wants, for people.
pub(crate) fn catch_up(catch_up: CatchUp) -> Fields {
    let CatchUp { mode, max, pace, max_lateness } = catch_up;
    Fields {
        catch_up: mode.code(),
        catch_up_max: if mode == Mode::All { max.cast_signed() } else { 0 },
        catch_up_pace: (!pace.is_zero()).then(|| time::duration(pace)),
        max_lateness: max_lateness.map(time::duration),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::grpc::convert::read;

    #[test]
    fn what_is_said_comes_back() {
        let hour = Some(Duration::from_secs(3_600));
        for told in [
            CatchUp::default(),
            CatchUp::default().in_mode(Mode::None),
            CatchUp { mode: Mode::All, max: 7, pace: Duration::from_secs(5), max_lateness: hour },
            CatchUp { max_lateness: hour, ..CatchUp::default() },
        ] {
            assert_eq!(read(|check| Some(check.catch_up(catch_up(told)))).unwrap(), told);
        }
        assert_eq!(read(|check| Some(check.catch_up(Fields::default()))).unwrap(), CatchUp::default());
    }

    #[test]
    fn what_means_nothing_is_refused() {
        let pace = Some(time::duration(Duration::from_secs(1)));
        for fields in [
            Fields { catch_up_max: 1, ..Fields::default() },
            Fields { catch_up: 2, catch_up_pace: pace, ..Fields::default() },
            Fields { catch_up: 3, catch_up_max: 1_001, ..Fields::default() },
            Fields { catch_up: 9, ..Fields::default() },
        ] {
            assert!(read(|check| Some(check.catch_up(fields.clone()))).is_err(), "{fields:?}");
        }
    }

    #[test]
    fn the_codes_are_those_of_the_contract() {
        for mode in Mode::ALL {
            let named = wire::CatchUp::try_from(mode.code()).unwrap().as_str_name();
            assert_eq!(named.strip_prefix("CATCH_UP_").unwrap(), format!("{mode:?}").to_ascii_uppercase());
        }
    }
}
