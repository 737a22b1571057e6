//! The commands of the documentation are typed as they are written, file by file, by somebody who has just cloned.

#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap like the tests themselves")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use mainspring_tests::harness::terminal::{Terminal, text};

/// Lines that are not typed, by their exact text, with what stands for them.
const MAPPED: &[(&str, &str)] = &[
    ("cargo run -- dev", "the server of this test is that one, on a port of its own"),
    ("cargo xtask test", "this is part of it"),
    ("alias mainspring=target/debug/mainspring", "the PATH of this test leads to the same binary"),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().into()
}

/// README and the files of docs/, not of its folders: those are generated, or notes.
fn files() -> Vec<PathBuf> {
    let mut files = vec![root().join("README.md")];
    for entry in fs::read_dir(root().join("docs")).unwrap() {
        files.push(entry.unwrap().path());
    }
    files.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    files.sort();
    files
}

/// The lines of the fenced blocks of consoles that begin with a prompt, in their order.
fn commands(document: &str) -> Vec<&str> {
    let mut commands = Vec::new();
    let mut fence = None;
    for line in document.lines() {
        match (fence, line.trim_start().strip_prefix("```")) {
            (None, Some(language)) => fence = Some(language),
            (Some(_), Some(_)) => fence = None,
            (Some("console"), None) => commands.extend(line.strip_prefix("$ ")),
            (Some(_) | None, None) => {}
        }
    }
    commands
}

/// One shell for all, as one person has: variables live on. It ends at the first line that fails.
fn script(commands: &[&str]) -> String {
    let mut script = String::from("set -eu\n");
    for command in commands {
        script.push_str(&format!("cat >&2 <<'@@'\n$ {command}\n@@\n{command}\n"));
    }
    script
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_command_of_the_documentation_works() {
    let mut typed = 0;
    for path in files() {
        let document = fs::read_to_string(&path).unwrap();
        let mut commands = commands(&document);
        commands.retain(|command| !MAPPED.iter().any(|(exact, _)| command == exact));
        if commands.is_empty() {
            continue;
        }
        let terminal = Terminal::open().unwrap();
        let _dev = terminal.dev(&[]).await.unwrap();
        let output = terminal.sh(&script(&commands), &[]).await.unwrap();
        let told = format!("{}{}", text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(0), "{}:\n{told}", path.display());
        println!("{}: {} commands", path.display(), commands.len());
        typed += commands.len();
    }
    assert!(typed >= 15, "only {typed} commands were found");
}

#[test]
fn what_is_not_typed_is_still_written() {
    let all: Vec<String> = files().iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    for (exact, reason) in MAPPED {
        let found = all.iter().any(|document| commands(document).contains(exact));
        assert!(found, "`{exact}` ({reason}) is in no document");
    }
}

#[test]
fn only_prompts_of_consoles_are_commands() {
    let document = "$ no\n```rust\n$ no\n```\ntext\n```console\n$ yes --really\noutput\n```\n$ no\n";
    assert_eq!(commands(document), ["yes --really"]);
}
