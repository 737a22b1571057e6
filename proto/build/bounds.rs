//! How many items the repeated fields of requests may have, from the `max_items` option.
//!
//! Written out as static tables that the codec reads before it decodes (`src/codec.rs`). Shared by the build script and by
//! the test that shows what it refuses.

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    fmt::Write as _,
};

use prost_reflect::{DescriptorPool, FieldDescriptor, Kind, MessageDescriptor, Value};

const OPTION: &str = "mainspring.common.v1.max_items";
/// The codec has room to count so many fields of one message.
const MOST_FIELDS: usize = 16;

/// Fields of messages that are not ours and can carry no option of ours.
const FOREIGN: [(&str, u32); 3] = [
    ("google.protobuf.FieldMask.paths", 1_000),
    ("google.protobuf.ListValue.values", 524_288),
    ("google.protobuf.Struct.fields", 524_288),
];

/// What is known of one message.
type Fields = Vec<(FieldDescriptor, u32)>;

/// The tables, as Rust. A repeated field without a bound that a request can hold is an error.
pub(crate) fn tables(pool: &DescriptorPool) -> Result<String, Box<dyn Error>> {
    let (mut inputs, mut outputs) = (BTreeMap::new(), BTreeMap::new());
    for method in pool.services().filter(|s| s.full_name().starts_with("mainspring.")).flat_map(|s| {
        // The iterator borrows its service.
        s.methods().collect::<Vec<_>>()
    }) {
        inputs.insert(method.input().full_name().to_owned(), method.input());
        outputs.insert(method.output().full_name().to_owned(), method.output());
    }
    let mut messages: BTreeMap<String, Fields> = BTreeMap::new();
    for input in inputs.values() {
        walk(pool, input, &mut messages)?;
    }
    let bounded = bounded(&messages);
    let places: BTreeMap<&str, usize> = bounded.iter().enumerate().map(|(at, name)| (*name, at)).collect();
    let mut text = String::from("/// The messages that hold bounded fields, by name.\nstatic SHAPES: &[Shape] = &[\n");
    for name in &bounded {
        writeln!(text, "    // {name}\n    Shape {{ fields: &[")?;
        let mut counted = 0;
        for (field, max) in &messages[*name] {
            let inside = match inner(field) {
                Some(inner) => places.get(inner.full_name()).copied(),
                None => None,
            };
            if !field.is_list() && !field.is_map() && inside.is_none() {
                continue;
            }
            counted += 1;
            let packed = field.is_list() && is_number(field);
            writeln!(
                text,
                "        Field {{ number: {}, name: {:?}, max: {max}, packed: {packed}, inside: {inside:?} }},",
                field.number(),
                field.name(),
            )?;
        }
        text.push_str("    ] },\n");
        if counted > MOST_FIELDS {
            return Err(format!("{name} has {counted} fields to count; the codec has room for {MOST_FIELDS}").into());
        }
    }
    text.push_str("];\n\n");
    for (name, is_input) in inputs.keys().map(|name| (name, true)).chain(outputs.keys().map(|name| (name, false))) {
        if !is_input && inputs.contains_key(name) {
            continue;
        }
        let shape = places.get(name.as_str()).filter(|_| is_input);
        let shape = shape.map_or("None".to_owned(), |at| format!("Some(&SHAPES[{at}])"));
        let path = name.strip_prefix("mainspring.").unwrap_or(name).replace('.', "::");
        writeln!(text, "impl Framed for crate::{path} {{\n    const SHAPE: Option<&'static Shape> = {shape};\n}}")?;
    }
    Ok(text)
}

/// Collects a message and everything below it.
fn walk(
    pool: &DescriptorPool,
    message: &MessageDescriptor,
    found: &mut BTreeMap<String, Fields>,
) -> Result<(), Box<dyn Error>> {
    if found.contains_key(message.full_name()) {
        return Ok(());
    }
    found.insert(message.full_name().to_owned(), Vec::new());
    let mut fields = Vec::new();
    for field in message.fields() {
        let max = if field.is_list() || field.is_map() { max(pool, &field)? } else { 1 };
        if let Some(inner) = inner(&field) {
            walk(pool, &inner, found)?;
        }
        fields.push((field, max));
    }
    found.insert(message.full_name().to_owned(), fields);
    Ok(())
}

/// The message that a field holds, the entry of a map among them.
fn inner(field: &FieldDescriptor) -> Option<MessageDescriptor> {
    match field.kind() {
        Kind::Message(message) => Some(message),
        _ => None,
    }
}

/// Whether many of them may come in one piece.
fn is_number(field: &FieldDescriptor) -> bool {
    !matches!(field.kind(), Kind::Message(_) | Kind::String | Kind::Bytes)
}

fn max(pool: &DescriptorPool, field: &FieldDescriptor) -> Result<u32, Box<dyn Error>> {
    let full = field.full_name();
    if let Some((_, max)) = FOREIGN.iter().find(|(name, _)| *name == full) {
        return Ok(*max);
    }
    let varint =
        matches!(field.kind(), Kind::Enum(_) | Kind::Bool | Kind::Int32 | Kind::Int64 | Kind::Uint32 | Kind::Uint64);
    if is_number(field) && !varint {
        return Err(
            format!("{full}: the codec counts packed numbers only where each is a varint (src/codec.rs)").into()
        );
    }
    let extension = pool.get_extension_by_name(OPTION).ok_or("bounds.proto is not imported")?;
    match field.options().get_extension(&extension).as_ref() {
        Value::U32(max) if *max > 0 => Ok(*max),
        _ => Err(format!("{full} is repeated, and a request can hold it: say `[({OPTION}) = …]`").into()),
    }
}

/// The messages that hold a repeated field, or a message that does.
fn bounded(messages: &BTreeMap<String, Fields>) -> BTreeSet<&str> {
    let mut bounded = BTreeSet::new();
    loop {
        let before = bounded.len();
        for (name, fields) in messages {
            let holds = |(field, _): &(FieldDescriptor, u32)| {
                let inside = inner(field).is_some_and(|inner| bounded.contains(inner.full_name()));
                field.is_list() || field.is_map() || inside
            };
            if fields.iter().any(holds) {
                bounded.insert(name.as_str());
            }
        }
        if bounded.len() == before {
            return bounded;
        }
    }
}
