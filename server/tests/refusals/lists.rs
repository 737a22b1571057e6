//! Pages and orders, wherever a request has them. Page tokens and filters are in the table of `matrix.rs`.

use serde_json::json;

use super::{
    contract::{rpc, with},
    stage::Stage,
    table::ROWS,
};

#[tokio::test]
async fn a_page_has_no_negative_size() {
    let stage = Stage::set().await;
    for row in ROWS.iter().filter(|row| rpc(row.rpc).input().get_field_by_name("page_size").is_some()) {
        let why = format!("{} with a negative page", row.rpc);
        let told = stage.refusal(row, &with(&(row.valid)(&stage.known), "page_size", json!(-1)), &why).await;
        told.is_field("FIELD_INVALID", "page_size", &why);
    }
}

#[tokio::test]
async fn an_order_that_a_list_has_not_is_refused() {
    let stage = Stage::set().await;
    let mut seen = 0;
    for row in ROWS.iter().filter(|row| rpc(row.rpc).input().get_field_by_name("order_by").is_some()) {
        seen += 1;
        for bad in ["nothing", "desc", "name, name"] {
            let why = format!("{} ordered by {bad}", row.rpc);
            let told = stage.refusal(row, &with(&(row.valid)(&stage.known), "order_by", json!(bad)), &why).await;
            told.is_field("FIELD_INVALID", "order_by", &why);
        }
    }
    assert!(seen >= 6, "{seen}");
    let runs = ROWS.iter().find(|row| row.rpc.ends_with("/ListRuns")).unwrap();
    let told = stage.refusal(runs, &json!({"order_by": "priority"}), "order_by").await;
    told.is_field("FIELD_INVALID", "order_by", "order_by");
}
