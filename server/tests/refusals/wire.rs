//! What no JSON can say: numbers that are none, nests that no parser should follow, and fields of a contract to come. Text
//! that is none is in the table of `matrix.rs`.

use prost_reflect::{DynamicMessage, Kind, ReflectMessage as _, Value as Dynamic};
use tonic::Code;

use super::{
    contract::{Place, encode, encode_with, path, rpc, rpcs, short},
    fields::spots,
    raw,
    server::Server,
    stage::{Stage, Told},
    table::ROWS,
};

/// An unknown field with a text, which a later version might have.
const LATER: &[u8] = &[0xba, 0x3e, 5, b'l', b'a', b't', b'e', b'r'];

#[tokio::test]
async fn a_field_that_this_server_does_not_know_is_passed_over() {
    let stage = Stage::set().await;
    for row in ROWS {
        let mut body = encode(rpc(row.rpc).input(), &(row.valid)(&stage.known));
        body.extend(LATER);
        if let Err(told) = stage.answer_to_bytes(row, body).await {
            panic!("{}: {told:?}", row.rpc);
        }
    }
}

#[tokio::test]
async fn a_field_of_another_kind_is_malformed() {
    let server = Server::start().await;
    for rpc in rpcs() {
        let name = short(&rpc);
        let Some(field) = rpc.input().fields().next() else { continue };
        let number = u8::try_from(field.number()).unwrap();
        // Groups are of no contract of today: opened, and never closed.
        for (body, why) in [(vec![number << 3 | 5, 0, 0, 0, 0], "a float"), (vec![number << 3 | 3; 200], "groups")] {
            let why = format!("{name} with {why} as `{}`", field.name());
            let status = raw::first(&server, &path(&rpc), Some(server.key()), body).await.expect_err(&why);
            Told::of(&status).is(Code::InvalidArgument, "MESSAGE_MALFORMED", &why);
        }
    }
}

/// `runs.payload` of `runs[3].payload`.
fn without_places(path: &str) -> String {
    path.split('[').map(|part| part.split_once(']').map_or(part, |(_, rest)| rest)).collect()
}

/// A value in so many lists.
pub(crate) fn nested(value: &DynamicMessage, levels: usize) -> DynamicMessage {
    let Kind::Message(list) = value.descriptor().get_field_by_name("list_value").unwrap().kind() else {
        panic!("a list is a message");
    };
    (0..levels).fold(value.clone(), |inner, _| {
        let mut outer = DynamicMessage::new(list.clone());
        outer.set_field_by_name("values", Dynamic::List(vec![Dynamic::Message(inner)]));
        let mut next = DynamicMessage::new(value.descriptor());
        next.set_field_by_name("list_value", Dynamic::Message(outer));
        next
    })
}

#[tokio::test]
async fn json_that_is_no_json_is_refused() {
    let stage = Stage::set().await;
    let is_json = |place: &Place| place.is_message("google.protobuf.Value");
    for (row, valid, place, path) in spots(&stage, is_json) {
        let Kind::Message(value) = place.field.kind() else { panic!("a value is a message") };
        let with_number = |number: f64| {
            let mut value = DynamicMessage::new(value.clone());
            value.set_field_by_name("number_value", Dynamic::F64(number));
            value
        };
        let refused = async |odd: DynamicMessage, why: &str| {
            let body = encode_with(rpc(row.rpc).input(), &valid, &path, Dynamic::Message(odd));
            stage.refusal_of_bytes(row, body, &format!("{} with {why} in `{path}`", row.rpc)).await
        };
        for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let told = refused(with_number(number), "a number that is none").await;
            told.is_field("FIELD_INVALID", &path, "a number that is none");
        }
        let told = refused(DynamicMessage::new(value.clone()), "no kind").await;
        told.is_field("FIELD_INVALID", &path, "no kind");
        let told = refused(nested(&with_number(1.0), 31), "31 levels").await;
        told.is_field("FIELD_INVALID", &path, "31 levels");
        let told = refused(nested(&with_number(1.0), 200), "200 levels").await;
        // Which item of a list it was is not known.
        told.is_field("FIELD_INVALID", &without_places(&path), "200 levels");
        assert!(told.message.contains("deeper than 30 levels; send it as `inline`"), "{told:?}");
        let deep = encode_with(rpc(row.rpc).input(), &valid, &path, Dynamic::Message(nested(&with_number(1.0), 30)));
        assert!(!matches!(stage.answer_to_bytes(row, deep).await, Err(told) if told.reason != "JOB_ALREADY_EXISTS"));
    }
}
