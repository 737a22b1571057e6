//! The commands of the documentation are typed as they are written, file by file, by somebody who has just cloned.

#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap like the tests themselves")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use mainspring_tests::harness::{
    programs,
    terminal::{Terminal, text},
};

/// Lines that are not typed as they stand: their exact text, what is typed instead, and why.
const MAPPED: &[(&str, &str, &str)] = &[
    ("cargo run -- dev", "", "the server of this test is that one, on a port of its own"),
    ("cargo xtask test", "", "this is part of it"),
    ("alias mainspring=target/debug/mainspring", "", "the PATH of this test leads to the same binary"),
    (
        "cargo run -p mainspring-worker --example greet",
        "\"$GREET\" >greet.log 2>&1 & trap \"kill $!\" EXIT",
        "it is built already, and must not hold up the lines after it",
    ),
    (
        "mainspring worker exec --type greet -- sh greet.sh",
        "mainspring worker exec --type greet -- sh greet.sh >exec.log 2>&1 & trap \"kill $!\" EXIT",
        "it must not hold up the lines after it",
    ),
    ("grpcurl -plaintext localhost:7420 list", "", GRPCURL),
    ("grpcurl -plaintext localhost:7420 describe mainspring.scheduler.v1.SchedulerService.ListRuns", "", GRPCURL),
    (
        "grpcurl -plaintext -H \"authorization: Bearer $KEY\" -d '{\"filter\": \"state = FAILED\"}' localhost:7420 \
         mainspring.scheduler.v1.SchedulerService/ListRuns",
        "",
        GRPCURL,
    ),
    ("buf curl --protocol grpc --http2-prior-knowledge http://localhost:7420 --list-methods", "", BUF),
    (
        "buf curl --protocol grpc --http2-prior-knowledge -H \"authorization: Bearer $KEY\" -d '{}' \
         http://localhost:7420/mainspring.auth.v1.AuthService/GetCaller",
        "",
        BUF,
    ),
    (
        "mainspring serve --data \"$PWD/restored\" --listen 127.0.0.1:7421",
        "mkfifo told; mainspring serve --data \"$PWD/restored\" --listen 127.0.0.1:0 >told 2>&1 & RESTORED=$!\n\
         exec 3<told; ADDRESS=$(grep -m 1 -o 'http://.*' <&3)",
        "on a port of its own, and it must not hold up the lines after it",
    ),
    (
        "MAINSPRING_ADDRESS=http://127.0.0.1:7421 MAINSPRING_API_KEY=$KEY mainspring run list",
        "MAINSPRING_ADDRESS=$ADDRESS MAINSPRING_API_KEY=$KEY mainspring run list --limit 1 -o jsonl | grep runId\n\
         kill \"$RESTORED\"; wait \"$RESTORED\"",
        "the port is another, there must be a run, and the server has done its work",
    ),
];
const GRPCURL: &str = "no machine of ours has it; reflection.rs asks what it would ask";
const BUF: &str = "it is no part of a person's PATH here; reflection.rs asks what it would ask";

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
        let mapped = MAPPED.iter().find(|(exact, ..)| command == exact);
        let typed = mapped.map_or(*command, |(_, typed, _)| typed);
        script.push_str(&format!("cat >&2 <<'@@'\n$ {command}\n@@\n{typed}\n"));
    }
    script
}

/// The example of the SDK, which cargo builds with the tests.
fn greet() -> PathBuf {
    programs::path("examples/greet").expect("built by `cargo build --workspace --all-targets`")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_command_of_the_documentation_works() {
    let mut typed = 0;
    for path in files() {
        let document = fs::read_to_string(&path).unwrap();
        let commands = commands(&document);
        if commands.is_empty() {
            continue;
        }
        let terminal = Terminal::open().unwrap();
        let _dev = terminal.dev(&[]).await.unwrap();
        let greet = greet();
        let variables = [("GREET", greet.to_str().unwrap())];
        let output = terminal.sh(&script(&commands), &variables).await.unwrap();
        let told = format!("{}{}", text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(0), "{}:\n{told}", path.display());
        println!("{}: {} commands", path.display(), commands.len());
        typed += commands.len();
    }
    assert!(typed >= 25, "only {typed} commands were found");
}

#[test]
fn what_is_not_typed_is_still_written() {
    let all: Vec<String> = files().iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    for (exact, _, reason) in MAPPED {
        let found = all.iter().any(|document| commands(document).contains(exact));
        assert!(found, "`{exact}` ({reason}) is in no document");
    }
}

#[test]
fn only_prompts_of_consoles_are_commands() {
    let document = "$ no\n```rust\n$ no\n```\ntext\n```console\n$ yes --really\noutput\n```\n$ no\n";
    assert_eq!(commands(document), ["yes --really"]);
}
