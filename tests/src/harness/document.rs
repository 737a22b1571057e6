//! What a page of documentation shows: blocks of code, commands to type, and what they print.
//!
//! Every page of the checkout is found by looking for it, so that a new one cannot be forgotten. What is shown below a
//! command is compared with what it says, line by line; `…` stands for anything, and on a line of its own for any lines.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Begins what a command of a script says. No program prints it.
const MARK: char = '\u{1e}';
/// What nobody wrote here.
const NOT_OURS: [&str; 3] = ["target", "node_modules", "dist"];
const ANYTHING: &str = "…";

/// A command, and what the page shows below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step<'a> {
    /// What is typed.
    pub command: &'a str,
    /// What it prints, where the page shows that.
    pub shown: Vec<&'a str>,
}

/// Every page of a checkout, in order.
pub fn pages(root: &Path) -> io::Result<Vec<PathBuf>> {
    let mut pages = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let (path, name) = entry.map(|entry| (entry.path(), entry.file_name()))?;
            let name = name.to_string_lossy();
            if path.is_dir() && !name.starts_with('.') && !NOT_OURS.contains(&&*name) {
                folders.push(path);
            } else if name.ends_with(".md") {
                pages.push(path);
            }
        }
    }
    pages.sort();
    Ok(pages)
}

/// The languages of all fenced blocks.
pub fn languages(document: &str) -> Vec<&str> {
    document.lines().filter_map(|line| line.trim_start().strip_prefix("```")).step_by(2).collect()
}

/// The fenced blocks of a language.
pub fn blocks<'a>(document: &'a str, language: &str) -> Vec<&'a str> {
    let fence = format!("```{language}\n");
    document.split(fence.as_str()).skip(1).map(|rest| rest.split("```").next().unwrap_or(rest)).collect()
}

/// The lines of the fenced blocks of consoles that begin with a prompt, in their order, and those below each.
pub fn steps(document: &str) -> Vec<Step<'_>> {
    let mut steps: Vec<Step<'_>> = Vec::new();
    let mut fence = None;
    for line in document.lines() {
        match (fence, line.trim_start().strip_prefix("```")) {
            (None, Some(language)) => fence = Some(language),
            (Some(_), Some(_)) => fence = None,
            (Some("console"), None) => match (line.strip_prefix("$ "), steps.last_mut()) {
                (Some(command), _) => steps.push(Step { command, shown: Vec::new() }),
                (None, Some(step)) => step.shown.push(line),
                (None, None) => panic!("a console begins with a prompt, not with `{line}`"),
            },
            (Some(_) | None, None) => {}
        }
    }
    steps
}

/// The commands alone.
pub fn commands(document: &str) -> Vec<&str> {
    steps(document).into_iter().map(|step| step.command).collect()
}

/// One shell for all, as one person has: variables live on. It ends at the first line that fails, and all it says is on
/// stdout.
pub fn script(commands: &[&str], typed: impl Fn(&str) -> String) -> String {
    let mut script = String::from("set -eu\nexec 2>&1\n");
    for command in commands {
        script.push_str(&format!("cat <<'@@'\n{MARK}$ {command}\n@@\n{}\n", typed(command)));
    }
    script
}

/// Compares what a script said with what the page shows.
#[track_caller]
pub fn compare(steps: &[Step<'_>], said: &str) {
    let parts: Vec<&str> = said.split(MARK).skip(1).collect();
    assert_eq!(parts.len(), steps.len(), "{said}");
    for (Step { command, shown }, part) in steps.iter().zip(parts) {
        let said: Vec<&str> = part.lines().skip(1).collect();
        if !shown.is_empty() {
            assert!(
                fits(shown, &said),
                "`{command}` says\n{}\nand the page shows\n{}",
                said.join("\n"),
                shown.join("\n")
            );
        }
    }
}

fn fits(shown: &[&str], said: &[&str]) -> bool {
    match (shown.split_first(), said.split_first()) {
        (None, None) => true,
        (Some((&ANYTHING, rest)), _) => (0..=said.len()).any(|skipped| fits(rest, &said[skipped..])),
        (None, Some(_)) | (Some(_), None) => false,
        (Some((line, rest)), Some((first, more))) => line_fits(line, first) && fits(rest, more),
    }
}

/// Columns are apart by more than one space at a terminal, by a tab in a pipe.
fn line_fits(shown: &str, said: &str) -> bool {
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let (shown, said) = (words(shown), words(said));
    let Some((first, rest)) = shown.split_once(ANYTHING) else { return shown == said };
    let Some(mut left) = said.strip_prefix(first) else { return false };
    let mut pieces: Vec<&str> = rest.split(ANYTHING).collect();
    let last = pieces.pop().unwrap_or_default();
    for piece in pieces {
        let Some((_, after)) = left.split_once(piece) else { return false };
        left = after;
    }
    left.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::{Step, compare, languages, line_fits, steps};

    #[test]
    fn only_prompts_of_consoles_are_commands() {
        let document = "$ no\n```rust\n$ no\n```\ntext\n```console\n$ yes --really\noutput\n```\n$ no\n";
        assert_eq!(steps(document), [Step { command: "yes --really", shown: vec!["output"] }]);
        assert_eq!(languages(document), ["rust", "console"]);
    }

    #[test]
    fn lines_are_compared_but_for_what_is_left_out() {
        for (shown, said, fit) in [
            ("job/tick created", "job/tick created", true),
            ("run/… succeeded in … s", "run/01  succeeded in 0.31 s", true),
            ("run/… succeeded in … s", "run/01  failed in 0.31 s", false),
            ("A  B", "A\tB", true),
            ("a…", "ba", false),
            ("…a", "ab", false),
        ] {
            assert_eq!(line_fits(shown, said), fit, "{shown}: {said}");
        }
    }

    #[test]
    fn what_is_shown_below_a_command_is_what_it_says() {
        let document = "```console\n$ one\na\n…\nd\n$ two\n```\n";
        compare(&steps(document), "\u{1e}$ one\na\nb\nc\nd\n\u{1e}$ two\nwhatever\n");
    }

    #[test]
    #[should_panic(expected = "`one` says")]
    fn another_line_is_not() {
        compare(&steps("```console\n$ one\na\n```\n"), "\u{1e}$ one\na\nb\n");
    }
}
