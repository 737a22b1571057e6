//! Backfills at a terminal: what is typed is what is asked for, and a command that stays ends as the backfill does.

#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap like the tests themselves")]

use mainspring_tests::harness::terminal::{Terminal, text};
use serde_json::{Value, json};

/// Six hours of long ago.
const RANGE: [&str; 4] = ["--from", "2026-01-01T00:00:00Z", "--to", "2026-01-01T06:00:00Z"];

fn backfill<'a>(job: &'a str, rest: &[&'a str]) -> Vec<&'a str> {
    [&["job", "backfill", job], &RANGE[..], rest].concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_typed_is_what_is_asked_for() {
    let terminal = Terminal::open().unwrap();
    let _dev = terminal.dev(&[]).await.unwrap();
    let create = ["job", "create", "rollup", "--type", "nobody.handles-this", "--cron", "0 * * * *"];
    terminal.says(&create).await.unwrap();
    let told: Value = terminal.json(&backfill("rollup", &["--dry-run", "--order", "newest-first"])).await.unwrap();
    let next: Vec<_> = (0..6).rev().map(|hour| json!(format!("2026-01-01T{hour:02}:00:00Z"))).collect();
    assert_eq!((&told["nextTimes"], &told["backfill"]["instantCount"]), (&json!(next), &json!("6")), "{told}");
    let listed: Value = terminal.json(&["backfill", "list", "rollup"]).await.unwrap();
    assert_eq!(listed.get("backfills").and_then(Value::as_array).map_or(0, Vec::len), 0, "{listed}");

    terminal.says(&["job", "pause", "rollup"]).await.unwrap();
    let refused = terminal.run(&backfill("rollup", &[])).await.unwrap();
    assert!(text(&refused.stderr).contains("JOB_PAUSED"), "{}", text(&refused.stderr));
    let typed = [
        &["--order", "newest-first", "--overlap", "wait", "--only", "all", "--concurrency", "2", "--priority", "7"],
        &["--while-paused", "--note", "again", "--schedule", "default", "--request-id", "once"][..],
    ];
    let typed = typed.concat();
    let told: Value = terminal.json(&backfill("rollup", &typed)).await.unwrap();
    let begun = &told["backfill"];
    for (field, expected) in [
        ("order", json!("BACKFILL_ORDER_NEWEST_FIRST")),
        ("overlap", json!("BACKFILL_OVERLAP_WAIT")),
        ("instants", json!("BACKFILL_INSTANTS_ALL")),
        ("concurrency", json!(2)),
        ("priority", json!(7)),
        ("whilePaused", json!(true)),
        ("note", json!("again")),
        ("schedules", json!(["default"])),
        ("fromTime", json!("2026-01-01T00:00:00Z")),
        ("toTime", json!("2026-01-01T06:00:00Z")),
    ] {
        assert_eq!(begun[field], expected, "{field} of {begun}");
    }
    let again: Value = terminal.json(&backfill("rollup", &typed)).await.unwrap();
    let id = begun["backfillId"].as_str().unwrap();
    assert_eq!(again["backfill"]["backfillId"], id);
    assert_eq!(
        terminal.says(&[&backfill("rollup", &typed)[..], &["-o", "name"]].concat()).await.unwrap(),
        format!("backfill/{id}\n")
    );
    let tried = [&backfill("rollup", &["--dry-run", "--while-paused"])[..], &["-o", "name"]].concat();
    assert_eq!(terminal.says(&tried).await.unwrap(), "", "what is tried out has no name");
    let cancel = ["backfill", "cancel", id, "--note", "wrong"];
    let cancelled: Value = terminal.json(&cancel).await.unwrap();
    assert_eq!(cancelled["cancelNote"], "wrong", "{cancelled}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_stays_ends_as_the_backfill_does() {
    let terminal = Terminal::open().unwrap();
    let _dev = terminal.dev(&[]).await.unwrap();
    let create = ["job", "create", "flaky", "--type", "demo.flaky", "-d", "succeed_on:=9", "--max-attempts", "1"];
    terminal.says(&[&create[..], &["--cron", "0 */3 * * *"]].concat()).await.unwrap();
    let failed = terminal.run(&backfill("flaky", &["--watch"])).await.unwrap();
    assert_eq!(failed.status.code(), Some(1), "{}{}", text(&failed.stdout), text(&failed.stderr));
    // What its runs are about is said by a template.
    let template = ["--template", r#"{"succeed_on": 1}"#, "--watch"];
    let done = terminal.run(&backfill("flaky", &template)).await.unwrap();
    assert_eq!(done.status.code(), Some(0), "{}{}", text(&done.stdout), text(&done.stderr));
}
