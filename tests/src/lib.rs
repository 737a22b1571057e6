//! What tests share: the conformance suites that every family passes, a clock that tests move, a harness for processes,
//! the fault suite, the attack and the benchmark on top of it.

// A test that cannot go on says so by panicking; clippy knows that only of functions marked as tests.
#![allow(clippy::unwrap_used, reason = "everything here runs inside a test")]

pub mod bench;
pub mod conformance;
pub mod engine;
pub mod faults;
pub mod harness;
pub mod hostile;
pub mod manual_clock;
