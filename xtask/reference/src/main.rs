//! Writes the pages of `docs/reference` that come from code, so that they cannot say something else than the code does.
//!
//! `cargo xtask gen` writes them and `cargo xtask check` compares them. A page is a function from nothing to text; the
//! folder also holds pages written by hand, which this program never touches.

mod commands;
mod contract;
mod filters;
mod markdown;
mod permissions;
mod reasons;
mod rpc;
mod settings;

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, Result};
use clap::{ArgGroup, Parser};

use contract::Contract;

/// What writes a page.
type Page = fn(&Contract) -> String;

/// The pages by file name. The table of error reasons joins here, from the server's enum of them.
const PAGES: &[(&str, Page)] = &[
    ("commands.md", commands::page),
    ("filters.md", filters::page),
    ("permissions.md", permissions::page),
    ("reasons.md", reasons::page),
    ("rpc.md", rpc::page),
    ("settings.md", settings::page),
];

/// Writes the generated pages of the reference.
#[derive(Parser)]
#[command(group(ArgGroup::new("what").required(true)))]
struct Cli {
    /// Write the pages into this folder.
    #[arg(long, group = "what", value_name = "FOLDER")]
    write: Option<PathBuf>,
    /// Name the pages in this folder that are not what would be written, and fail if there are any.
    #[arg(long, group = "what", value_name = "FOLDER")]
    compare: Option<PathBuf>,
}

fn main() -> Result<ExitCode> {
    let Cli { write, compare } = Cli::parse();
    let contract = Contract::load()?;
    let pages = PAGES.iter().map(|(name, page)| (*name, page(&contract))).collect::<Vec<_>>();
    if let Some(folder) = write {
        write_into(&folder, &pages)?;
    }
    Ok(compare.map_or(ExitCode::SUCCESS, |folder| compare_with(&folder, &pages)))
}

fn write_into(folder: &Path, pages: &[(&str, String)]) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for (name, text) in pages {
        let path = folder.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        println!("wrote {}", path.display());
    }
    Ok(())
}

fn compare_with(folder: &Path, pages: &[(&str, String)]) -> ExitCode {
    let stale = pages.iter().filter(|(name, text)| !fs::read_to_string(folder.join(name)).is_ok_and(|is| is == *text));
    let stale: Vec<_> = stale.map(|(name, _)| folder.join(name)).collect();
    for path in &stale {
        println!("{} is not what the code says", path.display());
    }
    if stale.is_empty() {
        println!("{} pages", pages.len());
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
