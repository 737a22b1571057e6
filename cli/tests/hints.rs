//! Every command that a message, a hint or a comment of ours names in backticks can be typed: the words are commands of
//! the tree, the flags are theirs. Only what stands for a value may be missing.

#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap like the tests themselves")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::error::ErrorKind;

/// Where people are told to type something.
const FOLDERS: [&str; 7] =
    ["cli/src", "server/src", "server/engine/src", "worker/src", "proto/mainspring", "xtask/src", "docs"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace is around this crate").into()
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|extension| ["rs", "proto", "md"].iter().any(|one| extension == *one)) {
            found.push(path);
        }
    }
}

/// What stands in backticks, on one line, and begins with the program's name.
fn commands(text: &str) -> Vec<&str> {
    let lines = text.lines().flat_map(|line| line.split('`').skip(1).step_by(2));
    lines.filter(|quoted| *quoted == "mainspring" || quoted.starts_with("mainspring ")).collect()
}

/// Why a line cannot be typed; what it leaves out is no reason.
fn refused(line: &str) -> Option<String> {
    let error = mainspring_cli::command().try_get_matches_from(line.split_whitespace()).err()?;
    let left_out = [
        ErrorKind::MissingRequiredArgument,
        ErrorKind::MissingSubcommand,
        ErrorKind::DisplayHelp,
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand,
        ErrorKind::DisplayVersion,
    ];
    (!left_out.contains(&error.kind())).then(|| error.to_string())
}

#[test]
fn every_command_that_is_named_exists() {
    let mut paths = vec![root().join("README.md"), root().join("CONTRIBUTING.md")];
    for folder in FOLDERS {
        files(&root().join(folder), &mut paths);
    }
    let mut wrong = Vec::new();
    let mut seen = 0;
    for path in paths {
        let text = fs::read_to_string(&path).unwrap();
        for line in commands(&text) {
            seen += 1;
            wrong.extend(refused(line).map(|why| format!("{}: `{line}`: {why}", path.display())));
        }
    }
    assert!(seen > 20, "only {seen} commands were found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_command_that_does_not_exist_is_found() {
    assert_eq!(
        commands("`mainspring job list` and `cargo mainspring`\n`mainspring x` `"),
        ["mainspring job list", "mainspring x"]
    );
    for gone in ["mainspring job rename NAME", "mainspring run list --fliter x", "mainspring frobnicate"] {
        assert!(refused(gone).is_some(), "{gone}");
    }
    for there in ["mainspring logs", "mainspring run wait {run_id}", "mainspring job"] {
        assert_eq!(refused(there), None, "{there}");
    }
}
