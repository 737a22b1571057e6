//! The binary as a shell sees it: streams and exit codes where there is no server to ask.

use std::{
    net::TcpListener,
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;
use tempfile::TempDir;

/// The binary, with nothing of the tester's own environment.
fn mainspring(config: &Path, line: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mainspring"))
        .args(line.split_whitespace())
        .env_clear()
        .env("MAINSPRING_CONFIG", config)
        .output()
        .expect("the binary starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// An address nobody listens on.
fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    listener.local_addr().expect("it is bound").to_string()
}

#[test]
fn usage_errors_are_2_and_on_stderr() {
    let config = TempDir::new().unwrap();
    for line in ["no-such-noun", "run list --no-such-flag", "run list --address https://x", "trigger j -d nonsense"] {
        let output = mainspring(config.path(), line);
        assert_eq!(output.status.code(), Some(2), "{line}: {}", text(&output.stderr));
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{line}");
    }
}

#[test]
fn a_run_or_many_are_named_where_none_is() {
    let config = TempDir::new().unwrap();
    for line in ["run cancel", "run retry --note again"] {
        let output = mainspring(config.path(), line);
        assert_eq!(output.status.code(), Some(2), "{line}");
        assert!(text(&output.stderr).contains("<RUN|--filter <FILTER>>"), "{line}: {}", text(&output.stderr));
    }
}

#[test]
fn a_server_that_is_away_is_6_in_words_and_in_json() {
    let config = TempDir::new().unwrap();
    let address = nobody();
    let output = mainspring(config.path(), &format!("run list --address {address}"));
    assert_eq!(output.status.code(), Some(6));
    assert!(output.stdout.is_empty());
    let told = text(&output.stderr);
    assert!(told.starts_with("error: ") && told.contains("\nhint: ") && told.contains("SERVER_UNREACHABLE"), "{told}");

    let output = mainspring(config.path(), &format!("run list -o json --address {address}"));
    assert_eq!(output.status.code(), Some(6));
    let error: Value = serde_json::from_slice(&output.stderr).expect("stderr is one JSON object");
    assert_eq!(error["error"]["reason"], "SERVER_UNREACHABLE");
    assert_eq!(error["error"]["code"], "UNAVAILABLE");
}

#[test]
fn version_never_fails_because_the_server_is_away() {
    let config = TempDir::new().unwrap();
    let address = nobody();
    let output = mainspring(config.path(), &format!("version --address {address}"));
    assert_eq!(output.status.code(), Some(0));
    assert!(
        text(&output.stdout)
            .starts_with(&format!("client  {}\nserver  none at http://{address}", env!("CARGO_PKG_VERSION")))
    );
    let output = mainspring(config.path(), &format!("version -o json --address {address}"));
    let version: Value = serde_json::from_slice(&output.stdout).expect("stdout is one JSON object");
    assert_eq!(version["client"]["version"], env!("CARGO_PKG_VERSION"));
    assert!(version["server"].is_null());
}

#[test]
fn help_is_data_and_begins_with_examples() {
    let config = TempDir::new().unwrap();
    for line in ["--help", "run --help", "job create --help"] {
        let output = mainspring(config.path(), line);
        assert_eq!(output.status.code(), Some(0));
        assert!(text(&output.stdout).starts_with("Examples:\n  mainspring "), "{line}");
    }
}

#[test]
fn a_broken_context_does_not_stop_what_needs_none() {
    let config = TempDir::new().unwrap();
    std::fs::write(config.path().join("config.toml"), "current-context = \"gone\"\n").unwrap();
    let output = mainspring(config.path(), "run list");
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("there is no context `gone`"));
    assert_eq!(mainspring(config.path(), "--version").status.code(), Some(0));
}
