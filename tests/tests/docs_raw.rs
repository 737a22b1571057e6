//! The pages about workers without an SDK: what they show is what runs, and their commands are typed as they are written, in
//! the copy of the checkout in which `cargo xtask clients` has typed the first of them.

#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap like the tests themselves")]

use std::{fs, path::Path};

use mainspring_tests::harness::{
    document::{blocks, commands, compare, script, steps},
    raw::{self, Language},
    terminal::{Terminal, text},
};

const LANGUAGES: [Language; 3] = [raw::PYTHON, raw::TYPESCRIPT, raw::RUBY];
const README: &str = raw::PAGES[0];
const PYTHON_PAGE: &str = raw::PAGES[1];
/// The pages, and whose workers they cannot do without.
const PAGES: [(&str, Option<Language>); 2] = [(README, None), (PYTHON_PAGE, Some(raw::PYTHON))];

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(path)).unwrap()
}

/// `cargo xtask clients` types it, and is tested to type what the README says.
fn is_preparation(command: &str) -> bool {
    [" -m venv ", " install ", "grpc_tools", "npm "].iter().any(|words| command.contains(words))
}

/// What is typed for a command.
fn typed(command: &str, missing: &[&str]) -> String {
    let is_worker = ["greet.py", "greet.js", "greet.rb"].iter().any(|program| command.ends_with(program));
    if command == "mainspring dev" {
        "# the server of this test is that one, on a port of its own".into()
    } else if command == "export MAINSPRING_ADDRESS=127.0.0.1:7420" {
        "export MAINSPRING_ADDRESS=\"$SERVER\"".into()
    } else if is_preparation(command) || missing.iter().any(|language| command.contains(language)) {
        "# done already, or not to be done on this machine".into()
    } else if is_worker {
        // It does not end by itself, and the one before it must not do its work.
        format!(
            "[ -z \"${{WORKING-}}\" ] || {{ kill $WORKING; wait $WORKING; }}\n\
             {command} >\"$HOME/worker.log\" 2>&1 & WORKING=$!; trap 'kill $WORKING 2>/dev/null || :' EXIT"
        )
    } else {
        command.into()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_command_works() {
    let missing: Vec<_> = LANGUAGES.into_iter().filter(|language| language.ready().unwrap().is_none()).collect();
    let missing: Vec<_> = missing.iter().map(|language| format!("examples/raw/{}/", language.name)).collect();
    let missing: Vec<_> = missing.iter().map(String::as_str).collect();
    for (page, language) in PAGES {
        if language.is_some_and(|language| language.ready().unwrap().is_none()) {
            continue;
        }
        let document = read(page);
        let commands = commands(&document);
        let terminal = Terminal::open().unwrap();
        let _dev = terminal.dev(&[]).await.unwrap();
        let (server, checkout) = (terminal.server().unwrap(), raw::checkout().unwrap());
        fs::create_dir_all(&checkout).unwrap();
        let script = format!("cd \"$CHECKOUT\"\n{}", script(&commands, |command| typed(command, &missing)));
        let variables = [("SERVER", server.as_str()), ("CHECKOUT", checkout.to_str().unwrap())];
        let output = terminal.sh(&script, &variables).await.unwrap();
        let told = text(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{page}:\n{told}");
        compare(&steps(&document), &told);
        if missing.is_empty() {
            let asked = commands.iter().filter(|command| command.contains(" greet ")).count();
            assert_eq!(told.matches("greeting Ada\n").count(), asked, "{page}:\n{told}");
        }
        println!("{page}: {} commands", commands.len());
    }
}

#[test]
fn what_is_shown_is_what_runs() {
    let page = read(PYTHON_PAGE);
    assert_eq!(blocks(&page, "python"), [read("examples/raw/python/greet.py")]);
    let readme = read(README);
    for command in commands(&page).into_iter().filter(|command| is_preparation(command)) {
        assert!(commands(&readme).contains(&command), "nobody types `{command}`");
    }
}
