//! What a person sees of a backfill.

use mainspring_proto::scheduler::v1::Backfill;

use super::{Resource, word};
use crate::output::Cell;

impl Resource for Backfill {
    const COLUMNS: &'static [&'static str] =
        &["BACKFILL", "JOB", "STATE", "INSTANTS", "MADE", "SKIPPED", "OPEN", "SUCCEEDED", "FAILED", "CREATED"];

    fn row(&self) -> Vec<Cell> {
        vec![
            Cell::text(&self.backfill_id),
            Cell::text(&self.job),
            Cell::text(state(self)),
            Cell::of(self.instant_count),
            Cell::of(self.made_count),
            Cell::of(self.skipped_count),
            Cell::of(self.open_count),
            Cell::of(self.succeeded_count),
            Cell::of(self.failed_count),
            Cell::time(self.create_time.as_ref()),
        ]
    }

    fn page(&self) -> Vec<(&'static str, Cell)> {
        vec![
            ("backfill", Cell::text(&self.backfill_id)),
            ("job", Cell::text(&self.job)),
            ("version", Cell::of(self.job_version)),
            ("schedules", Cell::text(self.schedules.join(", "))),
            ("state", Cell::text(state(self))),
            ("from", Cell::time(self.from_time.as_ref())),
            ("to", Cell::time(self.to_time.as_ref())),
            ("first", Cell::time(self.first_time.as_ref())),
            ("last", Cell::time(self.last_time.as_ref())),
            ("order", Cell::text(word(self.order().as_str_name(), "BACKFILL_ORDER_"))),
            ("overlap", Cell::text(word(self.overlap().as_str_name(), "BACKFILL_OVERLAP_"))),
            ("only", Cell::text(word(self.instants().as_str_name(), "BACKFILL_INSTANTS_"))),
            ("concurrency", Cell::of(self.concurrency)),
            ("priority", Cell::of(self.priority)),
            ("while paused", Cell::of(self.while_paused)),
            ("instants", Cell::of(self.instant_count)),
            ("made", Cell::of(self.made_count)),
            ("skipped", Cell::of(self.skipped_count)),
            ("open", Cell::of(self.open_count)),
            ("succeeded", Cell::of(self.succeeded_count)),
            ("failed", Cell::of(self.failed_count)),
            ("cancelled", Cell::of(self.cancelled_count)),
            ("note", Cell::text(&self.note)),
            ("by", Cell::text(&self.actor)),
            ("created", Cell::time(self.create_time.as_ref())),
            ("ended", Cell::time(self.end_time.as_ref())),
            ("cancel note", Cell::text(&self.cancel_note)),
        ]
    }
}

fn state(backfill: &Backfill) -> String {
    word(backfill.state().as_str_name(), "BACKFILL_STATE_").to_ascii_uppercase()
}
