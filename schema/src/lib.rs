//! Where a payload misses the JSON Schema of its type.
//!
//! The server says it when a payload is given to it, the worker when a run comes with one; a person must be able to put
//! the two side by side. So both ask this crate, and it does nothing else: who compiles a schema, with which bounds and
//! how much of it is told, is theirs.
//!
//! A miss is named by the path of the field that a person would mend, not by the place in the schema that failed: the
//! property that is missing or too many, and of an `anyOf` or `oneOf` the field that keeps the nearest alternative from
//! being met. Nothing of the payload is quoted but its keys: what it holds may be nobody else's business.

mod mismatch;
mod path;

pub use mismatch::{Mismatch, mismatches};
pub use path::join;
