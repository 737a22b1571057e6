//! stderr, line by line, as the log of a run.

use mainspring_worker::{Ctx, LogLevel};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};

use super::ending::Tail;

/// The server cuts longer ones, and a program that never ends its line must not fill the memory.
const LONGEST: usize = 16 << 10;

/// Reads to the end.
pub(super) async fn log(stderr: Option<impl AsyncRead + Unpin>, ctx: &Ctx, tail: &mut Tail) {
    let Some(stderr) = stderr else { return };
    let mut reader = BufReader::new(stderr);
    let mut line = Vec::new();
    // A pipe that breaks has nothing more to say.
    while let Ok(bytes) = reader.fill_buf().await {
        if bytes.is_empty() {
            break;
        }
        let (part, used, is_whole) = match bytes.iter().position(|byte| *byte == b'\n') {
            Some(end) => (&bytes[..end], end + 1, true),
            None => (bytes, bytes.len(), false),
        };
        let room = LONGEST - line.len();
        line.extend_from_slice(&part[..part.len().min(room)]);
        reader.consume(used);
        if is_whole {
            tell(&line, ctx, tail);
            line.clear();
        }
    }
    if !line.is_empty() {
        tell(&line, ctx, tail);
    }
}

fn tell(line: &[u8], ctx: &Ctx, tail: &mut Tail) {
    let line = String::from_utf8_lossy(line);
    let line = line.trim_end_matches('\r');
    tail.push(line);
    ctx.log(level(line), line, std::collections::BTreeMap::new());
}

/// How serious a line is, by the word it begins with, in brackets or not: `error: …`, `[WARN] …`, `Fatal …`.
fn level(line: &str) -> LogLevel {
    let word: String = line
        .trim_start_matches(|c: char| !c.is_alphanumeric())
        .chars()
        .take_while(char::is_ascii_alphabetic)
        .map(|c| c.to_ascii_lowercase())
        .collect();
    match word.as_str() {
        "error" | "err" | "fatal" | "panic" | "critical" => LogLevel::Error,
        "warning" | "warn" => LogLevel::Warn,
        "debug" | "trace" => LogLevel::Debug,
        _ => LogLevel::Info,
    }
}

#[cfg(test)]
mod tests {
    use mainspring_worker::LogLevel;

    use super::level;

    #[test]
    fn a_line_says_how_serious_it_is_by_its_first_word() {
        for (line, expected) in [
            ("error: no such file", LogLevel::Error),
            ("[WARN] slow", LogLevel::Warn),
            ("Warning: deprecated", LogLevel::Warn),
            ("DEBUG x=1", LogLevel::Debug),
            ("errors: 0", LogLevel::Info),
            ("building report", LogLevel::Info),
            ("", LogLevel::Info),
        ] {
            assert_eq!(level(line), expected, "{line}");
        }
    }
}
