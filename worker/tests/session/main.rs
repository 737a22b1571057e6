//! The SDK against a scripted server on a real socket. Tests wait for messages and events, never for time to pass.

mod logs;
mod reconnects;
mod server;
mod stops;
mod work;
mod worker;
