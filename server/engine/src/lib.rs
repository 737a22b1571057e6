//! The engine: what a run is, who may change it, and the stages it passes.
//!
//! Three layers, each knowing only the ones before it:
//!
//! * [`domain`] decides. Pure: time, randomness and ids come in as arguments, what should happen comes out as values.
//! * [`ports`] names what the engine needs of the world: a store, a broker, signals, a clock.
//! * [`flow`] is the way of a run: submit, due, dispatch, stream, outcome, rescue, retain. Each stage collects what is
//!   ready, asks a port for one batched step, and tells the next stage.
//!
//! The crate compiles without a database, broker or gRPC crate, and that is its fence: the families (embedded,
//! distributed) differ only in the adapters behind the ports.

#![warn(missing_docs)]

pub mod domain;
pub mod flow;
pub mod ports;
pub mod tasks;
