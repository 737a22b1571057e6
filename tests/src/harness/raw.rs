//! The programs of examples/raw as processes: workers and clients in other languages, which share no line with ours.
//!
//! `cargo xtask clients` has installed and built them in a copy of the checkout's files, or has said why it could not:
//! then there is nothing to start, and whoever wants to says that it is skipped.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{ExitStatus, Output},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use tokio::process::Command;

use super::{
    host::{self, PATIENCE},
    process::Process,
    programs,
};

/// The pages that are about them: whoever types their commands needs them.
pub const PAGES: [&str; 2] = ["examples/raw/README.md", "docs/workers/python.md"];
/// What is installed or made in the copy, and is no copy of anything.
const MADE: [&str; 6] = [".venv", "node_modules", "dist", "gen", "mainspring", "__pycache__"];

/// One language of examples/raw.
#[derive(Clone, Copy, Debug)]
pub struct Language {
    /// Its folder.
    pub name: &'static str,
    worker: &'static [&'static str],
    client: &'static [&'static str],
    /// Whether its worker writes log lines.
    pub logs: bool,
}

/// grpcio.
pub const PYTHON: Language = Language {
    name: "python",
    worker: &["examples/raw/python/.venv/bin/python", "examples/raw/python/greet.py"],
    client: &["examples/raw/python/.venv/bin/python", "examples/raw/python/client.py"],
    logs: true,
};
/// The same, all of it in one file, and with less in it.
pub const PYTHON_FIRST: Language = Language {
    worker: &["examples/raw/python/.venv/bin/python", "examples/raw/python/first_worker.py"],
    logs: false,
    ..PYTHON
};
/// Connect for Node.
pub const TYPESCRIPT: Language = Language {
    name: "typescript",
    worker: &["node", "examples/raw/typescript/dist/greet.js"],
    client: &["node", "examples/raw/typescript/dist/client.js"],
    logs: true,
};
/// The same in one file.
pub const TYPESCRIPT_FIRST: Language =
    Language { worker: &["node", "examples/raw/typescript/dist/first_worker.js"], logs: false, ..TYPESCRIPT };
/// The C core of gRPC, in Ruby.
pub const RUBY: Language = Language {
    name: "ruby",
    worker: &["ruby", "-I", "examples/raw/ruby", "examples/raw/ruby/greet.rb"],
    client: &["ruby", "-I", "examples/raw/ruby", "examples/raw/ruby/client.rb"],
    logs: true,
};

/// The same in one file.
pub const RUBY_FIRST: Language =
    Language { worker: &["ruby", "-I", "examples/raw/ruby", "examples/raw/ruby/first_worker.rb"], logs: false, ..RUBY };

/// A language whose programs are ready.
#[derive(Clone, Debug)]
pub struct Ready {
    language: Language,
    checkout: PathBuf,
}

impl Language {
    /// Its programs; `None` where this machine does not have them.
    pub fn ready(self) -> Result<Option<Ready>> {
        let checkout = checkout()?;
        let folder = Path::new("examples/raw").join(self.name);
        if !checkout.join(&folder).join("READY").is_file() {
            println!("SKIPPED: `cargo xtask clients` has not made {} ready", self.name);
            return Ok(None);
        }
        compare(&root().join(&folder), &checkout.join(&folder))?;
        Ok(Some(Ready { language: self, checkout }))
    }
}

/// The copy of what the programs are made of, laid out like the checkout.
pub fn checkout() -> Result<PathBuf> {
    let binary = programs::path(programs::MAINSPRING)?;
    let target = binary.parent().and_then(Path::parent).context("programs lie in the target directory")?;
    Ok(target.join("checkout"))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// An old copy would prove something else.
fn compare(source: &Path, copy: &Path) -> Result<()> {
    for entry in fs::read_dir(source)? {
        let name = entry?.file_name();
        if MADE.iter().any(|made| name == *made) {
            continue;
        }
        let (source, copy) = (source.join(&name), copy.join(&name));
        if source.is_dir() {
            compare(&source, &copy)?;
        } else {
            let is_same = fs::read(&source)? == fs::read(&copy).unwrap_or_default();
            ensure!(is_same, "{} has changed: run `cargo xtask clients`", source.display());
        }
    }
    Ok(())
}

impl Ready {
    fn command(&self, words: &[&str], address: &str, key: &str) -> Result<Command> {
        let (program, args) = words.split_first().context("a command has a program")?;
        // The environment is inherited: interpreters may be found by shims that need it.
        let mut command = Command::new(program);
        command.args(args).current_dir(&self.checkout).kill_on_drop(true);
        command.env("MAINSPRING_ADDRESS", address).env("MAINSPRING_API_KEY", key);
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        Ok(command)
    }

    /// Starts the worker; it may not have a session yet.
    pub async fn worker(&self, folder: &Path, address: &str, key: &str) -> Result<RawWorker> {
        let command = self.command(self.language.worker, address, key)?;
        let mut process = Process::start("greet", folder, command)?;
        let id = process.line_after("id ").await?;
        Ok(RawWorker { process, id, said: folder.join("greet.out") })
    }

    /// Runs the client to its end.
    pub async fn client(&self, address: &str, key: &str, args: &[&str]) -> Result<Output> {
        let mut command = self.command(self.language.client, address, key)?;
        Ok(host::within(PATIENCE, "the client", command.args(args).output()).await??)
    }

    /// Starts the client, which says what its run is.
    pub async fn follow(&self, folder: &Path, address: &str, key: &str, args: &[&str]) -> Result<Process> {
        let mut command = self.command(self.language.client, address, key)?;
        command.args(args);
        let mut process = Process::start("client", folder, command)?;
        process.line_after("run ").await?;
        Ok(process)
    }
}

/// The worker that greets.
#[derive(Debug)]
pub struct RawWorker {
    process: Process,
    id: String,
    said: PathBuf,
}

impl RawWorker {
    /// The id it has for the server.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Waits until its next session begins.
    pub async fn up(&mut self) -> Result<()> {
        self.process.line_after("up ").await?;
        Ok(())
    }

    /// Waits until it begins to greet somebody.
    pub async fn greets(&mut self, name: &str) -> Result<()> {
        self.process.line_after(&format!("greet {name}")).await?;
        Ok(())
    }

    /// How often it began to greet somebody.
    pub fn greeted(&self, name: &str) -> Result<usize> {
        let line = format!("greet {name}");
        Ok(fs::read_to_string(&self.said)?.lines().filter(|said| **said == line).count())
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.process.signal(signal)
    }

    /// Waits for its end.
    pub async fn exit(&mut self, limit: Duration) -> Result<ExitStatus> {
        self.process.exit(limit).await
    }
}
