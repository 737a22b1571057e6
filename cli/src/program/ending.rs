//! What the end of a program means to its run. The numbers are documented in the help of `mainspring worker exec`.

use std::{collections::VecDeque, os::unix::process::ExitStatusExt as _, process::ExitStatus, time::Duration};

use mainspring_worker::{JobError, reason};
use serde_json::value::{RawValue, to_raw_value};

use super::{DO_NOT_RETRY, LARGEST_OUTPUT, Printed, Stop};
use crate::times;

/// The program could not be started.
pub(super) const START_FAILED: &str = "START_FAILED";
/// It was to print text, and printed something else.
const NOT_TEXT: &str = "OUTPUT_NOT_TEXT";
/// It took longer than the worker allows.
const TIMEOUT: &str = "PROGRAM_TIMEOUT";

/// The reasons of failures that only this worker gives, for the reference.
pub(crate) const REASONS: &[(&str, &str)] = &[
    (
        "EXIT_1",
        "The program ended with this exit code (EXIT_2, EXIT_3, …); the message holds the last lines of its stderr. After 65 it is not tried again.",
    ),
    (
        "SIGNAL_9",
        "A signal ended the program (SIGNAL_6, SIGNAL_11, …), and not one of this worker's; 9 is often the system, out of memory.",
    ),
    (
        START_FAILED,
        "The program cannot be started: it is not there, or not executable, or the machine has no room for it.",
    ),
    (TIMEOUT, "The program ran longer than `--timeout` of its worker allows, and was stopped."),
    (reason::OUTPUT_NOT_JSON, "The program ended well, and its stdout is not one JSON value; `--text` takes any text."),
    (NOT_TEXT, "The program ended well, and its stdout is not UTF-8, which `--text` needs."),
    (reason::OUTPUT_TOO_LARGE, "The program wrote more than 1 MiB to stdout, and was stopped."),
];

/// The last words of a program: what a person looks for first.
#[derive(Debug, Default)]
pub(super) struct Tail(VecDeque<String>);

impl Tail {
    const LINES: usize = 10;
    const BYTES: usize = 3 << 10;

    pub(super) fn push(&mut self, line: &str) {
        if self.0.len() == Self::LINES {
            self.0.pop_front();
        }
        self.0.push_back(line.to_owned());
    }

    /// The lines that fit, the last ones first to be kept.
    fn text(&self) -> String {
        let mut room = Self::BYTES;
        let fits = self.0.iter().rev().take_while(|line| match room.checked_sub(line.len() + 1) {
            Some(left) => {
                room = left;
                true
            }
            None => false,
        });
        let mut lines: Vec<&str> = fits.map(String::as_str).collect();
        lines.reverse();
        lines.join("\n")
    }
}

/// How it ended.
pub(super) struct Ending {
    pub(super) stop: Option<Stop>,
    pub(super) status: ExitStatus,
    pub(super) timeout: Option<Duration>,
    pub(super) text: bool,
    pub(super) output: Vec<u8>,
    pub(super) tail: Tail,
}

impl Ending {
    /// The output of the run, or its failure.
    pub(super) fn told(self) -> Result<Printed, JobError> {
        let Self { stop, status, timeout, text, output, tail } = self;
        match stop {
            // Which code it ends with then says nothing: a shell that was stopped may well say 0.
            Some(Stop::Told) => return Err(JobError::Cancelled),
            Some(Stop::TimedOut) => {
                let limit = timeout.map(times::took).unwrap_or_default();
                return Err(failed(&format!("it ran longer than {limit} (--timeout)"), &tail, TIMEOUT));
            }
            None if !status.success() => return Err(unsuccessful(status, &tail)),
            None | Some(Stop::TooMuch) => {}
        }
        if output.len() > LARGEST_OUTPUT {
            let message = format!("it wrote more than {LARGEST_OUTPUT} bytes to stdout");
            return Err(failed(&message, &tail, reason::OUTPUT_TOO_LARGE).do_not_retry());
        }
        let (read, reason) =
            if text { (as_text(&output), NOT_TEXT) } else { (as_json(&output), reason::OUTPUT_NOT_JSON) };
        read.map(Printed).map_err(|problem| failed(&problem, &tail, reason).do_not_retry())
    }
}

fn as_text(output: &[u8]) -> Result<Box<RawValue>, String> {
    let text = str::from_utf8(output).map_err(|error| format!("stdout is not UTF-8 text: {error}"))?;
    to_raw_value(text.strip_suffix('\n').unwrap_or(text)).map_err(|error| error.to_string())
}

fn as_json(output: &[u8]) -> Result<Box<RawValue>, String> {
    if output.trim_ascii().is_empty() {
        return Ok(RawValue::NULL.to_owned());
    }
    serde_json::from_slice(output)
        .map_err(|error| format!("stdout is not one JSON value ({error}); messages belong on stderr, or use --text"))
}

fn unsuccessful(status: ExitStatus, tail: &Tail) -> JobError {
    match status.code() {
        Some(DO_NOT_RETRY) => {
            failed(&format!("exit code {DO_NOT_RETRY}"), tail, &format!("EXIT_{DO_NOT_RETRY}")).do_not_retry()
        }
        Some(code) => failed(&format!("exit code {code}"), tail, &format!("EXIT_{code}")),
        None => match status.signal() {
            Some(signal) => failed(&format!("ended by signal {signal}"), tail, &format!("SIGNAL_{signal}")),
            None => failed(&status.to_string(), tail, "EXIT_UNKNOWN"),
        },
    }
}

fn failed(what: &str, tail: &Tail, reason: &str) -> JobError {
    let said = tail.text();
    let message = if said.is_empty() { what.to_owned() } else { format!("{what}\n{said}") };
    JobError::retryable(message).reason(reason)
}

#[cfg(test)]
mod tests {
    use std::{os::unix::process::ExitStatusExt as _, process::ExitStatus};

    use mainspring_worker::{JobError, JobFailure};

    use super::{Ending, Printed, Stop, Tail};

    /// An ending by this code of wait(2), with this output.
    fn ending(raw: i32, output: &str) -> Ending {
        let mut tail = Tail::default();
        tail.push("last words");
        let status = ExitStatus::from_raw(raw);
        Ending { stop: None, status, timeout: None, text: false, output: output.into(), tail }
    }

    fn failure(ended: Result<Printed, JobError>) -> JobFailure {
        match ended {
            Err(JobError::Failed(failure)) => *failure,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn stdout_is_the_output() {
        let said = |ending: Ending| ending.told().unwrap().0.get().to_owned();
        // As it was printed: a number keeps its digits, an object its fields, their order and the space between them.
        for output in [r#"{"n":12345678901234567890123,"f":1.0,"dup":1,"dup":2}"#, r#"{"b": 1, "a": 1e400}"#, "1.0"] {
            assert_eq!(said(ending(0, &format!(" {output}\n"))), output);
        }
        assert_eq!(said(ending(0, "\n")), "null");
        assert_eq!(said(Ending { text: true, ..ending(0, "two\nlines\n") }), r#""two\nlines""#);
        for output in ["done", "{} {}", "{\"a\":"] {
            let failure = failure(ending(0, output).told());
            assert_eq!((failure.reason(), failure.is_fatal()), ("OUTPUT_NOT_JSON", true), "{output}");
        }
    }

    #[test]
    fn what_is_no_text_is_not_called_no_json() {
        let binary = failure(Ending { text: true, output: vec![b'a', 0xff], ..ending(0, "") }.told());
        assert_eq!((binary.reason(), binary.is_fatal()), ("OUTPUT_NOT_TEXT", true));
        let binary = failure(Ending { output: vec![b'"', 0xff, b'"'], ..ending(0, "") }.told());
        assert_eq!((binary.reason(), binary.is_fatal()), ("OUTPUT_NOT_JSON", true));
    }

    #[test]
    fn the_exit_code_is_the_reason_and_one_of_them_is_final() {
        for (raw, reason, is_fatal) in
            [(3 << 8, "EXIT_3", false), (65 << 8, "EXIT_65", true), (9, "SIGNAL_9", false), (11, "SIGNAL_11", false)]
        {
            let failure = failure(ending(raw, "{}").told());
            assert_eq!((failure.reason(), failure.is_fatal()), (reason, is_fatal));
            assert!(failure.message().ends_with("\nlast words"), "{}", failure.message());
        }
    }

    #[test]
    fn who_was_told_to_stop_was_stopped_whatever_the_code() {
        for raw in [0, 1 << 8, 15] {
            let stopped = Ending { stop: Some(Stop::Told), ..ending(raw, "{}") };
            assert!(matches!(stopped.told(), Err(JobError::Cancelled)));
            let late = Ending { stop: Some(Stop::TimedOut), ..ending(raw, "{}") };
            assert_eq!(failure(late.told()).reason(), "PROGRAM_TIMEOUT");
        }
    }

    #[test]
    fn the_last_lines_are_kept_within_bounds() {
        let mut tail = Tail::default();
        (0..30).for_each(|number| tail.push(&format!("line {number}")));
        assert!(tail.text().starts_with("line 20\n") && tail.text().ends_with("\nline 29"), "{}", tail.text());
        (0..10).for_each(|_| tail.push(&"x".repeat(1_000)));
        assert_eq!(tail.text().len(), 3 * 1_001 - 1);
    }
}
