//! Numbers and times at and beyond their ends: refused by name, or taken, and never a bug.

use prost_reflect::{DynamicMessage, Kind, Value as Dynamic};

use super::{
    contract::{Place, encode_with, rpc},
    fields::shown_spots,
    stage::Stage,
};

/// Seconds and nanoseconds that no length of time and no moment of ours has.
const NO_TIMES: [(i64, i32); 8] = [
    (i64::MIN, 0),
    (i64::MAX, 0),
    (i64::MAX, i32::MAX),
    (-62_135_596_801, 0),
    (253_402_300_800, 0),
    (1, -1),
    (1, 1_000_000_000),
    (0, i32::MIN),
];

#[tokio::test]
async fn a_time_that_is_none_is_refused() {
    let stage = Stage::set().await;
    let is_time =
        |place: &Place| place.is_message("google.protobuf.Duration") || place.is_message("google.protobuf.Timestamp");
    for (row, valid, place, path) in shown_spots(&stage, is_time) {
        let Kind::Message(time) = place.field.kind() else { panic!("a time is a message") };
        for (seconds, nanos) in NO_TIMES {
            let mut odd = DynamicMessage::new(time.clone());
            odd.set_field_by_name("seconds", Dynamic::I64(seconds));
            odd.set_field_by_name("nanos", Dynamic::I32(nanos));
            let body = encode_with(rpc(row.rpc).input(), &valid, &path, Dynamic::Message(odd));
            let why = format!("{} with {seconds} s and {nanos} ns in `{path}`", row.rpc);
            stage.refusal_of_bytes(row, body, &why).await.is_field("FIELD_INVALID", &path, &why);
        }
    }
}

#[tokio::test]
async fn numbers_at_their_ends_are_taken_or_refused_by_name() {
    let stage = Stage::set().await;
    let extremes = |kind: Kind| match kind {
        Kind::Int32 => [i32::MIN, -1, 0, i32::MAX].map(Dynamic::I32).to_vec(),
        Kind::Int64 => [i64::MIN, -1, 0, i64::MAX].map(Dynamic::I64).to_vec(),
        Kind::Double => [f64::NAN, f64::INFINITY, -1.0, -0.0, 1e308, f64::MIN_POSITIVE].map(Dynamic::F64).to_vec(),
        _ => Vec::new(),
    };
    let is_number = |place: &Place| !place.field.is_list() && !extremes(place.field.kind()).is_empty();
    let (mut taken, mut refused) = (0, 0);
    for (row, mut valid, place, path) in shown_spots(&stage, is_number) {
        // What was taken before must not be in the way.
        if rpc(row.rpc).input().get_field_by_name("validate_only").is_some() {
            valid["validate_only"] = true.into();
        }
        for odd in extremes(place.field.kind()) {
            let why = format!("{} with {odd:?} in `{path}`", row.rpc);
            let is_none = matches!(odd, Dynamic::F64(number) if !number.is_finite());
            let body = encode_with(rpc(row.rpc).input(), &valid, &path, odd);
            match stage.answer_to_bytes(row, body).await {
                Ok(_) => {
                    assert!(!is_none, "{why} was taken");
                    taken += 1;
                }
                Err(told) if told.reason == "FIELD_INVALID" => {
                    // By its own name, or by that of what it is a part of.
                    assert!(told.fields.iter().any(|field| path.starts_with(field.as_str())), "{why}: {told:?}");
                    refused += 1;
                }
                // It had been taken before, or the place is of no use here.
                Err(told) => assert!(!is_none, "{why}: {told:?}"),
            }
        }
    }
    assert!(taken > 20 && refused > 50, "{taken} {refused}");
}
