//! The binary as a shell sees it: streams and exit codes where there is no server to ask.

use std::{
    io::pipe,
    net::TcpListener,
    path::Path,
    process::{Command, Output, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

/// The binary, with nothing of the tester's own environment, to be started.
fn command(config: &Path, line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mainspring"));
    command.args(line.split_whitespace()).env_clear().env("MAINSPRING_CONFIG", config);
    command
}

/// The same, run to its end.
fn mainspring(config: &Path, line: &str) -> Output {
    command(config, line).output().expect("the binary starts")
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

/// The one object that a command must end with which makes no sense.
fn misread(output: &Output, line: &str) -> Value {
    assert_eq!(output.status.code(), Some(2), "{line}: {}", text(&output.stderr));
    assert!(output.stdout.is_empty(), "{line}");
    let told: Value = serde_json::from_slice(&output.stderr)
        .unwrap_or_else(|error| panic!("{line}: {error}: {}", text(&output.stderr)));
    let error = told["error"].clone();
    assert_eq!((&error["reason"], &error["code"]), (&"ARGUMENT_INVALID".into(), &"INVALID_ARGUMENT".into()), "{line}");
    let message = error["message"].as_str().unwrap_or_default();
    assert!(!message.is_empty() && !message.contains('\n') && !message.starts_with("error"), "{line}: {message}");
    error
}

#[test]
fn what_makes_no_sense_is_told_in_the_format_that_was_asked_for() {
    let config = TempDir::new().unwrap();
    for (line, named) in [
        ("run list --no-such-flag -o json", "--no-such-flag"),
        ("run list -ojson --no-such-flag", "--no-such-flag"),
        ("run list --output=jsonl --no-such-flag", "--no-such-flag"),
        ("-o=json run list --no-such-flag", "--no-such-flag"),
        ("no-such-noun --output json", "no-such-noun"),
        ("job list --limit many -o json", "many"),
        ("run get -o json", "<RUN>"),
        ("logs -fo json", "<RUN>"),
        ("trigger j -d -o -ojson --no-such-flag", "--no-such-flag"),
        ("run list --filter -o json", "--filter"),
        ("-o json", "command"),
        ("run -o json", "command"),
    ] {
        let error = misread(&mainspring(config.path(), line), line);
        assert!(error["message"].as_str().unwrap().contains(named), "{line}: {error}");
    }
    let error = misread(&mainspring(config.path(), "job lst -o json"), "a slip");
    assert!(error["hint"].as_str().unwrap().contains("'list'"), "{error}");

    let line = "run list --no-such-flag";
    let output = command(config.path(), line).env("MAINSPRING_OUTPUT", "json").output().unwrap();
    misread(&output, line);
    let output =
        command(config.path(), "run list -o table --no-such").env("MAINSPRING_OUTPUT", "json").output().unwrap();
    assert!(text(&output.stderr).starts_with("error: unexpected argument"), "{}", text(&output.stderr));

    // What only looks like the option belongs to another one, or to a program.
    for line in ["trigger -d -o json --no-such-flag", "worker exec --no-such-flag -- program -o json"] {
        let output = mainspring(config.path(), line);
        assert_eq!(output.status.code(), Some(2), "{line}");
        assert!(text(&output.stderr).starts_with("error: unexpected argument"), "{line}: {}", text(&output.stderr));
    }
}

#[test]
fn a_run_or_many_are_named_where_none_is() {
    let config = TempDir::new().unwrap();
    for line in ["run cancel", "run retry --note again"] {
        let output = mainspring(config.path(), line);
        assert_eq!(output.status.code(), Some(2), "{line}");
        assert!(text(&output.stderr).contains("<RUN|--filter <FILTER>|--all>"), "{line}: {}", text(&output.stderr));
    }
}

/// Everything that is printed without a server being asked.
const PRINTED: [&str; 8] = [
    "--help",
    "--version",
    "job create --help",
    "run list -o json --help",
    "help",
    "completion bash",
    "man",
    "version",
];

#[cfg(target_os = "linux")]
#[test]
fn what_could_not_be_written_is_no_success() {
    let config = TempDir::new().unwrap();
    for line in PRINTED {
        let full =
            std::fs::File::options().write(true).open("/dev/full").expect("Linux has a disk that is always full");
        let output = command(config.path(), line).stdout(full).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{line}");
        assert!(text(&output.stderr).contains("No space left on device"), "{line}: {}", text(&output.stderr));
    }
}

#[test]
fn whoever_reads_no_further_is_not_told_anything() {
    let config = TempDir::new().unwrap();
    for line in PRINTED {
        let (reader, writer) = pipe().unwrap();
        drop(reader);
        let output = command(config.path(), line).stdout(Stdio::from(writer)).output().unwrap();
        assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""), "{line}");
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
    for line in ["--help", "run --help", "job create --help", "run list -o json --help"] {
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
