//! `* * * * * *`, as a person sees it: one run for every second, and one fate where the server was away.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use mainspring_tests::harness::{host, scene::Scene};
use serde_json::Value;

const LEASE: Duration = Duration::from_secs(3);
const JOB: &str = "every-second-0";

/// What a command of the CLI says as JSON.
async fn cli(scene: &Scene, args: &[&str]) -> Result<Value> {
    let output = scene.server.cli(args).await?;
    ensure!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).with_context(|| format!("what {args:?} says"))
}

/// The whole second of a nominal time.
fn second(entry: &Value) -> i64 {
    let text = entry["nominalTime"].as_str().unwrap_or_else(|| panic!("a nominal time in {entry}"));
    let time: Timestamp = text.parse().unwrap();
    assert_eq!(time.subsec_nanosecond(), 0, "{text}");
    time.as_second()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_seconds_are_twenty_runs() {
    let mut scene = Scene::set(LEASE).await.unwrap();
    scene.add_workers(1, 8, false).await.unwrap();
    scene.add_jobs(1).await.unwrap();
    let from = host::wall() / 1_000_000 + 1;
    host::pass_time(Duration::from_millis(21_500), "twenty seconds are to fire, and the last run is to end").await;
    let args = ["run", "list", "--filter", &format!("job = {JOB} AND state = SUCCEEDED"), "--limit", "0", "-o", "json"];
    let runs = cli(&scene, &args).await.unwrap();
    let mut by_second: BTreeMap<i64, u32> = BTreeMap::new();
    for run in runs["runs"].as_array().unwrap() {
        *by_second.entry(second(run)).or_default() += 1;
    }
    for at in from..from + 20 {
        assert_eq!(by_second.get(&at), Some(&1), "second {at} of {by_second:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_second_has_one_fate_when_the_server_dies_in_between() {
    let mut scene = Scene::set(LEASE).await.unwrap();
    scene.add_workers(1, 8, false).await.unwrap();
    scene.add_jobs(1).await.unwrap();
    let from = host::wall() / 1_000_000 + 1;
    host::pass_time(Duration::from_secs(4), "seconds before the fault").await;
    scene.kill_server(Duration::from_millis(2_500)).await.unwrap();
    host::pass_time(Duration::from_secs(4), "seconds after the fault").await;
    let to = host::wall() / 1_000_000 - 1;
    let instants = cli(&scene, &["job", "instants", JOB, "--limit", "0", "-o", "json"]).await.unwrap();
    let mut by_second: BTreeMap<i64, Vec<&str>> = BTreeMap::new();
    for instant in instants["instants"].as_array().unwrap() {
        by_second.entry(second(instant)).or_default().push(instant["fate"].as_str().unwrap());
    }
    assert!(to - from >= 8, "too few seconds to prove anything");
    let mut passed_over = 0;
    for at in from..=to {
        let fates = by_second.get(&at).map_or(&[][..], Vec::as_slice);
        assert_eq!(fates.len(), 1, "second {at}: {fates:?} of {by_second:?}");
        match fates[0] {
            "FATE_FIRED" => {}
            "FATE_COALESCED" => passed_over += 1,
            other => panic!("second {at} has the fate {other}"),
        }
    }
    assert!(passed_over >= 1, "the server was away for two seconds, and each of them fired: {by_second:?}");
}
