//! The judge is judged: a good world passes, and every seeded corruption of it is named by the rule that is there for
//! it. A checker that finds nothing proves nothing until it has found what was hidden from it on purpose.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

#[path = "self_test/corruptions.rs"]
mod corruptions;
#[path = "self_test/world.rs"]
mod world;

use corruptions::CORRUPTIONS;
use serde_json::json;
use world::{LOST_ONCE, World, at, blob, submission, worker};

/// Each seed hides the corruption at another place.
const SEEDS: [u64; 3] = [1, 2, 3];

#[tokio::test]
async fn a_good_world_passes_and_nothing_is_left_unlooked_at() {
    let world = World::build().await;
    let (code, verdict) = world.judge();
    assert_eq!(code, Some(0), "{verdict:#}");
    for rule in verdict["rules"].as_array().unwrap() {
        assert_ne!(rule["checked"], 0, "nothing to look at for: {}", rule["name"]);
    }
    assert_eq!(verdict["redispatch"]["clean"]["count"], 1, "{verdict:#}");
    assert_eq!((&verdict["facts"]["repeated"], &verdict["facts"]["repeated_after_loss"]), (&2.into(), &1.into()));
}

#[tokio::test]
async fn every_corruption_is_found_by_its_rule() {
    let mut found = 0;
    let good = World::build().await;
    for seed in SEEDS {
        for corruption in CORRUPTIONS {
            let mut world = good.copy();
            (corruption.apply)(&mut world, seed).await;
            let (code, verdict) = world.judge();
            let name = corruption.name;
            assert_eq!(code, Some(1), "seed {seed}, `{name}` was not found: {verdict:#}");
            let rules = verdict["rules"].as_array().unwrap();
            let hit =
                |rule: &&serde_json::Value| rule["name"].as_str() == Some(corruption.rule) && rule["violations"] != 0;
            assert!(
                rules.iter().any(|rule| hit(&rule)),
                "seed {seed}, `{name}` was not found by its rule: {verdict:#}"
            );
            assert_ne!(verdict[corruption.word], 0, "seed {seed}, `{name}` is not counted as {}", corruption.word);
            found += 1;
        }
    }
    println!("{found} of {found} seeded corruptions found");
}

#[tokio::test]
async fn every_rule_has_a_corruption() {
    let (_, verdict) = World::build().await.judge();
    for rule in verdict["rules"].as_array().unwrap() {
        let name = rule["name"].as_str().unwrap();
        assert!(CORRUPTIONS.iter().any(|corruption| corruption.rule == name), "no corruption is there for: {name}");
    }
}

#[tokio::test]
async fn what_was_not_watched_is_not_judged() {
    let world = World::build().await;
    for kind in ["START", "END", "ACK", "FAULT", "ACKED", "JOB", "HEALED", "SETUP", "CANCELLED"] {
        let mut world = world.copy();
        world.forget(kind);
        let (code, verdict) = world.judge();
        // Starts without ends are too many at once, which is worse than a lack of evidence.
        assert_eq!(code, Some(if kind == "END" { 1 } else { 2 }), "without {kind}: {verdict:#}");
        assert!(!verdict["missing"].as_array().unwrap().is_empty(), "without {kind}");
    }
    let without_logs = world.copy();
    std::fs::remove_file(without_logs.log_file()).unwrap();
    assert_eq!(without_logs.judge().0, Some(2), "without logs");
    world.sql("DROP TRIGGER check_terminal").await;
    assert_eq!(world.judge().0, Some(2), "without a trigger");
}

/// A wait that nobody could have shortened breaks no promise: each reason alone spares it, and without any it is found.
#[tokio::test]
async fn a_wait_is_judged_only_where_the_promise_could_be_kept() {
    let good = World::build().await;
    let late = || {
        let mut world = good.copy();
        for (_, line) in &mut world.lines {
            if line["run"] == submission(LOST_ONCE).as_str() && line["attempt"] == 2 {
                line["t"] = json!(line["t"].as_u64().unwrap() + 2_000_000_000);
            }
        }
        world
    };
    let judged = |world: &World| world.judge().1["redispatch"]["clean"]["count"].as_u64().unwrap();
    let world = late();
    assert_eq!((judged(&world), world.judge().0), (1, Some(1)));

    let mut world = late();
    world.note("nemesis.jsonl", json!({"e": "FAULT", "t": at(9, 0), "kind": "KILL", "target": "SERVER"}));
    world.note("nemesis.jsonl", json!({"e": "BACK", "t": at(9, 500), "target": "SERVER"}));
    assert_eq!(judged(&world), 0, "the server was away");

    let mut world = late();
    world.note_of("b", json!({"e": "SESSION", "t": at(9, 0), "worker": worker("b"), "up": false}));
    world.note_of("b", json!({"e": "SESSION", "t": at(9, 500), "worker": worker("b"), "up": true}));
    assert_eq!(judged(&world), 0, "nobody was there");

    let mut world = late();
    for number in 0..8 {
        let (run, id) = (format!("filler-{number}"), worker("b"));
        world.note_of("b", json!({"e": "START", "t": at(9, 200), "worker": id, "run": run, "attempt": 1}));
        let end = json!({"e": "END", "t": at(9, 800), "worker": id, "run": run, "attempt": 1, "outcome": "SUCCEEDED", "lines": 0});
        world.note_of("b", end);
    }
    assert_eq!(judged(&world), 0, "nobody had room");

    let mut world = late();
    let (run, key) = (submission(LOST_ONCE), blob(&submission(LOST_ONCE)));
    for (_, line) in &mut world.lines {
        if line["run"] == run.as_str() && line["attempt"] == 2 {
            line["attempt"] = json!(3);
        }
    }
    world.note_of("c", json!({"e": "UP", "t": 1, "worker": worker("c"), "slots": 8}));
    world.note_of("c", json!({"e": "SESSION", "t": 2, "worker": worker("c"), "up": true}));
    let dies = json!({"e": "FAULT", "t": at(9, 0), "kind": "KILL", "target": "WORKER", "worker": worker("c")});
    world.note("nemesis.jsonl", dies);
    world
        .sql_unseen(&format!(
            "UPDATE run SET attempt = 3, decided_token = 3, losses = 2 WHERE id = {key}; \
             INSERT INTO attempt_end (run_id, attempt, state, reported, cause, worker_id, end_time) \
             VALUES ({key}, 2, 7, FALSE, '', {}, 0)",
            blob(&worker("c"))
        ))
        .await;
    assert_eq!(judged(&world), 0, "the next worker died as well");
}

#[tokio::test]
async fn a_line_cut_off_by_a_death_is_forgiven_and_nonsense_is_not() {
    let mut world = World::build().await;
    world.append("worker-a.jsonl", "{\"e\":\"START\",\"t\":9");
    assert_eq!(world.judge().0, Some(0));
    world.append("worker-a.jsonl", "\n");
    assert_eq!(world.judge().0, Some(2));
}
