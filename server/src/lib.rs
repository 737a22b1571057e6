//! The Mainspring server: gRPC services over the engine, the adapters behind its ports, and the wiring.
//!
//! [`wiring::start`] is the way in: a [`config::Config`] comes in, a [`wiring::Running`] server comes out. Proto types
//! live only in `grpc/`, sea-orm entities only in `adapters/sql/`; only `wiring` and `config` name a family.

pub mod adapters;
pub mod auth;
pub mod config;
pub mod grpc;
mod schemas;
mod telemetry;
pub mod wiring;
