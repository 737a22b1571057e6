//! Rules (a) to (d): what may start, and what never does.

use super::*;

#[test]
fn a_an_attempt_starts_under_a_live_lease_within_its_window() {
    let (mut bench, stream) = Bench::connected(1);
    bench.pass(14_999);
    let key = bench.dispatch(stream, "r1", 0);
    assert_eq!(bench.starts(), ["r1"]);
    assert!(bench.begin(&key).is_some());
    assert_eq!(replies(&bench.said(stream)), [reply("r1", "RUNNING")]);
}

#[test]
fn v07_a_dispatch_that_was_long_on_its_way_is_handed_back() {
    let (mut bench, stream) = Bench::connected(1);
    bench.pass(15 * SECOND);
    bench.dispatch(stream, "r1", 0);
    assert!(bench.starts().is_empty());
    assert!(replies(&bench.said(stream)).contains(&reply("r1", "STALE")));
}

#[test]
fn a_the_window_counts_from_the_heartbeat_the_dispatch_names() {
    let (mut bench, stream) = Bench::connected(2);
    let first = bench.heartbeat(stream);
    bench.ack(stream, first.sequence, vec![]);
    bench.pass(11 * SECOND);
    bench.dispatch(stream, "old basis", 0);
    bench.dispatch(stream, "new basis", first.sequence);
    bench.dispatch(stream, "no such basis", 99);
    assert_eq!(bench.starts().len(), 1);
    let replies = replies(&bench.said(stream));
    assert!(replies.contains(&reply("old basis", "STALE")) && replies.contains(&reply("no such basis", "STALE")));
}

#[test]
fn a_the_task_asks_again_right_before_user_code() {
    let (mut bench, stream) = Bench::connected(1);
    let key = bench.dispatch(stream, "r1", 0);
    assert_eq!(bench.starts(), ["r1"]);
    // The caller's runtime was busy until the window had passed.
    bench.pass(16 * SECOND);
    assert!(bench.begin(&key).is_none());
    assert!(bench.holds(&key));
    assert!(bench.starts().is_empty(), "it waits for a confirmation");
    let heartbeat = bench.heartbeat(stream);
    assert_eq!(listed(&heartbeat.in_flight), [("r1".into(), AttemptPhase::Reserved)]);
    bench.ack(stream, heartbeat.sequence, vec![]);
    assert_eq!(bench.starts(), ["r1"]);
    assert!(bench.begin(&key).is_some());
}

#[test]
fn a_what_waits_beyond_its_window_needs_a_later_acknowledged_heartbeat_that_listed_it() {
    let (mut bench, stream) = Bench::connected(1);
    let running = bench.run(stream, "r1");
    let before = bench.heartbeat(stream);
    bench.dispatch(stream, "r2", 0);
    bench.pass(12 * SECOND);
    bench.said(stream);
    // This acknowledgement renews the lease, but the heartbeat went out before the Dispatch came in.
    bench.ack(stream, before.sequence, vec![]);
    bench.end(&running, End::Returned(vec![]));
    assert!(bench.starts().is_empty());
    let after = bench.heartbeat(stream);
    bench.ack(stream, after.sequence, vec![]);
    assert_eq!(bench.starts(), ["r2"]);
}

#[test]
fn a_an_acknowledgement_that_abandons_does_not_confirm() {
    let (mut bench, stream) = Bench::connected(1);
    let running = bench.run(stream, "r1");
    let waiting = bench.dispatch(stream, "r2", 0);
    let heartbeat = bench.heartbeat(stream);
    bench.ack(stream, heartbeat.sequence, vec![abandon(&waiting)]);
    bench.end(&running, End::Returned(vec![]));
    assert!(bench.starts().is_empty());
    assert!(!bench.holds(&waiting));
}

#[test]
fn a_the_welcome_confirms_what_its_hello_listed() {
    let (mut bench, first) = Bench::connected(1);
    let running = bench.run(first, "r1");
    bench.dispatch(first, "r2", 0);
    bench.lose(first);
    bench.pass(20 * SECOND);
    bench.end(&running, End::Returned(vec![]));
    assert!(bench.starts().is_empty());
    bench.connect();
    assert_eq!(bench.starts(), ["r2"]);
}

#[test]
fn v08_nothing_starts_after_the_lease_ran_out_even_if_nobody_noticed() {
    let (mut bench, stream) = Bench::connected(1);
    let heartbeat = bench.heartbeat(stream);
    let key = bench.dispatch(stream, "r1", heartbeat.sequence);
    assert_eq!(bench.starts(), ["r1"]);
    // The process was stopped: time passed, and no timer ran.
    bench.now = bench.now + Duration::from_secs(40);
    assert!(bench.begin(&key).is_none());
    assert!(replies(&bench.said(stream)).contains(&reply("r1", "STALE")));
    // An old acknowledgement that was in the socket's buffer changes nothing.
    bench.ack(stream, heartbeat.sequence, vec![]);
    assert!(bench.starts().is_empty());
}

#[test]
fn v09_a_dispatch_of_an_older_stream_is_discarded_once_a_hello_is_composed() {
    let (mut bench, old) = Bench::connected(4);
    let new = bench.machine.open(bench.now);
    bench.dispatch(old, "before", 0);
    let hello = bench.hello(new);
    assert_eq!(listed(&hello.in_flight), [("before".into(), AttemptPhase::Reserved)]);
    let after = bench.dispatch(old, "after", 0);
    assert!(!bench.holds(&after));
    assert_eq!(bench.starts(), ["before"]);
    bench.welcome(new, vec![]);
    let after = bench.dispatch(old, "later still", 0);
    assert!(!bench.holds(&after));
    assert_eq!(replies(&bench.said(new)), [], "it is not even answered");
}

#[test]
fn v10_every_hello_has_a_larger_sequence() {
    let mut bench = Bench::new(1);
    for expected in 1..4 {
        let stream = bench.machine.open(bench.now);
        let hello = bench.hello(stream);
        assert_eq!(hello.connect_sequence, expected);
        bench.lose(stream);
    }
}

#[test]
fn c_at_the_self_fence_everything_unstarted_is_given_up_for_good() {
    let (mut bench, stream) = Bench::connected(1);
    let running = bench.run(stream, "running");
    let waiting = bench.dispatch(stream, "waiting", 0);
    bench.lose(stream);
    bench.pass(27 * SECOND);
    // The lease comes back, the slot becomes free: still nothing.
    let stream = bench.machine.open(bench.now);
    let hello = bench.hello(stream);
    assert_eq!(hello.in_flight.len(), 2, "it is held until it has been handed back");
    bench.welcome(stream, vec![]);
    bench.end(&running, End::Returned(vec![]));
    assert!(bench.starts().is_empty());
    let said = bench.said(stream);
    assert_eq!(replies(&said), [reply("waiting", "STALE")]);
    assert!(matches!(said[0], Said::DispatchReply(_)));
    assert!(!bench.holds(&waiting));
}

#[test]
fn c_running_work_goes_on_unless_it_must_never_overlap() {
    let (mut bench, stream) = Bench::connected(2);
    let goes_on = bench.run(stream, "goes on");
    let stops = bench.dispatch_as(stream, must_stop(dispatch("stops", 1, 0)));
    bench.starts();
    assert!(bench.begin(&stops).is_some());
    bench.lose(stream);
    bench.pass(26_999);
    assert!(bench.effects.iter().all(|effect| matches!(effect, Effect::Observe(_) | Effect::Strike(_))));
    bench.effects.clear();
    bench.pass(1);
    assert!(matches!(bench.effects[..], [Effect::Ask(..)]));
    bench.pass(1_500);
    assert!(matches!(bench.effects[..], [Effect::Ask(..), Effect::Kill(..)]));
    assert_eq!(bench.end(&stops, End::Dropped), Outcome::Interrupted);
    assert_eq!(bench.end(&goes_on, End::Returned(vec![])), Outcome::Succeeded);
}

#[test]
fn d_what_was_refused_or_finished_never_starts() {
    let (mut bench, stream) = Bench::connected(4);
    let mut unknown = dispatch("r1", 1, 0);
    unknown.job_type = "other".into();
    bench.dispatch_as(stream, unknown);
    assert_eq!(replies(&bench.said(stream)), [reply("r1", "UNKNOWN_JOB_TYPE")]);
    bench.dispatch(stream, "r1", 0);
    assert_eq!(replies(&bench.said(stream)), [reply("r1", "STALE")]);

    let done = bench.run(stream, "r2");
    bench.end(&done, End::Returned(vec![]));
    bench.said(stream);
    bench.result_ack(stream, &done, ResultDisposition::Applied);
    bench.dispatch(stream, "r2", 0);
    assert!(bench.starts().is_empty());
    assert_eq!(replies(&bench.said(stream)), [reply("r2", "STALE")]);
}

#[test]
fn a_repeated_dispatch_is_answered_and_not_started_twice() {
    let (mut bench, stream) = Bench::connected(4);
    let key = bench.run(stream, "r1");
    bench.said(stream);
    bench.dispatch(stream, "r1", 0);
    assert!(bench.starts().is_empty());
    assert_eq!(replies(&bench.said(stream)), [reply("r1", "RUNNING")]);
    assert!(bench.begin(&key).is_none());
}

#[test]
fn a_later_attempt_of_a_run_ends_the_earlier_one() {
    let (mut bench, stream) = Bench::connected(4);
    let first = bench.run(stream, "r1");
    let second = bench.dispatch_as(stream, dispatch("r1", 2, 0));
    assert!(!bench.holds(&first) && bench.holds(&second));
    assert_eq!(bench.starts(), ["r1"]);
    assert!(bench.effects.iter().any(|effect| matches!(effect, Effect::Kill(..))));
    assert_eq!(bench.end(&first, End::Dropped), Outcome::Discarded);
    assert_eq!(results(&bench.said(stream)), Vec::<String>::new());
}

#[test]
fn a_held_up_runtime_is_told_as_reserved_in_time() {
    let (mut bench, stream) = Bench::connected(1);
    let key = bench.dispatch(stream, "r1", 0);
    bench.pass(99);
    assert_eq!(replies(&bench.said(stream)), []);
    bench.pass(1);
    assert_eq!(replies(&bench.said(stream)), [reply("r1", "RESERVED")]);
    assert!(bench.begin(&key).is_some());
    assert_eq!(replies(&bench.said(stream)), []);
}

#[test]
fn attempts_beyond_the_slots_wait_and_beyond_twice_the_slots_are_refused() {
    let (mut bench, stream) = Bench::connected(1);
    let first = bench.run(stream, "r1");
    bench.dispatch(stream, "r2", 0);
    bench.dispatch(stream, "r3", 0);
    bench.pass(100);
    let replies = replies(&bench.said(stream));
    assert!(replies.contains(&reply("r2", "RESERVED")) && replies.contains(&reply("r3", "NO_CAPACITY")));
    assert!(bench.starts().is_empty());
    bench.end(&first, End::Returned(vec![]));
    assert_eq!(bench.starts(), ["r2"]);
}
