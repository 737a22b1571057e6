//! Where a server is. The CLI, the SDK and the user's files write an address alike, so its one reader is the SDK's.

pub(crate) use mainspring_worker::context::Address;
