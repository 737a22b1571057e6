//! The session.
use std::collections::BTreeMap;

use tokio::runtime::Handle;
use uuid::Uuid;

use crate::{
    config::Settings,
    error::Error,
    worker::{Observer, Registered},
};

/// Everything a session is made of.
pub(crate) struct Setup {
    pub(crate) id: Uuid,
    pub(crate) settings: Settings,
    pub(crate) types: BTreeMap<String, Registered>,
    pub(crate) queues: BTreeMap<String, u32>,
    pub(crate) observers: Vec<Observer>,
}

pub(crate) struct Session;
impl Session {
    pub(crate) async fn ended(&mut self) -> Result<(), Error> {
        std::future::pending().await
    }
    pub(crate) fn drain(&self) {}
}
pub(crate) fn start(_setup: Setup, _runtime: Handle) -> Result<Session, Error> {
    Ok(Session)
}
