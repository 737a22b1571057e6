//! The golden vectors of the time rules, asked of the command line and, over a real socket, of the API. The crate answers
//! them by itself in `server/cron/tests/vectors.rs`, which says where they come from.

#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap like the tests themselves")]

use std::{collections::BTreeSet, time::Duration};

use jiff::Timestamp;
use mainspring_proto::scheduler::v1::{PreviewRange, PreviewScheduleRequest, Schedule, schedule::Rule};
use mainspring_tests::harness::{
    client::Client,
    refusal::Told,
    server::{Server, Settings},
    terminal::{Terminal, text},
};
use serde::Deserialize;
use serde_json::Value;

const FILES: [&str; 2] = [
    include_str!("../../server/cron/tests/vectors/cron.json"),
    include_str!("../../server/cron/tests/vectors/further.json"),
];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Vector {
    id: String,
    zone: String,
    expr: String,
    after: String,
    expect: Expect,
    note: String,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(untagged)]
enum Expect {
    Word(String),
    Instants(Vec<String>),
}

/// What came back, in the words of the vectors.
fn told(reason: &str) -> Expect {
    Expect::Word(match reason {
        "CRON_INVALID" => "REJECT".into(),
        "SCHEDULE_NEVER_FIRES" => "NONE".into(),
        other => other.into(),
    })
}

impl Vector {
    fn all() -> Vec<Self> {
        let files = FILES.iter().map(|file| serde_json::from_str::<Vec<Self>>(file).unwrap());
        let vectors: Vec<Self> = files.flatten().collect();
        let ids: BTreeSet<_> = vectors.iter().map(|vector| vector.id.as_str()).collect();
        assert_eq!(ids.len(), vectors.len(), "two vectors have one id");
        vectors
    }

    /// As many as there should be; one where none is expected.
    fn count(&self) -> usize {
        match &self.expect {
            Expect::Word(_) => 1,
            Expect::Instants(instants) => instants.len(),
        }
    }

    fn judge(&self, got: &Expect) -> Option<String> {
        let Self { id, zone, expr, after, expect, note } = self;
        (got != expect).then(|| format!("{id} `{expr}` in {zone} after {after} ({note}): {got:?}, not {expect:?}"))
    }
}

async fn typed(terminal: &Terminal, vector: &Vector) -> Expect {
    let Vector { zone, expr, after, .. } = vector;
    let count = vector.count().to_string();
    let line = ["cron", "next", expr, "--tz", zone, "--after", after, "-c", &count, "-o", "json"];
    let output = terminal.run(&line).await.unwrap();
    if output.status.success() {
        assert_eq!(text(&output.stderr), "", "{line:?}");
        let mut answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        return Expect::Instants(serde_json::from_value(answer["next"].take()).unwrap());
    }
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(2), ""), "{line:?}");
    let answer: Value = serde_json::from_slice(&output.stderr).unwrap_or_else(|error| panic!("{line:?}: {error}"));
    told(answer["error"]["reason"].as_str().unwrap())
}

async fn previewed(client: &Client, vector: &Vector) -> Expect {
    let after: Timestamp = vector.after.parse().unwrap();
    let after_time = Some(prost_types::Timestamp { seconds: after.as_second(), nanos: 0 });
    let rule = Some(Rule::Cron(vector.expr.clone()));
    let request = PreviewScheduleRequest {
        schedule: Some(Schedule { rule, time_zone: vector.zone.clone(), ..Schedule::default() }),
        range: Some(PreviewRange { after_time, count: vector.count().try_into().unwrap(), within: None }),
        ..PreviewScheduleRequest::default()
    };
    match client.scheduler().preview_schedule(request).await {
        Ok(answer) => {
            let shown = answer.into_inner().schedules.remove(0);
            let times = shown.instants.iter().map(|instant| instant.time.unwrap().seconds);
            Expect::Instants(times.map(|time| Timestamp::from_second(time).unwrap().to_string()).collect())
        }
        Err(status) => told(&Told::of(&status).reason),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_gives_every_vector() {
    let terminal = Terminal::open().unwrap();
    let mut failures = Vec::new();
    for vector in &Vector::all() {
        failures.extend(vector.judge(&typed(&terminal, vector).await));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_preview_over_the_wire_gives_every_vector() {
    let server = Server::start(Settings::with_lease(Duration::from_secs(15))).await.unwrap();
    let client = server.client().unwrap();
    let mut failures = Vec::new();
    for vector in &Vector::all() {
        failures.extend(vector.judge(&previewed(&client, vector).await));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// What a script reads of an expression that is refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_is_for_programs() {
    let terminal = Terminal::open().unwrap();
    let refusal = async |line: &[&str]| {
        let output = terminal.run(&[&["cron", "next"], line, &["-o", "json"]].concat()).await.unwrap();
        assert_eq!(output.status.code(), Some(2), "{line:?}");
        serde_json::from_slice::<Value>(&output.stderr).unwrap()["error"].take()
    };
    let error = refusal(&["0 24 * * *"]).await;
    assert_eq!(error["reason"], "CRON_INVALID");
    let metadata = &error["metadata"];
    assert_eq!((&metadata["field"], &metadata["column"]), (&"hour".into(), &"3".into()), "{error}");
    assert_eq!(metadata["suggestion"], "midnight is hour 0, of the next day");

    for (expression, kind) in [("@every 90m", "interval"), ("@at 2027-01-01T00:00:00Z", "one-shot")] {
        let error = refusal(&[expression]).await;
        assert_eq!((&error["reason"], &error["metadata"]["column"]), (&"CRON_INVALID".into(), &"1".into()), "{error}");
        assert!(error["metadata"]["suggestion"].as_str().unwrap().contains(kind), "{error}");
    }

    // Found at once, from wherever one looks; and without a message of its own where the years are over.
    for after in ["-009999-01-02T01:59:59Z", "1900-01-01T00:00:00Z", "2026-01-01T00:00:00Z", "9999-06-01T00:00:00Z"] {
        for expression in ["0 0 30 2 *", "* * 31 9,11 +MON", "0 0 0 29 2 ? 2027/2", "0 0 0 L-30 2 ? *"] {
            let error = refusal(&[expression, "--tz", "Europe/Berlin", &format!("--after={after}")]).await;
            assert_eq!(error["reason"], "SCHEDULE_NEVER_FIRES", "{expression} after {after}: {error}");
        }
    }
    let error = refusal(&["0 0 * * *", "--tz", "Europe/Berln"]).await;
    assert_eq!(error["metadata"]["suggestion"], "Europe/Berlin");
}

/// `-n` is the namespace, as everywhere, though nobody works in it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_count_has_a_short_name() {
    let terminal = Terminal::open().unwrap();
    for count in [&["-n", "2"][..], &["--count", "2"], &["-c2", "--namespace", "theirs"]] {
        let answer: Value = terminal
            .json(&[&["cron", "next", "@daily", "--after", "2026-01-01T00:00:00Z"], count].concat())
            .await
            .unwrap();
        assert_eq!(answer["next"], serde_json::json!(["2026-01-02T00:00:00Z", "2026-01-03T00:00:00Z"]));
        assert_eq!(answer["instants"].as_array().map(Vec::len), Some(2), "{answer}");
    }
}
