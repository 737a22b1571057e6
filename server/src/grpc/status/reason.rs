//! Why calls are refused: the reasons, with the code and the advice that go with each. They are part of the contract, and
//! `docs/reference/errors.md` is written from them.

use std::fmt;

use tonic::Code;

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
        "A run of the job, or of its concurrency key, is not over (`run_id`), or as many wait as may, and its overlap policy lets no other be made. Wait, or set `force`.";
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
            "<!-- @generated from `Reason` in server/src/grpc/status/reason.rs by its test: edits here are overwritten. -->\n\n\
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
}
