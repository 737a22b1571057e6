//! `completion` and `man`: what a shell and `man` know of the tree of commands.

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;
use clap_mangen::Man;
use serde_json::json;

use super::{Cli, examples};
use crate::{
    exit::Exit,
    failure::{Failure, unwritable},
    session::Session,
};

/// Print a script by which a shell completes commands and options
#[derive(Args, Debug)]
#[command(before_help = examples![
    "mainspring completion bash",
    "mainspring completion zsh",
    "mainspring completion fish",
], after_help = "\
bash: source it from ~/.bashrc. zsh: put it into a folder of $fpath. fish: ~/.config/fish/completions/mainspring.fish")]
pub(crate) struct CompletionArgs {
    /// Which shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

pub(super) fn completion(args: &CompletionArgs, session: &Session) -> Result<Exit, Failure> {
    let CompletionArgs { shell } = args;
    let mut script = Vec::new();
    clap_complete::generate(*shell, &mut Cli::command(), "mainspring", &mut script);
    let script = String::from_utf8_lossy(&script);
    session.out.value(&script, &json!({"shell": shell.to_string(), "script": script}))?;
    Ok(Exit::Done)
}

/// Print the manual page, or write those of all commands
#[derive(Args, Debug)]
#[command(before_help = examples!["mainspring man", "mainspring man ./man1"])]
pub(crate) struct ManArgs {
    /// Write a page for every command into this folder
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,
}

pub(super) fn man(args: ManArgs, session: &Session) -> Result<Exit, Failure> {
    let ManArgs { folder } = args;
    let mut root = Cli::command();
    // Gives every command what it inherits: global options, the words before its own.
    root.build();
    let Some(folder) = folder else {
        let page = page(&root)?;
        session.out.value(&page, &json!({"page": page}))?;
        return Ok(Exit::Done);
    };
    fs::create_dir_all(&folder).map_err(|error| unwritable(&folder, &error))?;
    let mut files = Vec::new();
    write_all(&root, "mainspring", &folder, &mut files)?;
    let text = format!("{} pages written into {}\n", files.len(), folder.display());
    session.out.value(&text, &json!({"folder": folder, "files": files}))?;
    Ok(Exit::Done)
}

fn page(command: &clap::Command) -> Result<String, Failure> {
    let mut page = Vec::new();
    Man::new(command.clone()).render(&mut page)?;
    Ok(String::from_utf8_lossy(&page).into_owned())
}

fn write_all(command: &clap::Command, name: &str, folder: &Path, files: &mut Vec<String>) -> Result<(), Failure> {
    // `man mainspring-job-list`: a blank in a page's name would have to be quoted.
    let page = page(&command.clone().display_name(name))?;
    let file = format!("{name}.1");
    let path = folder.join(&file);
    fs::write(&path, page).map_err(|error| unwritable(&path, &error))?;
    files.push(file);
    command
        .get_subcommands()
        .try_for_each(|child| write_all(child, &format!("{name}-{}", child.get_name()), folder, files))
}
