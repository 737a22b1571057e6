//! Canonical protobuf JSON, by one code path for every message of the contract.
//!
//! The message is encoded and decoded again as a dynamic message over the contract's descriptors, which know what
//! generated structs have forgotten: JSON names, names of enum values, well-known types. So documentation of the API
//! is documentation of this output: camelCase, enums by their full name, 64-bit integers as strings, defaults
//! included, times in RFC 3339.

use std::{io, sync::LazyLock};

use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, SerializeOptions};
use serde::{Serialize, Serializer};
use serde_json::{
    Value as Json,
    ser::{CompactFormatter, Formatter, PrettyFormatter},
};

use crate::resource::Message;

static CONTRACT: LazyLock<DescriptorPool> = LazyLock::new(|| {
    DescriptorPool::decode(mainspring_proto::DESCRIPTOR_SET).expect("the contract's descriptors are part of the build")
});

/// The contract's descriptors.
pub(crate) fn contract() -> &'static DescriptorPool {
    &CONTRACT
}

/// The descriptor of a message; none where it is not in the contract.
pub(super) fn descriptor(name: &str) -> Option<MessageDescriptor> {
    CONTRACT.get_message_by_name(name)
}

/// A value, indented, with a line end.
pub(super) fn pretty_value(value: &Json) -> String {
    format!("{value:#}\n")
}

/// A value in one line, with its end.
pub(super) fn compact_value(value: &Json) -> String {
    format!("{value}\n")
}

/// A message that any format can write, in the order of the contract.
#[derive(Debug)]
pub(crate) struct Shown(DynamicMessage);

impl Serialize for Shown {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize_with_options(serializer, &options())
    }
}

/// The message, to be written.
pub(crate) fn shown<M: Message>(message: &M) -> Shown {
    Shown(dynamic(message))
}

/// A message that is known by its descriptor alone, to be written.
pub(super) fn shown_dynamic(message: DynamicMessage) -> Shown {
    Shown(message)
}

impl Shown {
    pub(super) fn pretty(&self) -> String {
        text(&self.0, PrettyFormatter::new())
    }

    pub(super) fn compact(&self) -> String {
        text(&self.0, CompactFormatter)
    }

    pub(super) fn value(&self) -> Json {
        serde_json::from_str(&self.compact()).expect("what was just written is JSON")
    }
}

/// Reads what [`pretty`] writes.
pub(crate) fn read<M: Message + Default>(json: Json) -> Result<M, serde_json::Error> {
    let descriptor = CONTRACT.get_message_by_name(M::NAME).expect("every Message of ours is in the contract");
    let message = read_dynamic(&descriptor, json)?;
    Ok(M::decode(message.encode_to_vec().as_slice()).expect("stubs and descriptors are made from the same files"))
}

/// Reads a message that is known by its descriptor alone; a field that it does not have is refused.
pub(crate) fn read_dynamic(descriptor: &MessageDescriptor, json: Json) -> Result<DynamicMessage, serde_json::Error> {
    DynamicMessage::deserialize(descriptor.clone(), json)
}

/// Indented, with a line end.
pub(super) fn pretty<M: Message>(message: &M) -> String {
    written(message, PrettyFormatter::new())
}

/// In one line, with its end.
pub(super) fn compact<M: Message>(message: &M) -> String {
    written(message, CompactFormatter)
}

/// As a value, to be put into another one.
pub(crate) fn canonical<M: Message>(message: &M) -> Json {
    serde_json::from_str(&compact(message)).expect("what was just written is JSON")
}

fn written<M: Message>(message: &M, formatter: impl Formatter) -> String {
    text(&dynamic(message), formatter)
}

fn dynamic<M: Message>(message: &M) -> DynamicMessage {
    let descriptor = CONTRACT.get_message_by_name(M::NAME).expect("every Message of ours is in the contract");
    DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice())
        .expect("stubs and descriptors are made from the same files")
}

fn options() -> SerializeOptions {
    SerializeOptions::new().skip_default_fields(false)
}

fn text(message: &DynamicMessage, formatter: impl Formatter) -> String {
    let mut serializer = serde_json::Serializer::with_formatter(Vec::new(), Whole(formatter));
    message.serialize_with_options(&mut serializer, &options()).expect("a vector takes every byte");
    let mut text = String::from_utf8(serializer.into_inner()).expect("JSON is UTF-8");
    text.push('\n');
    text
}

/// Writes doubles that are whole numbers as `1`, where `serde_json` writes `1.0`. Every reader takes both; people who
/// typed `1` want to see `1`.
struct Whole<F>(F);

impl<F: Formatter> Formatter for Whole<F> {
    fn write_f64<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        // Up to 2^53 every whole double is an exact integer.
        if value.fract() == 0.0 && value.abs() <= 9_007_199_254_740_992.0 {
            self.0.write_i64(writer, value as i64)
        } else {
            self.0.write_f64(writer, value)
        }
    }

    fn begin_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_array(writer)
    }

    fn end_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_array(writer)
    }

    fn begin_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_array_value(writer, first)
    }

    fn end_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_array_value(writer)
    }

    fn begin_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object(writer)
    }

    fn end_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object(writer)
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_object_key(writer, first)
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object_value(writer)
    }

    fn end_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object_value(writer)
    }
}

#[cfg(test)]
mod tests {
    use mainspring_proto::{
        common::v1::{Payload, payload},
        scheduler::v1::{ListRunsResponse, Run, RunState, ServerMode},
    };
    use prost_types::{Duration, Timestamp, Value, value::Kind};
    use serde_json::json;

    use super::{canonical, compact, pretty};
    use crate::resource;

    #[test]
    fn a_message_is_written_as_the_api_documents_it() {
        let number = Value { kind: Some(Kind::NumberValue(3.0)) };
        let run = Run {
            run_id: "r".into(),
            job_version: i64::MAX,
            state: RunState::TimedOut.into(),
            payload: Some(Payload { content_type: String::new(), data: Some(payload::Data::Json(number)) }),
            create_time: Some(Timestamp { seconds: 1_700_000_000, nanos: 500_000_000 }),
            ..Run::default()
        };
        let json = canonical(&run);
        assert_eq!(json["runId"], "r");
        assert_eq!(json["jobVersion"], "9223372036854775807", "64-bit integers are strings");
        assert_eq!(json["attempt"], "0", "defaults are included");
        assert_eq!(json["priority"], 0);
        assert_eq!(json["labels"], json!({}));
        assert_eq!(json["state"], "RUN_STATE_TIMED_OUT", "enums by their full name");
        assert_eq!(json["origin"], "RUN_ORIGIN_UNSPECIFIED");
        assert_eq!(json["createTime"], "2023-11-14T22:13:20.500Z");
        assert!(json.get("endTime").is_none(), "what may be absent is absent");
        assert!(compact(&run).contains(r#""json":3"#), "{}", compact(&run));
    }

    #[test]
    fn what_a_newer_server_adds_is_kept_as_a_number() {
        let json = canonical(&Run { state: 99, ..Run::default() });
        assert_eq!(json["state"], 99);
    }

    #[test]
    fn a_list_is_its_response() {
        let response = ListRunsResponse { runs: vec![Run::default()], next_page_token: "more".into() };
        let json = canonical(&response);
        assert_eq!(json["runs"].as_array().map(Vec::len), Some(1));
        assert_eq!(json["nextPageToken"], "more");
        assert!(pretty(&response).starts_with("{\n  \"runs\": [\n    {\n"));
        assert_eq!(compact(&response).lines().count(), 1);
    }

    #[test]
    fn durations_and_modes_have_their_names() {
        let info = resource::GetServerInfoResponse {
            mode: ServerMode::Embedded.into(),
            lease_ttl: Some(Duration { seconds: 30, nanos: 0 }),
            ..resource::GetServerInfoResponse::default()
        };
        let json = canonical(&info);
        assert_eq!((&json["mode"], &json["leaseTtl"]), (&json!("SERVER_MODE_EMBEDDED"), &json!("30s")));
    }
}
