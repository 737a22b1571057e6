//! HTTP to the outside: how sinks are told.
//!
//! Users write the addresses, so nothing here trusts one. A name is resolved first, every address it has is judged
//! ([`reach`]), and the connection goes to the very address that was judged, so that a name that changes in between leads
//! nowhere else. No redirect is followed, no proxy is asked, and of an answer the status and its first words are read.

mod courier;
mod reach;
mod seal;
mod sign;
mod target;

pub use courier::HttpCourier;
pub use reach::Reach;
pub use seal::SealKey;
pub use sign::{SECRET_PREFIX, read_secret, write_secret};
