//! Every environment variable that our programs read is documented: whatever looks like one in the sources is in the table
//! that docs/reference/settings.md and `mainspring help settings` are made of.

#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap like the tests themselves")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use mainspring_cli::VARIABLES;
use mainspring_server::config::settings::{PLAIN, SETTINGS};

/// Where programs of ours read their environment.
const FOLDERS: [&str; 3] = ["cli/src", "server/src", "worker/src"];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// String literals of the program's part of a file that are nothing but a name of ours.
fn names(text: &str) -> BTreeSet<&str> {
    let program = text.split("#[cfg(test)]").next().unwrap_or(text);
    let quoted = program.split('"');
    quoted
        .filter(|literal| literal.strip_prefix("MAINSPRING_").is_some_and(|rest| !rest.is_empty() && is_name(rest)))
        .collect()
}

fn is_name(text: &str) -> bool {
    text.bytes().all(|c| c.is_ascii_uppercase() || c == b'_')
}

#[test]
fn every_variable_is_documented() {
    let mut paths = Vec::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    FOLDERS.iter().for_each(|folder| sources(&root.join(folder), &mut paths));
    let texts: Vec<String> = paths.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    let read: BTreeSet<&str> = texts.iter().flat_map(|text| names(text)).collect();
    assert!(read.contains("MAINSPRING_ADDRESS") && read.contains("MAINSPRING_SLOTS"), "{read:?}");
    let documented: BTreeSet<&str> = VARIABLES
        .iter()
        .map(|variable| variable.name)
        .chain(SETTINGS.iter().map(|setting| setting.name))
        .chain(PLAIN.iter().map(|(name, _)| *name))
        .collect();
    let unknown: Vec<_> = read.difference(&documented).collect();
    assert!(unknown.is_empty(), "not in cli/src/variables.rs nor a setting: {unknown:?}");
}
