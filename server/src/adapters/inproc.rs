//! Broker and signals of the embedded family: memory of one process.

mod broker;
mod signals;

pub use broker::InprocBroker;
pub use signals::InprocSignals;
