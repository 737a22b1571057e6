//! What an answer must be, whatever the request was: the contract's code and reason, with advice, in headers that every
//! client reads; or a message of the type that the method promises.

use mainspring_proto::code_name;
use mainspring_server::grpc::status::Reason;
use prost_reflect::DynamicMessage;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::{call::Answer, contract::Rpc};

/// What clients read of headers, where nobody told them to read more: the C core of gRPC refuses over 8 KiB.
const HEADERS: usize = 8 << 10;

/// What is wrong with an answer; its name for the table, where nothing is.
pub(super) fn judge(rpc: &Rpc, answer: &Answer) -> Result<&'static str, String> {
    let (status, header_bytes, messages) = match answer {
        Answer::Open if rpc.is_long() => return Ok("(open)"),
        Answer::Late => return Ok("(late)"),
        Answer::Open => return Err("no answer came".into()),
        Answer::Ended { status, header_bytes, messages } => (status, *header_bytes, messages),
    };
    if header_bytes > HEADERS {
        return Err(format!("{header_bytes} bytes of headers, of which many clients read {HEADERS}: {status:?}"));
    }
    for message in messages {
        if let Err(error) = DynamicMessage::decode(rpc.method.output(), message.clone()) {
            return Err(format!("the answer is no {}: {error}", rpc.method.output().name()));
        }
    }
    if status.code() == Code::Ok {
        if !rpc.method.is_server_streaming() && messages.len() != 1 {
            return Err(format!("{} messages answer a unary call", messages.len()));
        }
        return Ok("OK");
    }
    refusal(status).map(|()| code_name(status.code()))
}

fn refusal(status: &Status) -> Result<(), String> {
    let wrong = |what: &str| Err(format!("{what}: {status:?}"));
    let Some(info) = status.get_details_error_info() else { return wrong("a refusal without ErrorInfo") };
    let Some(reason) = Reason::ALL.iter().find(|reason| reason.name() == info.reason) else {
        return wrong("a reason that is not documented");
    };
    if info.domain != "mainspring.dev" || reason.code() != status.code() {
        return wrong("a reason of another code or domain");
    }
    match reason {
        Reason::Internal => return wrong("a bug, or so the server says"),
        // A store that is not away does not say so.
        Reason::StoreUnavailable | Reason::ServerDraining => return wrong("a server in order that is unavailable"),
        _ => {}
    }
    let message = status.message();
    if message.len() < 10 || message.len() > 2_048 {
        return wrong("a message that is no sentence");
    }
    if let Some(control) = message.chars().find(|c| c.is_control() || ('\u{202a}'..='\u{202e}').contains(c)) {
        return Err(format!("a message for people has controls: {control:?} in {status:?}"));
    }
    if status.code() == Code::InvalidArgument
        && !matches!(reason, Reason::MessageMalformed | Reason::HelloRequired | Reason::PayloadTooLarge)
    {
        let fields = status.get_details_bad_request().map(|bad| bad.field_violations).unwrap_or_default();
        if fields.is_empty() || fields.iter().any(|bad| bad.field.is_empty() || bad.description.is_empty()) {
            return wrong("a bad field that is not named");
        }
    }
    Ok(())
}
