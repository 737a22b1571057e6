//! What the engine needs of the world. Small traits, named by flow stage, batch-first.
//!
//! The contract of every method is written on the trait and enforced by the conformance suites in `tests/conformance`,
//! which every family passes. The store is the truth; broker and signals may lose, double and delay anything, which costs
//! time and never correctness.

pub mod broker;
pub mod clock;
pub mod courier;
pub mod meter;
pub mod signals;
pub mod store;
