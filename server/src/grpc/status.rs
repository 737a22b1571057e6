//! Every way a call is refused: one of the reasons, and one translation to a gRPC status.
//!
//! A [`Refusal`] says what to do next, in a message for people and as details for programs: `ErrorInfo` always, the others
//! where they fit. Statuses that tonic makes by itself are brought into this form by [`super::layer::errors`].

mod reason;

use std::{collections::BTreeMap, fmt, time::Duration};

use mainspring_engine::{
    flow::stream::messages::SessionEnd,
    ports::store::{Obstacle, Quota, StoreError},
};
use mainspring_proto::scheduler::v1 as wire;
use tonic::Status;
use tonic_types::{ErrorDetails, FieldViolation, PreconditionViolation, StatusExt as _};

pub use self::reason::Reason;
use super::convert::time;

/// Who gives the reasons of [`Reason`].
pub(crate) const DOMAIN: &str = "mainspring.dev";

/// The violations of one status have so many bytes at most. Clients that were told nothing else read 8 KiB of headers, where
/// details are a third longer than they are, and a message in another script than Latin three times.
const MAX_VIOLATIONS: usize = 3 << 10;

/// A text for people has so many bytes at most.
const MAX_TEXT: usize = 500;

/// What a status says that stands for a bug of ours; the request id is added on the way out.
pub(crate) const INTERNAL_MESSAGE: &str = "the server has a bug or a broken row here; its log tells more";

/// A person has to act first, which takes longer than a database needs to come back.
const UNWRITABLE: Duration = Duration::from_secs(5);

/// One bad field of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BadField {
    /// Path in the request, as in `job.schedules[0].cron`.
    pub(crate) field: String,
    /// What is wrong with it, and what to write instead.
    pub(crate) description: String,
    /// `FIELD_INVALID`, or something more telling.
    pub(crate) reason: Reason,
    /// More for programs.
    pub(crate) metadata: BTreeMap<String, String>,
}

impl BadField {
    /// A field that cannot be what it is.
    pub(crate) fn new(reason: Reason, field: impl Into<String>, description: impl Into<String>) -> Self {
        Self { field: plain(field.into()), description: plain(description.into()), reason, metadata: BTreeMap::new() }
    }

    /// More for programs.
    pub(crate) fn tell(&mut self, key: &str, value: impl fmt::Display) {
        self.metadata.insert(key.into(), plain(value.to_string()));
    }
}

/// A text for people, which may quote a stranger: what would move a cursor, forge a line or turn the text round is
/// written out, and what nobody reads is left out.
fn plain(text: String) -> String {
    let moves = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    if text.len() <= MAX_TEXT && !text.contains(moves) {
        return text;
    }
    let mut plain = String::new();
    for c in text.chars() {
        if plain.len() > MAX_TEXT {
            plain.push('…');
            break;
        }
        if moves(c) {
            plain.extend(c.escape_default());
        } else {
            plain.push(c);
        }
    }
    plain
}

/// A call that is refused, and everything the caller is told about it.
#[derive(Clone, Debug)]
pub(crate) struct Refusal(Box<Inner>);

#[derive(Clone, Debug)]
struct Inner {
    reason: Reason,
    message: String,
    metadata: BTreeMap<String, String>,
    fields: Vec<BadField>,
    retry_after: Option<Duration>,
    resource: Option<(&'static str, String)>,
    precondition: Option<(&'static str, String)>,
}

impl Refusal {
    /// A refusal with a message that says what to do next.
    pub(crate) fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            reason,
            message: plain(message.into()),
            metadata: BTreeMap::new(),
            fields: Vec::new(),
            retry_after: None,
            resource: None,
            precondition: None,
        }))
    }

    /// One bad field.
    pub(crate) fn field(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self::fields(vec![BadField::new(Reason::FieldInvalid, field, description)])
    }

    /// Bad fields. Where all of them have one reason it is the refusal's; `FIELD_INVALID` otherwise. Message and metadata
    /// are those of the first.
    pub(crate) fn fields(fields: Vec<BadField>) -> Self {
        let first = fields.first().map_or(Reason::FieldInvalid, |bad| bad.reason);
        let reason = if fields.iter().all(|bad| bad.reason == first) { first } else { Reason::FieldInvalid };
        let message = match fields.as_slice() {
            [only] => format!("{}: {}", only.field, only.description),
            [first, rest @ ..] => format!("{}: {} (and {} more)", first.field, first.description, rest.len()),
            [] => "the request cannot be understood".into(),
        };
        let mut refusal = Self::new(reason, message);
        refusal.0.metadata = fields.first().map(|bad| bad.metadata.clone()).unwrap_or_default();
        refusal.0.fields = fields;
        refusal
    }

    /// A message that is longer than the server reads; how long it is, where that is known.
    pub(crate) fn too_long(size: Option<usize>, limit: usize) -> Self {
        let has = size.map(|size| format!(" of {size} bytes")).unwrap_or_default();
        let message =
            format!("the message{has} is larger than the {limit} bytes that this server reads; send less at once");
        let refusal = Self::new(Reason::PayloadTooLarge, message).with("limit_bytes", limit);
        match size {
            Some(size) => refusal.with("size_bytes", size),
            None => refusal,
        }
    }

    /// Something is not there.
    pub(crate) fn missing(
        reason: Reason,
        kind: &'static str,
        name: impl fmt::Display,
        place: impl fmt::Display,
    ) -> Self {
        let mut refusal = Self::new(reason, format!("there is no {kind} `{name}` in namespace `{place}`"));
        refusal.0.resource = Some((kind, plain(name.to_string())));
        refusal
    }

    /// A bug of ours. What happened goes to the log, not to the caller.
    pub(crate) fn bug(what: impl fmt::Display) -> Self {
        tracing::error!(%what, "a call could not be answered");
        Self::new(Reason::Internal, INTERNAL_MESSAGE)
    }

    /// The server is going away.
    pub(crate) fn draining(retry_after: Duration) -> Self {
        Self::new(Reason::ServerDraining, "the server is shutting down; try again").retry_after(retry_after)
    }

    /// More for programs.
    #[must_use]
    pub(crate) fn with(mut self, key: &str, value: impl fmt::Display) -> Self {
        self.0.metadata.insert(key.into(), plain(value.to_string()));
        self
    }

    /// When to try again.
    #[must_use]
    pub(crate) fn retry_after(mut self, delay: Duration) -> Self {
        self.0.retry_after = Some(delay);
        self
    }

    /// What it is about.
    #[must_use]
    pub(crate) fn about(mut self, kind: &'static str, name: impl fmt::Display) -> Self {
        self.0.resource = Some((kind, plain(name.to_string())));
        self
    }

    /// What stands in the way.
    #[must_use]
    pub(crate) fn because_of(mut self, kind: &'static str, subject: impl fmt::Display) -> Self {
        self.0.precondition = Some((kind, plain(subject.to_string())));
        self
    }

    /// Why.
    pub(crate) fn reason(&self) -> Reason {
        self.0.reason
    }

    /// What people read.
    pub(crate) fn message(&self) -> &str {
        &self.0.message
    }

    /// More for programs.
    #[cfg(test)]
    pub(crate) fn metadata(&self) -> &BTreeMap<String, String> {
        &self.0.metadata
    }

    /// The first bad field, if fields are what is bad.
    #[cfg(test)]
    pub(crate) fn first_field(&self) -> Option<&str> {
        self.0.fields.first().map(|bad| bad.field.as_str())
    }

    /// The same inside an answer: one item of a batch was refused.
    pub(crate) fn into_submission_error(self) -> wire::SubmissionError {
        let Inner { reason, message, metadata, fields, retry_after, resource: _, precondition: _ } = *self.0;
        wire::SubmissionError {
            code: reason.code().into(),
            reason: reason.name().into(),
            message,
            field: fields.into_iter().next().map(|bad| bad.field).unwrap_or_default(),
            metadata,
            retry_delay: retry_after.map(time::duration),
        }
    }

    /// The details, as tonic wants them.
    fn details(&self) -> ErrorDetails {
        let Inner { reason, message, metadata, fields, retry_after, resource, precondition } = &*self.0;
        let mut details = ErrorDetails::with_error_info(
            reason.name(),
            DOMAIN,
            metadata.clone().into_iter().collect::<std::collections::HashMap<_, _>>(),
        );
        if !fields.is_empty() {
            // A status travels in headers, which clients read up to a few kilobytes. The message tells how many there are.
            let mut room = MAX_VIOLATIONS;
            let violations = fields.iter().take_while(|bad| {
                let bytes = bad.field.len() + bad.description.len() + bad.reason.name().len() + 16;
                let fits = bytes <= room;
                room = room.saturating_sub(bytes);
                fits
            });
            let violations = violations.map(|bad| FieldViolation {
                field: bad.field.clone(),
                description: bad.description.clone(),
                reason: bad.reason.name().into(),
                localized_message: None,
            });
            details.set_bad_request(violations.collect::<Vec<_>>());
        }
        if let Some(delay) = retry_after {
            details.set_retry_info(Some(*delay));
        }
        if let Some((kind, name)) = resource {
            details.set_resource_info(*kind, name.as_str(), "", message.as_str());
        }
        if let Some((kind, subject)) = precondition {
            details.set_precondition_failure(vec![PreconditionViolation {
                r#type: (*kind).into(),
                subject: subject.clone(),
                description: message.clone(),
            }]);
        }
        details
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        match refusal.reason() {
            // Without details: the outermost layer adds them with the request id, which only it knows.
            Reason::Internal => Self::internal(refusal.message()),
            reason => Self::with_error_details(reason.code(), refusal.message(), refusal.details()),
        }
    }
}

impl From<Quota> for Refusal {
    fn from(quota: Quota) -> Self {
        let what = match quota {
            Quota::Queues => "queues",
            Quota::Lanes => "job types, counted in each queue,",
            Quota::Sinks => "sinks",
        };
        let limit = quota.limit();
        let message = format!("the namespace has {limit} {what} and may have no more; use one that is there");
        Self::new(Reason::QuotaExceeded, message)
            .with("quota", format!("{quota:?}").to_uppercase())
            .with("limit", limit)
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(why) => {
                tracing::warn!(why, "the store did not answer a call");
                Self::new(Reason::StoreUnavailable, "the database does not answer; try again")
                    .retry_after(Duration::from_secs(1))
            }
            StoreError::Unwritable { obstacle, place } => unwritable(obstacle, place.as_deref()),
            StoreError::Conflict(why) => {
                tracing::warn!(why, "a call met other changes each time it was tried");
                let message = "other changes of the same rows were in the way, and nothing was done; try again";
                Self::new(Reason::StoreContended, message).retry_after(Duration::from_secs(1))
            }
            StoreError::TooSlow => Self::new(
                Reason::QueryTooSlow,
                "the answer took longer than the server spends on one; narrow the filter by `job`, `state` or `create_time`",
            ),
            StoreError::Corrupt(why) => Self::bug(why),
        }
    }
}

/// What a person has to do before anything is stored again. The log has been told.
fn unwritable(obstacle: Obstacle, place: Option<&str>) -> Refusal {
    let there = place.map_or_else(|| "where its database is".to_owned(), |place| format!("in {place}"));
    let (name, advice) = match obstacle {
        Obstacle::Full => ("FULL", format!("free space {there}")),
        Obstacle::ReadOnly => ("READ_ONLY", format!("make it writable {there}")),
        Obstacle::Forbidden => ("FORBIDDEN", format!("give its user the right to write {there}")),
        Obstacle::Failing => ("FAILING", format!("look at the disk {there}")),
        Obstacle::Gone => (
            "GONE",
            format!("put back the very files that were {there}, or stop it and restore a backup into an empty folder"),
        ),
        Obstacle::Damaged => {
            ("DAMAGED", format!("stop it, keep what is {there}, and restore a backup into an empty folder"))
        }
    };
    let kept = match obstacle {
        Obstacle::Full | Obstacle::ReadOnly | Obstacle::Forbidden | Obstacle::Failing => {
            "nothing that was acknowledged is lost, and it goes on by itself"
        }
        Obstacle::Gone => "it goes on by itself when they are back",
        Obstacle::Damaged => "what can be read of it is read",
    };
    let message = format!("the server cannot store anything, {obstacle}: {advice}; {kept}");
    Refusal::new(Reason::StoreUnwritable, message).with("obstacle", name).retry_after(UNWRITABLE)
}

/// Why a worker's stream ends; `None` is in order.
pub(crate) fn session_end(end: &SessionEnd) -> Option<Refusal> {
    let refuse = |reason, advice: &str| Refusal::new(reason, format!("{end}; {advice}"));
    let soon = Duration::from_secs(1);
    Some(match end {
        SessionEnd::Left | SessionEnd::Closed => return None,
        SessionEnd::Superseded => refuse(
            Reason::SessionSuperseded,
            "if this process has one stream only, another one uses its worker_instance_id: give each its own",
        ),
        // Whose it is, if anybody's, is not for this caller.
        SessionEnd::Foreign => {
            refuse(Reason::WorkerIdMismatch, "make one at each start of a process, and serve one namespace with it")
        }
        SessionEnd::Silent(_) => {
            refuse(Reason::SilenceTimeout, "reconnect, and send heartbeats as often as Welcome asks for")
        }
        SessionEnd::SlowConsumer(_) => refuse(
            Reason::SlowConsumer,
            "reconnect, read the stream all the time, and send no more than is acknowledged",
        )
        .retry_after(soon),
        SessionEnd::Draining(delay) => Refusal::draining(*delay),
        SessionEnd::Full(quota) => Refusal::from(*quota),
        SessionEnd::StoreAway(StoreError::Unwritable { obstacle, place }) => unwritable(*obstacle, place.as_deref()),
        SessionEnd::StoreAway(
            StoreError::Unavailable(_) | StoreError::Conflict(_) | StoreError::TooSlow | StoreError::Corrupt(_),
        ) => Refusal::new(Reason::StoreUnavailable, "the database does not answer; reconnect in a moment")
            .retry_after(soon),
    })
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    #[test]
    fn every_status_names_its_reason() {
        for reason in Reason::ALL.iter().filter(|reason| **reason != Reason::Internal) {
            let status = Status::from(Refusal::new(*reason, "why").with("key", 1));
            let details = status.get_error_details();
            let info = details.error_info().unwrap();
            assert_eq!((info.reason.as_str(), info.domain.as_str()), (reason.name(), DOMAIN));
            assert_eq!((status.code(), info.metadata["key"].as_str()), (reason.code(), "1"));
        }
    }

    #[test]
    fn one_special_reason_speaks_for_all_fields_only_if_it_is_theirs() {
        let bad = |reason| BadField::new(reason, "f", "d");
        let refusal = Refusal::fields(vec![bad(Reason::CronInvalid)]);
        assert_eq!(refusal.reason(), Reason::CronInvalid);
        let mixed = vec![bad(Reason::CronInvalid), bad(Reason::FieldInvalid)];
        let status = Status::from(Refusal::fields(mixed));
        let details = status.get_error_details();
        assert_eq!(details.error_info().unwrap().reason, "FIELD_INVALID");
        let reasons: Vec<_> =
            details.bad_request().unwrap().field_violations.iter().map(|v| v.reason.as_str()).collect();
        assert_eq!(reasons, ["CRON_INVALID", "FIELD_INVALID"]);
    }

    #[test]
    fn what_is_told_of_the_first_bad_field_is_told_of_the_refusal() {
        let bad = |field: &str, column: i32| {
            let mut bad = BadField::new(Reason::CronInvalid, field, "d");
            bad.tell("column", column);
            bad
        };
        let plain = BadField::new(Reason::FieldInvalid, "c", "d");
        let refusal = Refusal::fields(vec![bad("a", 3), bad("b", 5), plain.clone()]);
        assert_eq!((refusal.first_field(), refusal.metadata()["column"].as_str()), (Some("a"), "3"));
        assert!(Refusal::fields(vec![plain, bad("b", 5)]).metadata().is_empty());
    }

    #[test]
    fn what_a_stranger_is_quoted_with_is_one_plain_line() {
        let forged = Refusal::new(Reason::KeyNotFound, "there is no key `a\n2026 ERROR\0\u{1b}[2J\u{202e}x`");
        assert_eq!(forged.message(), "there is no key `a\\n2026 ERROR\\u{0}\\u{1b}[2J\\u{202e}x`");
        let kept = Refusal::field("labels", "`ä` ﷺ is not one of “these”");
        assert_eq!(kept.message(), "labels: `ä` ﷺ is not one of “these”");
        let long = Refusal::field("job", "ä".repeat(1 << 20));
        assert!(long.message().len() < MAX_TEXT + 9 && long.message().ends_with('…'), "{}", long.message().len());
    }

    #[test]
    fn a_status_fits_into_headers() {
        let why = "must match [A-Za-z0-9][A-Za-z0-9._-]{0,127}";
        let many = (0..1_000).map(|n| BadField::new(Reason::FieldInvalid, format!("handlers[{n}].job_type"), why));
        let status = Status::from(Refusal::fields(many.collect()));
        assert!(status.message().ends_with("(and 999 more)") && status.details().len() < 8 << 10);
        assert!(status.get_error_details().bad_request().unwrap().field_violations.len() > 20);
    }

    #[test]
    fn a_worker_with_an_id_of_another_namespace_is_told_to_give_up() {
        let status = Status::from(session_end(&SessionEnd::Foreign).unwrap());
        let details = status.get_error_details();
        assert_eq!(
            (status.code(), details.error_info().unwrap().reason.as_str()),
            (Code::PermissionDenied, "WORKER_ID_MISMATCH")
        );
        assert!(details.retry_info().is_none() && status.message().contains("at each start"), "{status:?}");
    }

    #[test]
    fn a_store_that_is_away_is_told_apart_from_a_broken_one() {
        let away = Refusal::from(StoreError::Unavailable("disk".into()));
        assert_eq!(away.reason(), Reason::StoreUnavailable);
        assert!(Status::from(away).get_error_details().retry_info().is_some());
        // Whoever hears that the database is away does not know what was done; here it is known.
        let contended = Status::from(Refusal::from(StoreError::Conflict("a row moved".into())));
        assert_eq!(contended.code(), Code::Aborted);
        let details = contended.get_error_details();
        assert_eq!(details.error_info().unwrap().reason, "STORE_CONTENDED");
        assert!(details.retry_info().is_some());
        let slow = Refusal::from(StoreError::TooSlow);
        assert_eq!((slow.reason().code(), slow.reason().name()), (Code::DeadlineExceeded, "QUERY_TOO_SLOW"));
        let broken = Status::from(Refusal::from(StoreError::Corrupt("row 7 of secret table".into())));
        assert_eq!((broken.code(), broken.message()), (Code::Internal, INTERNAL_MESSAGE));
    }
}
