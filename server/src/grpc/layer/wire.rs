//! What is wrong with a call before any method has seen it: with the bytes of its message, or with what stands beside them.
//!
//! tonic and prost know it by their own words, and under codes that blame the server; they are read here and nowhere else.

use std::time::Duration;

use http::HeaderMap;
use mainspring_proto::codec::TooMany;
use tonic::{Code, Status};

use crate::grpc::{
    convert::json::MAX_DEPTH,
    status::{Reason, Refusal},
};

const TIMEOUT: &str = "grpc-timeout";

/// The field of a batch of submissions.
const BATCH: &str = "runs";

/// What is wrong with a message before any method has seen it: it is too long, holds too much, or is not the message.
pub(crate) fn of_the_wire(status: &Status) -> Option<Refusal> {
    let said = status.message();
    if let Some(TooMany { field, max }) = TooMany::read(said) {
        return Some(match max {
            1 => Refusal::field(field, "is there more than once"),
            // The one list that people make longer than it may be; it can be made in pieces.
            max if field == BATCH => {
                let why =
                    format!("must be at most {max} in one request: split them into requests of at most {max} each");
                Refusal::field(field, why)
            }
            max => Refusal::field(field, format!("must be at most {max}")),
        });
    }
    match status.code() {
        Code::Internal if said.contains("recursion limit") => Some(too_deep(said)),
        Code::Internal if is_malformed(said) => {
            let message = format!("the bytes are not the message this method takes: {said}");
            Some(Refusal::new(Reason::MessageMalformed, message))
        }
        Code::OutOfRange if said.contains("decoded message length too large") => {
            Some(Refusal::too_long(number_after(said, "found "), number_after(said, "the limit is: ")?))
        }
        Code::ResourceExhausted if said.contains("exceeded while decompressing") => {
            Some(Refusal::too_long(None, number_after(said, "size limit, of ")?))
        }
        _ => None,
    }
}

/// The number that follows some words.
fn number_after(text: &str, words: &str) -> Option<usize> {
    let (_, rest) = text.split_once(words)?;
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

/// The words that tonic, prost and tonic-web have for bytes that are not the message.
fn is_malformed(said: &str) -> bool {
    const WORDS: [&str; 7] = [
        "failed to decode Protobuf message",
        "Missing request message",
        "Unexpected EOF decoding stream",
        // Not "h2 protocol error: ", which is a connection that broke.
        "protocol error: received message",
        "Error decompressing",
        "tonic-web: ",
        "invalid compression flag",
    ];
    WORDS.iter().any(|word| said.contains(word))
}

/// What is nested deeper than it is read. prost tells the fields on the way, from the inside out, and of a list not which
/// item.
fn too_deep(said: &str) -> Refusal {
    let steps: Vec<_> = said
        .rsplit(": ")
        .filter_map(|step| step.split_once('.'))
        .take_while(|(message, _)| !["Value", "ListValue", "Struct"].contains(message))
        .collect();
    // prost has the name of a choice, not of what was chosen; that is told by the message inside.
    let chosen = |at: usize| match steps.get(at + 1) {
        Some(("AttemptSucceeded", _)) => Some("succeeded"),
        Some(("AttemptFailed", _)) => Some("failed"),
        Some(_) | None => None,
    };
    let named = steps.iter().enumerate().map(|(at, (_, field))| chosen(at).unwrap_or(field));
    let mut fields: Vec<_> = named.collect();
    let is_json = said.contains(": Value.");
    if !is_json || fields.pop() != Some("data") {
        let message = "the message is nested deeper than this server reads; flatten it";
        return Refusal::new(Reason::MessageMalformed, message);
    }
    fields.push("json");
    Refusal::field(fields.join("."), format!("is nested deeper than {MAX_DEPTH} levels; send it as `inline`"))
}

/// How long the caller waits for the answer; one that cannot be read would be waited for without an end.
pub(super) fn deadline(headers: &HeaderMap) -> Result<Option<Duration>, Refusal> {
    let Some(value) = headers.get(TIMEOUT) else { return Ok(None) };
    match value.to_str().ok().and_then(timeout) {
        Some(deadline) => Ok(Some(deadline)),
        None => {
            let what = "is at most eight digits and a unit, one of H, M, S, m, u and n: `100m` is 100 milliseconds";
            Err(Refusal::new(Reason::MessageMalformed, format!("the header {TIMEOUT} cannot be read; it {what}")))
        }
    }
}

/// A `grpc-timeout`: at most eight digits and a unit.
fn timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|c| c.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3_600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_that_broke_is_no_malformed_message() {
        let broke = Status::internal("h2 protocol error: error reading a body from connection");
        assert!(of_the_wire(&broke).is_none());
        let flag = "protocol error: received message with invalid compression flag: 7 (valid flags are 0 and 1)";
        assert!(of_the_wire(&Status::internal(flag)).is_some());
    }

    #[test]
    fn timeouts_are_read_as_the_wire_writes_them() {
        for (text, length) in [
            ("2H", Duration::from_secs(7_200)),
            ("3M", Duration::from_secs(180)),
            ("1S", Duration::from_secs(1)),
            ("20m", Duration::from_millis(20)),
            ("7u", Duration::from_micros(7)),
            ("99999999n", Duration::from_nanos(99_999_999)),
        ] {
            assert_eq!(timeout(text), Some(length), "{text}");
        }
        for bad in ["", "S", "1", "1x", "123456789S", "-1S", "1ä"] {
            assert_eq!(timeout(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_deadline_that_cannot_be_read_is_refused() {
        let with = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(TIMEOUT, http::HeaderValue::from_static(value));
            deadline(&headers)
        };
        assert_eq!(deadline(&HeaderMap::new()).unwrap(), None);
        assert_eq!(with("5S").unwrap(), Some(Duration::from_secs(5)));
        for bad in ["abc", "5X", "", "123456789S"] {
            let refusal = with(bad).unwrap_err();
            assert_eq!(refusal.reason(), Reason::MessageMalformed, "{bad}");
            assert!(refusal.message().contains("eight digits and a unit"), "{refusal:?}");
        }
    }

    #[test]
    fn what_is_nested_too_deeply_says_where_and_what_to_do() {
        let inside = "ListValue.values: Value.kind: ".repeat(33);
        let said = |inside: &str, outside: &str| {
            let said = format!("failed to decode Protobuf message: {inside}{outside}recursion limit reached");
            of_the_wire(&Status::internal(said)).unwrap()
        };
        let told = said(&inside, "Payload.data: RunSubmission.payload: SubmitRunRequest.run: ");
        assert_eq!((told.reason(), told.first_field()), (Reason::FieldInvalid, Some("run.payload.json")));
        assert!(told.message().contains("deeper than 30 levels; send it as `inline`"), "{told:?}");
        let outside =
            "Payload.data: AttemptSucceeded.output: AttemptResult.outcome: ReportAttemptResultRequest.result: ";
        assert_eq!(said(&inside, outside).first_field(), Some("result.succeeded.output.json"));
        assert_eq!(said("", "").reason(), Reason::MessageMalformed);
    }
}
