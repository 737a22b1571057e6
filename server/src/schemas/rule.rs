//! One announced schema, ready for payloads.
//!
//! Whatever cannot be checked here within bounds passes: the worker checks it anyway, and a payload that is fine must not be
//! refused because the server could not tell.

use jsonschema::{Draft, PatternOptions, Validator};
use mainspring_schema::{Mismatch, mismatches};
use serde_json::Value;

use super::bounds::{self, Costs, Size, Unmeasured};

/// A compiled regular expression takes at most so much, and what it remembers of its work as much again.
const PATTERN_BYTES: usize = 128 << 10;
/// So many fields of a payload are told.
const MAX_TOLD: usize = 10;
/// Looks that one request may take; a look is some tens of nanoseconds.
const MAX_LOOKS: u64 = 5_000_000;
/// To say where a payload misses, the library copies what it is about, once for every alternative: bytes of that, at most.
const MAX_COPIED: u64 = 16 << 20;

/// What one request may still spend on checks.
#[derive(Debug)]
pub(crate) struct Budget(u64);

impl Default for Budget {
    fn default() -> Self {
        Self(MAX_LOOKS)
    }
}

impl Budget {
    /// Takes the looks, if they are there.
    fn take(&mut self, looks: u64) -> bool {
        let left = self.0.checked_sub(looks);
        self.0 = left.unwrap_or(self.0);
        left.is_some()
    }
}

/// A payload, measured.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) value: Value,
    pub(super) size: Size,
    pub(super) bytes: usize,
}

/// How a payload stands to a schema.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It matches, or nobody here can tell.
    Passes,
    /// It does not; where, as far as that can be told.
    Misses(Vec<Mismatch>),
}

/// One announced schema.
pub(crate) struct Rule {
    text: String,
    check: Option<(Validator, Costs)>,
}

impl std::fmt::Debug for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rule").field("bytes", &self.text.len()).field("checked", &self.check.is_some()).finish()
    }
}

impl Rule {
    /// Makes it ready.
    pub(super) fn new(text: String) -> Self {
        let check = match compile(&text) {
            Ok(check) => Some(check),
            Err(why) => {
                tracing::info!(why, "payloads of a type are not checked by the server; its workers check them");
                None
            }
        };
        Self { text, check }
    }

    /// As it was announced.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// What it takes of memory, about.
    pub(super) fn weight(&self) -> usize {
        let patterns = self.check.as_ref().map_or(0, |(_, costs)| costs.patterns());
        self.text.len() * 16 + patterns * 2 * PATTERN_BYTES
    }

    /// Holds a payload against it.
    pub(super) fn verdict(&self, payload: &Read, budget: &mut Budget) -> Verdict {
        let Some((validator, costs)) = &self.check else { return Verdict::Passes };
        let affordable = costs.of(payload.size).is_some_and(|looks| budget.take(looks));
        if !affordable || validator.is_valid(&payload.value) {
            return Verdict::Passes;
        }
        let levels = u64::try_from(payload.size.depth + 1).unwrap_or(u64::MAX);
        let bytes = u64::try_from(payload.bytes).unwrap_or(u64::MAX);
        let copied = costs.looks(payload.size.depth).saturating_mul(levels).saturating_mul(bytes);
        let told = if copied <= MAX_COPIED { mismatches(validator, &payload.value, MAX_TOLD) } else { Vec::new() };
        Verdict::Misses(told)
    }
}

/// What is wrong with a schema that a worker announces; none where the server can live with it.
pub(crate) fn wrong(text: &str) -> Option<String> {
    let schema: Value = match serde_json::from_str(text) {
        Ok(schema) => schema,
        Err(error) => return Some(format!("is not JSON: {error}")),
    };
    match bounds::costs(&schema) {
        Ok(_) | Err(Unmeasured::TooMuch(_)) => None,
        Err(Unmeasured::Wrong(why)) => Some(why),
    }
}

fn compile(text: &str) -> Result<(Validator, Costs), String> {
    let schema: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let costs = bounds::costs(&schema).map_err(|why| match why {
        Unmeasured::Wrong(why) => format!("it {why}"),
        Unmeasured::TooMuch(why) => why.to_owned(),
    })?;
    // The engine without look-around and back references: its time is linear, whatever the expression.
    let patterns = PatternOptions::regex().size_limit(PATTERN_BYTES).dfa_size_limit(PATTERN_BYTES);
    let options = jsonschema::options().with_draft(Draft::Draft202012).with_pattern_options(patterns).offline();
    let validator = options.build(&schema).map_err(|error| {
        let why: String = error.masked_with("it").to_string().chars().take(200).collect();
        format!("the server cannot work with it: {why}")
    })?;
    Ok((validator, costs))
}
