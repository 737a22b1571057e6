//! Calls that are made again under the same request id.

use serde_json::{Value, json};

use super::{
    contract::{places, rpc, with},
    stage::Stage,
    table::ROWS,
};

#[tokio::test]
async fn a_call_made_again_under_its_request_id_has_the_same_answer() {
    let stage = Stage::set().await;
    let mut seen = 0;
    for row in ROWS {
        let places = places(&rpc(row.rpc).input());
        let Some(place) = places.iter().find(|place| place.field.name() == "request_id") else { continue };
        seen += 1;
        let mut request = (row.valid)(&stage.known);
        for path in place.shown_in(&request) {
            request = with(&request, &path, json!(format!("once-{}", row.rpc)));
        }
        let made = stage.answer(row, &request).await.unwrap();
        let again = stage.answer(row, &request).await.unwrap();
        assert_eq!(again.pointer("/answers/0/run/replayed").is_some(), row.rpc.ends_with("/BatchSubmitRuns"));
        assert!(again.get("secret").is_none(), "it was told once");
        let plain = |mut answer: Value| {
            answer.as_object_mut().unwrap().remove("secret");
            // It goes on meanwhile.
            if let Some(backfill) = answer.pointer_mut("/backfill") {
                *backfill = backfill["backfillId"].take();
            }
            if let Some(run) = answer.pointer_mut("/answers/0/run") {
                run.as_object_mut().unwrap().remove("replayed");
            }
            answer
        };
        assert_eq!(plain(again), plain(made), "{}", row.rpc);
    }
    assert!(seen >= 8, "{seen}");
}
