//! The services over a real socket: what a client sees of the whole way, layers, engine and store included.

#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap like the tests themselves")]

#[path = "harness/exposition.rs"]
mod exposition;
#[path = "harness/http.rs"]
mod http;
#[path = "harness/raw.rs"]
mod raw;
#[path = "harness/server.rs"]
mod server;
#[path = "harness/worker.rs"]
mod worker;

#[path = "socket/auto_disable.rs"]
mod auto_disable;
#[path = "socket/backfills.rs"]
mod backfills;
#[path = "socket/calls.rs"]
mod calls;
#[path = "socket/dead.rs"]
mod dead;
#[path = "socket/jobs.rs"]
mod jobs;
#[path = "socket/keys.rs"]
mod keys;
#[path = "socket/limits.rs"]
mod limits;
#[path = "socket/many.rs"]
mod many;
#[path = "socket/namespaces.rs"]
mod namespaces;
#[path = "socket/outside.rs"]
mod outside;
#[path = "socket/schemas.rs"]
mod schemas;
#[path = "socket/sign_in.rs"]
mod sign_in;
#[path = "socket/streams.rs"]
mod streams;
