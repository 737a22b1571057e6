//! When a job is paused by itself, as `job create` and `job update` take it.

use clap::{Args, builder::RangedI64ValueParser};
use mainspring_proto::scheduler::v1::{AutoDisable, Job};

use crate::times::Length;

/// When the job is paused by itself.
#[derive(Args, Debug)]
pub(super) struct AutoDisableArgs {
    /// Pause it when so many runs in a row have failed; 0 means never [default: 5]
    #[arg(long, value_name = "N", value_parser = RangedI64ValueParser::<i32>::new().range(0..=1000))]
    auto_disable: Option<i32>,
    /// Those within this count [default: 1h]
    #[arg(long, value_name = "LENGTH")]
    disable_window: Option<Length>,
    /// It resumes by itself after this; 0s means when somebody resumes it [default: 0s]
    #[arg(long, value_name = "LENGTH")]
    disable_cooldown: Option<Length>,
}

impl AutoDisableArgs {
    /// Writes what was typed; the fields that were.
    pub(super) fn write(self, job: &mut Job) -> Vec<&'static str> {
        let Self { auto_disable, disable_window, disable_cooldown } = self;
        if auto_disable.is_none() && disable_window.is_none() && disable_cooldown.is_none() {
            return Vec::new();
        }
        if auto_disable == Some(0) {
            job.auto_disable = Some(AutoDisable { off: true, ..AutoDisable::default() });
            return vec!["auto_disable"];
        }
        let stored = job.auto_disable.get_or_insert_default();
        stored.off = false;
        stored.failures = auto_disable.unwrap_or(stored.failures);
        stored.window = disable_window.map(Length::to_proto).or(stored.window);
        stored.cooldown = disable_cooldown.map(Length::to_proto).or(stored.cooldown);
        vec!["auto_disable"]
    }
}
