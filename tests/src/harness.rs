//! Real processes, started, broken and watched by a test.
//!
//! A test of this kind starts the product's own binary ([`server`]) and a worker that writes down what it does
//! ([`worker`]), speaks to them as anybody would ([`client`]), or as a worker of its own, message by message
//! ([`session`]), breaks connections between them ([`proxy`]) or kills them ([`process`]), and lets
//! `mainspring-check` judge what is left ([`judge`]). What follows from time alone is shown with a server whose clock the
//! test moves ([`timed`]).
//!
//! Nothing here sleeps until something has probably happened. A test waits for the event itself, and a generous limit
//! ends it where the event never comes; where a rule needs real time to pass, [`host::pass_time`] says why.

pub mod client;
pub mod disk;
pub mod document;
pub mod frames;
pub mod host;
pub mod journal;
pub mod judge;
pub mod process;
pub mod programs;
pub mod proxy;
pub mod raw;
pub mod receiver;
pub mod refusal;
pub mod rest;
pub mod rows;
pub mod scene;
pub mod script;
pub mod server;
pub mod session;
pub mod terminal;
pub mod timed;
pub mod worker;
pub mod zones;
