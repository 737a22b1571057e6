//! What a person sees of a namespace.

use mainspring_proto::scheduler::v1::Namespace;

use super::{Resource, job::timeouts};
use crate::output::Cell;

impl Resource for Namespace {
    const COLUMNS: &'static [&'static str] = &["NAMESPACE", "TIMEOUTS", "STRICT"];

    fn row(&self) -> Vec<Cell> {
        let settings = self.settings.unwrap_or_default();
        vec![
            Cell::text(&self.namespace),
            Cell::text(settings.default_timeouts.as_ref().map(timeouts).unwrap_or_default()),
            Cell::text(if settings.strict_schedules { "yes" } else { "no" }),
        ]
    }

    fn page(&self) -> Vec<(&'static str, Cell)> {
        let settings = self.settings.unwrap_or_default();
        vec![
            ("namespace", Cell::text(&self.namespace)),
            ("default timeouts", Cell::text(settings.default_timeouts.as_ref().map(timeouts).unwrap_or_default())),
            ("strict schedules", Cell::text(if settings.strict_schedules { "yes" } else { "no" })),
        ]
    }
}
