//! What a person sees of a sink, and of what it was told.

use mainspring_proto::scheduler::v1::{Delivery, DeliveryState, NoticeKind, Sink, SinkDisableReason};

use super::{Resource, word};
use crate::output::{Cell, Tone};

impl Resource for Sink {
    const COLUMNS: &'static [&'static str] = &["SINK", "STATE", "JOB", "KINDS", "URL", "DROPPED", "UPDATED"];

    fn row(&self) -> Vec<Cell> {
        vec![
            Cell::text(&self.sink),
            state(self),
            Cell::text(if self.job.is_empty() { "every" } else { &self.job }),
            Cell::text(kinds(self)),
            Cell::text(&self.url),
            Cell::of(self.dropped_notices),
            Cell::time(self.update_time.as_ref()),
        ]
    }

    fn page(&self) -> Vec<(&'static str, Cell)> {
        vec![
            ("sink", Cell::text(&self.sink)),
            ("description", Cell::text(&self.description)),
            ("state", state(self)),
            ("url", Cell::text(&self.url)),
            ("kinds", Cell::text(kinds(self))),
            ("job", Cell::text(if self.job.is_empty() { "every" } else { &self.job })),
            ("dropped", Cell::of(self.dropped_notices)),
            ("etag", Cell::text(&self.etag)),
            ("created", Cell::time(self.create_time.as_ref())),
            ("updated", Cell::time(self.update_time.as_ref())),
        ]
    }
}

fn state(sink: &Sink) -> Cell {
    match sink.disable_reason() {
        SinkDisableReason::Unspecified => Cell::Word("enabled".into(), Tone::Good),
        SinkDisableReason::Asked => Cell::Word("disabled".into(), Tone::Quiet),
        SinkDisableReason::Gone => Cell::Word("gone".into(), Tone::Bad),
    }
}

fn kinds(sink: &Sink) -> String {
    sink.kinds().map(kind).collect::<Vec<_>>().join(", ")
}

/// A kind as it is typed.
fn kind(kind: NoticeKind) -> String {
    word(kind.as_str_name(), "NOTICE_KIND_").replace('_', "-")
}

impl Resource for Delivery {
    const COLUMNS: &'static [&'static str] = &["DELIVERY", "KIND", "STATE", "ATTEMPTS", "STATUS", "CREATED", "NEXT"];
    const WIDE: &'static [&'static str] = &["ENDED", "ERROR"];

    fn row(&self) -> Vec<Cell> {
        let tone = match self.state() {
            DeliveryState::Unspecified => Tone::Quiet,
            DeliveryState::Pending => Tone::Busy,
            DeliveryState::Delivered => Tone::Good,
            DeliveryState::Failed => Tone::Bad,
        };
        vec![
            Cell::text(&self.delivery_id),
            Cell::text(kind(self.kind())),
            Cell::Word(word(self.state().as_str_name(), "DELIVERY_STATE_"), tone),
            Cell::of(self.attempts),
            Cell::text(if self.last_status == 0 { String::new() } else { self.last_status.to_string() }),
            Cell::time(self.create_time.as_ref()),
            Cell::time(self.next_time.as_ref()),
        ]
    }

    fn wide(&self) -> Vec<Cell> {
        vec![Cell::time(self.end_time.as_ref()), Cell::text(&self.last_error)]
    }
}
