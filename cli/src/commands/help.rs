//! `help`: every command's own help, and what belongs to no single command.

use std::fmt::Write as _;

use clap::{Args, CommandFactory as _};
use mainspring_server::config::settings::{PLAIN, SETTINGS};
use serde_json::json;

use super::{Cli, examples};
use crate::{
    exit::Exit,
    failure::Failure,
    session::Session,
    variables::{Reader, VARIABLES},
};

/// The page about filters is made from the contract; it is shown as it is published.
const FILTERS: &str = include_str!("../../../docs/reference/filters.md");
/// What writes a topic.
type Write = fn() -> String;
const TOPICS: [(&str, Write); 3] = [("exit-codes", exit_codes), ("filters", filters), ("settings", every_variable)];

/// Explain a command, or a topic: exit-codes, filters, settings
#[derive(Args, Debug)]
#[command(before_help = examples![
    "mainspring help filters",
    "mainspring help job create",
    "mainspring help exit-codes",
])]
pub(crate) struct HelpArgs {
    /// A command's words, or a topic
    #[arg(value_name = "COMMAND|TOPIC")]
    words: Vec<String>,
}

pub(super) fn run(args: HelpArgs, session: &Session) -> Result<Exit, Failure> {
    let HelpArgs { words } = args;
    let text = match TOPICS.iter().find(|(topic, _)| words == [*topic]) {
        Some((_, write)) => write(),
        None => of_command(&words)?,
    };
    session.out.value(&text, &json!({"topic": words.join(" "), "text": text}))?;
    Ok(Exit::Done)
}

fn of_command(words: &[String]) -> Result<String, Failure> {
    let mut root = Cli::command();
    // Gives every command what it inherits: global options, the words before its own.
    root.build();
    let mut command = &mut root;
    for word in words {
        let Some(child) = command.find_subcommand_mut(word) else {
            let topics = TOPICS.map(|(topic, _)| topic).join(", ");
            return Err(Failure::usage(format!("there is no command and no topic `{}`", words.join(" ")))
                .hint(format!("`mainspring help` lists the commands; topics are {topics}")));
        };
        command = child;
    }
    Ok(command.render_long_help().to_string())
}

fn exit_codes() -> String {
    Exit::ALL.iter().fold(String::from("How commands end:\n\n"), |mut text, exit| {
        let _ = writeln!(text, "  {:<5}{}", exit.number(), exit.meaning());
        text
    })
}

/// The settings of a server: name, default, meaning.
pub(super) fn settings() -> String {
    let mut text =
        String::from("Settings of a server, by environment variable. A flag goes before, a default after:\n");
    for setting in SETTINGS {
        let default = match setting.default_value().as_str() {
            "" => String::new(),
            default => format!(" [default: {default}]"),
        };
        let _ = write!(text, "\n  {}=<{}>{default}\n      {}\n", setting.name, setting.takes.words(), setting.meaning);
    }
    for (name, meaning) in PLAIN {
        let _ = write!(text, "\n  {name}\n      {meaning}\n");
    }
    text
}

fn every_variable() -> String {
    let mut text = settings();
    for (title, readers) in [
        ("Also read by a server", &[Reader::Server][..]),
        ("Of the command line", &[Reader::CommandLine, Reader::Both]),
        ("Of a worker of the Rust SDK", &[Reader::Worker, Reader::Both]),
        ("Set for programs of `worker exec`", &[Reader::Program]),
    ] {
        let _ = write!(text, "\n{title}:\n");
        for variable in VARIABLES.iter().filter(|variable| readers.contains(&variable.reader)) {
            let _ = write!(text, "\n  {}\n      {}\n", variable.name, variable.meaning);
        }
    }
    text
}

fn filters() -> String {
    plain(FILTERS)
}

/// Markdown of ours, as a terminal shows it: no marks of headings, tables with aligned columns.
fn plain(page: &str) -> String {
    let mut text = String::new();
    let mut rows: Vec<Vec<String>> = Vec::new();
    for line in page.lines().filter(|line| !line.starts_with("<!--")).skip_while(|line| line.is_empty()) {
        if let Some(row) = line.strip_prefix("| ") {
            let cells = row.trim_end().trim_end_matches('|').split(" | ");
            rows.push(cells.map(|cell| cell.trim().replace("\\|", "|").replace('`', "")).collect());
            continue;
        }
        flush(&mut text, &mut rows);
        if !line.starts_with("```") {
            let _ =
                writeln!(text, "{}", line.strip_prefix('#').map_or(line, |rest| rest.trim_start_matches(['#', ' '])));
        }
    }
    flush(&mut text, &mut rows);
    text
}

fn flush(text: &mut String, rows: &mut Vec<Vec<String>>) {
    rows.retain(|row| !row.iter().all(|cell| cell.chars().all(|c| c == '-')));
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in rows.drain(..) {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}", width = *width));
        let _ = writeln!(text, "  {}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
}

#[cfg(test)]
mod tests {
    use super::{every_variable, exit_codes, filters, of_command, plain, settings};

    #[test]
    fn markdown_is_read_as_text() {
        let page = "<!-- @generated -->\n\n## Title\n\n```text\ntext\n  more\n```\n\n| a | b |\n| --- | --- |\n| `long` | x \\| y |\n| c | d |\n";
        assert_eq!(plain(page), "Title\n\ntext\n  more\n\n  a     b\n  long  x | y\n  c     d\n");
    }

    #[test]
    fn topics_say_what_they_are_about() {
        assert!(
            exit_codes()
                .contains("\n  78   the server refuses its configuration or its data; starting it again is no use\n")
        );
        assert!(settings().contains("MAINSPRING_LIMITS__LEASE_TTL=<length> [default: 30s]"));
        let every = every_variable();
        for name in ["MAINSPRING_SLOTS", "MAINSPRING_WORKER_NAME", "MAINSPRING_ROOT_PASSWORD_FILE", "NO_COLOR"] {
            assert!(every.contains(name), "{name}");
        }
        let filters = filters();
        for part in ["now-1h", "OR binds closer than AND", "nominal_time", "TIMED_OUT", "*"] {
            assert!(filters.contains(part), "{part:?} is missing in\n{filters}");
        }
    }

    #[test]
    fn a_command_explains_itself_with_its_global_options() {
        let text = of_command(&["job".into(), "create".into()]).unwrap();
        assert!(text.starts_with("Examples:") && text.contains("Usage: mainspring job create"), "{text}");
        assert!(text.contains("--address"), "{text}");
        assert!(of_command(&["frobnicate".into()]).unwrap_err().text().contains("exit-codes, filters, settings"));
    }
}
