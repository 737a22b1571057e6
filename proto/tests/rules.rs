//! What the build refuses: an rpc that does not say who may call it, and a request that can hold more than is counted.

#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap like the tests themselves")]

use prost_reflect::DescriptorPool;
use protox::{
    Compiler,
    file::{ChainFileResolver, File, FileResolver, GoogleFileResolver, IncludeFileResolver},
};

#[path = "../build/bounds.rs"]
mod bounds;
#[path = "../build/permissions.rs"]
mod permissions;

const KNOWN: &[(&str, &str)] = &[("jobs.read", "see jobs")];

/// A contract of one file, which imports the options of the real one.
struct One(String);

impl FileResolver for One {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        if name == "one.proto" { File::from_source(name, &self.0) } else { Err(protox::Error::file_not_found(name)) }
    }
}

/// The descriptors of a contract with this service and these messages beside `Empty`.
fn contract(service: &str, messages: &str) -> DescriptorPool {
    let source = format!(
        "syntax = \"proto3\";\npackage mainspring.test.v1;\nimport \"google/protobuf/field_mask.proto\";\n\
         import \"google/protobuf/struct.proto\";\nimport \"mainspring/common/v1/bounds.proto\";\n\
         import \"mainspring/common/v1/permission.proto\";\nmessage Empty {{}}\n{messages}\n\
         service TestService {{ {service} }}\n"
    );
    let mut resolver = ChainFileResolver::new();
    resolver.add(One(source));
    resolver.add(IncludeFileResolver::new(env!("CARGO_MANIFEST_DIR").into()));
    resolver.add(GoogleFileResolver::new());
    let mut compiler = Compiler::with_file_resolver(resolver);
    compiler.include_imports(true).open_file("one.proto").unwrap();
    DescriptorPool::decode(compiler.encode_file_descriptor_set().as_slice()).unwrap()
}

fn permissions_of(option: &str) -> Result<String, String> {
    let rpc = format!("rpc Look(Empty) returns (Empty) {{ {option} }}");
    permissions::table(&contract(&rpc, ""), KNOWN).map_err(|error| error.to_string())
}

fn bounds_of(messages: &str) -> Result<String, String> {
    let rpc = "rpc Make(Request) returns (Answer) {}";
    let messages = format!("{messages} message Answer {{ repeated string free = 1; }}");
    bounds::tables(&contract(rpc, &messages)).map_err(|error| error.to_string())
}

#[test]
fn an_rpc_says_who_may_call_it() {
    for (option, rule) in [
        ("{name: \"jobs.read\"}", "Rule::Permission(\"jobs.read\")"),
        ("{public: true}", "Rule::Public"),
        ("{caller: true}", "Rule::Caller"),
    ] {
        let table = permissions_of(&format!("option (mainspring.common.v1.permission) = {option};")).unwrap();
        assert!(table.contains(&format!("(\"/mainspring.test.v1.TestService/Look\", {rule})")), "{table}");
    }
}

#[test]
fn an_rpc_that_does_not_say_it_does_not_build() {
    let error = permissions_of("").unwrap_err();
    assert!(error.contains("rpc mainspring.test.v1.TestService.Look does not say who may call it"), "{error}");
    for (option, part) in [
        ("{name: \"jobs.raed\"}", "jobs.raed"),
        ("{name: \"\"}", "is not known"),
        ("{public: false}", "is not known"),
        ("{}", "is empty"),
    ] {
        let error = permissions_of(&format!("option (mainspring.common.v1.permission) = {option};")).unwrap_err();
        assert!(error.contains("TestService.Look") && error.contains(part), "{option}: {error}");
    }
}

#[test]
fn a_repeated_field_of_a_request_has_a_bound() {
    let bound = "[(mainspring.common.v1.max_items) = 7]";
    let tables = bounds_of(&format!(
        "message Request {{ repeated Item items = 3 {bound}; google.protobuf.Value json = 4; }} \
         message Item {{ map<string, string> labels = 1 {bound}; }}"
    ))
    .unwrap();
    assert!(tables.contains("number: 3, name: \"items\", max: 7, packed: false, inside: Some("), "{tables}");
    assert!(tables.contains("name: \"values\", max: 524288"), "{tables}");
    assert!(!tables.contains("free"), "answers are not counted: {tables}");
    assert!(tables.contains("impl Framed for crate::test::v1::Answer"), "{tables}");
}

#[test]
fn one_without_a_bound_does_not_build() {
    for (messages, field) in [
        ("message Request { repeated string names = 1; }", "Request.names"),
        ("message Request { map<string, string> labels = 1; }", "Request.labels"),
        ("message Request { Inner inner = 1; } message Inner { repeated Empty items = 1; }", "Inner.items"),
        ("message Request { repeated Empty items = 1 [(mainspring.common.v1.max_items) = 0]; }", "Request.items"),
        ("message Request { repeated double shares = 1 [(mainspring.common.v1.max_items) = 9]; }", "Request.shares"),
    ] {
        let error = bounds_of(messages).unwrap_err();
        assert!(error.contains(&format!("mainspring.test.v1.{field}")), "{messages}: {error}");
    }
}
