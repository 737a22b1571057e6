//! Failures of user code: data, not errors of a call. What is too long is cut, never refused, because a result that is
//! refused would be sent again for ever.

use mainspring_engine::domain::payload::{Failure, FailureDetails, Payload, RetryHint, reason_of};
use mainspring_proto::common::v1 as wire;

use super::{Check, payload, time};

const MAX_MESSAGE: usize = 4_096;
const MAX_STACK_TRACE: usize = 16 * 1024;
const MAX_CAUSES: usize = 8;
/// Stands where something was cut.
pub(super) const CUT: &str = " … [cut]";

/// The failure that a worker reported. It and its causes keep details of `max` bytes together, the outermost first; what is
/// beyond is left out, and the message says so.
pub(crate) fn from_worker(failure: wire::Failure, max: usize) -> Failure {
    read(failure, &mut { max }, MAX_CAUSES)
}

fn read(failure: wire::Failure, room: &mut usize, causes: usize) -> Failure {
    let wire::Failure { reason, message, stack_trace, details, retry_hint, cause } = failure;
    let reason = reason_of(&reason);
    let mut message = cut(message, MAX_MESSAGE);
    let details = details.and_then(|details| {
        let mut check = Check::default();
        match check.any_payload("details", Some(details), *room) {
            Some(Payload { content_type, data }) if check.is_clean() => {
                *room -= data.len();
                Some(FailureDetails { content_type, data })
            }
            _ => {
                message.push_str(" [its details could not be kept]");
                None
            }
        }
    });
    Failure {
        reason,
        message,
        stack_trace: cut(stack_trace, MAX_STACK_TRACE),
        details,
        hint: retry_hint.and_then(hint),
        cause: cause.filter(|_| causes > 0).map(|cause| Box::new(read(*cause, room, causes - 1))),
    }
}

/// An unknown decision is the policy's.
fn hint(hint: wire::RetryHint) -> Option<RetryHint> {
    let wire::RetryHint { decision, next_retry_delay } = hint;
    let retry = match wire::RetryDecision::try_from(decision) {
        Ok(wire::RetryDecision::Retry) => Some(true),
        Ok(wire::RetryDecision::DoNotRetry) => Some(false),
        Ok(wire::RetryDecision::Unspecified) | Err(_) => None,
    };
    let delay = Check::default().length("next_retry_delay", next_retry_delay);
    (retry.is_some() || delay.is_some()).then_some(RetryHint { retry, delay })
}

/// At most `max` bytes of a text, with a mark where it was cut.
pub(super) fn cut(mut text: String, max: usize) -> String {
    if text.len() > max {
        text.truncate(text.floor_char_boundary(max.saturating_sub(CUT.len())));
        text.push_str(CUT);
    }
    text
}

/// A failure for people.
pub(crate) fn to_caller(failure: Failure) -> wire::Failure {
    let Failure { reason, message, stack_trace, details, hint, cause } = failure;
    wire::Failure {
        reason,
        message,
        stack_trace,
        details: details
            .and_then(|FailureDetails { content_type, data }| payload::to_caller(Payload { content_type, data })),
        retry_hint: hint.map(|RetryHint { retry, delay }| wire::RetryHint {
            decision: match retry {
                None => wire::RetryDecision::Unspecified,
                Some(true) => wire::RetryDecision::Retry,
                Some(false) => wire::RetryDecision::DoNotRetry,
            }
            .into(),
            next_retry_delay: delay.map(time::duration),
        }),
        cause: cause.map(|cause| Box::new(to_caller(*cause))),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn any_failure() -> impl Strategy<Value = Failure> {
        let hint = (prop::option::of(any::<bool>()), prop::option::of(0..1_000_u64)).prop_map(|(retry, secs)| {
            let delay = secs.map(Duration::from_secs);
            (retry.is_some() || delay.is_some()).then_some(RetryHint { retry, delay })
        });
        let details = prop::option::of(
            prop::collection::vec(any::<u8>(), 0..9)
                .prop_map(|data| FailureDetails { content_type: "application/octet-stream".into(), data }),
        );
        let one = ("[A-Z][A-Z0-9_]{0,8}", ".{0,9}", ".{0,9}", details, hint).prop_map(
            |(reason, message, stack_trace, details, hint)| Failure {
                reason,
                message,
                stack_trace,
                details,
                hint,
                cause: None,
            },
        );
        prop::collection::vec(one, 1..8).prop_map(|chain| {
            let link = |cause: Option<Failure>, outer: Failure| Some(Failure { cause: cause.map(Box::new), ..outer });
            chain.into_iter().fold(None, link).unwrap()
        })
    }

    proptest! {
        #[test]
        fn failures_come_back(failure in any_failure()) {
            prop_assert_eq!(from_worker(to_caller(failure.clone()), 1 << 20), failure);
        }

        #[test]
        fn texts_are_cut_at_a_character(text in "\\PC{0,60}", max in 12..60_usize) {
            let short = cut(text.clone(), max);
            prop_assert!(short.len() <= max);
            prop_assert_eq!(short == text, text.len() <= max);
        }
    }

    #[test]
    fn deep_causes_and_large_details_are_cut() {
        let deep = (0..20).fold(wire::Failure::default(), |cause, n| wire::Failure {
            reason: format!("R{n}"),
            cause: Some(Box::new(cause)),
            ..wire::Failure::default()
        });
        let mut depth = 0;
        let read = from_worker(deep, 10);
        let mut at = &read;
        while let Some(cause) = &at.cause {
            depth += 1;
            at = cause;
        }
        assert_eq!(depth, MAX_CAUSES);

        let details =
            wire::Payload { content_type: String::new(), data: Some(wire::payload::Data::Inline(vec![0; 11])) };
        let large = wire::Failure { details: Some(details), ..wire::Failure::default() };
        let read = from_worker(large.clone(), 10);
        assert!(read.details.is_none() && read.message.contains("could not be kept"));
        assert_eq!(read.reason, "FAILED");

        let caused = wire::Failure { cause: Some(Box::new(large.clone())), ..large };
        let read = from_worker(caused, 21);
        assert!(
            read.details.is_some() && read.cause.unwrap().details.is_none(),
            "together they have more than 21 bytes"
        );
    }
}
