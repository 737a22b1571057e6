//! The golden vectors: zone, expression, starting instant, and what must follow.
//!
//! The file is shared with the API's preview tests. `REJECT` is refused by the parser, `NONE` never fires.

use jiff::Timestamp;
use mainspring_cron::{Expr, Rule, RuleError, Zone};
use serde::Deserialize;

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
    let vectors: Vec<Vector> = serde_json::from_str(include_str!("vectors/cron.json")).unwrap();
    let failures: Vec<String> = vectors.iter().filter_map(|vector| check(vector).err()).collect();
    assert!(failures.is_empty(), "{} of {} vectors fail:\n{}", failures.len(), vectors.len(), failures.join("\n"));
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
            let mut backward: Vec<_> =
                std::iter::successors(expected.last().map(|last| *last + jiff::SignedDuration::from_micros(1)), |at| {
                    rule.prev_before(&zone, *at)
                })
                .skip(1)
                .take(expected.len())
                .collect();
            backward.reverse();
            match (forward == *expected, backward == *expected) {
                (true, true) => Ok(()),
                (false, _) => fail(format!("forwards {forward:?}")),
                (true, false) => fail(format!("backwards {backward:?}")),
            }
        }
    }
}
