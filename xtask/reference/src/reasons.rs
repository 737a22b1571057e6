//! `reasons.md`: why runs stand where they stand and why they failed, where not the user's own code named the reason.

use std::fmt::Write as _;

use mainspring_cli::{Reasons, worker_reasons};
use mainspring_server::grpc::RUN_REASONS;

use crate::{
    contract::Contract,
    markdown::{head, table},
};

const LEAD: &str = "\
`Run.reason` says why a run stands where it stands, `Run.failure` why it failed, with a message for people. Both may hold any
name that a handler chose; those below are given by the platform. Filters know them: `reason = WORKER_CRASH_SUSPECTED`, and a
job's `retry_policy.non_retryable_reasons` may list those of failures.

Why a *call* was refused is another matter: see [errors](errors.md).";

pub(crate) fn page(_: &Contract) -> String {
    let mut text = head("Reasons", LEAD);
    let rows = RUN_REASONS.iter().map(|(name, about)| vec![format!("`{name}`"), (*about).to_owned()]);
    let _ = write!(text, "\n## Of the server\n\nThey decide about the run.\n\n{}", table(&["reason", "meaning"], rows));
    for Reasons { title, about, table: reasons } in worker_reasons() {
        let rows = reasons.iter().map(|(name, about)| vec![format!("`{name}`"), (*about).to_owned()]);
        let _ = write!(text, "\n## {title}\n\n{about}\n\n{}", table(&["reason", "meaning"], rows));
    }
    text
}
