//! What a handler needs and promises, said before the worker connects.

use std::any::{TypeId, type_name};

/// What the arguments of a handler need. An extractor of your own adds to it in [`FromRun::declare`](super::FromRun::declare).
#[derive(Debug, Default)]
pub struct Needs {
    states: Vec<(TypeId, &'static str)>,
}

impl Needs {
    /// The handler takes a [`State<T>`](crate::State).
    pub fn state<T: 'static>(&mut self) {
        self.states.push((TypeId::of::<T>(), type_name::<T>()));
    }

    pub(crate) fn states(&self) -> &[(TypeId, &'static str)] {
        &self.states
    }
}
