//! A list that goes on: the table, and below it a line for everything that changes, in the same columns.

use serde_json::Value as Json;

use super::{Cell, Format, Look, Output, json, table};
use crate::{clock, failure::Failure, resource::Resource};

/// Where a list goes on.
#[derive(Debug)]
pub(crate) struct Sheet<'a> {
    out: &'a Output,
    widths: Vec<usize>,
    /// What was printed last: a change that does not show is no line.
    last: String,
}

impl<'a> Sheet<'a> {
    pub(super) fn new(out: &'a Output) -> Self {
        Self { out, widths: Vec::new(), last: String::new() }
    }

    /// What there is at first. Again where it was lost sight of.
    pub(crate) fn begin<R: Resource>(&mut self, items: &[R]) -> Result<(), Failure> {
        let out = self.out;
        if !matches!(out.format, Format::Table | Format::Wide) {
            return items.iter().try_for_each(|item| self.line(item));
        }
        out.fields.check(R::NAME)?;
        let headers = out.headers::<R>();
        let rows: Vec<_> = items.iter().map(|item| out.row(item)).collect();
        let look = self.look();
        self.widths = table::widths(&headers, &rows, &look);
        let mut text = table::line(&headers.iter().map(Cell::text).collect::<Vec<_>>(), &self.widths, &look);
        for row in &rows {
            text.push_str(&table::line(row, &self.widths, &look));
        }
        super::write(&text)
    }

    /// One of them, as it is now.
    pub(crate) fn line<R: Resource>(&mut self, item: &R) -> Result<(), Failure> {
        let out = self.out;
        let text = match out.format {
            Format::Table | Format::Wide => table::line(&out.row(item), &self.widths, &self.look()),
            Format::Json => json::pretty_value(&self.part(item)),
            Format::Jsonl => json::compact_value(&self.part(item)),
            Format::Yaml => format!("---\n{}", super::yaml(&self.part(item))),
            Format::Name => super::name_line(item),
            Format::None => return Ok(()),
        };
        if text == self.last {
            return Ok(());
        }
        super::write(&text)?;
        self.last = text;
        Ok(())
    }

    fn part<R: Resource>(&self, item: &R) -> Json {
        self.out.fields.of(&json::canonical(item))
    }

    /// Times are as far away as they are now, not as they were at the beginning.
    fn look(&self) -> Look {
        Look { now: clock::now(), ..self.out.look }
    }
}
