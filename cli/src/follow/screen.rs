//! Where a story appears: lines on stdout (on stderr where stdout is for a program), a bar below them while somebody
//! watches.

use std::fmt;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::Timestamp;
use mainspring_proto::{
    common::v1::LogLevel,
    scheduler::v1::{Progress, StoredLogEntry},
};

use super::watch::Seen;
use crate::{
    exit::Exit,
    failure::Failure,
    output::{Look, Output, visible},
    times,
};

/// The bar counts in thousandths.
const WHOLE: u64 = 1000;

/// Where a story appears.
#[derive(Debug)]
pub(super) struct Screen<'a> {
    out: &'a Output,
    bar: Option<ProgressBar>,
    /// The last line about it, and when that was true.
    progress: Option<(String, Option<Timestamp>)>,
}

impl<'a> Screen<'a> {
    pub(super) fn new(out: &'a Output) -> Self {
        Self { out, bar: None, progress: None }
    }

    /// Lines about the run.
    pub(super) fn lines(&self, lines: Vec<String>) -> Result<(), Failure> {
        lines.iter().try_for_each(|line| self.line(line))
    }

    /// What an attempt said, in its order.
    pub(super) fn said(&mut self, said: &[Seen]) -> Result<(), Failure> {
        said.iter().try_for_each(|said| match said {
            Seen::Progress(progress) => self.progress(progress),
            Seen::Logs(entries) => self.logs(entries),
            Seen::Run(_) | Seen::LogsEnded | Seen::Note(_) => Ok(()),
        })
    }

    /// Lines the run wrote.
    fn logs(&self, entries: &[StoredLogEntry]) -> Result<(), Failure> {
        entries.iter().try_for_each(|entry| self.line(&LogLine::new(entry, self.out.look()).to_string()))
    }

    /// How far it is: a bar that moves where somebody watches, else a line per change. Old news are ignored.
    pub(super) fn progress(&mut self, progress: &Progress) -> Result<(), Failure> {
        let time = progress.update_time.as_ref().and_then(times::from_proto);
        if self.progress.as_ref().is_some_and(|(line, last)| time < *last || *line == self.told(progress)) {
            return Ok(());
        }
        let line = self.told(progress);
        if self.out.is_watched() && !self.out.is_json() {
            let bar = self.bar.get_or_insert_with(bar);
            bar.set_message(visible::one_line(&progress.message));
            bar.set_position((progress.fraction.clamp(0.0, 1.0) * WHOLE as f64) as u64);
        } else {
            self.line(&line)?;
        }
        self.progress = Some((line, time));
        Ok(())
    }

    fn told(&self, progress: &Progress) -> String {
        let time = stamp(progress.update_time.as_ref(), self.out.look().terminal);
        format!("{time}{:3.0} %  {}", progress.fraction * 100.0, visible::one_line(&progress.message)).trim_end().into()
    }

    /// Something about the watching.
    pub(super) fn note(&self, note: &str) {
        self.above_bar(|| self.out.note(note));
    }

    /// The last line; the bar gives way to the last word of it.
    pub(super) fn end(&mut self, line: &str) -> Result<(), Failure> {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
            if let Some((progress, _)) = self.progress.take() {
                self.line(&progress)?;
            }
        }
        self.line(line)
    }

    fn line(&self, line: &str) -> Result<(), Failure> {
        // Names and messages of others are in it.
        let line = &visible::lines(line);
        self.above_bar(|| {
            if self.out.is_json() {
                self.out.note(line);
                Ok(())
            } else {
                self.out.line(line)
            }
        })
    }

    fn above_bar<T>(&self, print: impl FnOnce() -> T) -> T {
        match &self.bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(WHOLE), ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{bar:20} {percent:>3} %  {msg}") {
        bar.set_style(style.progress_chars("█▌ "));
    }
    bar
}

/// A time before a line: of day where a person reads it, whole in a pipe.
fn stamp(time: Option<&prost_types::Timestamp>, terminal: bool) -> String {
    match time.and_then(times::from_proto) {
        None => String::new(),
        Some(time) if terminal => format!("{} ", times::time_of_day(time)),
        Some(time) => format!("{time} "),
    }
}

/// One line of a log: time, level, text, fields.
#[derive(Debug)]
pub(crate) struct LogLine<'a> {
    entry: &'a StoredLogEntry,
    terminal: bool,
}

impl<'a> LogLine<'a> {
    /// The line, as it looks there.
    pub(crate) fn new(entry: &'a StoredLogEntry, look: &Look) -> Self {
        Self { entry, terminal: look.terminal }
    }
}

impl fmt::Display for LogLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let StoredLogEntry { attempt: _, offset: _, log_time, level: _, message, fields, dropped_before } = self.entry;
        if *dropped_before > 0 {
            writeln!(f, "… {dropped_before} lines are missing here")?;
        }
        let level = match self.entry.level() {
            LogLevel::Debug => "DEBUG",
            LogLevel::Unspecified | LogLevel::Info => "INFO",
            LogLevel::Warning => "WARN",
            LogLevel::Error => "ERROR",
        };
        write!(f, "{}{level:<5} {}", stamp(log_time.as_ref(), self.terminal), visible::lines(message))?;
        for (key, value) in fields {
            write!(f, "  {key}={}", visible::lines(value))?;
        }
        Ok(())
    }
}

/// Ctrl-C detaches; the run goes on.
pub(crate) fn interrupted(out: &Output, run_id: &str) -> Exit {
    out.note(format!(
        "\ndetached: run/{run_id} goes on\nhint: `mainspring run cancel {run_id}` stops it, `mainspring logs {run_id} -f` follows it again"
    ));
    Exit::Interrupted
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use mainspring_proto::{common::v1::LogLevel, scheduler::v1::StoredLogEntry};

    use super::LogLine;
    use crate::output::Look;

    #[test]
    fn a_log_line_cannot_move_the_terminal() {
        let entry = StoredLogEntry {
            log_time: Some(prost_types::Timestamp { seconds: 0, nanos: 0 }),
            level: LogLevel::Warning.into(),
            message: "red \u{1b}[31m\nnext \u{202e}txet".into(),
            fields: [("k".to_owned(), "v".to_owned())].into(),
            dropped_before: 2,
            ..StoredLogEntry::default()
        };
        let look = Look { terminal: false, color: false, now: Timestamp::UNIX_EPOCH };
        assert_eq!(
            LogLine::new(&entry, &look).to_string(),
            "… 2 lines are missing here\n1970-01-01T00:00:00Z WARN  red \\u{1b}[31m\nnext \\u{202e}txet  k=v"
        );
    }
}
