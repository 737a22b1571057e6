//! Messages of the contract that nobody would send, and some that anybody might. Written byte by byte, since no library
//! writes what a stranger may: fields twice, a oneof with all its arms, text that is none.

use prost::encoding::{WireType, encode_key, encode_varint};
use prost_reflect::{Cardinality, FieldDescriptor, Kind, MessageDescriptor};
use rand::{Rng as _, RngExt as _, rngs::StdRng, seq::SliceRandom as _};

use super::{contract::Contract, known::Known, nasty};

/// Messages inside each other are written down to here.
const DEEPEST: usize = 7;
/// The longest text.
const LONG: usize = 1_000_000;
/// Lists of such a length are refused, or should be.
const CROWD: usize = 2_000;
const NESTS: &[usize] = &[10, 29, 30, 31, 33, 34, 99, 100, 101, 200, 5_000];

/// What a message is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Temper {
    /// Much of it makes sense.
    Plausible,
    /// A field here and there does not.
    Odd,
    /// Nothing does.
    Absurd,
}

/// Writes messages.
pub(super) struct Writer<'a> {
    pub(super) contract: &'a Contract,
    pub(super) known: &'a Known,
    pub(super) rng: &'a mut StdRng,
    pub(super) temper: Temper,
}

impl Writer<'_> {
    /// A message. With `arm`, its oneofs have that one where they can.
    pub(super) fn message(&mut self, message: &MessageDescriptor, arm: Option<&str>) -> Vec<u8> {
        let mut out = Vec::new();
        self.fields(message, arm, 0, &mut out);
        out
    }

    /// Whether the next value makes no sense.
    fn is_odd(&mut self) -> bool {
        match self.temper {
            Temper::Plausible => false,
            Temper::Odd => self.rng.random_bool(0.1),
            Temper::Absurd => self.rng.random_bool(0.8),
        }
    }

    fn fields(&mut self, message: &MessageDescriptor, arm: Option<&str>, depth: usize, out: &mut Vec<u8>) {
        match message.full_name() {
            "google.protobuf.Duration" | "google.protobuf.Timestamp" => return self.time(message, out),
            "google.protobuf.Value" => return self.value(message, depth, out),
            "google.protobuf.FieldMask" if !self.is_odd() => return,
            _ => {}
        }
        let mut fields: Vec<_> = message.fields().filter(|field| self.wants(field, arm)).collect();
        // On the wire, fields may come in any order, and the last of a oneof's arms counts.
        if self.temper == Temper::Absurd {
            fields.shuffle(self.rng);
        }
        for field in fields {
            self.field(&field, depth, out);
        }
        if self.temper == Temper::Absurd && self.rng.random_bool(0.1) {
            self.unknown(out);
        }
    }

    fn wants(&mut self, field: &FieldDescriptor, arm: Option<&str>) -> bool {
        let note = self.contract.note(field);
        if let Some(oneof) = field.containing_oneof().filter(|oneof| !oneof.is_synthetic()) {
            if let Some(arm) = arm {
                return field.name() == arm;
            }
            let arms = oneof.fields().count();
            return match self.temper {
                // About one of them.
                Temper::Plausible | Temper::Odd => self.rng.random_ratio(1, u32::try_from(arms).unwrap_or(1)),
                Temper::Absurd => self.rng.random_bool(0.5),
            };
        }
        let often = match (self.temper, note.required, note.output) {
            (Temper::Plausible, true, _) => 1.0,
            (Temper::Odd, true, _) => 0.95,
            (Temper::Plausible | Temper::Odd, false, true) => 0.02,
            (Temper::Plausible | Temper::Odd, false, false) => 0.3,
            (Temper::Absurd, ..) => 0.6,
        };
        self.rng.random_bool(often)
    }

    fn field(&mut self, field: &FieldDescriptor, depth: usize, out: &mut Vec<u8>) {
        let odd = self.is_odd();
        if odd && self.rng.random_bool(0.03) {
            // Its number with a value of another kind.
            encode_key(field.number(), WireType::Varint, out);
            return encode_varint(self.rng.random(), out);
        }
        let times = match (field.cardinality(), odd) {
            (Cardinality::Repeated, false) => self.rng.random_range(1..3),
            (Cardinality::Repeated, true) => [0, 1, 2, 17, 65][self.rng.random_range(0..5)],
            (_, true) if self.rng.random_bool(0.1) => 2,
            (..) => 1,
        };
        if odd && field.is_list() && self.rng.random_bool(0.02) {
            for _ in 0..CROWD {
                self.empty(field, out);
            }
        }
        // A crowd of whole messages would be megabytes.
        let times = if depth > 1 { times.min(3) } else { times };
        for _ in 0..times {
            self.one(field, depth, odd, out);
        }
    }

    fn empty(&self, field: &FieldDescriptor, out: &mut Vec<u8>) {
        let wire = wire_type(&field.kind());
        encode_key(field.number(), wire, out);
        match wire {
            WireType::ThirtyTwoBit => out.extend([0; 4]),
            WireType::SixtyFourBit => out.extend([0; 8]),
            _ => out.push(0),
        }
    }

    fn one(&mut self, field: &FieldDescriptor, depth: usize, odd: bool, out: &mut Vec<u8>) {
        encode_key(field.number(), wire_type(&field.kind()), out);
        match field.kind() {
            Kind::Message(inner) => {
                let mut bytes = Vec::new();
                let moment = if odd { None } else { Known::moment(field, self.rng) };
                if let Some(seconds) = moment {
                    encode_key(1, WireType::Varint, &mut bytes);
                    encode_varint(seconds.cast_unsigned(), &mut bytes);
                } else if depth < DEEPEST {
                    self.fields(&inner, None, depth + 1, &mut bytes);
                }
                length_delimited(&bytes, out);
            }
            Kind::String => {
                let text = self.text(field, odd);
                length_delimited(&text, out);
            }
            Kind::Bytes => {
                let bytes = self.bytes(odd);
                length_delimited(&bytes, out);
            }
            Kind::Bool => encode_varint(u64::from(self.rng.random_bool(0.5)), out),
            Kind::Enum(kind) => {
                let numbers: Vec<_> = kind.values().map(|value| i64::from(value.number())).collect();
                let known = numbers.get(self.rng.random_range(1..numbers.len().max(2))).copied().unwrap_or(0);
                let number = if odd { self.nasty_int() } else { known };
                encode_varint(number.cast_unsigned(), out);
            }
            Kind::Double => out.extend(self.float(odd).to_le_bytes()),
            #[expect(clippy::cast_possible_truncation, reason = "any number will do")]
            Kind::Float => out.extend((self.float(odd) as f32).to_le_bytes()),
            Kind::Fixed64 | Kind::Sfixed64 => out.extend(self.int(field, odd).to_le_bytes()),
            Kind::Fixed32 | Kind::Sfixed32 => out.extend(self.int(field, odd).to_le_bytes().into_iter().take(4)),
            Kind::Int32 | Kind::Int64 | Kind::Uint32 | Kind::Uint64 | Kind::Sint32 | Kind::Sint64 => {
                encode_varint(self.int(field, odd).cast_unsigned(), out);
            }
        }
    }

    fn text(&mut self, field: &FieldDescriptor, odd: bool) -> Vec<u8> {
        if !odd {
            return self.known.text(field, self.rng).into_bytes();
        }
        match self.rng.random_range(0..300) {
            // A file of that name would be written somewhere on this machine.
            _ if field.name() == "path" => Known::nasty_text(field, self.rng).into_bytes(),
            0 => vec![b'x'; LONG],
            1 => "\u{202e}é".repeat(LONG / 8).into_bytes(),
            2..20 => vec![b'a'; self.rng.random_range(60..5_000)],
            20..26 => [&[0xff, 0xfe][..], &[0xed, 0xa0, 0x80], &[0xc0, 0x80]][self.rng.random_range(0..3)].to_vec(),
            _ => Known::nasty_text(field, self.rng).into_bytes(),
        }
    }

    fn bytes(&mut self, odd: bool) -> Vec<u8> {
        if !odd {
            return b"{\"n\":1}".to_vec();
        }
        let length = match self.rng.random_range(0..100) {
            0 => (1 << 20) + 1,
            1 => 1 << 20,
            _ => self.rng.random_range(0..64),
        };
        let mut bytes = vec![0; length];
        self.rng.fill_bytes(&mut bytes);
        bytes
    }

    fn nasty_int(&mut self) -> i64 {
        match self.rng.random_bool(0.8) {
            true => nasty::INTS[self.rng.random_range(0..nasty::INTS.len())],
            false => self.rng.random(),
        }
    }

    fn int(&mut self, field: &FieldDescriptor, odd: bool) -> i64 {
        if odd { self.nasty_int() } else { Known::int(field, self.rng) }
    }

    fn float(&mut self, odd: bool) -> f64 {
        if odd { nasty::FLOATS[self.rng.random_range(0..nasty::FLOATS.len())] } else { self.rng.random() }
    }

    /// A length or a moment: both are seconds and nanoseconds.
    fn time(&mut self, message: &MessageDescriptor, out: &mut Vec<u8>) {
        let is_moment = message.name() == "Timestamp";
        let (seconds, nanos) = if self.is_odd() {
            (self.nasty_int(), if self.rng.random_bool(0.5) { 0 } else { self.nasty_int() })
        } else if is_moment {
            // Some day of these years.
            (self.rng.random_range(1_700_000_000..2_000_000_000), 0)
        } else {
            (self.rng.random_range(1..3_600), 0)
        };
        for (number, value) in [(1, seconds), (2, nanos)] {
            encode_key(number, WireType::Varint, out);
            encode_varint(value.cast_unsigned(), out);
        }
    }

    /// A `google.protobuf.Value`: some JSON, or what JSON cannot be.
    fn value(&mut self, message: &MessageDescriptor, depth: usize, out: &mut Vec<u8>) {
        let odd = self.is_odd();
        if odd && self.rng.random_bool(0.2) {
            let height = NESTS[self.rng.random_range(0..NESTS.len())];
            return out.extend(nested(height));
        }
        let [null, number, text, truth, object, list] = [1, 2, 3, 4, 5, 6];
        match self.rng.random_range(0..9) {
            0 if odd => {}
            // Not one of them: all of them.
            1 if odd => self.fields_of_value(message, depth, out),
            2 | 3 => {
                encode_key(number, WireType::SixtyFourBit, out);
                out.extend(self.float(odd).to_le_bytes());
            }
            4 => {
                encode_key(truth, WireType::Varint, out);
                out.push(1);
            }
            5 if depth < DEEPEST => {
                let mut inner = Vec::new();
                for _ in 0..self.rng.random_range(0..3) {
                    let mut item = Vec::new();
                    self.value(message, depth + 1, &mut item);
                    encode_key(1, WireType::LengthDelimited, &mut inner);
                    length_delimited(&item, &mut inner);
                }
                encode_key(list, WireType::LengthDelimited, out);
                length_delimited(&inner, out);
            }
            6 | 7 if depth < DEEPEST => {
                let mut inner = Vec::new();
                for _ in 0..self.rng.random_range(0..3) {
                    self.entry(message, depth, odd, &mut inner);
                }
                encode_key(object, WireType::LengthDelimited, out);
                length_delimited(&inner, out);
            }
            8 => {
                encode_key(null, WireType::Varint, out);
                encode_varint(if odd { 7 } else { 0 }, out);
            }
            _ => {
                encode_key(text, WireType::LengthDelimited, out);
                let words = nasty::TEXTS[self.rng.random_range(0..nasty::TEXTS.len())];
                length_delimited(words.as_bytes(), out);
            }
        }
    }

    fn fields_of_value(&mut self, message: &MessageDescriptor, depth: usize, out: &mut Vec<u8>) {
        for field in message.fields() {
            self.one(&field, depth, true, out);
        }
    }

    fn entry(&mut self, value: &MessageDescriptor, depth: usize, odd: bool, out: &mut Vec<u8>) {
        let mut entry = Vec::new();
        // Nasty keys come twice sooner or later.
        let key = if odd { nasty::TEXTS[self.rng.random_range(0..4)] } else { "n" };
        encode_key(1, WireType::LengthDelimited, &mut entry);
        length_delimited(key.as_bytes(), &mut entry);
        let mut inner = Vec::new();
        self.value(value, depth + 1, &mut inner);
        encode_key(2, WireType::LengthDelimited, &mut entry);
        length_delimited(&inner, &mut entry);
        encode_key(1, WireType::LengthDelimited, out);
        length_delimited(&entry, out);
    }

    /// A field that the message does not have.
    fn unknown(&mut self, out: &mut Vec<u8>) {
        let number = [99, 19_000, (1 << 29) - 1][self.rng.random_range(0..3)];
        match self.rng.random_range(0..3) {
            0 => {
                encode_key(number, WireType::Varint, out);
                encode_varint(u64::MAX, out);
            }
            1 => {
                encode_key(number, WireType::LengthDelimited, out);
                length_delimited(&[7; 40], out);
            }
            // Groups inside each other, which never end.
            _ => (0..self.rng.random_range(1..300)).for_each(|_| encode_key(number, WireType::StartGroup, out)),
        }
    }
}

fn wire_type(kind: &Kind) -> WireType {
    match kind {
        Kind::Double | Kind::Fixed64 | Kind::Sfixed64 => WireType::SixtyFourBit,
        Kind::Float | Kind::Fixed32 | Kind::Sfixed32 => WireType::ThirtyTwoBit,
        Kind::String | Kind::Bytes | Kind::Message(_) => WireType::LengthDelimited,
        Kind::Int32
        | Kind::Int64
        | Kind::Uint32
        | Kind::Uint64
        | Kind::Sint32
        | Kind::Sint64
        | Kind::Bool
        | Kind::Enum(_) => WireType::Varint,
    }
}

fn length_delimited(bytes: &[u8], out: &mut Vec<u8>) {
    encode_varint(bytes.len() as u64, out);
    out.extend(bytes);
}

/// A list in a list in a list, so many levels down.
fn nested(levels: usize) -> Vec<u8> {
    // Written from the inside out, and turned round in the end: each level is a Value with a list with one item.
    let mut reversed: Vec<u8> = Vec::new();
    for _ in 0..levels {
        for field in [1, 6] {
            let mut head = Vec::new();
            encode_key(field, WireType::LengthDelimited, &mut head);
            encode_varint(reversed.len() as u64, &mut head);
            reversed.extend(head.iter().rev());
        }
    }
    reversed.reverse();
    reversed
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use prost_types::{Value, value::Kind};

    #[test]
    fn nests_are_as_deep_as_they_say() {
        let mut value = Value::decode(super::nested(20).as_slice()).unwrap();
        for _ in 0..20 {
            let Some(Kind::ListValue(list)) = value.kind else { panic!("not so deep") };
            value = list.values.into_iter().next().unwrap();
        }
        assert_eq!(value.kind, None);
    }
}
