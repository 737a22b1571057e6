//! What tests share: the conformance suites that every family passes.

pub mod faults;
pub mod harness;
pub mod manual_clock;
