//! What a page of documentation shows: blocks of code, and commands to type.

/// The fenced blocks of a language.
pub fn blocks<'a>(document: &'a str, language: &str) -> Vec<&'a str> {
    let fence = format!("```{language}\n");
    document.split(fence.as_str()).skip(1).map(|rest| rest.split("```").next().unwrap_or(rest)).collect()
}

/// The lines of the fenced blocks of consoles that begin with a prompt, in their order.
pub fn commands(document: &str) -> Vec<&str> {
    let mut commands = Vec::new();
    let mut fence = None;
    for line in document.lines() {
        match (fence, line.trim_start().strip_prefix("```")) {
            (None, Some(language)) => fence = Some(language),
            (Some(_), Some(_)) => fence = None,
            (Some("console"), None) => commands.extend(line.strip_prefix("$ ")),
            (Some(_) | None, None) => {}
        }
    }
    commands
}

/// One shell for all, as one person has: variables live on. It ends at the first line that fails.
pub fn script(commands: &[&str], typed: impl Fn(&str) -> String) -> String {
    let mut script = String::from("set -eu\n");
    for command in commands {
        script.push_str(&format!("cat >&2 <<'@@'\n$ {command}\n@@\n{}\n", typed(command)));
    }
    script
}

#[cfg(test)]
mod tests {
    use super::commands;

    #[test]
    fn only_prompts_of_consoles_are_commands() {
        let document = "$ no\n```rust\n$ no\n```\ntext\n```console\n$ yes --really\noutput\n```\n$ no\n";
        assert_eq!(commands(document), ["yes --really"]);
    }
}
