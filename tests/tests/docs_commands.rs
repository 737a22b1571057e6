//! The commands of the documentation are typed as they are written, file by file, by somebody who has just cloned.

#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap like the tests themselves")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use mainspring_tests::harness::{
    document::{self, commands, compare, languages, script, steps},
    programs, raw,
    terminal::{Terminal, text},
};

/// Lines that are not typed as they stand: their exact text, what is typed instead, and why.
const MAPPED: &[(&str, &str, &str)] = &[
    ("cargo run -- dev", "", "the server of this test is that one, on a port of its own"),
    ("cargo xtask test", "", "this is part of it"),
    ("cargo run -- --help       # the product, one binary", "mainspring --help >help.txt", "it is built already"),
    (
        "cargo xtask check         # format, lints, contract, dependencies, file lengths, generated pages",
        "",
        "whoever runs this has run it, or will",
    ),
    (
        "cargo xtask test          # all of that, a build, every test, a short fault run: what CI runs",
        "",
        "this is part of it",
    ),
    (
        "cargo xtask test --skip-check -- leases        # only the tests with \"leases\" in their name",
        "",
        "this is one of it",
    ),
    (
        "cargo xtask clients       # what the tests of other languages start: after a change there or in the contract",
        "",
        "`cargo xtask test` runs it first",
    ),
    (
        "cargo xtask hostile       # 10,000 random requests to every rpc; `--seed`, `--only` and `--number` send one of them again",
        "",
        "`tests/hostile.rs` sends fewer",
    ),
    (
        "cargo xtask gen           # rewrite the pages of docs/reference that come from code",
        "",
        "it would change the checkout",
    ),
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
    ("grpcurl -plaintext localhost:7420 list", "\"$GRPCURL\" -plaintext \"$SERVER\" list", TOOL),
    (
        "grpcurl -plaintext localhost:7420 describe mainspring.scheduler.v1.SchedulerService.ListRuns",
        "\"$GRPCURL\" -plaintext \"$SERVER\" describe mainspring.scheduler.v1.SchedulerService.ListRuns",
        TOOL,
    ),
    (
        "grpcurl -plaintext -H \"authorization: Bearer $KEY\" -d '{\"filter\": \"state = FAILED\"}' localhost:7420 \
         mainspring.scheduler.v1.SchedulerService/ListRuns",
        "\"$GRPCURL\" -plaintext -H \"authorization: Bearer $KEY\" -d '{\"filter\": \"state = FAILED\"}' \"$SERVER\" \
         mainspring.scheduler.v1.SchedulerService/ListRuns",
        TOOL,
    ),
    (
        "buf curl --protocol grpc --http2-prior-knowledge http://localhost:7420 --list-methods",
        "\"$BUF\" curl --protocol grpc --http2-prior-knowledge \"http://$SERVER\" --list-methods",
        TOOL,
    ),
    (
        "buf curl --protocol grpc --http2-prior-knowledge -H \"authorization: Bearer $KEY\" -d '{}' \
         http://localhost:7420/mainspring.auth.v1.AuthService/GetCaller",
        "\"$BUF\" curl --protocol grpc --http2-prior-knowledge -H \"authorization: Bearer $KEY\" -d '{}' \
         \"http://$SERVER/mainspring.auth.v1.AuthService/GetCaller\"",
        TOOL,
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
    ("curl -fsS http://localhost:7420/readyz", "curl -fsS \"http://$SERVER/readyz\"", PORT),
    (
        "MAINSPRING_LISTEN__METRICS=127.0.0.1:7430 mainspring serve --data \"$PWD/scraped\" --listen 127.0.0.1:7421",
        "mkfifo scraped.log\n\
         MAINSPRING_LISTEN__METRICS=127.0.0.1:0 mainspring serve --data \"$PWD/scraped\" --listen 127.0.0.1:0 \
         >scraped.log 2>&1 & SCRAPED=$!\n\
         exec 4<scraped.log; METRICS=$(grep -m 1 -o 'http://.*/metrics' <&4)",
        "on ports of its own, and it must not hold up the lines after it",
    ),
    (
        "curl -fsS http://127.0.0.1:7430/metrics",
        "curl -fsS \"$METRICS\" | grep 'mainspring_ready 1'\nkill \"$SCRAPED\"; wait \"$SCRAPED\"",
        "the port is another, and the server has done its work",
    ),
];
const PORT: &str = "the server is on a port of its own";
const TOOL: &str = "it may lie elsewhere than on the PATH, and the server is on a port of its own";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().into()
}

/// Every page, but those about workers without an SDK, which have a test of their own.
fn files() -> Vec<PathBuf> {
    let mut files = document::pages(&root()).unwrap();
    files.retain(|path| !raw::PAGES.iter().any(|page| path.ends_with(page)));
    files
}

/// What is typed for a command.
fn typed(command: &str) -> String {
    MAPPED.iter().find(|(exact, ..)| command == *exact).map_or(command, |(_, typed, _)| typed).to_owned()
}

/// A tool; where there is none, a command that does nothing.
fn tool(name: &str) -> String {
    programs::tool(name).map_or_else(
        || {
            println!("SKIPPED: the commands of {name}, which is not here");
            ":".into()
        },
        |path| path.display().to_string(),
    )
}

/// The example of the SDK, which cargo builds with the tests.
fn greet() -> PathBuf {
    programs::path("examples/greet").expect("built by `cargo build --workspace --all-targets`")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_command_of_the_documentation_works() {
    let mut count = 0;
    for path in files() {
        let document = fs::read_to_string(&path).unwrap();
        let (commands, steps) = (commands(&document), steps(&document));
        if commands.is_empty() {
            continue;
        }
        let terminal = Terminal::open().unwrap();
        let _dev = terminal.dev(&[]).await.unwrap();
        let greet = greet();
        let server = terminal.server().unwrap();
        let (grpcurl, buf) = (tool("grpcurl"), tool("buf"));
        let variables = [("GREET", greet.to_str().unwrap()), ("SERVER", &server), ("GRPCURL", &grpcurl), ("BUF", &buf)];
        let output = terminal.sh(&script(&commands, typed), &variables).await.unwrap();
        let told = text(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{}:\n{told}", path.display());
        compare(&steps, &told);
        println!("{}: {} commands", path.display(), commands.len());
        count += commands.len();
    }
    assert!(count >= 25, "only {count} commands were found");
}

#[test]
fn what_is_not_typed_is_still_written() {
    let all: Vec<String> = files().iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    for (exact, _, reason) in MAPPED {
        let found = all.iter().any(|document| commands(document).contains(exact));
        assert!(found, "`{exact}` ({reason}) is in no document");
    }
}

/// What no test would type, compile or compare must not look as if one had.
#[test]
fn every_block_is_of_a_kind_that_is_tested_or_claims_nothing() {
    for path in document::pages(&root()).unwrap() {
        let document = fs::read_to_string(&path).unwrap();
        for language in languages(&document) {
            let known = ["console", "rust", "toml", "python", "text"].contains(&language);
            assert!(known, "{}: a block of `{language}`; commands are `console`", path.display());
        }
    }
}
