//! The golden vectors: zone, expression, starting instant, and what must follow.
//!
//! Both files are asked of the API and of the command line too (`tests/tests/cron_vectors.rs`). `REJECT` is refused by
//! the parser, `NONE` never fires. `cron.json` came with the product's rules. `further.json` was computed from the same
//! rules by a program that shares no code with this crate, knows no better than to try every wall-clock time, and has
//! zone data of its own, of the same version (2026e).

use jiff::Timestamp;
use mainspring_cron::{Expr, Rule, RuleError, Zone};
use serde::Deserialize;

const FILES: [&str; 2] = [include_str!("vectors/cron.json"), include_str!("vectors/further.json")];

#[derive(Deserialize)]
struct Vector {
    id: String,
    zone: String,
    expr: String,
    after: Timestamp,
    expect: Expect,
    note: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Expect {
    Word(String),
    Instants(Vec<Timestamp>),
}

#[test]
fn golden_vectors() {
    for file in FILES {
        let vectors: Vec<Vector> = serde_json::from_str(file).unwrap();
        assert!(vectors.len() >= 60, "only {} vectors", vectors.len());
        let failures: Vec<String> = vectors.iter().filter_map(|vector| check(vector).err()).collect();
        assert!(failures.is_empty(), "{} of {} vectors fail:\n{}", failures.len(), vectors.len(), failures.join("\n"));
    }
}

fn check(vector: &Vector) -> Result<(), String> {
    let Vector { id, zone, expr, after, expect, note } = vector;
    let fail = |got: String| Err(format!("{id} `{expr}` in {zone} ({note}): {got}"));
    let zone = Zone::parse(zone).map_err(|error| format!("{id}: {error}"))?;
    let parsed = Expr::parse(expr);
    match (expect, parsed) {
        (Expect::Word(word), Err(_)) if word == "REJECT" => Ok(()),
        (_, Err(error)) => fail(error.to_string()),
        (Expect::Word(word), Ok(expr)) if word == "NONE" => match Rule::cron(expr).validate(&zone, *after) {
            Err(RuleError::NeverFires) => Ok(()),
            other => fail(format!("expected never to fire, got {other:?}")),
        },
        (Expect::Word(word), Ok(expr)) => fail(format!("expected {word}, got {expr}")),
        (Expect::Instants(expected), Ok(expr)) => {
            let rule = Rule::cron(expr);
            let forward: Vec<_> = rule.instants(&zone, *after, Timestamp::MAX).take(expected.len()).collect();
            let from = expected.last().map(|last| *last + jiff::SignedDuration::from_micros(1));
            let backward = std::iter::successors(from, |at| rule.prev_before(&zone, *at)).skip(1);
            let mut backward: Vec<_> = backward.take(expected.len()).collect();
            backward.reverse();
            match (forward == *expected, backward == *expected) {
                (true, true) => Ok(()),
                (false, _) => fail(format!("forwards {forward:?}")),
                (true, false) => fail(format!("backwards {backward:?}")),
            }
        }
    }
}
