//! Every way a call is refused: one enum of reasons, one translation to a gRPC status.
//!
//! A [`Refusal`] says what to do next, in a message for people and as details for programs: `ErrorInfo` always, the others
//! where they fit. `docs/errors.md` is written from [`Reason::ALL`]. Statuses that tonic makes by itself are brought into
//! this form by [`super::layer::errors`].

use std::{collections::BTreeMap, fmt, time::Duration};

use mainspring_engine::{
    flow::stream::messages::SessionEnd,
    ports::store::{Obstacle, Quota, StoreError},
};
use mainspring_proto::scheduler::v1 as wire;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, PreconditionViolation, StatusExt as _};

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

macro_rules! reasons {
    ($($variant:ident $name:literal $code:ident $about:literal;)*) => {
        /// Why a call was refused. The names are part of the contract.
        #[expect(clippy::doc_markdown, reason = "the texts go into the documentation of errors as they are")]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason {
            $(#[doc = $about] $variant,)*
        }

        impl Reason {
            /// All of them, by code.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The name that `ErrorInfo.reason` carries.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// The canonical code that goes with it.
            pub const fn code(self) -> Code {
                match self {
                    $(Self::$variant => Code::$code,)*
                }
            }

            /// What it means and what to do, for the documentation.
            pub const fn about(self) -> &'static str {
                match self {
                    $(Self::$variant => $about,)*
                }
            }
        }
    };
}

reasons! {
    TokenMissing "TOKEN_MISSING" Unauthenticated
        "No credential was sent. Send `authorization: Bearer …` with an access token or an API key.";
    TokenInvalid "TOKEN_INVALID" Unauthenticated
        "The credential is not one of this server's. Sign in again, or use another API key.";
    TokenExpired "TOKEN_EXPIRED" Unauthenticated
        "The credential was good and has ended (`expired_at`). Call RefreshToken once, or sign in again.";
    TokenRevoked "TOKEN_REVOKED" Unauthenticated
        "The credential was good and was taken back: a logout, a changed password, a refresh token used twice, a revoked API key.";
    CredentialsInvalid "CREDENTIALS_INVALID" Unauthenticated
        "The name and the password do not go together.";
    PermissionMissing "PERMISSION_MISSING" PermissionDenied
        "The caller's roles do not hold `required_permission`.";
    LeaseNotOwned "LEASE_NOT_OWNED" PermissionDenied
        "A worker spoke of an attempt that it never had. Only ever a StreamNotice: what it said was dropped.";
    WorkerIdMismatch "WORKER_ID_MISMATCH" PermissionDenied
        "The worker's id cannot be used in the namespace of its Hello. Trying again is of no use: a process makes an id of its own at its start, and serves one namespace with it.";
    PasswordChangeRequired "PASSWORD_CHANGE_REQUIRED" PermissionDenied
        "The caller's password is a one-time one. Call ChangePassword first.";
    FieldInvalid "FIELD_INVALID" InvalidArgument
        "Fields of the request cannot be what they are; BadRequest lists every one. `suggestion`: what the first probably meant.";
    CronInvalid "CRON_INVALID" InvalidArgument
        "A cron expression cannot be read: `field` and `column` say where, `suggestion` what was probably meant.";
    ScheduleNeverFires "SCHEDULE_NEVER_FIRES" InvalidArgument
        "A time rule names no instant that is still to come.";
    BackfillTooLarge "BACKFILL_TOO_LARGE" InvalidArgument
        "The range of a backfill holds more instants than `limit`. End it at `to_time`, or name fewer schedules, and ask for the rest afterwards.";
    PayloadSchemaMismatch "PAYLOAD_SCHEMA_MISMATCH" InvalidArgument
        "A payload does not match the schema that workers announce for its type: every violation has the path of a field, and says what to write. `type describe` shows the schema; where several are announced, any may match, and the newest is told.";
    PayloadTooLarge "PAYLOAD_TOO_LARGE" InvalidArgument
        "A payload or a whole message is over the limit that GetServerInfo tells.";
    MessageMalformed "MESSAGE_MALFORMED" InvalidArgument
        "The bytes are not the message that the method takes, or a header of gRPC cannot be read.";
    PageTokenInvalid "PAGE_TOKEN_INVALID" InvalidArgument
        "The page token is not from the same list with the same arguments. Begin again without one.";
    FilterInvalid "FILTER_INVALID" InvalidArgument
        "The filter cannot be read; `column` says where.";
    HelloRequired "HELLO_REQUIRED" InvalidArgument
        "The first message of a worker stream is Hello, exactly once.";
    NamespaceNotFound "NAMESPACE_NOT_FOUND" NotFound
        "There is no such namespace. So far there is `default` and no other.";
    JobNotFound "JOB_NOT_FOUND" NotFound
        "There is no such job in the namespace.";
    BackfillNotFound "BACKFILL_NOT_FOUND" NotFound
        "There is no such backfill in the namespace; retention may have deleted it.";
    CalendarNotFound "CALENDAR_NOT_FOUND" NotFound
        "There is no such calendar in the namespace.";
    SinkNotFound "SINK_NOT_FOUND" NotFound
        "There is no such sink in the namespace.";
    DeliveryNotFound "DELIVERY_NOT_FOUND" NotFound
        "The sink has no such delivery; retention may have deleted it.";
    VersionNotFound "VERSION_NOT_FOUND" NotFound
        "The job never had such a version. `ListJobVersions` tells those that it had.";
    RunNotFound "RUN_NOT_FOUND" NotFound
        "There is no such run in the namespace; retention may have deleted it.";
    QueueNotFound "QUEUE_NOT_FOUND" NotFound
        "No run, job or worker of the namespace ever named such a queue. UpdateQueue with `allow_missing` creates it.";
    WorkerNotFound "WORKER_NOT_FOUND" NotFound
        "There is no such worker in the namespace.";
    KeyNotFound "KEY_NOT_FOUND" NotFound
        "There is no such API key.";
    ServiceUnknown "SERVICE_UNKNOWN" NotFound
        "The health or reflection service was asked for something that this server does not serve.";
    JobAlreadyExists "JOB_ALREADY_EXISTS" AlreadyExists
        "The namespace has a job of this name. Update it, or choose another name.";
    CalendarAlreadyExists "CALENDAR_ALREADY_EXISTS" AlreadyExists
        "The namespace has a calendar of this name. Update it, or choose another name.";
    SinkAlreadyExists "SINK_ALREADY_EXISTS" AlreadyExists
        "The namespace has a sink of this name. Update it, or choose another name.";
    RequestIdReused "REQUEST_ID_REUSED" AlreadyExists
        "The request id was used for another request in the last 24 h. Use a new one for a new request.";
    UniqueKeyTaken "UNIQUE_KEY_TAKEN" AlreadyExists
        "Another run (`run_id`) holds the unique key of the request: it is not over, or its window is not. Wait, use another key, or choose RETURN_EXISTING or REPLACE_PENDING.";
    BackupFileExists "BACKUP_FILE_EXISTS" AlreadyExists
        "A backup never overwrites a file. Name one that does not exist.";
    CalendarInUse "CALENDAR_IN_USE" FailedPrecondition
        "Jobs leave the calendar's time out (`jobs`: how many; some are named), or did when they were deleted and can be brought back. Change them first.";
    JobPaused "JOB_PAUSED" FailedPrecondition
        "The job is paused, by whom and why its `pause` says. Resume it, or set `while_paused`.";
    OverlapNotAllowed "OVERLAP_NOT_ALLOWED" FailedPrecondition
        "A run of the job is not over (`run_id`), or as many wait as may, and its overlap policy lets no other be made. Wait, or set `force`.";
    RunNotRetryable "RUN_NOT_RETRYABLE" FailedPrecondition
        "Only a run that is over can be made again.";
    ExpectedCountMismatch "EXPECTED_COUNT_MISMATCH" FailedPrecondition
        "The call would have been about `count` runs, not as many as `expected_count` says; nothing was done. Look again at what the filter finds.";
    WorkerLeft "WORKER_LEFT" FailedPrecondition
        "The worker is LOST or GONE (`state`): it has no lease and is given no work, so there is nothing to drain.";
    DispatchTooLarge "DISPATCH_TOO_LARGE" FailedPrecondition
        "An attempt was not sent, since the worker reads smaller messages than it takes (`Hello.max_receive_message_bytes`). Only ever a StreamNotice: its run fails with PAYLOAD_TOO_LARGE.";
    ProtocolVersionUnsupported "PROTOCOL_VERSION_UNSUPPORTED" FailedPrecondition
        "Worker and server have no protocol version in common; upgrade the older one.";
    PasswordNotHeld "PASSWORD_NOT_HELD" FailedPrecondition
        "The caller came with an API key, which has no password.";
    BackupFailed "BACKUP_FAILED" FailedPrecondition
        "The copy cannot be written; the message says why. Name a file in a directory that is there, where the server's user may write and the disk has room.";
    BackupUnsupported "BACKUP_UNSUPPORTED" FailedPrecondition
        "The database is not embedded; use its own tools.";
    CursorExpired "CURSOR_EXPIRED" OutOfRange
        "The server no longer remembers events back to the cursor. List again, then watch from now on.";
    DeadlineExceeded "DEADLINE_EXCEEDED" DeadlineExceeded
        "The caller's deadline passed before the answer. What the call did is not known: repeat it with the same request_id.";
    QueryTooSlow "QUERY_TOO_SLOW" DeadlineExceeded
        "The server spent as long on the question as it spends on one, and broke it off. Narrow the filter: `job`, `state`, `reason` and `create_time` are found without reading everything.";
    HelloTimeout "HELLO_TIMEOUT" DeadlineExceeded
        "A worker stream was opened and no Hello came.";
    SilenceTimeout "SILENCE_TIMEOUT" DeadlineExceeded
        "Nothing was heard from the worker for the silence timeout of its Welcome. Reconnect; leases live on for a while.";
    MethodUnknown "METHOD_UNKNOWN" Unimplemented
        "This server has no such method; it may be older than the client.";
    UnsupportedMessage "UNSUPPORTED_MESSAGE" Unimplemented
        "A worker sent a message that this server does not know; it may be older than the worker. Only ever a StreamNotice.";
    CompressionUnsupported "COMPRESSION_UNSUPPORTED" Unimplemented
        "The message is compressed in a way that the server does not read. Send it uncompressed.";
    EtagMismatch "ETAG_MISMATCH" Aborted
        "It has changed since it was read. Read it again, then repeat the change.";
    SessionSuperseded "SESSION_SUPERSEDED" Aborted
        "A newer stream of the same worker process took over.";
    StoreContended "STORE_CONTENDED" Aborted
        "Other changes of the same rows were in the way each time it was tried; nothing was done. Repeat the call after RetryInfo.";
    RateLimited "RATE_LIMITED" ResourceExhausted
        "Too many calls of this kind wait already. Try again after RetryInfo.";
    QuotaExceeded "QUOTA_EXCEEDED" ResourceExhausted
        "The namespace has as many of something (`quota`) as it may (`limit`), and the call names another. Use those that are there; what nobody uses goes with retention.";
    BackfillsFull "BACKFILLS_FULL" ResourceExhausted
        "As many backfills are under way in the namespace as may be. Wait until one is over, or cancel one.";
    SlowConsumer "SLOW_CONSUMER" ResourceExhausted
        "The client does not read what the server sends. Reconnect, and read faster.";
    Cancelled "CANCELLED" Cancelled
        "The caller gave up before the answer.";
    ServerDraining "SERVER_DRAINING" Unavailable
        "The server is shutting down. Try again after RetryInfo; another one, or the restarted one, will answer.";
    StoreUnavailable "STORE_UNAVAILABLE" Unavailable
        "The database does not answer. Whether the call did anything is unknown: repeat it after RetryInfo, with the same request_id.";
    StoreUnwritable "STORE_UNWRITABLE" Unavailable
        "The server cannot write its database: the disk is full, can only be read, or may not be written, or somebody removed, renamed or replaced the database's files, or they are damaged (`obstacle`: FULL, READ_ONLY, FORBIDDEN, FAILING, GONE, DAMAGED). A person has to act; what was acknowledged is in those files, and reading goes on. Repeat the call after RetryInfo, with the same request_id.";
    Internal "INTERNAL" Internal
        "A bug. Please report it with the request id.";
}

impl Reason {
    /// `docs/reference/errors.md`, in full. A test holds the page to it.
    pub fn page() -> String {
        let mut page = String::from(
            "<!-- @generated from `Reason` in server/src/grpc/status.rs by its test: edits here are overwritten. -->\n\n\
             # Errors\n\n\
             A call that is refused ends with a canonical gRPC code and, as its first detail, `google.rpc.ErrorInfo` with the\n\
             domain `mainspring.dev` and one of these reasons. `BadRequest` lists every bad field, `RetryInfo` says when to try\n\
             again, `ResourceInfo` and `PreconditionFailure` what it is about. Programs decide by the reason, never by the\n\
             message. Every answer carries `x-request-id`: the caller's own, or one that the server made.\n\n\
             Failures of user code are data (`Run.failure`), not errors of a call. A `StreamNotice` tells a worker of a problem\n\
             that does not end its stream, with the same reasons; it has no code.\n\n\
             | reason | code | what it means and what to do |\n| --- | --- | --- |\n",
        );
        for reason in Self::ALL {
            let code = shouted(reason.code());
            page.push_str(&format!("| `{reason}` | `{code}` | {} |\n", reason.about()));
        }
        page
    }
}

/// `INVALID_ARGUMENT` for [`Code::InvalidArgument`].
fn shouted(code: Code) -> String {
    let mut name = String::new();
    for c in format!("{code:?}").chars() {
        if c.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(c.to_ascii_uppercase());
    }
    name
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

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
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn reasons_are_told_apart_and_documented() {
        let names: BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.name()).collect();
        assert_eq!(names.len(), Reason::ALL.len());
        for reason in Reason::ALL {
            assert!(reason.about().ends_with('.'), "{reason}");
            assert!(reason.name().chars().all(|c| c.is_ascii_uppercase() || c == '_'), "{reason}");
            assert!(reason.code() != Code::Ok && reason.code() != Code::Unknown, "{reason}");
        }
    }

    #[test]
    fn the_page_of_errors_is_up_to_date() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/errors.md");
        let page = Reason::page();
        if std::fs::read_to_string(path).unwrap_or_default() != page {
            std::fs::write(path, page).unwrap();
            panic!("docs/reference/errors.md was out of date and is written anew: commit it");
        }
    }

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
