//! What a command prints. stdout is data, in the format that was asked for; everything else is stderr.
//!
//! Commands say *what* it is ([`Output::list`], [`Output::show`], [`Output::did`]); how it looks on a terminal, in a
//! pipe and as JSON is decided here and in the modules below. Nothing here panics when a pipe is closed.

mod cell;
mod json;
mod page;
mod table;
pub(crate) mod visible;

use std::io::{self, IsTerminal as _, Write as _};

use jiff::Timestamp;
use serde_json::Value as Json;

pub(crate) use self::{
    cell::{Cell, Tone},
    json::canonical,
};
use crate::{
    clock,
    failure::Failure,
    resource::{Listing, Message, Resource},
    settings::{Environment, Format, GlobalArgs},
};

/// Where a command prints.
#[derive(Clone, Debug)]
pub(crate) struct Output {
    format: Format,
    look: Look,
    stderr_is_terminal: bool,
}

/// How a table looks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    /// A person looks at it: aligned columns, relative times. Else tab-separated, absolute times, a header always.
    pub terminal: bool,
    /// Use colour.
    pub color: bool,
    /// What relative times are relative to.
    pub now: Timestamp,
}

impl Output {
    /// The output that the arguments and the environment ask for.
    pub(crate) fn new(args: &GlobalArgs, environment: &Environment) -> Result<Self, Failure> {
        let terminal = io::stdout().is_terminal();
        let look = Look { terminal, color: environment.color(args.color, terminal), now: clock::now() };
        Ok(Self { format: environment.format(args)?, look, stderr_is_terminal: io::stderr().is_terminal() })
    }

    /// Whether data is for programs.
    pub(crate) fn is_json(&self) -> bool {
        match self.format {
            Format::Table => false,
            Format::Json | Format::Jsonl => true,
        }
    }

    /// Whether each object is a line of its own, so that a stream can be printed as it comes.
    pub(crate) fn is_jsonl(&self) -> bool {
        self.format == Format::Jsonl
    }

    /// Whether somebody watches stderr.
    pub(crate) fn is_watched(&self) -> bool {
        self.stderr_is_terminal
    }

    /// How tables look.
    pub(crate) fn look(&self) -> &Look {
        &self.look
    }

    /// A list: the response message, with every page that was asked for.
    pub(crate) fn list<L: Listing>(&self, mut response: L) -> Result<(), Failure> {
        match self.format {
            Format::Table => {
                let more = !response.token().is_empty();
                let items = response.items();
                if items.is_empty() && self.look.terminal {
                    self.note(format!("no {}", L::NOUN));
                    return Ok(());
                }
                let rows = items.iter().map(Resource::row).collect();
                write(&table::render(L::Item::COLUMNS, rows, &self.look))?;
                if more {
                    self.note(format!("{} shown, there are more (--limit 0 for all)", response.items().len()));
                }
                Ok(())
            }
            Format::Json => write(&json::pretty(&response)),
            Format::Jsonl => response.items().iter().try_for_each(|item| self.line_of(item)),
        }
    }

    /// One object, with everything there is to see.
    pub(crate) fn show<R: Resource>(&self, resource: &R) -> Result<(), Failure> {
        match self.format {
            Format::Table => write(&page::render(resource.page(), &self.look)),
            Format::Json => write(&json::pretty(resource)),
            Format::Jsonl => self.line_of(resource),
        }
    }

    /// Something was done: a sentence for people, the object for programs.
    pub(crate) fn did<M: Message>(&self, sentence: &str, message: &M) -> Result<(), Failure> {
        match self.format {
            Format::Table => self.line(&visible::lines(sentence)),
            Format::Json => write(&json::pretty(message)),
            Format::Jsonl => self.line_of(message),
        }
    }

    /// Data that is no message of the API.
    pub(crate) fn value(&self, text: &str, value: &Json) -> Result<(), Failure> {
        match self.format {
            Format::Table => write(text),
            Format::Json => write(&format!("{value:#}\n")),
            Format::Jsonl => write(&format!("{value}\n")),
        }
    }

    /// One message as one line of JSON.
    pub(crate) fn line_of<M: Message>(&self, message: &M) -> Result<(), Failure> {
        write(&json::compact(message))
    }

    /// One line of stdout.
    pub(crate) fn line(&self, text: &str) -> Result<(), Failure> {
        write(&format!("{text}\n"))
    }

    /// Lines for whoever still reads stdout; a server does not stop because nobody does.
    pub(crate) fn tell(&self, text: &str) {
        drop(self.line(text));
    }

    /// Something worth knowing that is no data.
    #[expect(clippy::unused_self, reason = "notes may be silenced by a flag later")]
    pub(crate) fn note(&self, text: impl AsRef<str>) {
        // Nobody is left to tell where stderr is closed.
        drop(writeln!(io::stderr().lock(), "{}", text.as_ref()));
    }

    /// A failure, in the form the caller reads.
    pub(crate) fn failure(&self, failure: &Failure) {
        match self.format {
            Format::Table => self.note(failure.text().trim_end()),
            Format::Json => self.note(format!("{:#}", failure.json())),
            Format::Jsonl => self.note(failure.json().to_string()),
        }
    }
}

fn write(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()?;
    Ok(())
}
