//! How a session ends, whichever half of its stream goes first; and that its free slots are counted.

use std::{collections::BTreeMap, sync::Arc};

use tokio::sync::mpsc;

use super::{Held, Instant, Live, Owner, Scope, SessionEnd, Share};
use crate::{
    domain::{ids::WorkerId, names::Lane, worker::Hello},
    flow::stream::{Inbox, demand::Demand, held::tests::attempt, messages::FromWorker},
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

fn lane() -> Lane {
    attempt(1).lane
}

/// A session with so many slots.
fn with_slots(demand: &Arc<Demand>, slots: u32) -> Live {
    let hello = hello(WorkerId::from_uuid(uuid::Uuid::nil()), 1);
    let owner = Owner { worker: hello.worker, epoch: hello.epoch };
    let held = Held::new(BTreeMap::from([(lane().queue, slots)]), Instant::EPOCH);
    Live::new(owner, Scope::default(), &hello, Share::new(demand, [lane()]), held, mpsc::channel(1).0)
}

fn live() -> Live {
    with_slots(&Arc::default(), 0)
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

#[test]
fn what_becomes_of_what_a_session_holds_is_counted_at_once() {
    let demand = Arc::new(Demand::default());
    let free = || demand.lanes().get(&lane()).copied();
    let (one, other) = (with_slots(&demand, 2), with_slots(&demand, 3));
    assert_eq!(free(), None, "nobody has joined");
    one.join();
    other.join();
    assert_eq!(free(), Some(5));
    {
        let mut held = one.held();
        held.reserve(&lane().queue);
        assert_eq!(free(), Some(5), "whoever asks does not wait for a session that is looked at");
        held.reserve(&lane().queue);
    }
    assert_eq!((free(), demand.next(&lane(), one.number)), (Some(3), Some(other.number)));
    one.held().state_capacity(BTreeMap::from([(lane().queue, 9)]));
    assert_eq!(free(), Some(10));
    other.held().take_no_more();
    assert_eq!(free(), Some(7));
    one.leave();
    one.held().state_capacity(BTreeMap::from([(lane().queue, 4)]));
    assert_eq!(free(), Some(0), "it has left, and the other takes no more");
    other.leave();
    assert_eq!(free(), None);
}
