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

const OF_ATTEMPTS: &str = "\
Why the platform ended an attempt, or took it for lost (`Attempt.loss_reason`; `mainspring run describe` shows it beside the
attempt). What it means for the run is decided by its policies, see [the states of a run](../concepts.md#the-states-of-a-run).";
const LOSS_REASON: &str = "LOSS_REASON_";

/// Why attempts end without their worker's word, in the contract's own words.
fn of_attempts(contract: &Contract) -> impl Iterator<Item = Vec<String>> + '_ {
    let enums = contract.packages.values().flat_map(|package| &package.enums);
    let values =
        enums.filter(|one| one.name == "LossReason").flat_map(|one| &one.parts).filter(|value| value.number != 0);
    values.map(|value| {
        let name = value.name.strip_prefix(LOSS_REASON).unwrap_or(&value.name);
        vec![format!("`{name}`"), value.comment.replace('\n', " ")]
    })
}

pub(crate) fn page(contract: &Contract) -> String {
    let mut text = head("Reasons", LEAD);
    let rows = RUN_REASONS.iter().map(|(name, about)| vec![format!("`{name}`"), (*about).to_owned()]);
    let _ = write!(text, "\n## Of the server\n\nThey decide about the run.\n\n{}", table(&["reason", "meaning"], rows));
    let rows = table(&["reason", "meaning"], of_attempts(contract));
    let _ = write!(text, "\n## Of attempts\n\n{OF_ATTEMPTS}\n\n{rows}");
    for Reasons { title, about, table: reasons } in worker_reasons() {
        let rows = reasons.iter().map(|(name, about)| vec![format!("`{name}`"), (*about).to_owned()]);
        let _ = write!(text, "\n## {title}\n\n{about}\n\n{}", table(&["reason", "meaning"], rows));
    }
    text
}
