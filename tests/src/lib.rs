//! What tests share: the conformance suites that every family passes.

pub mod manual_clock;
