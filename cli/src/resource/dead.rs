//! What a person sees of dead letters that died alike.

use mainspring_proto::scheduler::v1::DeadLetterGroup;

use super::Resource;
use crate::output::Cell;

impl Resource for DeadLetterGroup {
    const COLUMNS: &'static [&'static str] = &["FINGERPRINT", "COUNT", "JOB", "REASON", "FIRST", "LAST", "MESSAGE"];

    fn row(&self) -> Vec<Cell> {
        let who = if self.job.is_empty() { &self.job_type } else { &self.job };
        vec![
            Cell::text(&self.fingerprint),
            Cell::of(self.count),
            Cell::text(who),
            Cell::text(&self.reason),
            Cell::time(self.first_time.as_ref()),
            Cell::time(self.last_time.as_ref()),
            Cell::text(&self.message),
        ]
    }

    const WIDE: &'static [&'static str] = &["TYPE", "EXAMPLE"];

    fn wide(&self) -> Vec<Cell> {
        vec![Cell::text(&self.job_type), Cell::text(&self.example_run_id)]
    }

    fn page(&self) -> Vec<(&'static str, Cell)> {
        vec![
            ("fingerprint", Cell::text(&self.fingerprint)),
            ("job", Cell::text(&self.job)),
            ("type", Cell::text(&self.job_type)),
            ("reason", Cell::text(&self.reason)),
            ("message", Cell::text(&self.message)),
            ("count", Cell::of(self.count)),
            ("first", Cell::time(self.first_time.as_ref())),
            ("last", Cell::time(self.last_time.as_ref())),
            ("example", Cell::text(&self.example_run_id)),
        ]
    }
}
