//! The Mainspring server.

pub mod adapters;
