//! How a session ends, whichever half of its stream goes first.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::Ordering,
};

use tokio::sync::mpsc;

use super::{Held, Instant, Live, Owner, SessionEnd};
use crate::{
    domain::{ids::WorkerId, names::Scope},
    flow::stream::held::tests::attempt,
};

fn live() -> Live {
    let owner = Owner { worker: WorkerId::from_uuid(uuid::Uuid::nil()), epoch: 1 };
    let held = Held::new(BTreeMap::new(), Instant::EPOCH);
    Live::new(owner, Scope::default(), "w".into(), BTreeSet::new(), held, mpsc::channel(1).0)
}

fn leaving() -> Live {
    let live = live();
    live.leaving.store(true, Ordering::Release);
    live
}

#[test]
fn a_worker_that_said_so_and_holds_nothing_has_left() {
    let live = leaving();
    live.closed(true);
    assert_eq!(live.ended(), Some(SessionEnd::Left));
    // The other half goes after it, and changes nothing.
    live.closed(false);
    assert_eq!(live.ended(), Some(SessionEnd::Left));
}

#[test]
fn any_other_worker_may_come_back() {
    let broken = leaving();
    broken.closed(false);
    let silent = live();
    silent.closed(true);
    let busy = leaving();
    busy.held().dispatched(&attempt(1), Instant::EPOCH);
    busy.closed(true);
    for live in [broken, silent, busy] {
        assert_eq!(live.ended(), Some(SessionEnd::Closed));
    }
}
