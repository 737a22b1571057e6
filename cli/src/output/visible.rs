//! Texts of other people, made harmless for a terminal: what would move the cursor, ring, or turn the reading direction
//! is written as an escape, so that a name or a log line cannot pretend to be something else.

/// Whether a character changes how a terminal shows what follows it.
fn acts(c: char) -> bool {
    c.is_control()
        // Marks, embeddings, overrides and isolates of the bidirectional algorithm.
        || matches!(c, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        // Line and paragraph separators.
        || matches!(c, '\u{2028}' | '\u{2029}')
}

fn escaped(text: &str, keep: &[char]) -> String {
    if !text.chars().any(acts) {
        return text.into();
    }
    text.chars()
        .flat_map(|c| if acts(c) && !keep.contains(&c) { c.escape_default().collect::<Vec<_>>() } else { vec![c] })
        .collect()
}

/// As one line: no column and no line is broken.
pub(crate) fn one_line(text: &str) -> String {
    escaped(text, &[])
}

/// With the lines and tabs it has.
pub(crate) fn lines(text: &str) -> String {
    escaped(text, &['\n', '\t'])
}

#[cfg(test)]
mod tests {
    use super::{lines, one_line};

    #[test]
    fn what_acts_on_a_terminal_is_shown_and_the_rest_stays() {
        assert_eq!(one_line("red \u{1b}[31m\tand\nmore"), "red \\u{1b}[31m\\tand\\nmore");
        assert_eq!(lines("red \u{1b}[31m\tand\nmore\r"), "red \\u{1b}[31m\tand\nmore\\r");
        for turns in ["\u{202e}", "\u{202a}", "\u{2066}", "\u{2069}", "\u{200f}", "\u{061c}", "\u{2028}", "\u{9b}"] {
            let text = format!("gpj.{turns}exe");
            assert_eq!(lines(&text), format!("gpj.{}exe", turns.escape_default()));
            assert!(!one_line(&text).contains(turns));
        }
        let plain = "Grüße, שלום, 日本, 👩‍👩‍👧";
        assert_eq!((one_line(plain), lines(plain)), (plain.into(), plain.into()));
    }
}
