//! Lists of what is no message of the API: contexts, settings, instants of a rule that no server was asked about.

use serde_json::Value as Json;

use super::{Cell, Fields, Output, json, name_line_of, page, table, write, yaml};
use crate::{failure::Failure, settings::Format};

/// One of them.
#[derive(Clone, Debug)]
pub(crate) struct Thing {
    /// What it can be typed as; empty where it has no name.
    pub(crate) name: String,
    pub(crate) cells: Vec<Cell>,
    pub(crate) json: Json,
}

impl Output {
    /// All of them, under one key.
    pub(crate) fn things(&self, key: &str, columns: &[&str], things: Vec<Thing>) -> Result<(), Failure> {
        self.things_with(&[], key, columns, things)
    }

    /// All of them, under one key of one object; before it, what is true of them together. Fields are those of a thing, but
    /// where they have the name of such a fact: of these, too, only what was asked for is left.
    pub(crate) fn things_with(
        &self,
        facts: &[(&str, Json)],
        key: &str,
        columns: &[&str],
        things: Vec<Thing>,
    ) -> Result<(), Failure> {
        let names: Vec<&str> = facts.iter().map(|(name, _)| *name).collect();
        let facts = Json::Object(facts.iter().map(|(name, fact)| ((*name).to_owned(), fact.clone())).collect());
        let (of_facts, of_things) = self.fields.split(&names);
        if !of_facts.is_all() && of_things.is_all() {
            return self.facts(&of_facts, &facts);
        }
        let object = |things: Vec<Thing>| {
            let all = things.into_iter().map(|thing| of_things.of(&thing.json)).collect();
            let mut whole = of_facts.of(&facts);
            if let Json::Object(whole) = &mut whole {
                whole.insert(key.to_owned(), Json::Array(all));
            }
            whole
        };
        match self.format {
            Format::Table | Format::Wide if self.fields.is_all() => {
                write(&table::render(columns, things.into_iter().map(|thing| thing.cells).collect(), &self.look))
            }
            Format::Table | Format::Wide => {
                let rows = things.iter().map(|thing| of_things.cells(&thing.json)).collect();
                write(&table::render(&of_things.headers(), rows, &self.look))
            }
            Format::Json => write(&json::pretty_value(&object(things))),
            Format::Yaml => write(&yaml(&object(things))),
            Format::Jsonl => {
                things.iter().try_for_each(|thing| write(&json::compact_value(&of_things.of(&thing.json))))
            }
            Format::Name => things.iter().try_for_each(|thing| write(&name_line_of(&thing.name))),
            Format::None => Ok(()),
        }
    }

    /// Nothing but what is true of all of them.
    fn facts(&self, fields: &Fields, facts: &Json) -> Result<(), Failure> {
        match self.format {
            Format::Table | Format::Wide => {
                write(&page::render(fields.headers().into_iter().zip(fields.cells(facts)), &self.look))
            }
            Format::Json => write(&json::pretty_value(&fields.of(facts))),
            Format::Yaml => write(&yaml(&fields.of(facts))),
            Format::Jsonl => write(&json::compact_value(&fields.of(facts))),
            Format::Name | Format::None => Ok(()),
        }
    }
}
