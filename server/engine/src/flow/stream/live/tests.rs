//! How a session ends, whichever half of its stream goes first.

use std::{collections::BTreeMap, sync::Arc};

use tokio::sync::mpsc;

use super::{Held, Instant, Live, Owner, Scope, SessionEnd};
use crate::{
    domain::{ids::WorkerId, worker::Hello},
    flow::stream::{Inbox, held::tests::attempt, messages::FromWorker},
};

pub(in crate::flow::stream) fn hello(worker: WorkerId, epoch: i64) -> Hello {
    Hello {
        worker,
        epoch,
        name: String::new(),
        namespace: Default::default(),
        labels: BTreeMap::new(),
        sdk: String::new(),
        build_id: String::new(),
        handlers: Vec::new(),
        capacity: BTreeMap::new(),
        in_flight: Vec::new(),
        max_message: 0,
        credential: String::new(),
    }
}

fn live() -> Live {
    let hello = hello(WorkerId::from_uuid(uuid::Uuid::nil()), 1);
    let owner = Owner { worker: hello.worker, epoch: hello.epoch };
    let held = Held::new(BTreeMap::new(), Instant::EPOCH);
    Live::new(owner, Scope::default(), &hello, held, mpsc::channel(1).0)
}

/// A worker that says that it will leave.
fn leaving() -> (Arc<Live>, Inbox) {
    let live = Arc::new(live());
    let inbox = Inbox::new(live.clone());
    inbox.push(FromWorker::Drain).unwrap();
    (live, inbox)
}

#[test]
fn a_worker_that_said_so_and_holds_nothing_has_left() {
    let (live, inbox) = leaving();
    inbox.close(true);
    assert_eq!(live.ended(), Some(SessionEnd::Left));
    // The other half goes after it, and changes nothing.
    inbox.close(false);
    assert_eq!(live.ended(), Some(SessionEnd::Left));
}

#[test]
fn any_other_worker_may_come_back() {
    let (broken, inbox) = leaving();
    inbox.close(false);
    let unannounced = Arc::new(live());
    Inbox::new(unannounced.clone()).close(true);
    let (busy, inbox) = leaving();
    busy.held().dispatched(&attempt(1), Instant::EPOCH);
    inbox.close(true);
    for live in [broken, unannounced, busy] {
        assert_eq!(live.ended(), Some(SessionEnd::Closed));
    }
}
