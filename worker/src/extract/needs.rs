//! What a handler needs and promises, said before the worker connects.

use std::any::{TypeId, type_name};

use schemars::JsonSchema;

use crate::schema::Schema;

/// What the arguments of a handler need. An extractor of your own adds to it in [`FromRun::declare`](super::FromRun::declare).
#[derive(Debug, Default)]
pub struct Needs {
    states: Vec<(TypeId, &'static str)>,
    input: Option<Schema>,
    output: Option<Schema>,
}

impl Needs {
    /// The handler takes a [`State<T>`](crate::State).
    pub fn state<T: 'static>(&mut self) {
        self.states.push((TypeId::of::<T>(), type_name::<T>()));
    }

    /// The payload is read as a `T`: its schema is announced, and payloads are checked against it before the handler is
    /// called. Of several arguments that say so, the first one counts.
    pub fn input<T: JsonSchema>(&mut self) {
        self.input.get_or_insert_with(Schema::of_input::<T>);
    }

    /// The handler answers with a `T`.
    pub(crate) fn output<T: JsonSchema>(&mut self) {
        self.output = Some(Schema::of_output::<T>());
    }

    pub(crate) fn schemas(&self) -> (Option<&Schema>, Option<&Schema>) {
        (self.input.as_ref(), self.output.as_ref())
    }

    pub(crate) fn states(&self) -> &[(TypeId, &'static str)] {
        &self.states
    }
}
