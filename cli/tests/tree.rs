//! Walks the whole tree of commands: it is sound, every command has a help, and every help begins with examples that
//! parse. That the examples also *work* is shown against a running server by the end-to-end suite.

use clap::Command;

/// Commands with their words, groups included.
fn walk(command: &Command, words: &[String], visit: &mut impl FnMut(&[String], &Command)) {
    let mut words = words.to_vec();
    words.push(command.get_name().to_owned());
    visit(&words, command);
    for child in command.get_subcommands() {
        walk(child, &words, visit);
    }
}

fn all() -> Vec<(Vec<String>, Command)> {
    let mut commands = Vec::new();
    walk(&mainspring_cli::command(), &[], &mut |words, command| commands.push((words.to_vec(), command.clone())));
    commands
}

fn examples(command: &Command) -> Vec<String> {
    let text = command.get_before_help().map(ToString::to_string).unwrap_or_default();
    let mut lines = text.lines();
    if lines.next() != Some("Examples:") {
        return Vec::new();
    }
    lines.map(|line| line.trim().to_owned()).collect()
}

/// The words of a shell line: quotes are honoured, `NAME=$(…)` is what is inside, what comes from a file is left out.
fn words(line: &str) -> Vec<String> {
    let line = line.split(" < ").next().unwrap_or(line);
    let line = line.split_once("$(").map_or(line, |(_, inside)| inside.trim_end_matches(')'));
    let mut words = Vec::new();
    for (place, part) in line.split('\'').enumerate() {
        if place % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}

#[test]
fn the_tree_is_sound() {
    mainspring_cli::command().debug_assert();
}

#[test]
fn every_command_says_what_it_does() {
    for (words, command) in all() {
        assert!(command.get_about().is_some(), "{} has no help", words.join(" "));
        for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
            let name = argument.get_id();
            assert!(argument.get_help().is_some(), "{} {name} has no help", words.join(" "));
        }
    }
}

#[test]
fn every_help_begins_with_examples_that_parse() {
    for (path, command) in all() {
        let lines = examples(&command);
        assert!((1..=3).contains(&lines.len()), "{} has {} examples", path.join(" "), lines.len());
        for line in lines {
            assert!(line.contains("mainspring "), "{line}");
            // On 100 columns clap would break it, and a broken line cannot be copied.
            assert!(line.len() <= 96, "{} characters: {line}", line.len());
            let parsed = mainspring_cli::command().try_get_matches_from(words(&line));
            assert!(parsed.is_ok(), "{line}: {}", parsed.err().map(|error| error.to_string()).unwrap_or_default());
        }
    }
}

#[test]
fn examples_are_about_their_command() {
    for (path, command) in all().into_iter().filter(|(_, command)| !command.has_subcommands()) {
        for line in examples(&command) {
            assert!(line.contains(&path.join(" ")), "an example of `{}` is `{line}`", path.join(" "));
        }
    }
}

#[test]
fn a_secret_is_never_an_argument() {
    for (path, command) in all() {
        for argument in command.get_arguments().filter(|argument| argument.get_action().takes_values()) {
            let name = argument.get_long().unwrap_or(argument.get_id().as_str());
            // Who names a file shows nothing of what is in it.
            let name = name.strip_suffix("-file").map_or(name, |_| "file");
            let secret = ["api-key", "api_key", "password", "token", "secret"].iter().any(|word| name.contains(word));
            assert!(!secret, "{path:?} takes {name}; everybody on the machine could read it");
        }
    }
}

#[test]
fn nonsense_is_a_usage_error() {
    for line in [
        "mainspring jog list",
        "mainspring job lst",
        "mainspring run list --limt 3",
        "mainspring trigger",
        "mainspring",
    ] {
        let error = mainspring_cli::command().try_get_matches_from(line.split(' ')).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{line}");
    }
}
