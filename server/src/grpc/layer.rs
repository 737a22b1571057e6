//! What every call passes before its service and after it: the layers, from the outside in.
//!
//! 1. [`measure`]: counts it;
//! 2. [`errors`]: gives the call its id, keeps the caller's deadline, and brings every status into one form;
//! 3. [`access`]: who calls, and may they.
//!
//! gRPC-Web is outside of all, so that a browser sees the same statuses; further out are [`peer`], which sees who hangs
//! up, and [`plain`], which answers what is neither.

pub(crate) mod access;
pub(crate) mod errors;
pub(crate) mod measure;
pub(crate) mod peer;
pub(crate) mod plain;
pub(crate) mod wire;
