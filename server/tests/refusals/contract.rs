//! The contract as its descriptors tell it: rpcs, and the places of a request where something can be wrong.

use std::sync::LazyLock;

use mainspring_proto::DESCRIPTOR_SET;
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, MethodDescriptor, Value as Dynamic,
};
use serde_json::Value;

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| DescriptorPool::decode(DESCRIPTOR_SET).unwrap());

/// Every rpc.
pub(crate) fn rpcs() -> Vec<MethodDescriptor> {
    let rpcs: Vec<_> = POOL.services().flat_map(|service| service.methods().collect::<Vec<_>>()).collect();
    assert!(!rpcs.is_empty());
    rpcs
}

/// The rpc `Service/Method`.
pub(crate) fn rpc(name: &str) -> MethodDescriptor {
    rpcs().into_iter().find(|rpc| short(rpc) == name).unwrap_or_else(|| panic!("the contract has no {name}"))
}

/// `Service/Method`.
pub(crate) fn short(rpc: &MethodDescriptor) -> String {
    format!("{}/{}", rpc.parent_service().name(), rpc.name())
}

/// The path of a call.
pub(crate) fn path(rpc: &MethodDescriptor) -> String {
    format!("/{}/{}", rpc.parent_service().full_name(), rpc.name())
}

/// Who may call, as the rpc's option says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    Public,
    Caller,
    Permission(String),
}

pub(crate) fn rule(rpc: &MethodDescriptor) -> Rule {
    let option = POOL.get_extension_by_name("mainspring.common.v1.permission").unwrap();
    let options = rpc.options();
    let Dynamic::Message(permission) = options.get_extension(&option).into_owned() else { panic!("no permission") };
    let (arm, value) = permission.fields().next().unwrap_or_else(|| panic!("{} has no rule", rpc.full_name()));
    match arm.name() {
        "public" => Rule::Public,
        "caller" => Rule::Caller,
        "name" => Rule::Permission(value.as_str().unwrap().to_owned()),
        other => panic!("a rule that is not spoken for: {other}"),
    }
}

/// The bytes of a message.
pub(crate) fn encode(message: MessageDescriptor, value: &Value) -> Vec<u8> {
    use prost::Message as _;
    let name = message.full_name().to_owned();
    let read = DynamicMessage::deserialize(message, value).unwrap_or_else(|error| panic!("{name}: {error}: {value}"));
    read.encode_to_vec()
}

/// The bytes of a message with a value at a path that JSON does not have.
pub(crate) fn encode_with(message: MessageDescriptor, value: &Value, path: &str, odd: Dynamic) -> Vec<u8> {
    use prost::Message as _;
    let mut request = DynamicMessage::deserialize(message, value).unwrap();
    let steps: Vec<_> = path.split(['.', '[']).map(|step| step.trim_end_matches(']')).collect();
    put(Slot::Message(&mut request), &steps, odd);
    request.encode_to_vec()
}

/// Something of a message that has parts.
enum Slot<'a> {
    Message(&'a mut DynamicMessage),
    List(&'a mut Vec<Dynamic>),
}

fn put(slot: Slot<'_>, steps: &[&str], odd: Dynamic) {
    let [step, rest @ ..] = steps else { panic!("no place is named") };
    let value = match slot {
        Slot::Message(message) => message.get_field_by_name_mut(step).unwrap_or_else(|| panic!("no field {step}")),
        Slot::List(items) => &mut items[step.parse::<usize>().unwrap()],
    };
    match value {
        value if rest.is_empty() => *value = odd,
        Dynamic::Message(inner) => put(Slot::Message(inner), rest, odd),
        Dynamic::List(items) => put(Slot::List(items), rest, odd),
        other => panic!("{other:?} has no {rest:?}"),
    }
}

/// A message as JSON.
pub(crate) fn decode(message: MessageDescriptor, bytes: &[u8]) -> Value {
    serde_json::to_value(DynamicMessage::decode(message, bytes).unwrap()).unwrap()
}

/// A place of a request that callers fill: `job.schedules[].cron`.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) pattern: String,
    pub(crate) field: FieldDescriptor,
    /// What the contract says about it.
    pub(crate) comment: String,
}

/// Every place of a message that callers fill, outputs left out.
pub(crate) fn places(message: &MessageDescriptor) -> Vec<Place> {
    let mut found = Vec::new();
    walk(message, "", &mut vec![message.full_name().to_owned()], &mut found);
    found
}

fn walk(message: &MessageDescriptor, prefix: &str, above: &mut Vec<String>, found: &mut Vec<Place>) {
    for field in message.fields() {
        let comment = comment(&field);
        if comment.starts_with("Output only.") {
            continue;
        }
        let list = if field.is_list() { "[]" } else { "" };
        let pattern = format!("{prefix}{}{list}", field.name());
        if let Kind::Message(inner) = field.kind()
            && !field.is_map()
            && inner.full_name().starts_with("mainspring.")
            && !above.iter().any(|name| name == inner.full_name())
        {
            above.push(inner.full_name().to_owned());
            walk(&inner, &format!("{pattern}."), above, found);
            above.pop();
        }
        found.push(Place { pattern, field, comment });
    }
}

fn comment(field: &FieldDescriptor) -> String {
    let file = field.parent_message().parent_file();
    let info = file.file_descriptor_proto().source_code_info.clone().unwrap_or_default();
    let location = info.location.iter().find(|location| location.path == field.path());
    let text = location.map(|location| location.leading_comments().to_owned()).unwrap_or_default();
    assert!(!text.is_empty(), "{} says nothing about itself", field.full_name());
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

impl Place {
    /// A field by itself.
    pub(crate) fn of(field: &FieldDescriptor) -> Self {
        Self { pattern: field.name().to_owned(), field: field.clone(), comment: comment(field) }
    }

    pub(crate) fn required(&self) -> bool {
        self.comment.ends_with("Required.")
    }

    /// `At most 1,024 characters.`
    pub(crate) fn max_chars(&self) -> Option<usize> {
        let (_, rest) = self.comment.split_once("At most ")?;
        rest.split_once(" characters")?.0.replace(',', "").parse().ok()
    }

    pub(crate) fn is_enum(&self) -> bool {
        matches!(self.field.kind(), Kind::Enum(_))
    }

    pub(crate) fn is_message(&self, name: &str) -> bool {
        matches!(self.field.kind(), Kind::Message(message) if message.full_name() == name)
    }

    pub(crate) fn is_text(&self) -> bool {
        matches!(self.field.kind(), Kind::String) && !self.field.is_list() && !self.field.is_map()
    }

    /// Where it is in a request that shows what lies above it: `job.schedules[1].cron`.
    pub(crate) fn shown_in(&self, request: &Value) -> Vec<String> {
        let mut at = vec![(String::new(), request)];
        let mut parts = self.pattern.split('.').peekable();
        while let Some(part) = parts.next() {
            let last = parts.peek().is_none();
            let mut next = Vec::new();
            for (path, value) in at {
                let dot = if path.is_empty() { "" } else { "." };
                match part.strip_suffix("[]") {
                    Some(name) => {
                        let items = value.get(name).and_then(Value::as_array).into_iter().flatten().enumerate();
                        next.extend(items.map(|(n, item)| (format!("{path}{dot}{name}[{n}]"), item)));
                    }
                    None if last && value.is_object() => next.push((format!("{path}{dot}{part}"), value)),
                    None => next.extend(value.get(part).map(|value| (format!("{path}{dot}{part}"), value))),
                }
            }
            at = next;
        }
        at.into_iter().map(|(path, _)| path).collect()
    }
}

/// The pointer of JSON for a path of fields.
fn pointer(path: &str) -> String {
    format!("/{}", path.replace(['.', '['], "/").replace(']', ""))
}

/// The value at a path.
pub(crate) fn at<'a>(request: &'a Value, path: &str) -> Option<&'a Value> {
    request.pointer(&pointer(path))
}

/// The request with something else at a path.
pub(crate) fn with(request: &Value, path: &str, value: Value) -> Value {
    let mut changed = request.clone();
    match above(&mut changed, path) {
        (Value::Array(items), name) => items[name.parse::<usize>().unwrap()] = value,
        (above, name) => above[name] = value,
    }
    changed
}

/// The request without a field. JSON's null would not do: it is a value that a payload may have.
pub(crate) fn without(request: &Value, path: &str) -> Value {
    let mut changed = request.clone();
    let (above, name) = above(&mut changed, path);
    above.as_object_mut().unwrap().remove(&name);
    changed
}

/// What a path ends in, and the value that holds it.
fn above<'a>(request: &'a mut Value, path: &str) -> (&'a mut Value, String) {
    let pointer = pointer(path);
    let (above, name) = pointer.rsplit_once('/').unwrap();
    (request.pointer_mut(above).unwrap_or_else(|| panic!("no place for {path}")), name.to_owned())
}
