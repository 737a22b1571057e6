//! Running other programs from the root of the repository.

use std::{
    ffi::OsStr,
    io::{self, Read as _},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::report::Verdict;

/// The root of the repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// A command that runs at the root.
pub(crate) fn command(program: impl AsRef<OsStr>, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args).current_dir(root());
    command
}

/// A program of this workspace, as `cargo build --workspace` left it: beside the one that is running.
pub(crate) fn built(program: &str) -> Result<PathBuf> {
    let here = std::env::current_exe().context("where xtask itself lies")?;
    Ok(here.with_file_name(format!("{program}{}", std::env::consts::EXE_SUFFIX)))
}

/// The target directory, wherever it is.
pub(crate) fn target() -> Result<PathBuf> {
    let here = std::env::current_exe().context("where xtask itself lies")?;
    let profile = here
        .ancestors()
        .find(|folder| folder.join("deps").is_dir())
        .context("a program of cargo's lies beside deps")?;
    Ok(profile.parent().context("a profile lies in the target directory")?.to_owned())
}

/// Builds programs of this workspace. Features are unified over the whole workspace, so that nothing here is lost for a
/// later build; `-p` would unify them over less, and compile half of the dependencies a second time.
pub(crate) fn build(bins: &[&str]) -> Command {
    let mut build = command("cargo", &["build", "--quiet", "--workspace"]);
    build.args(bins.iter().flat_map(|bin| ["--bin", bin]));
    build
}

/// What a finished program left.
pub(crate) struct Finished {
    /// It exited with 0.
    pub(crate) success: bool,
    /// Both of its streams, in the order in which they were written.
    pub(crate) output: String,
}

/// Runs to the end and keeps the output.
pub(crate) fn capture(command: &mut Command) -> Result<Finished> {
    let (mut reader, writer) = io::pipe()?;
    command.stdin(std::process::Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
    let child = command.spawn();
    // The command holds the writing ends; the reader waits for as long as any is open.
    command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    let mut child = child.with_context(|| format!("cannot run {}", command.get_program().display()))?;
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes)?;
    let success = child.wait()?.success();
    Ok(Finished { success, output: String::from_utf8_lossy(&bytes).into_owned() })
}

/// Runs to the end and judges by the exit code.
pub(crate) fn expect_success(command: &mut Command, remedy: &str) -> Result<Verdict> {
    let Finished { success, output } = capture(command)?;
    Ok(if success { Verdict::Passed(String::new()) } else { Verdict::Failed { output, remedy: remedy.into() } })
}
