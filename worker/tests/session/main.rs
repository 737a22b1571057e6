//! The SDK against a scripted server on a real socket. Tests wait for messages and events, never for time to pass.

#![expect(clippy::unwrap_used, reason = "the helpers of a test may panic as the test itself may")]

mod journal;
mod logs;
mod reconnects;
mod server;
mod stops;
mod work;
mod worker;
