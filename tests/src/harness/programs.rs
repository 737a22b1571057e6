//! Where the programs under test lie: beside the one that is running, where cargo has put them all. And where the tools
//! of others lie.

use std::{env::consts::EXE_SUFFIX, path::PathBuf, process::Command};

use anyhow::{Context as _, Result, ensure};

/// The product.
pub const MAINSPRING: &str = "mainspring";
/// The judge.
pub const CHECK: &str = "mainspring-check";
/// The worker that writes down what it does.
pub const TEST_WORKER: &str = "mainspring-test-worker";
/// The benchmark, which is its own worker and its own load.
pub const BENCH: &str = "mainspring-bench";

/// The path of a program of this workspace.
pub fn path(program: &str) -> Result<PathBuf> {
    let own = std::env::current_exe().context("where this program lies")?;
    let mut folder = own.parent().context("a program lies in a folder")?;
    // Test programs lie one folder below the others.
    if folder.ends_with("deps") {
        folder = folder.parent().context("deps has a parent")?;
    }
    let path = folder.join(format!("{program}{EXE_SUFFIX}"));
    ensure!(path.is_file(), "there is no {}: build it with `cargo build --workspace`", path.display());
    Ok(path)
}

/// A tool from the PATH, or from the cache that `cargo xtask` fills. The environment is inherited: the PATH may lead to a
/// shim that needs it.
#[expect(clippy::disallowed_methods, reason = "the cache of cargo xtask is where the system says, as in xtask itself")]
pub fn tool(name: &str) -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    let installed = cache.map(|cache| cache.join("mainspring/tools").join(name).join("bin").join(name));
    let runs = |place: &PathBuf| Command::new(place).arg("--version").output().is_ok_and(|said| said.status.success());
    [Some(PathBuf::from(name)), installed].into_iter().flatten().find(runs)
}
