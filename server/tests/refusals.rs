//! Every way in which every rpc refuses, over a real socket.
//!
//! The table of `refusals/table.rs` has one valid request per rpc; what can be wrong with it is read from the contract
//! itself by reflection (`refusals/contract.rs`): fields that say `Required.`, bounds, enums, ids, etags, payloads, page
//! tokens. An rpc without a row fails, and so does a row that does not show a field that could be wrong. What can be wrong
//! with a call of any rpc is in `refusals/matrix.rs`, and in docs/reference/refusals.md for readers.

#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap like the tests themselves")]

#[path = "harness/raw.rs"]
mod raw;
#[allow(dead_code, reason = "shared with the other tests over a socket, which use all of it")]
#[path = "harness/server.rs"]
mod server;
#[allow(dead_code, reason = "shared with the other tests over a socket, which use all of it")]
#[path = "harness/worker.rs"]
mod worker;

#[path = "refusals/callers.rs"]
mod callers;
#[path = "refusals/contract.rs"]
mod contract;
#[path = "refusals/fields.rs"]
mod fields;
#[path = "refusals/framing.rs"]
mod framing;
#[path = "refusals/http.rs"]
mod http;
#[path = "refusals/lists.rs"]
mod lists;
#[path = "refusals/matrix.rs"]
mod matrix;
#[path = "refusals/numbers.rs"]
mod numbers;
#[path = "refusals/replays.rs"]
mod replays;
#[path = "refusals/stage.rs"]
mod stage;
#[path = "refusals/stream.rs"]
mod stream;
#[path = "refusals/table.rs"]
mod table;
#[path = "refusals/wire.rs"]
mod wire;
