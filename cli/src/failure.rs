//! What went wrong, for a person, for a script and for the shell.
//!
//! Every error of a command becomes one `Failure` here: a gRPC status with its details, a server that does not
//! answer, an argument that makes no sense. How it is written is decided in [`Failure::text`] and
//! [`Failure::json`], how the process ends in [`Failure::exit`].

use std::{collections::BTreeMap, fmt, io, iter, path::Path, time::Duration};

use mainspring_proto::code_name;
use serde_json::{Value as Json, json};
use tonic::{Code, Status, TimeoutExpired};
use tonic_types::StatusExt as _;

use crate::{
    address::Address,
    argument,
    connection::{ANSWER_WITHIN, HeadersTooLarge, NOTICED_WITHIN},
    exit::Exit,
    hint,
    output::visible,
    times,
};

/// Why a command did not do what was asked.
#[derive(Clone, Debug)]
pub(crate) struct Failure(Box<Facts>);

#[derive(Clone, Debug)]
struct Facts {
    code: Code,
    reason: String,
    message: String,
    metadata: BTreeMap<String, String>,
    /// Every field the server refused, with its reason.
    fields: Vec<(String, String)>,
    /// What it is about: a kind and a name.
    about: Option<(String, String)>,
    hint: Option<String>,
    /// What was typed, and the column of it that is meant: drawn for people. A program has the column among the details.
    place: Option<(String, usize)>,
    /// The request was typed in the words of the API, not by flags.
    is_of_the_api: bool,
    request_id: String,
    exit: Exit,
}

impl Failure {
    /// Something other than what a server said.
    pub(crate) fn new(exit: Exit, reason: &str, message: impl fmt::Display) -> Self {
        let code = match exit {
            Exit::Usage => Code::InvalidArgument,
            Exit::NotFound => Code::NotFound,
            Exit::NotAllowed => Code::PermissionDenied,
            Exit::Conflict | Exit::ConfigurationRefused => Code::FailedPrecondition,
            Exit::Unreachable => Code::Unavailable,
            Exit::Cancelled | Exit::Interrupted => Code::Cancelled,
            Exit::Done | Exit::Failed => Code::Unknown,
        };
        Self(Box::new(Facts {
            code,
            reason: reason.into(),
            message: message.to_string(),
            metadata: BTreeMap::new(),
            fields: Vec::new(),
            about: None,
            hint: None,
            place: None,
            is_of_the_api: false,
            request_id: String::new(),
            exit,
        }))
    }

    /// What was typed makes no sense.
    pub(crate) fn usage(message: impl fmt::Display) -> Self {
        Self::new(Exit::Usage, "ARGUMENT_INVALID", message)
    }

    /// What is shown as a credential is none, which a server need not be asked.
    pub(crate) fn credential(message: impl fmt::Display) -> Self {
        let mut failure = Self::new(Exit::NotAllowed, "TOKEN_INVALID", message);
        failure.0.code = Code::Unauthenticated;
        failure.0.hint = hint::for_reason("TOKEN_INVALID", &BTreeMap::new());
        failure
    }

    /// The same failure, with what to do about it.
    pub(crate) fn hint(mut self, hint: impl fmt::Display) -> Self {
        self.0.hint = Some(hint.to_string());
        self
    }

    /// The same failure, with what a program can read of it; what is not known is left out.
    pub(crate) fn details<const N: usize>(mut self, details: [(&str, Option<String>); N]) -> Self {
        let known = details.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
        self.0.metadata.extend(known);
        self
    }

    /// The same failure, with the place in what was typed; columns begin with 1.
    pub(crate) fn at(mut self, typed: &str, column: usize) -> Self {
        self.0.place = Some((typed.into(), column));
        self
    }

    /// The same failure for whoever typed fields and knows no flags.
    pub(crate) fn in_words_of_the_api(mut self) -> Self {
        self.0.is_of_the_api = true;
        if hint::by_flag(&self.0.reason).is_some() {
            self.0.hint = None;
        }
        self
    }

    /// The same failure, with the thing it is about.
    pub(crate) fn about(mut self, kind: &str, name: &str) -> Self {
        self.0.about = Some((kind.into(), name.into()));
        self
    }

    /// The name of the thing it is about, where that is one of a kind.
    pub(crate) fn named(&self, kind: &str) -> Option<&str> {
        self.0.about.as_ref().filter(|(its, _)| its == kind).map(|(_, name)| name.as_str())
    }

    /// Nobody listens there.
    pub(crate) fn unreachable(address: &Address, error: &(dyn std::error::Error + 'static)) -> Self {
        Self::new(
            Exit::Unreachable,
            "SERVER_UNREACHABLE",
            format!("no answer from {address}: {}", told(innermost(error))),
        )
        .hint("is the server running? `mainspring dev` starts one; --address and --context choose another")
    }

    /// Somebody listens there, and does not answer.
    fn silent(within: Duration) -> Self {
        let message = format!("the server did not answer within {}", times::took(within));
        Self::new(Exit::Unreachable, "SERVER_UNREACHABLE", message)
            .hint("is it stopped, or busy? what was to be changed may have been changed all the same: look before it is repeated")
    }

    /// Whether the same call may succeed in a moment, without anybody doing anything.
    pub(crate) fn is_passing(&self) -> bool {
        self.0.exit == Exit::Unreachable
    }

    /// The reason, a stable name for programs.
    pub(crate) fn reason(&self) -> &str {
        &self.0.reason
    }

    /// What happened, in one sentence.
    pub(crate) fn message(&self) -> &str {
        &self.0.message
    }

    /// How the process ends.
    pub(crate) fn exit(&self) -> Exit {
        self.0.exit
    }

    /// For a person: what happened, every field, what to do, and the names to look it up by.
    pub(crate) fn text(&self) -> String {
        let Facts {
            code: _,
            reason,
            message,
            metadata: _,
            fields,
            about: _,
            hint,
            place,
            is_of_the_api,
            request_id,
            exit: _,
        } = &*self.0;
        let name = |field: &str| if *is_of_the_api { field.to_owned() } else { argument::told(field) };
        let told: Vec<String> =
            fields.iter().map(|(field, description)| format!("{}: {description}", name(field))).collect();
        // The message of a refused field is the field and its description, in the words of the API.
        let repeats = fields.first().is_some_and(|(field, why)| message.starts_with(&format!("{field}: {why}")));
        let mut text = match told.as_slice() {
            [only] if repeats => format!("error: {only}\n"),
            told => {
                let first = if repeats { format!("{} arguments are refused", told.len()) } else { message.clone() };
                let lines = told.iter().map(|line| format!("  {line}\n"));
                iter::once(format!("error: {first}\n")).chain(lines).collect()
            }
        };
        if let Some((typed, column)) = place {
            let pointer = " ".repeat(column.saturating_sub(1));
            text.push_str(&format!("  {}\n  {pointer}^\n", visible::one_line(typed)));
        }
        if let Some(hint) = hint {
            text.push_str(&format!("hint: {hint}\n"));
        }
        match request_id.as_str() {
            "" => text.push_str(&format!("reason: {reason}\n")),
            request => text.push_str(&format!("reason: {reason} (request {request})\n")),
        }
        visible::lines(&text)
    }

    /// For a program.
    pub(crate) fn json(&self) -> Json {
        let Facts {
            code,
            reason,
            message,
            metadata,
            fields,
            about: _,
            hint,
            place: _,
            is_of_the_api: _,
            request_id,
            exit: _,
        } = &*self.0;
        let mut error = json!({
            "code": code_name(*code),
            "reason": reason,
            "message": message,
            "metadata": metadata,
            "hint": hint.as_deref().unwrap_or_default(),
            "requestId": request_id,
        });
        if !fields.is_empty() {
            error["fieldViolations"] =
                fields.iter().map(|(field, description)| json!({"field": field, "description": description})).collect();
        }
        json!({ "error": error })
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        let details = status.get_error_details();
        // A source does not travel: this status was made on our side, by a connection that broke or a call that took
        // too long. Its code depends on where exactly the wire was cut, so it says nothing.
        if let Some(source) = std::error::Error::source(&status)
            && details.error_info().is_none()
        {
            let cause = innermost(source);
            if cause.is::<TimeoutExpired>() {
                return Self::silent(ANSWER_WITHIN);
            }
            if cause.is::<HeadersTooLarge>() {
                return Self::credential(cause);
            }
            // Pings are all that hyper takes the time of.
            if causes(source).filter_map(|cause| cause.downcast_ref()).any(hyper::Error::is_timeout) {
                return Self::silent(NOTICED_WITHIN);
            }
            let message = format!("the connection to the server broke: {}", told(cause));
            return Self::new(Exit::Unreachable, "SERVER_UNREACHABLE", message);
        }
        let (reason, metadata) = match details.error_info() {
            Some(info) => (info.reason.clone(), info.metadata.clone().into_iter().collect()),
            // A proxy, or a server that is not ours: the code is all there is.
            None => (code_name(status.code()).to_owned(), BTreeMap::new()),
        };
        let fields = details.bad_request().map_or_else(Vec::new, |bad| {
            bad.field_violations.iter().map(|field| (field.field.clone(), field.description.clone())).collect()
        });
        let request_id = details
            .request_info()
            .map(|info| info.request_id.clone())
            .or_else(|| status.metadata().get("x-request-id")?.to_str().ok().map(str::to_owned))
            .unwrap_or_default();
        let exit = exit_of(status.code());
        let message = match status.message() {
            "" => format!("the server answered {}", code_name(status.code())),
            message => message.to_owned(),
        };
        let hint = hint::for_reason(&reason, &metadata)
            .or_else(|| hint::by_flag(&reason).map(str::to_owned))
            .or_else(|| details.retry_info().and_then(|retry| retry.retry_delay).map(hint::again_in));
        let about = details.resource_info().map(|info| (info.resource_type.clone(), info.resource_name.clone()));
        Self(Box::new(Facts {
            code: status.code(),
            reason,
            message,
            metadata,
            fields,
            about,
            hint,
            place: None,
            is_of_the_api: false,
            request_id,
            exit,
        }))
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        // The reader of a pipe had enough (`| head`): that is no failure of ours.
        let exit = if error.kind() == io::ErrorKind::BrokenPipe { Exit::Done } else { Exit::Failed };
        Self::new(exit, "IO_FAILED", error)
    }
}

/// A file or a folder that was named, and that the system refuses.
pub(crate) fn unwritable(path: &Path, error: &io::Error) -> Failure {
    Failure::new(Exit::Failed, "IO_FAILED", format!("{} cannot be written: {error}", path.display()))
}

/// How the process ends for each code. The reason never changes it: two errors that call for different reactions
/// have different codes already.
fn exit_of(code: Code) -> Exit {
    match code {
        Code::Ok => Exit::Done,
        Code::InvalidArgument => Exit::Usage,
        Code::NotFound => Exit::NotFound,
        Code::Unauthenticated | Code::PermissionDenied => Exit::NotAllowed,
        Code::AlreadyExists | Code::FailedPrecondition | Code::Aborted => Exit::Conflict,
        Code::Unavailable | Code::DeadlineExceeded => Exit::Unreachable,
        Code::Cancelled
        | Code::Unknown
        | Code::ResourceExhausted
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::Internal
        | Code::DataLoss => Exit::Failed,
    }
}

/// "Connection refused", not "transport error".
fn innermost<'a>(error: &'a (dyn std::error::Error + 'static)) -> &'a (dyn std::error::Error + 'static) {
    causes(error).last().unwrap_or(error)
}

/// An error, and what is behind it.
fn causes<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    iter::successors(Some(error), |error| error.source())
}

/// Its words, without the number that the system has for it.
fn told(error: &dyn std::error::Error) -> String {
    let told = error.to_string();
    told.split_once(" (os error ").map_or(told.as_str(), |(told, _)| told).to_owned()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tonic::{Code, Status};
    use tonic_types::{ErrorDetails, StatusExt as _};

    use super::Failure;
    use crate::{connection::HeadersTooLarge, exit::Exit};

    fn refused(code: Code, reason: &str) -> Failure {
        let metadata = HashMap::from([("job".to_owned(), "nightly".to_owned())]);
        let details = ErrorDetails::with_error_info(reason, "mainspring.dev", metadata);
        Failure::from(Status::with_error_details(code, "no.", details))
    }

    #[test]
    fn the_shell_sees_a_number_per_kind() {
        for (code, reason, number) in [
            (Code::InvalidArgument, "CRON_INVALID", 2),
            (Code::NotFound, "JOB_NOT_FOUND", 3),
            (Code::Unauthenticated, "TOKEN_MISSING", 4),
            (Code::PermissionDenied, "PERMISSION_MISSING", 4),
            (Code::AlreadyExists, "JOB_ALREADY_EXISTS", 5),
            (Code::FailedPrecondition, "OVERLAP_NOT_ALLOWED", 5),
            (Code::Aborted, "ETAG_MISMATCH", 5),
            (Code::Unavailable, "SERVER_DRAINING", 6),
            (Code::DeadlineExceeded, "DEADLINE_EXCEEDED", 6),
            (Code::ResourceExhausted, "RATE_LIMITED", 1),
            (Code::OutOfRange, "CURSOR_EXPIRED", 1),
            (Code::Internal, "INTERNAL", 1),
        ] {
            let failure = refused(code, reason);
            assert_eq!(failure.exit().number(), number, "{reason}");
            assert_eq!(failure.reason(), reason);
        }
    }

    #[test]
    fn every_bad_field_is_told() {
        let mut details = ErrorDetails::with_error_info("FIELD_INVALID", "mainspring.dev", HashMap::new());
        details.add_bad_request_violation("job.job", "must begin with a letter or digit");
        details.add_bad_request_violation("job.priority", "must be 0 to 9");
        details.set_request_info("req-1", "");
        let failure = Failure::from(Status::with_error_details(Code::InvalidArgument, "2 fields are wrong", details));
        let text = failure.text();
        for part in [
            "error: 2 fields are wrong\n",
            "  NAME: must begin with a letter or digit\n",
            "  --priority: must be 0 to 9\n",
            "reason: FIELD_INVALID (request req-1)\n",
        ] {
            assert!(text.contains(part), "{part:?} is missing in {text:?}");
        }
        assert_eq!(failure.json()["error"]["fieldViolations"][1]["field"], "job.priority");
    }

    fn field_refused(message: &str, fields: &[(&str, &str)]) -> String {
        let mut details = ErrorDetails::with_error_info("FIELD_INVALID", "mainspring.dev", HashMap::new());
        for (field, description) in fields {
            details.add_bad_request_violation(*field, *description);
        }
        Failure::from(Status::with_error_details(Code::InvalidArgument, message, details)).text()
    }

    #[test]
    fn a_field_is_told_once_and_by_what_was_typed() {
        let cron = ("job.schedules[0].cron", "column 3: 99 is no hour");
        let text = field_refused("job.schedules[0].cron: column 3: 99 is no hour", &[cron]);
        assert_eq!(text, "error: --cron: column 3: 99 is no hour\nreason: FIELD_INVALID\n");
        let text = field_refused(
            "job.schedules[0].cron: column 3: 99 is no hour (and 1 more)",
            &[cron, ("job.labels", "must be at most 64")],
        );
        let lines =
            ["error: 2 arguments are refused", "  --cron: column 3: 99 is no hour", "  --label: must be at most 64"];
        assert_eq!(text, format!("{}\nreason: FIELD_INVALID\n", lines.join("\n")));
        let text = field_refused("not so", &[("page_token", "is odd")]);
        assert!(text.starts_with("error: not so\n  page_token: is odd\n"), "{text}");
    }

    #[test]
    fn what_others_wrote_cannot_act_on_the_terminal() {
        let failure = Failure::usage("there is no job \u{202e}gpj\u{1b}[2J");
        assert_eq!(failure.text(), "error: there is no job \\u{202e}gpj\\u{1b}[2J\nreason: ARGUMENT_INVALID\n");
    }

    #[test]
    fn headers_that_are_refused_are_a_credential_that_is_none() {
        let failure = Failure::from(Status::from_error(HeadersTooLarge.into()));
        assert_eq!((failure.exit(), failure.reason()), (Exit::NotAllowed, "TOKEN_INVALID"));
        assert!(failure.text().contains("the headers of the call are refused as too large"), "{}", failure.text());
    }

    #[test]
    fn a_program_reads_one_object() {
        let json = refused(Code::NotFound, "JOB_NOT_FOUND").json();
        let error = json["error"].as_object().unwrap();
        assert_eq!(error["code"], "NOT_FOUND");
        assert_eq!(error["reason"], "JOB_NOT_FOUND");
        assert_eq!(error["message"], "no.");
        assert_eq!(error["metadata"]["job"], "nightly");
        assert!(error["hint"].as_str().unwrap().contains("mainspring job list"));
        assert_eq!(error["requestId"], "");
    }

    #[test]
    fn a_status_without_details_is_told_by_its_code() {
        let failure = Failure::from(Status::new(Code::Unimplemented, ""));
        assert_eq!(failure.reason(), "UNIMPLEMENTED");
        assert!(failure.text().contains("the server answered UNIMPLEMENTED"));
    }

    #[test]
    fn a_connection_that_broke_is_unreachable_whatever_its_code() {
        let cause = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
        let failure = Failure::from(Status::from_error(Box::new(cause)));
        assert_eq!((failure.exit(), failure.reason()), (Exit::Unreachable, "SERVER_UNREACHABLE"));
        assert!(failure.is_passing());
    }

    #[test]
    fn a_closed_pipe_is_no_failure() {
        let failure = Failure::from(std::io::Error::from(std::io::ErrorKind::BrokenPipe));
        assert_eq!(failure.exit(), Exit::Done);
    }
}
