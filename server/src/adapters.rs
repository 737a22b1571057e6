//! What stands behind the engine's ports.

pub mod sql;
