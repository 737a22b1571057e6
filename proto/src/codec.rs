//! Protobuf on the wire, with one rule more: a request is counted before it is decoded.
//!
//! An empty item of a repeated field is two bytes on the wire and hundreds in memory, so 4 MiB could become a gigabyte before
//! a handler says "at most 1,000". The contract says how many items each repeated field of a request may have (the option
//! `max_items`); [`count`] walks the bytes by that and refuses with [`TooMany`]. Answers are not counted: whoever reads them
//! has chosen whom to ask.

use std::{fmt, marker::PhantomData};

use prost::{
    DecodeError, Message,
    bytes::Buf as _,
    encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field},
};
use tonic::{
    Status,
    codec::{BufferSettings, Codec, DecodeBuf, Decoder},
};
use tonic_prost::{ProstCodec, ProstDecoder, ProstEncoder};

/// What of a message is counted.
#[derive(Debug)]
pub struct Shape {
    fields: &'static [Field],
}

/// A field that is counted, or that holds one.
#[derive(Debug)]
struct Field {
    number: u32,
    name: &'static str,
    /// At most so many.
    max: u32,
    /// A list of varints, which may come in one piece.
    packed: bool,
    /// Place of the shape of what it holds.
    inside: Option<usize>,
}

/// A message that is sent or received as a whole.
pub trait Framed: Message + Default + Send + 'static {
    /// What is counted before one is decoded; nothing in answers.
    const SHAPE: Option<&'static Shape>;
}

include!(concat!(env!("OUT_DIR"), "/bounds.rs"));

/// A request holds more items than it may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TooMany {
    /// Path of the field in the message, as in `runs[3].labels`.
    pub field: String,
    /// How many it may have.
    pub max: u32,
}

impl TooMany {
    const WORDS: &'static str = "too many items: ";

    /// Reads it from the message of the status that the codec made of it.
    pub fn read(message: &str) -> Option<Self> {
        let (field, max) = message.strip_prefix(Self::WORDS)?.rsplit_once(' ')?;
        Some(Self { field: field.into(), max: max.parse().ok()? })
    }
}

impl fmt::Display for TooMany {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { field, max } = self;
        write!(f, "{}{field} {max}", Self::WORDS)
    }
}

/// Why counting ended early.
#[derive(Debug)]
enum Stop {
    TooMany(TooMany),
    /// Decoding gives up at the same place, and has the words for it.
    Malformed,
}

impl From<DecodeError> for Stop {
    fn from(_: DecodeError) -> Self {
        Self::Malformed
    }
}

/// prost gives up at so many messages inside each other.
const DEEPEST: usize = 100;
/// A shape has at most so many fields; the build looks after that.
const MOST_FIELDS: usize = 16;

/// Counts the items of an encoded message, in the order in which they would be decoded.
fn count(shape: &'static Shape, bytes: &[u8]) -> Result<(), TooMany> {
    match count_in(shape, bytes, &mut Vec::new()) {
        Err(Stop::TooMany(too_many)) => Err(too_many),
        Ok(()) | Err(Stop::Malformed) => Ok(()),
    }
}

fn count_in(shape: &'static Shape, mut bytes: &[u8], path: &mut Vec<(&'static Field, u64)>) -> Result<(), Stop> {
    if path.len() > DEEPEST {
        return Err(Stop::Malformed);
    }
    let mut seen = [0_u64; MOST_FIELDS];
    while !bytes.is_empty() {
        let (number, wire) = decode_key(&mut bytes)?;
        let Some(at) = shape.fields.iter().position(|field| field.number == number) else {
            skip_field(wire, number, &mut bytes, DecodeContext::default())?;
            continue;
        };
        let field = &shape.fields[at];
        let mut piece: &[u8] = &[];
        if wire == WireType::LengthDelimited {
            let length = usize::try_from(decode_varint(&mut bytes)?).map_err(|_| Stop::Malformed)?;
            (piece, bytes) = bytes.split_at_checked(length).ok_or(Stop::Malformed)?;
        } else {
            skip_field(wire, number, &mut bytes, DecodeContext::default())?;
        }
        seen[at] += match (field.packed, wire) {
            // Each number ends in the one byte of its own that has no continuation bit.
            (true, WireType::LengthDelimited) => piece.iter().filter(|byte| **byte < 0x80).count() as u64,
            _ => 1,
        };
        path.push((field, seen[at]));
        if seen[at] > u64::from(field.max) {
            return Err(Stop::TooMany(TooMany { field: shown(path), max: field.max }));
        }
        if let Some(inside) = field.inside {
            count_in(&SHAPES[inside], piece, path)?;
        }
        path.pop();
    }
    Ok(())
}

/// `runs[3].labels`
fn shown(path: &[(&'static Field, u64)]) -> String {
    let mut text = String::new();
    for (at, (field, seen)) in path.iter().enumerate() {
        if at > 0 {
            text.push('.');
        }
        text.push_str(field.name);
        if field.max > 1 && at + 1 < path.len() {
            text.push_str(&format!("[{}]", seen - 1));
        }
    }
    text
}

/// The codec of every generated client and service.
#[derive(Debug)]
pub struct Bounded<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for Bounded<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T: Message + Send + 'static, U: Framed> Codec for Bounded<T, U> {
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = Counting<U>;

    fn encoder(&mut self) -> ProstEncoder<T> {
        ProstCodec::<T, U>::default().encoder()
    }

    fn decoder(&mut self) -> Counting<U> {
        Counting(ProstCodec::<T, U>::default().decoder())
    }
}

/// Counts, then decodes.
#[derive(Debug)]
pub struct Counting<U>(ProstDecoder<U>);

impl<U: Framed> Decoder for Counting<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        if let Some(shape) = U::SHAPE {
            count(shape, buffer.chunk()).map_err(|too_many| Status::invalid_argument(too_many.to_string()))?;
        }
        self.0.decode(buffer)
    }

    fn buffer_settings(&self) -> BufferSettings {
        self.0.buffer_settings()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        common::v1::{Payload, payload::Data},
        scheduler::v1 as api,
        worker::v1 as wire,
    };

    fn counted<M: Framed>(message: &M) -> Result<(), TooMany> {
        bytes_counted::<M>(&message.encode_to_vec())
    }

    fn bytes_counted<M: Framed>(bytes: &[u8]) -> Result<(), TooMany> {
        count(M::SHAPE.unwrap(), bytes)
    }

    fn too_many(field: &str, max: u32) -> Result<(), TooMany> {
        Err(TooMany { field: field.into(), max })
    }

    /// A field of bytes, as the wire has it; `number` below 16.
    fn field(number: u8, inside: &[u8]) -> Vec<u8> {
        let mut bytes = vec![number << 3 | 2];
        prost::encoding::encode_varint(inside.len() as u64, &mut bytes);
        bytes.extend(inside);
        bytes
    }

    #[test]
    fn what_is_too_many_is_told_with_its_path() {
        let batch = |runs| api::BatchSubmitRunsRequest {
            runs: vec![api::RunSubmission::default(); runs],
            ..Default::default()
        };
        assert_eq!(counted(&batch(1_000)), Ok(()));
        assert_eq!(counted(&batch(1_001)), too_many("runs", 1_000));
        let mut labelled = batch(3);
        labelled.runs[2].labels = (0..65).map(|n| (n.to_string(), String::new())).collect();
        assert_eq!(counted(&labelled), too_many("runs[2].labels", 64));
        let logs = wire::LogBatch { entries: vec![wire::LogEntry::default(); 10_001], ..Default::default() };
        let said = wire::WorkerStreamRequest { message: Some(wire::worker_stream_request::Message::LogBatch(logs)) };
        assert_eq!(counted(&said), too_many("log_batch.entries", 10_000));
    }

    #[test]
    fn numbers_are_counted_however_they_are_packed() {
        let topics = |count| api::WatchEventsRequest { topics: vec![1; count], ..Default::default() };
        assert_eq!(counted(&topics(16)), Ok(()));
        assert_eq!(counted(&topics(17)), too_many("topics", 16));
        assert_eq!(bytes_counted::<api::WatchEventsRequest>(&[0x10, 1].repeat(17)), too_many("topics", 16));
    }

    #[test]
    fn a_message_that_comes_in_pieces_is_not_put_together() {
        // A job twice, each time with a few schedules: a decoder would merge them.
        let job = field(2, &field(13, &[]));
        assert_eq!(bytes_counted::<api::CreateJobRequest>(&job), Ok(()));
        assert_eq!(bytes_counted::<api::CreateJobRequest>(&job.repeat(2)), too_many("job", 1));
    }

    #[test]
    fn what_stands_in_front_hides_nothing() {
        // A group of an unknown field, which decoders skip.
        let group = [field(1, b"x"), vec![15 << 3 | 3, 15 << 3 | 4]].concat();
        let bytes = [group, field(2, &[]).repeat(1_001)].concat();
        assert_eq!(bytes_counted::<api::BatchSubmitRunsRequest>(&bytes), too_many("runs", 1_000));
    }

    #[test]
    fn values_inside_each_other_are_walked() {
        use prost_types::{ListValue, Struct, Value, value::Kind};
        let list = |count| Kind::ListValue(ListValue { values: vec![Value::default(); count] });
        let request = |kind| {
            let inner = Value { kind: Some(kind) };
            let json = Value { kind: Some(Kind::StructValue(Struct { fields: [("a".to_owned(), inner)].into() })) };
            let payload = Some(Payload { content_type: String::new(), data: Some(Data::Json(json)) });
            api::TriggerJobRequest { payload, ..Default::default() }
        };
        assert_eq!(counted(&request(list(524_288))), Ok(()));
        let path = "payload.json.struct_value.fields[0].value.list_value.values";
        assert_eq!(counted(&request(list(524_289))), too_many(path, 524_288));
        let deep =
            (0..200).fold(list(0), |inner, _| Kind::ListValue(ListValue { values: vec![Value { kind: Some(inner) }] }));
        assert_eq!(counted(&request(deep)), Ok(()), "decoding refuses it");
    }

    #[test]
    fn answers_are_not_counted() {
        assert!(api::ListRunsResponse::SHAPE.is_none() && wire::WorkerStreamResponse::SHAPE.is_none());
        assert!(api::GetRunRequest::SHAPE.is_none(), "nothing in it is repeated");
    }

    #[test]
    fn the_words_are_read_back() {
        let too_many = TooMany { field: "runs[3].labels".into(), max: 64 };
        assert_eq!(TooMany::read(&too_many.to_string()), Some(too_many));
        assert_eq!(TooMany::read("invalid MessageRequest"), None);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _ = bytes_counted::<wire::WorkerStreamRequest>(&bytes);
            let _ = bytes_counted::<api::CreateJobRequest>(&bytes);
        }

        #[test]
        fn what_is_decoded_was_counted_to_its_end(runs in 0..1_003_usize, cut in 0..4_000_usize) {
            let mut bytes = field(2, &[]).repeat(runs);
            bytes.truncate(cut);
            if let Ok(read) = api::BatchSubmitRunsRequest::decode(bytes.as_slice()) {
                prop_assert_eq!(bytes_counted::<api::BatchSubmitRunsRequest>(&bytes).is_ok(), read.runs.len() <= 1_000);
            }
        }
    }
}
