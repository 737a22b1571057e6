//! Where a story appears: lines on stdout (on stderr where stdout is for a program), a bar below them while somebody
//! watches.
//!
//! Progress comes at once, log lines when they are stored, so a line about progress waits for the log lines that were
//! written before it. Whoever owns the screen releases it where none come.

use std::{collections::VecDeque, fmt};

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
    held: Held,
}

/// Lines about progress that wait for older log lines, by time.
#[derive(Debug, Default)]
struct Held(VecDeque<(Option<Timestamp>, String)>);

impl Held {
    /// Those that were true at a time, all of them where there is none.
    fn until(&mut self, time: Option<Timestamp>) -> Vec<String> {
        let is_later = |held: &Option<Timestamp>| time.is_some_and(|time| held.is_some_and(|held| held > time));
        let count = self.0.iter().position(|(held, _)| is_later(held)).unwrap_or(self.0.len());
        self.0.drain(..count).map(|(_, line)| line).collect()
    }
}

impl<'a> Screen<'a> {
    pub(super) fn new(out: &'a Output) -> Self {
        Self { out, bar: None, progress: None, held: Held::default() }
    }

    /// Lines about the run.
    pub(super) fn lines(&mut self, lines: Vec<String>) -> Result<(), Failure> {
        if !lines.is_empty() {
            self.release()?;
        }
        lines.iter().try_for_each(|line| self.line(line))
    }

    /// Whether a line waits.
    pub(super) fn holds(&self) -> bool {
        !self.held.0.is_empty()
    }

    /// Nothing older is coming any more.
    pub(super) fn release(&mut self) -> Result<(), Failure> {
        self.held.until(None).iter().try_for_each(|line| self.line(line))
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
    fn logs(&mut self, entries: &[StoredLogEntry]) -> Result<(), Failure> {
        for entry in entries {
            if let Some(time) = entry.log_time.as_ref().and_then(times::from_proto) {
                self.held.until(Some(time)).iter().try_for_each(|line| self.line(line))?;
            }
            self.line(&LogLine::new(entry, self.out.look()).to_string())?;
        }
        Ok(())
    }

    /// How far it is: a bar that moves where somebody watches, else a line per change. Old news are ignored.
    pub(super) fn progress(&mut self, progress: &Progress) -> Result<(), Failure> {
        let time = progress.update_time.as_ref().and_then(times::from_proto);
        if self.progress.as_ref().is_some_and(|(line, last)| time < *last || *line == self.told(progress)) {
            return Ok(());
        }
        let line = self.told(progress);
        if self.out.is_watched() && !self.out.is_for_programs() {
            let bar = self.bar.get_or_insert_with(bar);
            bar.set_message(visible::one_line(&progress.message));
            bar.set_position((progress.fraction.clamp(0.0, 1.0) * WHOLE as f64) as u64);
        } else {
            self.held.0.push_back((time, line.clone()));
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
        self.release()?;
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
            if self.out.is_for_programs() {
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

    use super::{Held, LogLine};
    use crate::output::Look;

    #[test]
    fn progress_waits_for_the_log_lines_before_it() {
        let at = |second| Some(Timestamp::from_second(second).unwrap());
        let mut held = Held([(at(2), "two".into()), (at(4), "four".into())].into());
        assert!(held.until(at(1)).is_empty());
        assert_eq!(held.until(at(3)), ["two"]);
        assert!(held.until(at(3)).is_empty());
        assert_eq!(held.until(None), ["four"]);
    }

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
