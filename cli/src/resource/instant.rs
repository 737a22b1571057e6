//! What a person sees of the ledger.

use mainspring_proto::scheduler::v1::{Fate, Instant, RunState};

use super::{Resource, run::state_cell, word};
use crate::output::{Cell, Tone};

impl Resource for Instant {
    const COLUMNS: &'static [&'static str] = &["NOMINAL", "SCHEDULE", "FATE", "RUN", "STATE", "REASON"];

    fn row(&self) -> Vec<Cell> {
        let tone = match self.fate() {
            Fate::Fired | Fate::United => Tone::Good,
            Fate::Missed | Fate::Error => Tone::Bad,
            Fate::Unspecified
            | Fate::SkippedOverlap
            | Fate::Coalesced
            | Fate::Paused
            | Fate::Superseded
            | Fate::Excluded
            | Fate::DstSkipped
            | Fate::Dropped => Tone::Quiet,
        };
        let run_state = match self.run_state() {
            RunState::Unspecified => Cell::text(""),
            state => state_cell(state),
        };
        // What the fate says by itself is not said twice.
        let reason =
            if self.reason == 0 && self.skipped_count == 0 && self.calendar.is_empty() && self.superseded.is_none() {
                ""
            } else {
                self.sentence.as_str()
            };
        vec![
            // The instant itself is the point of the ledger, so it is never shown as a distance.
            Cell::text(
                self.nominal_time
                    .as_ref()
                    .and_then(crate::times::from_proto)
                    .map(|t| t.to_string())
                    .unwrap_or_default(),
            ),
            Cell::text(&self.schedule),
            Cell::Word(word(self.fate().as_str_name(), "FATE_"), tone),
            Cell::text(&self.run_id),
            run_state,
            Cell::text(reason),
        ]
    }
}
