//! What stands behind the engine's ports.

pub mod host_clock;
pub mod http;
pub mod inproc;
pub mod sql;
pub mod zone_files;
