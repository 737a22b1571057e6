//! What tests share: the conformance suites that every family passes, and a clock that tests move.

// A test that cannot go on says so by panicking; clippy knows that only of functions marked as tests.
#![allow(clippy::unwrap_used, reason = "everything here runs inside a test")]

pub mod conformance;
pub mod manual_clock;
