//! The way of a run: submit, due, dispatch, stream, outcome, rescue, retain.
