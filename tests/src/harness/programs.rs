//! Where the programs under test lie: beside the one that is running, where cargo has put them all.

use std::{env::consts::EXE_SUFFIX, path::PathBuf};

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
