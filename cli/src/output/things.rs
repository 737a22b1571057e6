//! Lists of what is no message of the API: contexts, settings, instants of a rule that no server was asked about.

use serde_json::{Map, Value as Json};

use super::{Cell, Output, json, name_line_of, table, write, yaml};
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

    /// All of them, under one key of one object; before it, what is true of them together.
    pub(crate) fn things_with(
        &self,
        facts: &[(&str, Json)],
        key: &str,
        columns: &[&str],
        things: Vec<Thing>,
    ) -> Result<(), Failure> {
        let object = |things: Vec<Thing>| {
            let all = things.into_iter().map(|thing| self.fields.of(&thing.json)).collect();
            let facts = facts.iter().map(|(key, fact)| ((*key).to_owned(), fact.clone()));
            Json::Object(Map::from_iter(facts.chain([(key.to_owned(), Json::Array(all))])))
        };
        match self.format {
            Format::Table | Format::Wide if self.fields.is_all() => {
                write(&table::render(columns, things.into_iter().map(|thing| thing.cells).collect(), &self.look))
            }
            Format::Table | Format::Wide => {
                let rows = things.iter().map(|thing| self.fields.cells(&thing.json)).collect();
                write(&table::render(&self.fields.headers(), rows, &self.look))
            }
            Format::Json => write(&json::pretty_value(&object(things))),
            Format::Yaml => write(&yaml(&object(things))),
            Format::Jsonl => {
                things.iter().try_for_each(|thing| write(&json::compact_value(&self.fields.of(&thing.json))))
            }
            Format::Name => things.iter().try_for_each(|thing| write(&name_line_of(&thing.name))),
            Format::None => Ok(()),
        }
    }
}
