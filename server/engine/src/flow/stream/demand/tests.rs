//! The sums against the scan that they replace.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{Arc, Demand, HashMap, Held, Lane, QueueName, SessionNumber, Share};
use crate::{
    domain::{
        attempt::AttemptKey,
        ids::RunId,
        instant::Instant,
        policy::LeaseLossPolicy,
        worker::{AbandonReason, Held as Listed, Phase},
    },
    flow::stream::messages::{RejectReason, Reply},
    ports::store::Dispatchable,
};

const SESSIONS: usize = 4;
const QUEUES: [&str; 3] = ["narrow", "wide", "unserved"];

fn queue(index: usize) -> QueueName {
    QUEUES[index % QUEUES.len()].parse().unwrap()
}

fn lane(queue_index: usize, job_type: &str) -> Lane {
    Lane {
        namespace: Default::default(),
        queue: queue(queue_index),
        job_type: job_type.parse().unwrap(),
        selector: Default::default(),
    }
}

/// Two types of one queue, one of another; the odd sessions serve less.
fn lanes(session: usize) -> Vec<Lane> {
    let mut lanes = vec![lane(0, "a"), lane(0, "b"), lane(1, "a")];
    lanes.truncate(if session.is_multiple_of(2) { 3 } else { 1 });
    lanes
}

fn key(run: u128, attempt: i64) -> AttemptKey {
    AttemptKey { run: RunId::from_uuid(uuid::Uuid::from_u128(run)), attempt }
}

fn attempt(key: AttemptKey, lane: Lane) -> Dispatchable {
    Dispatchable {
        key,
        lane,
        job: None,
        payload: Default::default(),
        due_time: Instant::EPOCH,
        queue_time: None,
        nominal_time: None,
        previous_success: None,
        execution_timeout: None,
        stop_grace: None,
        heartbeat_timeout: None,
        lease_loss: LeaseLossPolicy::Continue,
        headers: BTreeMap::new(),
        failures: 0,
        max_attempts: 1,
    }
}

#[derive(Clone, Debug)]
enum Act {
    Join,
    Leave,
    Capacity(usize, u32),
    Reserve(usize),
    Unreserve(usize),
    Dispatch(u128, i64, usize),
    Reply(u128, i64, Reply),
    Result(u128, i64),
    Ack(u128, i64),
    Revoke(u128, i64),
    Beat(Vec<(u128, i64)>),
    Silent,
    TakeNoMore,
}

fn any_act() -> impl Strategy<Value = Act> {
    let (run, number, queue) = (1_u128..6, 1_i64..3, 0_usize..3);
    let reply = prop_oneof![
        Just(Reply::Accepted(Phase::Running)),
        Just(Reply::Rejected(RejectReason::Unspecified, None)),
        Just(Reply::Rejected(RejectReason::NoCapacity, None)),
        Just(Reply::Rejected(RejectReason::Draining, None)),
    ];
    prop_oneof![
        2 => Just(Act::Join),
        1 => Just(Act::Leave),
        3 => (queue.clone(), 0_u32..5).prop_map(|(queue, slots)| Act::Capacity(queue, slots)),
        3 => queue.clone().prop_map(Act::Reserve),
        2 => queue.clone().prop_map(Act::Unreserve),
        4 => (run.clone(), number.clone(), queue).prop_map(|(run, number, queue)| Act::Dispatch(run, number, queue)),
        3 => (run.clone(), number.clone(), reply).prop_map(|(run, number, reply)| Act::Reply(run, number, reply)),
        2 => (run.clone(), number.clone()).prop_map(|(run, number)| Act::Result(run, number)),
        2 => (run.clone(), number.clone()).prop_map(|(run, number)| Act::Ack(run, number)),
        2 => (run.clone(), number.clone()).prop_map(|(run, number)| Act::Revoke(run, number)),
        3 => prop::collection::vec((run, number), 0..4).prop_map(Act::Beat),
        1 => Just(Act::Silent),
        1 => Just(Act::TakeNoMore),
    ]
}

/// A session as the hub knows it.
struct Session {
    held: Held,
    share: Share,
    joined: bool,
}

impl Session {
    fn act(&mut self, act: Act, second: i64) {
        let now = Instant::from_micros(second * 5_000_000);
        let held = &mut self.held;
        match act {
            Act::Join => {
                self.share.join(held);
                self.joined = true;
            }
            Act::Leave => {
                self.share.leave(held);
                self.joined = false;
            }
            Act::Capacity(index, slots) => held.state_capacity(BTreeMap::from([(queue(index), slots), (queue(0), 3)])),
            Act::Reserve(index) => held.reserve(&queue(index)),
            Act::Unreserve(index) => held.unreserve(&queue(index)),
            Act::Dispatch(run, number, index) => held.dispatched(&attempt(key(run, number), lane(index, "a")), now),
            Act::Reply(run, number, reply) => drop(held.reply(key(run, number), reply, now)),
            Act::Result(run, number) => held.reporting(key(run, number)),
            Act::Ack(run, number) => {
                held.acked(key(run, number));
            }
            Act::Revoke(run, number) => drop(held.revoke(key(run, number), AbandonReason::LeaseExpired)),
            Act::Beat(runs) => {
                let listed = |(run, number)| Listed { key: key(run, number), phase: Phase::Running };
                let listing: Vec<_> = runs.into_iter().map(listed).collect();
                drop(held.heartbeat(second, &listing, now));
            }
            Act::Silent => drop(held.silent(now, std::time::Duration::from_secs(20))),
            Act::TakeNoMore => held.take_no_more(),
        }
        self.share.count(held);
    }
}

/// What is free in each lane, and where, by looking at every session and everything it holds.
fn scanned(sessions: &[Session]) -> HashMap<Lane, (usize, Vec<SessionNumber>)> {
    let mut scanned: HashMap<Lane, (usize, Vec<SessionNumber>)> = HashMap::new();
    for (index, session) in sessions.iter().enumerate().filter(|(_, session)| session.joined) {
        for lane in lanes(index) {
            let free = session.held.free_by_counting(&lane.queue);
            let (sum, open) = scanned.entry(lane).or_default();
            *sum += free;
            open.extend((free > 0).then_some(session.share.number()));
        }
    }
    scanned
}

/// Every session with a free slot in a lane, as they take turns.
fn turns(demand: &Demand, lane: &Lane) -> Vec<SessionNumber> {
    let mut turns: Vec<SessionNumber> = Vec::new();
    let mut last = SessionNumber::MAX;
    while let Some(next) = demand.next(lane, last).filter(|next| !turns.contains(next)) {
        turns.push(next);
        last = next;
    }
    turns
}

proptest! {
    #[test]
    fn the_sums_are_what_a_scan_would_find(
        acts in prop::collection::vec((0..SESSIONS, any_act()), 0..120),
    ) {
        let demand = Arc::new(Demand::default());
        let mut sessions: Vec<_> = (0..SESSIONS)
            .map(|index| Session {
                held: Held::new(BTreeMap::from([(queue(0), 2), (queue(1), 1)]), Instant::EPOCH),
                share: Share::new(&demand, lanes(index)),
                joined: false,
            })
            .collect();
        for (second, (index, act)) in (1..).zip(acts) {
            sessions[index].act(act, second);
            let scanned = scanned(&sessions);
            let sums: HashMap<_, _> = scanned.iter().map(|(lane, (sum, _))| (lane.clone(), *sum)).collect();
            prop_assert_eq!(demand.lanes(), sums);
            for (lane, (_, open)) in scanned {
                prop_assert_eq!(turns(&demand, &lane), open);
            }
        }
        // Nothing of a session stays when it has left.
        sessions.iter_mut().for_each(|session| session.act(Act::Leave, 1_000));
        prop_assert!(demand.lanes().is_empty());
    }
}

#[test]
fn sessions_take_turns() {
    let demand = Arc::new(Demand::default());
    let held = Held::new(BTreeMap::from([(queue(0), 1)]), Instant::EPOCH);
    let mut shares: Vec<_> = (0..3).map(|_| Share::new(&demand, lanes(1))).collect();
    shares.iter_mut().for_each(|share| share.join(&held));
    let lane = lane(0, "a");
    assert_eq!([0, 1, 2].map(|after| demand.next(&lane, after)), [Some(1), Some(2), Some(0)]);
    shares[1].leave(&held);
    assert_eq!(demand.next(&lane, 0), Some(2), "who has left has no turn");
    assert_eq!(demand.next(&Lane { queue: queue(2), ..lane }, 0), None);
}
