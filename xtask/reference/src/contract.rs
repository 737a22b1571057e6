//! The contract as a person reads it: its files with the comments beside what they explain.
//!
//! protoc keeps comments apart from what they are about, under a path of field numbers into the descriptor. They are
//! joined here once, so that the pages know nothing of paths.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context as _, Result};
use mainspring_proto::DESCRIPTOR_SET;
use prost::Message as _;
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet,
    ServiceDescriptorProto,
    field_descriptor_proto::{Label, Type},
};

/// Field numbers of descriptor.proto, of which comment paths are made.
mod number {
    pub(super) const FILE_MESSAGE: i32 = 4;
    pub(super) const FILE_ENUM: i32 = 5;
    pub(super) const FILE_SERVICE: i32 = 6;
    pub(super) const MESSAGE_FIELD: i32 = 2;
    pub(super) const MESSAGE_NESTED: i32 = 3;
    pub(super) const MESSAGE_ENUM: i32 = 4;
    pub(super) const ENUM_VALUE: i32 = 2;
    pub(super) const SERVICE_METHOD: i32 = 2;
}

/// Everything that the contract says, by package.
pub(crate) struct Contract {
    pub(crate) packages: BTreeMap<String, Package>,
}

/// One package, in the order in which its files tell it.
#[derive(Default)]
pub(crate) struct Package {
    pub(crate) services: Vec<Service>,
    pub(crate) messages: Vec<Shape<Field>>,
    pub(crate) enums: Vec<Shape<Value>>,
}

/// A service.
pub(crate) struct Service {
    pub(crate) name: String,
    pub(crate) comment: String,
    pub(crate) rpcs: Vec<Rpc>,
}

/// One rpc.
pub(crate) struct Rpc {
    pub(crate) name: String,
    /// "/package.Service/Method", as it goes over the wire.
    pub(crate) path: String,
    pub(crate) comment: String,
    pub(crate) request: Kind,
    pub(crate) response: Kind,
}

/// A message or an enum, with its parts.
pub(crate) struct Shape<T> {
    /// Within its package; `Outer.Inner` where it is nested.
    pub(crate) name: String,
    pub(crate) full_name: String,
    pub(crate) comment: String,
    pub(crate) parts: Vec<T>,
}

/// A field of a message.
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) number: i32,
    pub(crate) comment: String,
    pub(crate) kind: Kind,
    /// The oneof it belongs to.
    pub(crate) one_of: Option<String>,
}

/// A value of an enum.
pub(crate) struct Value {
    pub(crate) name: String,
    pub(crate) number: i32,
    pub(crate) comment: String,
}

/// What a field holds, or an rpc takes or gives.
pub(crate) struct Kind {
    /// Whether there may be several: a repeated field, or a stream.
    pub(crate) many: bool,
    pub(crate) of: Of,
}

/// A type.
pub(crate) enum Of {
    /// `string`, `int32` and the like.
    Scalar(&'static str),
    /// The full name of a message or enum.
    Named(String),
    /// A map, from a scalar to anything.
    Map(Box<Of>, Box<Of>),
}

impl Contract {
    /// The contract this program was compiled with.
    pub(crate) fn load() -> Result<Self> {
        let set = FileDescriptorSet::decode(DESCRIPTOR_SET).context("the descriptor set of the contract")?;
        let mut packages = BTreeMap::<_, Package>::new();
        for file in set.file.iter().filter(|file| file.package().starts_with("mainspring.")) {
            packages.entry(file.package().to_owned()).or_default().add(&Reader::new(file));
        }
        Ok(Self { packages })
    }
}

impl Package {
    fn add(&mut self, reader: &Reader<'_>) {
        let file = reader.file;
        for (at, service) in (0..).zip(&file.service) {
            self.services.push(reader.service(service, &[number::FILE_SERVICE, at]));
        }
        for (at, message) in (0..).zip(&file.message_type) {
            self.add_message(reader, message, "", &[number::FILE_MESSAGE, at]);
        }
        for (at, one) in (0..).zip(&file.enum_type) {
            self.enums.push(reader.enumeration(one, "", &[number::FILE_ENUM, at]));
        }
    }

    fn add_message(&mut self, reader: &Reader<'_>, message: &DescriptorProto, outer: &str, path: &[i32]) {
        if message.options.as_ref().is_some_and(|options| options.map_entry()) {
            return;
        }
        let shape = reader.message(message, outer, path);
        let inner = format!("{}.", shape.name);
        self.messages.push(shape);
        for (at, nested) in (0..).zip(&message.nested_type) {
            self.add_message(reader, nested, &inner, &[path, &[number::MESSAGE_NESTED, at]].concat());
        }
        for (at, nested) in (0..).zip(&message.enum_type) {
            self.enums.push(reader.enumeration(nested, &inner, &[path, &[number::MESSAGE_ENUM, at]].concat()));
        }
    }
}

/// One file, with its comments by path.
struct Reader<'a> {
    file: &'a FileDescriptorProto,
    comments: HashMap<&'a [i32], String>,
}

impl<'a> Reader<'a> {
    fn new(file: &'a FileDescriptorProto) -> Self {
        let locations = file.source_code_info.iter().flat_map(|info| &info.location);
        let comments =
            locations.map(|location| (location.path.as_slice(), location.leading_comments().trim().to_owned()));
        Self { file, comments: comments.filter(|(_, comment)| !comment.is_empty()).collect() }
    }

    fn comment(&self, path: &[i32]) -> String {
        self.comments.get(path).cloned().unwrap_or_default()
    }

    fn full(&self, name: &str) -> String {
        format!("{}.{name}", self.file.package())
    }

    fn service(&self, service: &ServiceDescriptorProto, path: &[i32]) -> Service {
        let rpcs = (0..).zip(&service.method).map(|(at, method)| Rpc {
            name: method.name().to_owned(),
            path: format!("/{}/{}", self.full(service.name()), method.name()),
            comment: self.comment(&[path, &[number::SERVICE_METHOD, at]].concat()),
            request: Kind { many: method.client_streaming(), of: named(method.input_type()) },
            response: Kind { many: method.server_streaming(), of: named(method.output_type()) },
        });
        Service { name: service.name().to_owned(), comment: self.comment(path), rpcs: rpcs.collect() }
    }

    fn message(&self, message: &DescriptorProto, outer: &str, path: &[i32]) -> Shape<Field> {
        let fields = (0..).zip(&message.field).map(|(at, field)| Field {
            name: field.name().to_owned(),
            number: field.number(),
            comment: self.comment(&[path, &[number::MESSAGE_FIELD, at]].concat()),
            kind: kind(message, field),
            one_of: one_of(message, field),
        });
        self.shape(message.name(), outer, path, fields.collect())
    }

    fn enumeration(&self, one: &EnumDescriptorProto, outer: &str, path: &[i32]) -> Shape<Value> {
        let values = (0..).zip(&one.value).map(|(at, value)| Value {
            name: value.name().to_owned(),
            number: value.number(),
            comment: self.comment(&[path, &[number::ENUM_VALUE, at]].concat()),
        });
        self.shape(one.name(), outer, path, values.collect())
    }

    fn shape<T>(&self, name: &str, outer: &str, path: &[i32], parts: Vec<T>) -> Shape<T> {
        let name = format!("{outer}{name}");
        Shape { full_name: self.full(&name), name, comment: self.comment(path), parts }
    }
}

/// Names in descriptors begin with a dot, as they are resolved from the root.
fn named(name: &str) -> Of {
    Of::Named(name.trim_start_matches('.').to_owned())
}

fn kind(message: &DescriptorProto, field: &FieldDescriptorProto) -> Kind {
    let entry = message.nested_type.iter().find(|nested| {
        nested.options.as_ref().is_some_and(|options| options.map_entry())
            && field.type_name().ends_with(&format!(".{}.{}", message.name(), nested.name()))
    });
    if let Some([key, value]) = entry.map(|entry| entry.field.as_slice()) {
        return Kind { many: false, of: Of::Map(Box::new(of(key)), Box::new(of(value))) };
    }
    Kind { many: field.label() == Label::Repeated, of: of(field) }
}

/// The oneof that a person wrote; `optional` makes one of its own, which nobody sees.
fn one_of(message: &DescriptorProto, field: &FieldDescriptorProto) -> Option<String> {
    let at = field.oneof_index.filter(|_| !field.proto3_optional())?;
    message.oneof_decl.get(usize::try_from(at).ok()?).map(|one| one.name().to_owned())
}

fn of(field: &FieldDescriptorProto) -> Of {
    Of::Scalar(match field.r#type() {
        Type::Message | Type::Enum | Type::Group => return named(field.type_name()),
        Type::Double => "double",
        Type::Float => "float",
        Type::Int64 => "int64",
        Type::Uint64 => "uint64",
        Type::Int32 => "int32",
        Type::Fixed64 => "fixed64",
        Type::Fixed32 => "fixed32",
        Type::Bool => "bool",
        Type::String => "string",
        Type::Bytes => "bytes",
        Type::Uint32 => "uint32",
        Type::Sfixed32 => "sfixed32",
        Type::Sfixed64 => "sfixed64",
        Type::Sint32 => "sint32",
        Type::Sint64 => "sint64",
    })
}
