//! `commands.md`: every command with its options, as its own `--help` tells it. The examples are those that
//! `tests/tests/cli_examples.rs` types.

use std::fmt::Write as _;

use clap::{Arg, Command};

use crate::{
    contract::Contract,
    markdown::{head, table},
};

const LEAD: &str = "\
What `--help` says of every command. What all of them have in common is told on
[a page of its own](../command-line.md), how they end by `mainspring help exit-codes`.";

pub(crate) fn page(_: &Contract) -> String {
    let mut root = mainspring_cli::command();
    // Gives every command its whole name and usage.
    root.build();
    let mut text = head("Commands", LEAD);
    let globals = root.get_arguments().filter(|argument| argument.is_global_set());
    let _ = write!(text, "\n## Options of all commands\n\n{}", options(globals));
    for command in root.get_subcommands_mut() {
        describe(command, &mut text);
    }
    text
}

fn describe(command: &mut Command, text: &mut String) {
    let name = command.get_bin_name().unwrap_or(command.get_name()).to_owned();
    if !command.has_subcommands() {
        let about = command.get_long_about().or(command.get_about()).map(ToString::to_string).unwrap_or_default();
        let usage = command.render_usage().to_string();
        let usage = usage.trim_start_matches("Usage:").trim();
        let examples = command.get_before_help().map(ToString::to_string).unwrap_or_default();
        let lines: String = examples.lines().skip(1).map(|line| format!("{}\n", line.trim())).collect();
        let _ =
            write!(text, "\n## {name}\n\n{about}.\n\n```text\n{usage}\n```\n\nFor example:\n\n```text\n{lines}```\n");
        let own = |argument: &&Arg| !argument.is_global_set() && !argument.is_hide_set() && argument.get_id() != "help";
        if command.get_arguments().any(|argument| own(&argument)) {
            let _ = write!(text, "\n{}", options(command.get_arguments().filter(own)));
        }
    }
    for child in command.get_subcommands_mut().filter(|child| child.get_name() != "help") {
        describe(child, text);
    }
}

fn options<'a>(arguments: impl Iterator<Item = &'a Arg>) -> String {
    table(&["option", "meaning"], arguments.map(|argument| vec![format!("`{}`", typed(argument)), meaning(argument)]))
}

/// `-d, --data <DATA>`
fn typed(argument: &Arg) -> String {
    let names = [argument.get_short().map(|c| format!("-{c}")), argument.get_long().map(|name| format!("--{name}"))];
    let names: Vec<_> = names.into_iter().flatten().collect();
    let value = argument.get_action().takes_values().then(|| {
        let id = argument.get_id().as_str().to_uppercase();
        let names = argument.get_value_names().unwrap_or_default().iter().map(ToString::to_string).collect::<Vec<_>>();
        format!("<{}>", if names.is_empty() { id } else { names.join(" ") })
    });
    [names.join(", ")].into_iter().chain(value).filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}

fn meaning(argument: &Arg) -> String {
    let help = argument.get_long_help().or(argument.get_help()).map(ToString::to_string).unwrap_or_default();
    let mut meaning = help.split_whitespace().collect::<Vec<_>>().join(" ");
    let values = argument.get_possible_values();
    let values: Vec<_> =
        values.iter().filter(|value| !value.is_hide_set()).map(clap::builder::PossibleValue::get_name).collect();
    if argument.get_action().takes_values() && !values.is_empty() {
        let _ = write!(meaning, ". One of {}", values.join(", "));
    }
    let defaults: Vec<_> = argument.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    if argument.get_action().takes_values() && !defaults.is_empty() {
        let _ = write!(meaning, " [default: {}]", defaults.join(", "));
    }
    meaning
}
