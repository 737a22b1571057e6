//! The page that names a test for every decision: each test is there, and no decision goes without.

#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap like the tests themselves")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// The decisions, by their numbers.
const DECISIONS: [&str; 25] = [
    "D-1", "D-1a", "D-1b", "D-1c", "D-1d", "D-2", "D-3", "D-4", "D-5", "D-6", "D-7", "D-8", "D-9", "D-10", "D-11",
    "D-12", "D-13", "D-14", "D-15", "D-16", "D-17", "D-18", "D-19", "D-20", "D-21",
];
/// Where tests are.
const FOLDERS: [&str; 7] = ["cli", "proto", "server", "tests/check", "tests/src", "tests/tests", "worker"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Every name of a function that a test harness calls: of a `#[test]`, or of a case of a conformance suite.
fn tests() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders: Vec<PathBuf> = FOLDERS.iter().map(|folder| root().join(folder)).collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.extend(tests_of(&fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found
}

/// Those of one file. A case of a suite is public, takes the world, and is in the suite's list.
fn tests_of(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut is_test = false;
    for line in text.lines().map(str::trim) {
        let name = line.trim_start_matches("pub ").trim_start_matches("pub(super) ").trim_start_matches("async ");
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            is_test = true;
        } else if let Some(name) = name.strip_prefix("fn ") {
            let case = name.contains("w: World)");
            if is_test || case {
                found.push(name.split('(').next().unwrap().to_owned());
            }
            is_test = false;
        }
    }
    found
}

/// The rows of the page: number, decision, tests.
fn rows(page: &str) -> Vec<[String; 3]> {
    let rows = page.lines().filter(|line| line.starts_with("| D-"));
    rows.map(|row| {
        let cells: Vec<_> = row.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect();
        cells.try_into().unwrap_or_else(|cells| panic!("{cells:?} is no row of three"))
    })
    .collect()
}

/// What stands between backticks.
fn named(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

#[test]
fn every_decision_names_tests_that_are_there() {
    let page = fs::read_to_string(root().join("docs/semantics.md")).unwrap();
    let (tests, rows) = (tests(), rows(&page));
    let numbers: Vec<_> = rows.iter().map(|[number, ..]| number.as_str()).collect();
    assert_eq!(numbers, DECISIONS);
    let mut open = 0;
    for [number, _, shown] in &rows {
        let (shown, missing) =
            shown.split_once("*not yet*:").map_or((shown.as_str(), None), |(shown, missing)| (shown, Some(missing)));
        assert!(
            missing.is_none_or(|missing| !missing.trim().is_empty()),
            "{number} does not say what is not there yet"
        );
        open += usize::from(missing.is_some());
        let names = named(shown);
        assert!(!names.is_empty() || missing.is_some(), "{number} names no test");
        for name in names {
            assert!(tests.contains(name), "{number} names `{name}`, which is no test");
        }
    }
    println!("{} decisions, {open} of them not yet, or not all of them yet", rows.len());
}

#[test]
fn only_what_is_run_counts_as_a_test() {
    let text = "#[test]\nfn one() {}\nfn helper() {}\n#[tokio::test(flavor = \"multi_thread\")]\nasync fn two() {}\n\
                pub async fn case(mut w: World) {}\n";
    assert_eq!(tests_of(text), ["one", "two", "case"]);
}
