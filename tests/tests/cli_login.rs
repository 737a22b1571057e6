//! Signing in at a shell: from the password that `serve` shows once to commands that are signed in, for as long as the
//! session lasts, and out again.

#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap like the tests themselves")]

use std::{fs, os::unix::fs::PermissionsExt as _, process::Stdio, time::Duration};

use mainspring_tests::harness::{
    host::{self, PATIENCE},
    process::Process,
    terminal::{Terminal, text},
};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    process::Command,
};

const OWN: &str = "correct horse battery staple";
const LISTENING: &str = "listening on http://";

/// A server, where it listens, and the password it has shown.
async fn serve(terminal: &Terminal, settings: &[(&str, &str)]) -> (Process, String, String) {
    let mut command = terminal.mainspring(&["serve", "--listen", "127.0.0.1:0"]).unwrap();
    command.envs(settings.iter().copied());
    let mut server = Process::start("server", terminal.home(), command).unwrap();
    let password = server.line_after("password of root, to be changed at first login: ").await.unwrap();
    // It was said before the password.
    let log = server.stderr().unwrap();
    let address = log.lines().find_map(|line| line.strip_prefix(LISTENING)).unwrap().to_owned();
    (server, address, password)
}

/// A line of a shell that must succeed.
async fn sh(terminal: &Terminal, line: &str, variables: &[(&str, &str)]) -> String {
    let output = terminal.sh(line, variables).await.unwrap();
    assert_eq!(output.status.code(), Some(0), "{line}: {}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

async fn sign_in(terminal: &Terminal, address: &str, password: &str) -> String {
    let line = "printf '%s\\n%s\\n' \"$OLD\" \"$NEW\" | mainspring login \"$AT\" --password-stdin";
    sh(terminal, line, &[("OLD", password), ("NEW", OWN), ("AT", address)]).await
}

fn credentials(terminal: &Terminal) -> String {
    fs::read_to_string(terminal.config().join("credentials.toml")).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_password_that_was_shown_becomes_ones_own_and_signs_in() {
    let terminal = Terminal::open().unwrap();
    let (_server, address, shown) = serve(&terminal, &[]).await;
    let refused = terminal.run(&["--address", &address, "job", "list"]).await.unwrap();
    assert_eq!(refused.status.code(), Some(4));
    assert!(text(&refused.stderr).contains("`mainspring login`"), "{}", text(&refused.stderr));

    let variables = [("OLD", shown.as_str()), ("AT", address.as_str())];
    let line = "printf '%s\\n' \"$OLD\" | mainspring login \"$AT\" --password-stdin";
    let output = terminal.sh(line, &variables).await.unwrap();
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{told}");
    assert!(told.contains("PASSWORD_CHANGE_REQUIRED") && told.contains("second"), "{told}");

    let told = sign_in(&terminal, &address, &shown).await;
    let (_, port) = address.rsplit_once(':').unwrap();
    for part in ["as user:root", "credentials.toml (0600)", &format!("context local-{port} created and selected")] {
        assert!(told.contains(part), "{part:?} is missing in {told}");
    }
    assert!(!told.contains(OWN), "{told}");
    let caller: Value = terminal.json(&["whoami"]).await.unwrap();
    assert_eq!(
        (&caller["subject"], &caller["credential"]),
        (&"user:root".into(), &"CREDENTIAL_KIND_ACCESS_TOKEN".into())
    );
    terminal.says(&["job", "list"]).await.unwrap();
    let version = terminal.says(&["version"]).await.unwrap();
    assert!(version.contains("embedded at"), "{version}");

    let kept = credentials(&terminal);
    assert!(!kept.contains("api-key") && !kept.contains(OWN) && !kept.contains(&shown), "{kept}");
    let mode = fs::metadata(terminal.config().join("credentials.toml")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // A token is for the server it was made by.
    let elsewhere = terminal.run(&["--address", "127.0.0.1:9", "job", "list"]).await.unwrap();
    assert_eq!(elsewhere.status.code(), Some(6), "{}", text(&elsewhere.stderr));

    // Once more, by the password of one's own, into the same context.
    let line = "printf '%s\\n' \"$NEW\" | mainspring login --password-stdin -o json";
    let again: Value = serde_json::from_str(&sh(&terminal, line, &[("NEW", OWN)]).await).unwrap();
    assert_eq!(again["context"], format!("local-{port}"));
    let line = "printf 'not the password\\n' | mainspring login --password-stdin";
    let wrong = terminal.sh(line, &[]).await.unwrap();
    assert_eq!(wrong.status.code(), Some(4));
    assert!(text(&wrong.stderr).contains("CREDENTIALS_INVALID"), "{}", text(&wrong.stderr));
    terminal.says(&["whoami"]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_are_renewed_in_silence_by_one_command_at_a_time() {
    let terminal = Terminal::open().unwrap();
    // So short that every command has to renew it.
    let (_server, address, shown) = serve(&terminal, &[("MAINSPRING_AUTH__ACCESS_TTL", "2s")]).await;
    sign_in(&terminal, &address, &shown).await;
    let before = credentials(&terminal);
    for _ in 0..3 {
        let output = terminal.run(&["whoami"]).await.unwrap();
        assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""));
    }
    assert_ne!(before, credentials(&terminal), "each of them has put new tokens there");
    // A refresh token that comes twice would end the session.
    let at_once = (0..4).map(|_| terminal.run(&["whoami"]));
    for output in futures::future::join_all(at_once).await {
        let output = output.unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    }
    terminal.says(&["whoami"]).await.unwrap();

    // A command that lasts longer than its token, and so does the stream it reads.
    let run: Value = terminal.json(&["submit", "nobody.handles-this"]).await.unwrap();
    let run = run["runId"].as_str().unwrap();
    let mut follower = terminal.start("follower", &["logs", run, "-f"]).unwrap();
    host::pass_time(Duration::from_secs(6), "a token ends, and the streams under it within two seconds more").await;
    terminal.says(&["run", "cancel", run]).await.unwrap();
    let status = follower.exit(PATIENCE).await.unwrap();
    assert_eq!(status.code(), Some(7), "{}", follower.stderr().unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_logout_is_the_end_there_and_here() {
    let terminal = Terminal::open().unwrap();
    let (_server, address, shown) = serve(&terminal, &[]).await;
    sign_in(&terminal, &address, &shown).await;
    let before = credentials(&terminal);
    let told = terminal.says(&["logout"]).await.unwrap();
    assert!(told.starts_with("signed out of context local-"), "{told}");
    assert!(!credentials(&terminal).contains("token"), "{}", credentials(&terminal));
    let output = terminal.run(&["whoami"]).await.unwrap();
    assert_eq!(output.status.code(), Some(4), "{}", text(&output.stderr));
    let told = terminal.says(&["logout"]).await.unwrap();
    assert!(told.contains("holds no credential"), "{told}");
    // Whoever has copied the file has nothing.
    fs::write(terminal.config().join("credentials.toml"), before).unwrap();
    let output = terminal.run(&["whoami"]).await.unwrap();
    let told = text(&output.stderr);
    assert!(
        output.status.code() == Some(4) && told.contains("TOKEN_REVOKED") && told.contains("mainspring login"),
        "{told}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_key_is_kept_in_a_context_of_its_name() {
    let terminal = Terminal::open().unwrap();
    let (_server, address, shown) = serve(&terminal, &[]).await;
    sign_in(&terminal, &address, &shown).await;
    let line = "mainspring admin key create ci --role viewer | mainspring --context ci login \"$AT\" --api-key-stdin";
    let told = sh(&terminal, line, &[("AT", &address)]).await;
    assert!(told.contains("as key:") && told.contains("context ci created and not selected (local-"), "{told}");
    let caller: Value = terminal.json(&["--context", "ci", "whoami"]).await.unwrap();
    assert_eq!(caller["bindings"].get(0).map_or(&caller["roles"][0], |binding| &binding["role"]), "viewer", "{caller}");
    let line = "echo nonsense | mainspring login \"$AT\" --api-key-stdin --context other";
    let wrong = terminal.sh(line, &[("AT", &address)]).await.unwrap();
    assert_eq!(wrong.status.code(), Some(4), "{}", text(&wrong.stderr));
    let told = terminal.says(&["--context", "ci", "logout"]).await.unwrap();
    assert!(told.contains("stays good until it is revoked"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_asked_where_nobody_sits() {
    let terminal = Terminal::open().unwrap();
    let (_server, address, _) = serve(&terminal, &[]).await;
    let output = terminal.sh("mainspring login \"$AT\" </dev/null", &[("AT", &address)]).await.unwrap();
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains("--password-stdin"), "{told}");
}

/// Somebody who sits there: waits for a question, then types the answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_typed_at_a_terminal_is_not_shown() {
    let terminal = Terminal::open().unwrap();
    let (_server, address, shown) = serve(&terminal, &[]).await;
    let program = terminal.mainspring(&[]).unwrap().as_std().get_program().to_str().unwrap().to_owned();
    let mut command = Command::new("/usr/bin/script");
    command.args(["--quiet", "--return", "--command", &format!("{program} login {address}"), "/dev/null"]);
    command.env_clear().env("HOME", terminal.home()).env("TERM", "xterm").kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut screen = command.spawn().expect("script is part of every Debian");
    let mut keys = screen.stdin.take().unwrap();
    let mut seen = screen.stdout.take().unwrap();
    let mut told = String::new();
    for (question, answer) in [
        ("Password of root", shown.as_str()),
        ("New password: ", "short"),
        ("once more: ", "short"),
        ("New password: ", OWN),
        ("once more: ", OWN),
    ] {
        let from = told.len();
        while !told[from..].contains(question) || !told.trim_end_matches(' ').ends_with(':') {
            let mut bytes = [0; 1024];
            let read = host::within(PATIENCE, question, seen.read(&mut bytes)).await.unwrap().unwrap();
            assert!(read > 0, "it ended before {question:?}: {told}");
            told.push_str(&text(&bytes[..read]));
        }
        keys.write_all(format!("{answer}\n").as_bytes()).await.unwrap();
    }
    let mut rest = Vec::new();
    host::within(PATIENCE, "the end", seen.read_to_end(&mut rest)).await.unwrap().unwrap();
    told.push_str(&text(&rest));
    let status = host::within(PATIENCE, "its end", screen.wait()).await.unwrap().unwrap();
    assert_eq!(status.code(), Some(0), "{told}");
    assert!(told.contains("signed in to") && told.contains("at least 12 bytes"), "{told}");
    for secret in [shown.as_str(), OWN] {
        assert!(!told.contains(secret), "it is on the screen: {told}");
    }
    terminal.says(&["job", "list"]).await.unwrap();
}
