//! The judge is judged: a good world passes, and every seeded corruption of it is named by the rule that is there for
//! it. A checker that finds nothing proves nothing until it has found what was hidden from it on purpose.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

#[path = "self_test/corruptions.rs"]
mod corruptions;
#[path = "self_test/world.rs"]
mod world;

use corruptions::CORRUPTIONS;
use world::World;

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

#[tokio::test]
async fn a_line_cut_off_by_a_death_is_forgiven_and_nonsense_is_not() {
    let mut world = World::build().await;
    world.append("worker-a.jsonl", "{\"e\":\"START\",\"t\":9");
    assert_eq!(world.judge().0, Some(0));
    world.append("worker-a.jsonl", "\n");
    assert_eq!(world.judge().0, Some(2));
}
