//! What a command prints. stdout is data, in the format that was asked for; everything else is stderr.
//!
//! Commands say *what* it is ([`Output::list`], [`Output::show`], [`Output::did`], [`Output::describe`]); how it looks on a
//! terminal, in a pipe and for programs is decided here and in the modules below. Nothing here panics when a pipe is closed.

mod cell;
mod describe;
mod json;
mod page;
mod select;
mod sheet;
mod table;
mod things;
pub(crate) mod visible;

use std::io::{self, IsTerminal as _, Write as _};

use jiff::Timestamp;
use prost_reflect::DynamicMessage;
use serde::Serialize;
use serde_json::Value as Json;

pub(crate) use self::{
    cell::{Cell, Tone},
    describe::Part,
    json::{canonical, contract, read, read_dynamic, shown},
    select::Fields,
    sheet::Sheet,
    things::Thing,
};
use crate::{
    clock,
    exit::Exit,
    failure::Failure,
    resource::{Listing, Message, Resource},
    settings::{Environment, Format, GlobalArgs},
};

/// Where a command prints.
#[derive(Clone, Debug)]
pub(crate) struct Output {
    format: Format,
    fields: Fields,
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
        Ok(Self::of(environment.format(args)?, args, environment))
    }

    /// The same in a format that is known.
    pub(crate) fn of(format: Format, args: &GlobalArgs, environment: &Environment) -> Self {
        let terminal = io::stdout().is_terminal();
        let look = Look { terminal, color: environment.color(args.color, terminal), now: clock::now() };
        let fields = args.fields.clone().unwrap_or_default();
        Self { format, fields, look, stderr_is_terminal: io::stderr().is_terminal() }
    }

    /// Whether data is for programs: then stderr holds errors and nothing else, and stdout no story.
    pub(crate) fn is_for_programs(&self) -> bool {
        match self.format {
            Format::Table | Format::Wide => false,
            Format::Json | Format::Jsonl | Format::Yaml | Format::Name | Format::None => true,
        }
    }

    /// Whether each object is a line of its own, so that a stream can be printed as it comes.
    pub(crate) fn is_jsonl(&self) -> bool {
        self.format == Format::Jsonl
    }

    /// Whether everything is one document, which has to be complete before it is printed.
    pub(crate) fn is_one_document(&self) -> bool {
        matches!(self.format, Format::Json | Format::Yaml)
    }

    /// Whether somebody watches stderr.
    pub(crate) fn is_watched(&self) -> bool {
        self.stderr_is_terminal
    }

    /// Refuses to begin where a field was asked for that the message, by its full name, does not have.
    pub(crate) fn must_have(&self, message: &str) -> Result<(), Failure> {
        self.fields.check(message)
    }

    /// Refuses to begin where what is told only once would not be printed: `field` of the answer, which holds `what`.
    pub(crate) fn must_show(&self, field: &str, what: &str) -> Result<(), Failure> {
        let shows = match self.format {
            Format::Table | Format::Wide | Format::Json | Format::Jsonl | Format::Yaml => self.fields.shows(field),
            Format::Name | Format::None => false,
        };
        if shows {
            return Ok(());
        }
        let hint = format!("it is told by -o table, wide, json, jsonl and yaml, with --fields where `{field}` is one");
        Err(Failure::usage(format!("{what} is told once, and this output would not show it")).hint(hint))
    }

    /// How tables look.
    pub(crate) fn look(&self) -> &Look {
        &self.look
    }

    /// A list: the response message, with every page that was asked for.
    pub(crate) fn list<L: Listing>(&self, mut response: L) -> Result<(), Failure> {
        self.fields.check(L::Item::NAME)?;
        match self.format {
            Format::Table | Format::Wide => {
                let more = !response.token().is_empty();
                let items = response.items();
                if items.is_empty() && self.look.terminal {
                    self.note(format!("no {}", L::NOUN));
                    return Ok(());
                }
                let rows = items.iter().map(|item| self.row(item)).collect();
                write(&table::render(&self.headers::<L::Item>(), rows, &self.look))?;
                if more {
                    self.note(format!("{} shown, there are more (--limit 0 for all)", response.items().len()));
                }
                Ok(())
            }
            Format::Json if self.fields.is_all() => write(&json::pretty(&response)),
            Format::Yaml if self.fields.is_all() => write(&yaml(&shown(&response))),
            Format::Json => write(&json::pretty_value(&self.parts_of(&response))),
            Format::Yaml => write(&yaml(&self.parts_of(&response))),
            Format::Jsonl => response.items().iter().try_for_each(|item| self.line_of(item)),
            Format::Name => response.items().iter().try_for_each(|item| write(&name_line(item))),
            Format::None => Ok(()),
        }
    }

    /// One object, with everything there is to see.
    pub(crate) fn show<R: Resource>(&self, resource: &R) -> Result<(), Failure> {
        self.fields.check(R::NAME)?;
        match self.format {
            Format::Table | Format::Wide if self.fields.is_all() => write(&page::render(resource.page(), &self.look)),
            Format::Table | Format::Wide => self.page_of_fields(resource),
            Format::Json | Format::Jsonl | Format::Yaml | Format::Name | Format::None => self.object(resource),
        }
    }

    /// Something was done: a sentence for people, the object for programs.
    pub(crate) fn did<M: Message>(&self, sentence: &str, message: &M) -> Result<(), Failure> {
        match self.format {
            Format::Table | Format::Wide if self.fields.is_all() => self.line(&visible::lines(sentence)),
            Format::Table | Format::Wide => self.page_of_fields(message),
            Format::Json | Format::Jsonl | Format::Yaml | Format::Name | Format::None => self.object(message),
        }
    }

    /// A page of several parts.
    pub(crate) fn describe(&self, name: &str, parts: Vec<Part>) -> Result<(), Failure> {
        match self.format {
            Format::Table | Format::Wide => write(&describe::text(&parts)),
            Format::Json => write(&json::pretty_value(&self.fields.of(&describe::object(parts)))),
            Format::Jsonl => write(&json::compact_value(&self.fields.of(&describe::object(parts)))),
            Format::Yaml => write(&yaml(&self.fields.of(&describe::object(parts)))),
            Format::Name => self.line(name),
            Format::None => Ok(()),
        }
    }

    /// Data that is no message of the API.
    pub(crate) fn value(&self, text: &str, value: &Json) -> Result<(), Failure> {
        match self.format {
            Format::Table | Format::Wide => write(text),
            Format::Json => write(&json::pretty_value(&self.fields.of(value))),
            Format::Jsonl => write(&json::compact_value(&self.fields.of(value))),
            Format::Yaml => write(&yaml(&self.fields.of(value))),
            Format::Name | Format::None => Ok(()),
        }
    }

    /// One message of an answer that no stub of ours knows. There is no table of it.
    pub(crate) fn dynamic(&self, message: DynamicMessage) -> Result<(), Failure> {
        let shown = json::shown_dynamic(message);
        match self.format {
            Format::Table | Format::Wide | Format::Json if self.fields.is_all() => write(&shown.pretty()),
            Format::Table | Format::Wide | Format::Json => write(&json::pretty_value(&self.fields.of(&shown.value()))),
            Format::Jsonl if self.fields.is_all() => write(&shown.compact()),
            Format::Jsonl => write(&json::compact_value(&self.fields.of(&shown.value()))),
            Format::Yaml => write(&format!("---\n{}", yaml(&shown))),
            Format::Name | Format::None => Ok(()),
        }
    }

    /// A table as text, to be part of something.
    pub(crate) fn table(&self, columns: &[&str], rows: Vec<Vec<Cell>>) -> String {
        table::render(columns, rows, &self.look)
    }

    /// A page as text, to be part of something.
    pub(crate) fn page(&self, fields: impl IntoIterator<Item = (String, Cell)>) -> String {
        page::render(fields, &self.look)
    }

    /// A list that goes on.
    pub(crate) fn sheet(&self) -> Sheet<'_> {
        Sheet::new(self)
    }

    /// One message as one line of JSON.
    pub(crate) fn line_of<M: Message>(&self, message: &M) -> Result<(), Failure> {
        if self.fields.is_all() {
            return write(&json::compact(message));
        }
        write(&json::compact_value(&self.fields.of(&canonical(message))))
    }

    /// One line of stdout.
    pub(crate) fn line(&self, text: &str) -> Result<(), Failure> {
        write(&format!("{text}\n"))
    }

    /// A line for people; programs are told otherwise.
    pub(crate) fn line_for_people(&self, text: &str) -> Result<(), Failure> {
        if self.is_for_programs() { Ok(()) } else { self.line(text) }
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

    /// The same, for people alone: a program reads stderr for errors.
    pub(crate) fn remark(&self, text: impl AsRef<str>) {
        if !self.is_for_programs() {
            self.note(text);
        }
    }

    /// Tells why a command ends so, unless nothing is wrong with it.
    pub(crate) fn ended(&self, failure: &Failure) -> Exit {
        if failure.exit() != Exit::Done {
            self.failure(failure);
        }
        failure.exit()
    }

    /// Whether a failure is an object.
    pub(crate) fn tells_objects(&self) -> bool {
        match self.format {
            Format::Json | Format::Jsonl | Format::Yaml => true,
            Format::Table | Format::Wide | Format::Name | Format::None => false,
        }
    }

    /// A failure, in the form the caller reads.
    pub(crate) fn failure(&self, failure: &Failure) {
        match self.format {
            Format::Json | Format::Yaml => self.note(format!("{:#}", failure.json())),
            Format::Jsonl => self.note(failure.json().to_string()),
            Format::Table | Format::Wide | Format::Name | Format::None => self.note(failure.text().trim_end()),
        }
    }

    /// The headers of a list.
    fn headers<R: Resource>(&self) -> Vec<String> {
        if !self.fields.is_all() {
            return self.fields.headers();
        }
        let wide = if self.format == Format::Wide { R::WIDE } else { &[] };
        R::COLUMNS.iter().chain(wide).map(|header| (*header).to_owned()).collect()
    }

    /// The row of one of its items.
    fn row<R: Resource>(&self, item: &R) -> Vec<Cell> {
        if !self.fields.is_all() {
            return self.fields.cells(&canonical(item));
        }
        let mut row = item.row();
        if self.format == Format::Wide {
            row.extend(item.wide());
        }
        row
    }

    fn page_of_fields<M: Message>(&self, message: &M) -> Result<(), Failure> {
        let cells = self.fields.cells(&canonical(message));
        write(&page::render(self.fields.headers().into_iter().zip(cells), &self.look))
    }

    /// One object for programs.
    fn object<M: Message>(&self, message: &M) -> Result<(), Failure> {
        let all = self.fields.is_all();
        match self.format {
            Format::Json if all => write(&json::pretty(message)),
            Format::Json => write(&json::pretty_value(&self.fields.of(&canonical(message)))),
            Format::Jsonl => self.line_of(message),
            Format::Yaml if all => write(&yaml(&shown(message))),
            Format::Yaml => write(&yaml(&self.fields.of(&canonical(message)))),
            Format::Name => write(&name_line(message)),
            Format::Table | Format::Wide | Format::None => Ok(()),
        }
    }

    /// A list whose items are reduced to the fields.
    fn parts_of<L: Listing>(&self, response: &L) -> Json {
        let mut whole = canonical(response);
        for value in whole.as_object_mut().into_iter().flatten().map(|(_, value)| value) {
            if let Json::Array(items) = value {
                items.iter_mut().for_each(|item| *item = self.fields.of(item));
            }
        }
        whole
    }
}

/// `kind/name` and a line end; nothing where a message has no name.
fn name_line<M: Message>(message: &M) -> String {
    name_line_of(&message.name())
}

fn name_line_of(name: &str) -> String {
    if name.is_empty() { String::new() } else { format!("{}\n", visible::one_line(name)) }
}

fn yaml(value: &impl Serialize) -> String {
    let text = serde_saphyr::to_string(value).expect("what is JSON is YAML");
    if text.ends_with('\n') { text } else { format!("{text}\n") }
}

fn write(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use mainspring_proto::scheduler::v1::{Run, RunState};

    use super::{name_line, shown, yaml};

    #[test]
    fn yaml_is_the_same_data_in_the_order_of_the_contract() {
        let run = Run { run_id: "r".into(), state: RunState::Failed.into(), note: "yes: no".into(), ..Run::default() };
        let text = yaml(&shown(&run));
        let (id, state) = (text.find("runId: r\n").unwrap(), text.find("state: RUN_STATE_FAILED\n").unwrap());
        assert!(id < state && text.contains("priority: 0\n") && text.contains("labels: {}\n"), "{text}");
        assert!(text.contains("note: \"yes: no\"\n") || text.contains("note: 'yes: no'\n"), "{text}");
    }

    #[test]
    fn a_name_can_be_typed_again() {
        assert_eq!(name_line(&Run { run_id: "019a".into(), ..Run::default() }), "run/019a\n");
    }
}
