//! `rpc`: any method of the contract, with the context's credentials. The messages are known from the descriptors this
//! program was built with, so it works where the server hides its reflection.

use clap::Args;
use prost::Message as _;
use prost::bytes::{Buf as _, BufMut as _};
use prost_reflect::{DynamicMessage, MessageDescriptor, MethodDescriptor};
use serde_json::{Value as Json, json};
use tonic::{
    Request, Status,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    codegen::http::uri::PathAndQuery,
};

use super::{admin::key::SECRET, examples};
use crate::{
    connection::{ANSWER_WITHIN, answers_at_once},
    exit::Exit,
    failure::Failure,
    output::{self, contract},
    payload,
    session::Session,
    suggest,
};

/// Call a method of the API by its name
#[derive(Args, Debug)]
#[command(before_help = examples![
    "mainspring rpc ListRuns -d '{\"filter\": \"state = FAILED\", \"pageSize\": 5}'",
    "mainspring rpc SchedulerService/GetJob -d job=demo.hello",
    "mainspring rpc mainspring.scheduler.v1.AdminService/GetServerInfo -o jsonl",
], after_help = "\
docs/reference/rpc.md has every method. An answer is printed as JSON, message by message where there are several. A namespace
that the request leaves out is the context's.")]
pub(crate) struct RpcArgs {
    /// The method: Method, Service/Method, or with the package in front
    #[arg(value_name = "METHOD")]
    method: String,
    /// The request: a JSON object, KEY=TEXT, KEY:=JSON, @FILE or - (stdin); may be repeated
    #[arg(short, long = "data", value_name = "DATA", allow_hyphen_values = true)]
    data: Vec<String>,
}

pub(super) async fn run(args: RpcArgs, session: &Session) -> Result<Exit, Failure> {
    let RpcArgs { method, data } = args;
    let method = find(&method)?;
    if method.is_client_streaming() {
        let message = format!("{} takes a stream of messages, and one request is all that can be typed", method.name());
        return Err(Failure::usage(message).hint("the worker SDK speaks it, and so does `mainspring worker exec`"));
    }
    if method.output().get_field_by_name(SECRET).is_some() {
        session.out.must_show(SECRET, "a secret")?;
    }
    session.out.must_have(method.output().full_name())?;
    let request = payload::document(&data).map_err(Failure::usage)?.unwrap_or_else(|| json!({}));
    let server = session.server().await?;
    let request = message(&method.input(), with_namespace(request, &method.input(), server.namespace()))?;

    let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
    let path: PathAndQuery = path.parse().map_err(|error| Failure::usage(format!("{path}: {error}")))?;
    let mut grpc = Grpc::new(server.wire()).max_decoding_message_size(server.largest_answer());
    grpc.ready().await.map_err(|error| Failure::new(Exit::Unreachable, "SERVER_UNREACHABLE", error))?;
    let mut request = Request::new(request);
    if answers_at_once(&method) {
        request.set_timeout(ANSWER_WITHIN);
    }
    // Fields were typed, so an error is told by fields.
    let refused = |status: Status| Failure::from(status).in_words_of_the_api();
    let answers = grpc.server_streaming(request, path, Dynamic(method.output())).await;
    let mut answers = answers.map_err(refused)?.into_inner();
    while let Some(answer) = answers.message().await.map_err(refused)? {
        session.out.dynamic(answer)?;
    }
    Ok(Exit::Done)
}

/// The method that was meant: its name alone will do, where no two services have it.
fn find(typed: &str) -> Result<MethodDescriptor, Failure> {
    let wanted = typed.trim_start_matches('/').replace('/', ".");
    let all: Vec<MethodDescriptor> = contract()
        .services()
        .filter(|service| service.full_name().starts_with("mainspring."))
        .flat_map(|service| service.methods().collect::<Vec<_>>())
        .collect();
    let is_meant = |method: &&MethodDescriptor| {
        method.full_name().strip_suffix(wanted.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    let mut meant = all.iter().filter(is_meant);
    match (meant.next(), meant.next()) {
        (Some(only), None) => Ok(only.clone()),
        (Some(one), Some(other)) => {
            let message = format!("{typed} is both {} and {}", one.full_name(), other.full_name());
            Err(Failure::usage(message).hint("write Service/Method"))
        }
        (None, _) => {
            let failure = Failure::new(Exit::Usage, "METHOD_UNKNOWN", format!("the API has no method {typed}"));
            let last = wanted.rsplit('.').next().unwrap_or(&wanted);
            Err(match suggest::nearest(last, all.iter().map(MethodDescriptor::name)) {
                Some(near) => failure.hint(format!("did you mean {near}?")),
                None => failure.hint("docs/reference/rpc.md has them all"),
            })
        }
    }
}

/// What every other command does, too.
fn with_namespace(mut request: Json, descriptor: &MessageDescriptor, namespace: String) -> Json {
    if let Json::Object(fields) = &mut request
        && !namespace.is_empty()
        && descriptor.get_field_by_name("namespace").is_some()
    {
        fields.entry("namespace").or_insert(Json::String(namespace));
    }
    request
}

fn message(descriptor: &MessageDescriptor, request: Json) -> Result<DynamicMessage, Failure> {
    output::read_dynamic(descriptor, request)
        .map_err(|error| Failure::usage(format!("-d: no {}: {error}", descriptor.name())))
}

/// Messages that are known by their descriptors alone.
struct Dynamic(MessageDescriptor);

impl Codec for Dynamic {
    type Encode = DynamicMessage;
    type Decode = DynamicMessage;
    type Encoder = Bytes;
    type Decoder = Answers;

    fn encoder(&mut self) -> Bytes {
        Bytes
    }

    fn decoder(&mut self) -> Answers {
        Answers(self.0.clone())
    }
}

struct Bytes;

impl Encoder for Bytes {
    type Item = DynamicMessage;
    type Error = Status;

    fn encode(&mut self, message: DynamicMessage, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.put(message.encode_to_vec().as_slice());
        Ok(())
    }
}

struct Answers(MessageDescriptor);

impl Decoder for Answers {
    type Item = DynamicMessage;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<DynamicMessage>, Status> {
        let bytes = from.copy_to_bytes(from.remaining());
        let message = DynamicMessage::decode(self.0.clone(), bytes);
        message.map(Some).map_err(|error| Status::internal(format!("the answer cannot be read: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{find, message};

    #[test]
    fn a_method_is_found_by_as_much_as_is_unambiguous() {
        let full = "mainspring.scheduler.v1.SchedulerService.ListRuns";
        for typed in [
            "ListRuns",
            "SchedulerService/ListRuns",
            "mainspring.scheduler.v1.SchedulerService/ListRuns",
            "/mainspring.scheduler.v1.SchedulerService/ListRuns",
            "SchedulerService.ListRuns",
        ] {
            assert_eq!(find(typed).unwrap().full_name(), full, "{typed}");
        }
        assert!(find("istRuns").unwrap_err().text().contains("did you mean ListRuns?"));
    }

    #[test]
    fn a_request_is_read_as_the_api_documents_it() {
        let input = find("ListRuns").unwrap().input();
        let read = message(&input, json!({"filter": "x", "pageSize": 3})).unwrap();
        assert_eq!(read.get_field_by_name("page_size").unwrap().as_i32(), Some(3));
        let told = message(&input, json!({"fliter": "x"})).unwrap_err().text();
        assert!(told.contains("-d: no ListRunsRequest") && told.contains("fliter"), "{told}");
    }
}
