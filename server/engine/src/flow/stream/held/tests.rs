//! What a session holds, message by message.

use std::{collections::BTreeMap, time::Duration};

use proptest::prelude::*;

use super::{
    AbandonReason, AttemptKey, Directive, Dispatchable, Held, Instant, Lane, Listed, Phase, Progress, QueueName,
    Reading, RejectReason, Replied, Reply, Stop, Verdict,
};
use crate::domain::{ids::RunId, policy::LeaseLossPolicy};

const REPLY: Duration = Duration::from_secs(20);
const GRACE: Duration = Duration::from_secs(30);

fn at(second: i64) -> Instant {
    Instant::from_micros(second * 1_000_000)
}

fn key(run: u128) -> AttemptKey {
    AttemptKey { run: RunId::from_uuid(uuid::Uuid::from_u128(run)), attempt: 1 }
}

fn queue() -> QueueName {
    QueueName::default()
}

pub(in crate::flow::stream) fn attempt(run: u128) -> Dispatchable {
    Dispatchable {
        key: key(run),
        lane: Lane {
            namespace: Default::default(),
            queue: queue(),
            job_type: "t".parse().unwrap(),
            selector: Default::default(),
        },
        job: None,
        payload: Default::default(),
        due_time: at(0),
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

fn held(slots: u32) -> Held {
    Held::new(BTreeMap::from([(queue(), slots)]), at(0))
}

fn dispatch(held: &mut Held, run: u128, now: Instant) {
    held.reserve(&queue());
    held.dispatched(&attempt(run), now);
}

fn listed(run: u128, phase: Phase) -> Listed {
    Listed { key: key(run), phase }
}

fn running(now: Instant) -> Held {
    let mut held = held(2);
    dispatch(&mut held, 1, now);
    held.reply(key(1), Reply::Accepted(Phase::Running), now);
    held
}

#[test]
fn slots_are_counted_from_what_is_held() {
    let mut held = held(2);
    assert_eq!(held.free(&queue()), 2);
    held.reserve(&queue());
    assert_eq!(held.free(&queue()), 1);
    held.dispatched(&attempt(1), at(0));
    assert_eq!(held.free(&queue()), 1);
    held.reporting(key(1));
    assert_eq!(held.free(&queue()), 2, "the slot is free when the result is received");
    assert_eq!(held.free(&"other".parse().unwrap()), 0, "a queue that is not named gets nothing");
    held.state_capacity(BTreeMap::from([(queue(), 0)]));
    assert_eq!(held.free(&queue()), 0, "0 pauses");
}

/// One with a heartbeat timeout of 10 s, seen running at the start.
fn watched() -> Held {
    let mut held = held(2);
    held.reserve(&queue());
    held.dispatched(&Dispatchable { heartbeat_timeout: Some(Duration::from_secs(10)), ..attempt(1) }, at(0));
    held.reply(key(1), Reply::Accepted(Phase::Reserved), at(1));
    assert_eq!((held.next_look(REPLY), held.stalled(at(100))), (None, vec![]), "what waits at its worker is not asked");
    held.heartbeat(1, &[listed(1, Phase::Running)], at(20));
    held
}

fn told(fraction: f64) -> Progress {
    Progress { fraction, message: String::new(), time: at(0) }
}

#[test]
fn an_attempt_without_a_sign_of_life_is_given_up() {
    let mut held = watched();
    held.starts(at(21));
    // That its worker lists it is none.
    held.heartbeat(2, &[listed(1, Phase::Running)], at(25));
    assert_eq!((held.next_look(REPLY), held.stalled(at(29))), (Some(at(30)), vec![]));
    // The same again is no news, and a sign of life all the same.
    assert_eq!(held.tell_progress(key(1), Phase::Running, told(0.0), at(29)), None);
    assert!(held.tell_progress(key(1), Phase::Running, told(0.5), at(31)).is_some());
    assert_eq!(held.tell_progress(key(1), Phase::Running, told(0.5), at(32)), None);
    held.lives(key(1), at(35));
    assert_eq!((held.stalled(at(44)), held.stalled(at(45)), held.stalled(at(46))), (vec![], vec![key(1)], vec![]));
    // Its slot is free once the worker stops listing it, which is told that its lease is gone.
    let directives = held.directives(&[listed(1, Phase::Running)]);
    assert_eq!((held.free(&queue()), directives.len()), (1, 1));
    held.heartbeat(3, &[], at(50));
    assert_eq!(held.free(&queue()), 2);
}

#[test]
fn whoever_stops_reports_or_sleeps_is_not_given_up() {
    let mut held = watched();
    held.awake(at(90));
    assert_eq!(held.stalled(at(99)), [], "what it said meanwhile may not have been read");
    held.stop(key(1), "enough", Duration::from_secs(60), at(99));
    assert_eq!(held.stalled(at(150)), [], "a stop has a time of its own");
    let mut held = watched();
    held.reporting(key(1));
    assert_eq!(held.stalled(at(100)), []);
}

#[test]
fn v15_an_attempt_is_absent_only_after_it_was_accepted() {
    let mut held = held(2);
    dispatch(&mut held, 1, at(0));
    for sequence in 1..=3 {
        assert_eq!(held.heartbeat(sequence, &[], at(1)), Reading::default(), "the dispatch may not have arrived yet");
    }
    held.reply(key(1), Reply::Accepted(Phase::Running), at(2));
    assert_eq!(held.heartbeat(4, &[], at(3)).absent, [key(1)]);
    assert!(held.is_empty());
}

#[test]
fn listing_an_attempt_accepts_it() {
    let mut held = held(2);
    dispatch(&mut held, 1, at(0));
    assert_eq!(held.heartbeat(1, &[listed(1, Phase::Running)], at(1)), Reading::default());
    assert_eq!(held.silent(at(100), REPLY), []);
    assert_eq!(held.heartbeat(2, &[], at(3)).absent, [key(1)]);
}

#[test]
fn a_worker_that_answers_nothing_is_tried_with_one_attempt_at_a_time() {
    let mut held = held(50);
    (1..=20).for_each(|run| dispatch(&mut held, run, at(0)));
    assert_eq!(held.free(&queue()), 30);
    assert_eq!(held.silent(at(20), REPLY).len(), 20);
    held.heartbeat(1, &[], at(21));
    assert_eq!(held.free(&queue()), 1);
    held.reserve(&queue());
    assert_eq!(held.free(&queue()), 0);
    held.dispatched(&attempt(21), at(21));
    assert_eq!(held.free(&queue()), 0);
    assert_eq!(held.silent(at(41), REPLY), [key(21)]);
    assert_eq!(held.free(&queue()), 1);
    dispatch(&mut held, 22, at(41));
    held.reply(key(22), Reply::Accepted(Phase::Running), at(42));
    assert_eq!(held.free(&queue()), 48, "one is running, and one may still be");
}

#[test]
fn a_dispatch_that_is_not_answered_is_taken_back_once() {
    let mut held = held(2);
    dispatch(&mut held, 1, at(0));
    assert_eq!(held.next_look(REPLY), Some(at(20)));
    assert_eq!(held.silent(at(19), REPLY), []);
    assert_eq!(held.silent(at(20), REPLY), [key(1)]);
    assert_eq!(held.silent(at(21), REPLY), []);
    assert_eq!(held.free(&queue()), 1, "the worker may still hold it");
    assert_eq!(held.reply(key(1), Reply::Accepted(Phase::Running), at(22)), Replied::Unknown);
    let listing = [listed(1, Phase::Running)];
    held.heartbeat(1, &listing, at(23));
    assert_eq!(held.directives(&listing), [Directive::Abandon(key(1), AbandonReason::Returned)]);
    held.heartbeat(2, &[], at(24));
    assert_eq!(held.free(&queue()), 2);
}

#[test]
fn a_stop_is_repeated_until_the_worker_says_that_it_stops() {
    let mut held = running(at(0));
    let stop = Stop { reason: "no longer needed".into(), grace: GRACE };
    assert_eq!(held.stop(key(1), &stop.reason, GRACE, at(0)), Some(stop.clone()));
    assert_eq!(held.stop(key(1), "again", GRACE, at(0)), None, "the first reason stays");
    let listing = [listed(1, Phase::Running)];
    held.heartbeat(1, &listing, at(1));
    assert_eq!(held.directives(&listing), [Directive::Cancel(key(1), stop)]);
    let listing = [listed(1, Phase::Cancelling)];
    held.heartbeat(2, &listing, at(2));
    assert_eq!(held.directives(&listing), []);
}

#[test]
fn a_refusal_pauses_dispatches_until_the_next_heartbeat() {
    let mut held = held(5);
    dispatch(&mut held, 1, at(0));
    let refused = held.reply(key(1), Reply::Rejected(RejectReason::NoCapacity, None), at(1));
    assert!(matches!(refused, Replied::Rejected(_)));
    assert_eq!(held.free(&queue()), 0);
    held.heartbeat(1, &[], at(2));
    assert_eq!(held.free(&queue()), 5);
    dispatch(&mut held, 2, at(3));
    held.reply(key(2), Reply::Rejected(RejectReason::Draining, None), at(4));
    held.heartbeat(2, &[], at(5));
    assert_eq!(held.free(&queue()), 0, "a worker that drains gets nothing more");
}

#[test]
fn only_attempts_that_last_are_written_as_running() {
    let mut held = running(at(0));
    assert_eq!(held.starts(at(0)), []);
    assert_eq!(held.starts(at(1)), [(key(1), at(0))]);
    held.heartbeat(1, &[listed(1, Phase::Running)], at(2));
    assert_eq!(held.starts(at(9)), [], "written once");
    let mut held = running(at(0));
    held.reporting(key(1));
    assert_eq!(held.starts(at(9)), []);
}

#[test]
fn an_acknowledged_result_that_a_heartbeat_on_the_way_still_lists_is_not_unknown() {
    let mut held = running(at(0));
    held.heartbeat(1, &[listed(1, Phase::Running)], at(1));
    held.reporting(key(1));
    held.acked(key(1));
    let pending = [listed(1, Phase::ResultPending)];
    assert_eq!(held.heartbeat(2, &pending, at(2)), Reading::default());
    assert_eq!(held.heartbeat(9, &pending, at(3)).unknown, [key(1)], "but not for ever");
}

#[test]
fn a_stored_result_frees_a_slot_where_there_was_none() {
    let mut held = held(1);
    for run in 1..=2 {
        assert_eq!(held.free(&queue()), 1);
        dispatch(&mut held, run, at(0));
        held.reporting(key(run));
    }
    assert_eq!(held.free(&queue()), 0, "two results of a worker with one slot wait to be stored");
    assert!(held.acked(key(1)) && !held.acked(key(1)) && !held.acked(key(2)));
}

#[test]
fn what_is_over_is_soon_forgotten() {
    let mut held = held(2);
    for (sequence, run) in (1..).zip(1..=1_000) {
        let now = at(sequence);
        dispatch(&mut held, run, now);
        held.reply(key(run), Reply::Accepted(Phase::Running), now);
        held.reporting(key(run));
        held.acked(key(run));
        held.heartbeat(sequence, &[], now);
        assert!(held.acked.len() <= 3, "only what a heartbeat on the way may still list");
    }
    assert!(held.is_empty() && held.leasing.is_empty());
    assert_eq!(held.attempts.count(&queue()), super::Count::default());
}

#[test]
fn the_highest_heartbeat_there_can_be_is_the_last() {
    let mut held = running(at(0));
    held.heartbeat(i64::MAX, &[listed(1, Phase::Running)], at(1));
    held.reporting(key(1));
    held.acked(key(1));
    assert_eq!(held.heartbeat(i64::MAX, &[], at(2)), Reading::default());
}

#[test]
fn a_server_that_slept_waits_anew_for_what_it_waited_for() {
    let mut held = held(2);
    dispatch(&mut held, 1, at(0));
    held.awake(at(60));
    assert_eq!(held.silent(at(60), REPLY), [], "the answer may have come while nobody read it");
    assert_eq!(held.silent_from(GRACE), at(90));
    assert_eq!(held.silent(at(80), REPLY), [key(1)]);
}

#[test]
fn the_stores_verdicts_decide_what_is_held() {
    let mut held = held(4);
    let directives = held.welcome(
        vec![
            (key(1), Verdict::Keep(Box::new(attempt(1)))),
            (key(2), Verdict::Stop(Box::new(attempt(2)), "cancelled".into())),
            (key(3), Verdict::Abandon(AbandonReason::LeaseExpired)),
        ],
        GRACE,
        at(0),
    );
    let stop = Stop { reason: "cancelled".into(), grace: GRACE };
    assert_eq!(directives, [Directive::Cancel(key(2), stop), Directive::Abandon(key(3), AbandonReason::LeaseExpired)]);
    assert_eq!(held.free(&queue()), 2);
    assert_eq!(held.heartbeat(1, &[listed(1, Phase::Running)], at(1)).absent, [key(2)]);
}

#[test]
fn progress_is_of_attempts_that_are_held() {
    let mut held = running(at(0));
    let progress = Progress { fraction: 0.5, message: "half".into(), time: at(1) };
    let told = held.tell_progress(key(1), Phase::Running, progress.clone(), at(1)).unwrap();
    assert_eq!((told.lane.queue, told.job, &told.progress), (queue(), attempt(1).job.map(|job| job.1), &progress));
    assert!(held.tell_progress(key(2), Phase::Running, progress.clone(), at(1)).is_none());
    assert_eq!(held.progress(key(1)), Some(progress));
}

#[derive(Clone, Debug)]
enum Act {
    Reserve,
    Unreserve,
    Dispatch(u128),
    Accept(u128),
    Reject(u128),
    Result(u128),
    Ack(u128),
    Revoke(u128),
    Beat(Vec<u128>),
    Silent,
}

fn any_act() -> impl Strategy<Value = Act> {
    let run = 1_u128..6;
    prop_oneof![
        Just(Act::Reserve),
        Just(Act::Unreserve),
        run.clone().prop_map(Act::Dispatch),
        run.clone().prop_map(Act::Accept),
        run.clone().prop_map(Act::Reject),
        run.clone().prop_map(Act::Result),
        run.clone().prop_map(Act::Ack),
        run.clone().prop_map(Act::Revoke),
        prop::collection::vec(run, 0..4).prop_map(Act::Beat),
        Just(Act::Silent),
    ]
}

proptest! {
    #[test]
    fn no_slot_leaks_whatever_is_said(acts in prop::collection::vec(any_act(), 0..80)) {
        let mut held = held(4);
        let mut reserved = 0;
        for (second, act) in (1..).zip(acts) {
            let now = at(second * 5);
            match act {
                Act::Reserve => {
                    held.reserve(&queue());
                    reserved += 1;
                }
                Act::Unreserve => {
                    held.unreserve(&queue());
                    reserved = (reserved - 1_i32).max(0);
                }
                Act::Dispatch(run) => dispatch(&mut held, run, now),
                Act::Accept(run) => drop(held.reply(key(run), Reply::Accepted(Phase::Running), now)),
                Act::Reject(run) => {
                    drop(held.reply(key(run), Reply::Rejected(RejectReason::Unspecified, None), now));
                }
                Act::Result(run) => held.reporting(key(run)),
                Act::Ack(run) => {
                    held.acked(key(run));
                }
                Act::Revoke(run) => drop(held.revoke(key(run), AbandonReason::LeaseExpired)),
                Act::Beat(runs) => {
                    let listing: Vec<_> = runs.into_iter().map(|run| listed(run, Phase::Running)).collect();
                    drop(held.heartbeat(second, &listing, now));
                }
                Act::Silent => drop(held.silent(now, REPLY)),
            }
            prop_assert!(held.free(&queue()) <= 4);
            prop_assert_eq!(held.free(&queue()), held.free_by_counting(&queue()));
        }
        // Every result is acknowledged and the worker lists nothing: all slots are back.
        (1..6).for_each(|run| {
            held.acked(key(run));
        });
        held.heartbeat(1_000, &[], at(10_000));
        drop(held.silent(at(20_000), REPLY));
        held.heartbeat(1_001, &[], at(20_001));
        for _ in 0..reserved {
            held.unreserve(&queue());
        }
        // Whoever answers, if only to what was taken back, is trusted with all of them again.
        held.reply(key(9), Reply::Accepted(Phase::Running), at(20_002));
        prop_assert_eq!(held.free(&queue()), 4);
        prop_assert!(held.is_empty());
    }
}
