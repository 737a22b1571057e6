//! Pages and filters, wherever a request has them.

use serde_json::json;
use tonic::Code;

use super::{
    contract::{rpc, with},
    stage::Stage,
    table::ROWS,
};

#[tokio::test]
async fn a_page_token_is_good_for_its_own_list_only() {
    let stage = Stage::set().await;
    let mut tampered = 0;
    for row in ROWS.iter().filter(|row| rpc(row.rpc).input().get_field_by_name("page_token").is_some()) {
        let valid = with(&(row.valid)(&stage.known), "page_size", json!(1));
        let mut bad = vec!["garbage".to_owned(), "00".to_owned(), "ä".to_owned(), "0".repeat(64)];
        let answer = stage.answer(row, &valid).await.unwrap();
        if let Some(token) = answer.get("nextPageToken").and_then(|token| token.as_str()).filter(|t| !t.is_empty()) {
            stage.answer(row, &with(&valid, "page_token", json!(token))).await.unwrap();
            let last = if token.ends_with('0') { '1' } else { '0' };
            bad.push(format!("{}{last}", &token[..token.len() - 1]));
            bad.push(token[1..].to_owned());
            tampered += 1;
        }
        for bad in bad {
            let why = format!("{} after {bad}", row.rpc);
            let told = stage.refusal(row, &with(&valid, "page_token", json!(bad)), &why).await;
            told.is(Code::InvalidArgument, "PAGE_TOKEN_INVALID", &why);
        }
        let why = format!("{} with a negative page", row.rpc);
        let told = stage.refusal(row, &with(&valid, "page_size", json!(-1)), &why).await;
        told.is_field("FIELD_INVALID", "page_size", &why);
    }
    assert!(tampered >= 3, "{tampered} lists had a second page");
}

#[tokio::test]
async fn a_filter_that_cannot_be_read_says_where() {
    let stage = Stage::set().await;
    let mut seen = 0;
    for row in ROWS.iter().filter(|row| rpc(row.rpc).input().get_field_by_name("filter").is_some()) {
        seen += 1;
        for bad in ["nothing=1", "state=", "(state=ACTIVE", "name>1", "queue=\"", "AND", "job>", "= 1"] {
            let why = format!("{} where {bad}", row.rpc);
            let told = stage.refusal(row, &with(&(row.valid)(&stage.known), "filter", json!(bad)), &why).await;
            told.is(Code::InvalidArgument, "FILTER_INVALID", &why);
            told.says(&["column"], &why);
        }
    }
    assert!(seen >= 8, "{seen}");
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
