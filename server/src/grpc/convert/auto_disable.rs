//! When a job is paused by itself.

use std::num::NonZeroU32;

use mainspring_engine::domain::auto_disable::AutoDisable;
use mainspring_proto::scheduler::v1 as wire;

use super::{Check, time};

/// More failures in a row are no measure.
const MOST: i32 = 1_000;

impl Check {
    /// Absent is the default.
    pub(crate) fn auto_disable(&mut self, auto_disable: Option<wire::AutoDisable>) -> AutoDisable {
        let Some(wire::AutoDisable { off, failures, window, cooldown }) = auto_disable else {
            return AutoDisable::default();
        };
        self.under("auto_disable", |check| {
            let number = check.within("failures", failures, 0..=MOST);
            let window = check.length("window", window);
            let cooldown = check.length("cooldown", cooldown);
            if off {
                if failures != 0 || window.is_some() || cooldown.is_some() {
                    check.refuse("off", "leaves nothing else to be said");
                }
                return AutoDisable::Off;
            }
            AutoDisable::After {
                failures: u32::try_from(number).ok().and_then(NonZeroU32::new).unwrap_or(AutoDisable::FAILURES),
                window: window.filter(|window| !window.is_zero()).unwrap_or(AutoDisable::WINDOW),
                cooldown: cooldown.filter(|cooldown| !cooldown.is_zero()),
            }
        })
    }
}

/// For people, in full.
pub(crate) fn auto_disable(auto_disable: AutoDisable) -> wire::AutoDisable {
    match auto_disable {
        AutoDisable::Off => wire::AutoDisable { off: true, ..wire::AutoDisable::default() },
        AutoDisable::After { failures, window, cooldown } => wire::AutoDisable {
            off: false,
            failures: i32::try_from(failures.get()).unwrap_or(i32::MAX),
            window: Some(time::duration(window)),
            cooldown: cooldown.map(time::duration),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::grpc::convert::read;

    #[test]
    fn what_is_written_reads_back() {
        let after = |failures, cooldown| AutoDisable::After {
            failures: NonZeroU32::new(failures).unwrap(),
            window: Duration::from_secs(60),
            cooldown,
        };
        for one in [AutoDisable::Off, AutoDisable::default(), after(7, None), after(1, Some(Duration::from_secs(9)))] {
            assert_eq!(read(|check| Some(check.auto_disable(Some(auto_disable(one))))).unwrap(), one);
        }
        assert_eq!(read(|check| Some(check.auto_disable(None))).unwrap(), AutoDisable::default());
        assert_eq!(read(|check| Some(check.auto_disable(Some(Default::default())))).unwrap(), AutoDisable::default());
    }

    #[test]
    fn off_is_all_there_is_to_say() {
        let bad = wire::AutoDisable { off: true, failures: 3, ..Default::default() };
        assert_eq!(
            read(|check| Some(check.auto_disable(Some(bad)))).unwrap_err().first_field(),
            Some("auto_disable.off")
        );
        let bad = wire::AutoDisable { failures: -1, ..Default::default() };
        assert_eq!(
            read(|check| Some(check.auto_disable(Some(bad)))).unwrap_err().first_field(),
            Some("auto_disable.failures")
        );
    }
}
