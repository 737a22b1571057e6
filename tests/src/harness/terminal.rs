//! A person at a terminal: a home, a working directory, `mainspring` on the `PATH`, and nothing else in the environment.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Output,
};

use anyhow::{Context as _, Result, ensure};
use serde::de::DeserializeOwned;
use tokio::process::Command;

use super::{
    host::{self, PATIENCE},
    process::Process,
    programs,
    server::Home,
};

/// The last line of what `dev` says to a person.
const LAST_OF_BANNER: &str = "Not for production";

/// One person. The folder is kept where the test fails.
#[derive(Debug)]
pub struct Terminal {
    home: Home,
    path: String,
}

impl Terminal {
    /// A person who has never used the product.
    pub fn open() -> Result<Self> {
        let program = programs::path(programs::MAINSPRING)?;
        let folder = program.parent().context("a program lies in a folder")?;
        Ok(Self { home: Home::make()?, path: format!("{}:/usr/bin:/bin", folder.display()) })
    }

    /// Home and working directory.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// Where the product keeps contexts and keys, as long as nothing says otherwise.
    pub fn config(&self) -> PathBuf {
        self.home().join(".config/mainspring")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("HOME", self.home()).env("PATH", &self.path).current_dir(self.home());
        command.kill_on_drop(true);
        command
    }

    /// `mainspring ARGS`, to be started.
    pub fn mainspring(&self, args: &[&str]) -> Result<Command> {
        let program = programs::path(programs::MAINSPRING)?;
        let mut command = self.command(&program.display().to_string());
        command.args(args);
        Ok(command)
    }

    /// Starts `mainspring ARGS`, to be watched.
    pub fn start(&self, name: &str, args: &[&str]) -> Result<Process> {
        Process::start(name, self.home(), self.mainspring(args)?)
    }

    /// Host and port of the server that the context leads to.
    pub fn server(&self) -> Result<String> {
        let config = fs::read_to_string(self.config().join("config.toml"))?;
        Ok(address_in(&config).with_context(|| format!("no address in {config}"))?.to_owned())
    }

    /// Runs `mainspring ARGS` to its end.
    pub async fn run(&self, args: &[&str]) -> Result<Output> {
        finished(self.mainspring(args)?, &args.join(" ")).await
    }

    /// Starts a line of a shell, to be watched.
    pub fn shell(&self, name: &str, line: &str) -> Result<Process> {
        let mut command = self.command("/bin/sh");
        command.args(["-c", line]);
        Process::start(name, self.home(), command)
    }

    /// Runs a line of a shell to its end.
    pub async fn sh(&self, line: &str, variables: &[(&str, &str)]) -> Result<Output> {
        let mut command = self.command("/bin/sh");
        command.args(["-c", line]).envs(variables.iter().copied());
        finished(command, line).await
    }

    /// What a command says that must succeed.
    pub async fn says(&self, args: &[&str]) -> Result<String> {
        let output = self.run(args).await?;
        ensure!(output.status.success(), "{args:?}: {}: {}", output.status, text(&output.stderr));
        Ok(text(&output.stdout))
    }

    /// What a command says with `-o json`; it must succeed.
    pub async fn json<T: DeserializeOwned>(&self, args: &[&str]) -> Result<T> {
        let said = self.says(&[args, &["-o", "json"]].concat()).await?;
        serde_json::from_str(&said).with_context(|| format!("what {args:?} says: {said}"))
    }

    /// Starts `mainspring dev` on a free port and waits until it has said everything; whoever types next is signed in.
    pub async fn dev(&self, args: &[&str]) -> Result<Process> {
        let mut dev = self.start("dev", &[&["dev", "--no-open", "--port", "0"], args].concat())?;
        banner(&mut dev).await?;
        Ok(dev)
    }
}

fn address_in(config: &str) -> Option<&str> {
    let address = config.lines().find_map(|line| line.strip_prefix("address = \"http://"))?;
    address.strip_suffix('"')
}

/// What `dev` says to a person, all of it.
pub async fn banner(dev: &mut Process) -> Result<String> {
    let mut said = String::new();
    while !said.contains(LAST_OF_BANNER) {
        said.push_str(&dev.line().await?);
        said.push('\n');
    }
    Ok(said)
}

/// Bytes of a program's output.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

async fn finished(mut command: Command, what: &str) -> Result<Output> {
    host::within(PATIENCE, &format!("the end of `{what}`"), command.output())
        .await?
        .with_context(|| format!("cannot start `{what}`"))
}
