//! Rules (e) and (f), and how attempts end.

use mainspring_proto::{
    common::v1::Failure,
    worker::v1::{Cancel, CancelDisposition, Revoke, attempt_result::Outcome as Ended},
};

use super::*;
use crate::ctx::CancelReason;

fn outcome(said: &[Said]) -> Ended {
    said.iter()
        .find_map(|message| match message {
            Said::Result(result) => result.outcome.clone(),
            _ => None,
        })
        .expect("a result")
}

fn reason(outcome: Ended) -> String {
    match outcome {
        Ended::Failed(failed) => failed.failure.unwrap().reason,
        other => panic!("not failed but {other:?}"),
    }
}

#[test]
fn e_everything_held_is_listed() {
    let (mut bench, stream) = Bench::connected(3);
    let running = bench.run(stream, "a-running");
    let cancelling = bench.run(stream, "b-cancelling");
    let pending = bench.run(stream, "c-pending");
    bench.machine.log(&running, crate::LogLevel::Info, Default::default(), bench.now);
    bench.end(&pending, End::Returned(vec![]));
    bench.run(stream, "d");
    bench.dispatch(stream, "e-reserved", 0);
    let directive = cancel(&cancelling);
    bench.ack(stream, 0, vec![directive]);
    let expected = [
        ("a-running".to_owned(), AttemptPhase::Running),
        ("b-cancelling".to_owned(), AttemptPhase::Cancelling),
        ("c-pending".to_owned(), AttemptPhase::ResultPending),
        ("d".to_owned(), AttemptPhase::Running),
        ("e-reserved".to_owned(), AttemptPhase::Reserved),
    ];
    let heartbeat = bench.heartbeat(stream);
    assert_eq!(listed(&heartbeat.in_flight), expected);
    assert_eq!(heartbeat.in_flight[0].next_log_offset, 1);
    bench.lose(stream);
    let next = bench.machine.open(bench.now);
    let hello = bench.hello(next);
    assert_eq!(listed(&hello.in_flight), expected);
}

#[test]
fn f_a_result_is_sent_again_on_every_stream_until_it_is_answered() {
    for disposition in [
        ResultDisposition::Applied,
        ResultDisposition::Duplicate,
        ResultDisposition::Fenced,
        ResultDisposition::Invalid,
    ] {
        let (mut bench, first) = Bench::connected(1);
        let key = bench.run(first, "r1");
        bench.end(&key, End::Returned(b"1".to_vec()));
        assert_eq!(results(&bench.said(first)), ["r1"]);
        bench.lose(first);
        let second = bench.connect();
        assert_eq!(results(&bench.said(second)), ["r1"]);
        bench.result_ack(second, &key, ResultDisposition::Unspecified);
        assert!(bench.holds(&key));
        bench.result_ack(second, &key, disposition);
        assert!(!bench.holds(&key));
        bench.lose(second);
        let third = bench.connect();
        assert_eq!(results(&bench.said(third)), Vec::<String>::new());
    }
}

#[test]
fn f_results_of_work_that_ended_offline_wait_for_the_next_stream() {
    let (mut bench, first) = Bench::connected(2);
    let one = bench.run(first, "r1");
    let two = bench.run(first, "r2");
    bench.lose(first);
    bench.pass(120 * SECOND);
    bench.end(&one, End::Returned(vec![]));
    bench.end(&two, End::Failed(Failure::default()));
    assert_eq!(bench.machine.unacked_results().len(), 2);
    let second = bench.connect();
    assert_eq!(results(&bench.said(second)), ["r1", "r2"]);
}

#[test]
fn f_a_result_without_an_answer_is_sent_again_ever_more_slowly() {
    let (mut bench, stream) = Bench::connected(1);
    let key = bench.run(stream, "r1");
    bench.end(&key, End::Returned(vec![]));
    let mut sent_after = Vec::new();
    for second in 0..75 {
        if results(&bench.said(stream)) == ["r1"] {
            sent_after.push(second);
        }
        bench.pass(SECOND);
    }
    assert_eq!(sent_after, [0, 10, 30, 70]);
}

#[test]
fn an_abandoned_attempt_is_stopped_and_its_result_discarded() {
    let (mut bench, stream) = Bench::connected(2);
    let running = bench.run(stream, "r1");
    let pending = bench.run(stream, "r2");
    bench.end(&pending, End::Returned(vec![]));
    bench.hear(stream, Heard::Revoke(Revoke { attempt: Some(running.wire()), reason: 0 }));
    bench.ack(stream, 0, vec![abandon(&pending)]);
    let killed = bench.effects.iter().find_map(|effect| match effect {
        Effect::Kill(_, reason) => Some(reason.clone()),
        _ => None,
    });
    assert_eq!(killed, Some(CancelReason::Abandoned));
    assert_eq!(bench.end(&running, End::Returned(vec![])), Outcome::Discarded);
    assert_eq!(results(&bench.said(stream)), Vec::<String>::new());
}

#[test]
fn what_is_abandoned_keeps_its_slot_until_it_is_gone() {
    let (mut bench, stream) = Bench::connected(1);
    let stuck = bench.run(stream, "r1");
    bench.said(stream);
    bench.ack(stream, 0, vec![abandon(&stuck)]);
    let capacities = |said: Vec<Said>| -> Vec<i32> {
        said.into_iter()
            .filter_map(|message| match message {
                Said::CapacityUpdate(update) => Some(update.capacity[0].max_in_flight),
                _ => None,
            })
            .collect()
    };
    assert_eq!(capacities(bench.said(stream)), [0]);
    bench.dispatch(stream, "r2", 0);
    assert!(bench.starts().is_empty());
    bench.end(&stuck, End::Dropped);
    assert_eq!(bench.starts().len(), 1);
    assert_eq!(capacities(bench.said(stream)), [1]);
}

#[test]
fn a_thread_of_an_attempt_keeps_the_slot_after_its_end() {
    let (mut bench, stream) = Bench::connected(1);
    let key = bench.run(stream, "r1");
    bench.machine.thread_began(&key);
    bench.end(&key, End::Returned(vec![]));
    bench.dispatch(stream, "r2", 0);
    assert!(bench.starts().is_empty());
    bench.machine.thread_ended(&key, bench.now);
    bench.collect();
    assert_eq!(bench.starts().len(), 1);
}

#[test]
fn a_cancel_is_asked_for_once_and_what_really_happened_is_reported() {
    for (end, expected) in [
        (End::Stopped, Outcome::Cancelled),
        (End::Returned(vec![]), Outcome::Succeeded),
        (End::Failed(Failure { reason: "X".into(), ..Default::default() }), Outcome::Failed { reason: "X".into() }),
    ] {
        let (mut bench, stream) = Bench::connected(1);
        let key = bench.run(stream, "r1");
        bench.effects.clear();
        let Some(Directive::Cancel(directive)) = cancel(&key).directive else { unreachable!() };
        bench.hear(stream, Heard::Cancel(Cancel { attempt: Some(key.wire()), cancel: Some(directive) }));
        bench.ack(stream, 0, vec![cancel(&key)]);
        assert!(matches!(&bench.effects[..], [Effect::Ask(_, CancelReason::Requested(reason))] if reason == "enough"));
        assert!(bench.said(stream).iter().any(
            |said| matches!(said, Said::CancelReply(reply) if reply.disposition() == CancelDisposition::Cancelling)
        ));
        assert_eq!(bench.end(&key, end), expected);
    }
}

#[test]
fn a_cancel_of_what_is_not_running_ends_or_denies_it() {
    let (mut bench, stream) = Bench::connected(1);
    bench.run(stream, "r1");
    let waiting = bench.dispatch(stream, "r2", 0);
    let unknown = Key { run_id: "r3".into(), attempt: 1 };
    for key in [&waiting, &unknown] {
        bench.hear(stream, Heard::Cancel(Cancel { attempt: Some(key.wire()), cancel: None }));
    }
    let said = bench.said(stream);
    assert!(matches!(outcome(&said), Ended::Cancelled(_)));
    let answers = said.iter().filter(
        |said| matches!(said, Said::CancelReply(reply) if reply.disposition() == CancelDisposition::NotRunning),
    );
    assert_eq!(answers.count(), 2);
    assert!(bench.starts().is_empty());
}

#[test]
fn what_ignores_a_cancel_is_dropped_before_the_server_gives_up_on_it() {
    let (mut bench, stream) = Bench::connected(1);
    let key = bench.run(stream, "r1");
    bench.effects.clear();
    bench.ack(stream, 0, vec![cancel(&key)]);
    bench.pass(20 * SECOND);
    bench.ack(stream, 0, vec![cancel(&key)]);
    // Two seconds before the server gives up.
    bench.pass(8 * SECOND - 1);
    let kills = |bench: &Bench| bench.effects.iter().filter(|effect| matches!(effect, Effect::Kill(..))).count();
    assert_eq!(kills(&bench), 0);
    bench.pass(1);
    assert_eq!(kills(&bench), 1);
    assert_eq!(bench.end(&key, End::Dropped), Outcome::Cancelled);
}

#[test]
fn the_execution_timeout_is_mirrored_a_little_later() {
    let (mut bench, stream) = Bench::connected(1);
    let mut limited = dispatch("r1", 1, 0);
    limited.execution_timeout = Some(prost_types::Duration { seconds: 60, nanos: 0 });
    let key = bench.dispatch_as(stream, limited);
    assert!(bench.begin(&key).is_some());
    bench.effects.clear();
    bench.lose(stream);
    bench.pass(65 * SECOND - 1);
    assert!(!bench.effects.iter().any(|effect| matches!(effect, Effect::Ask(..))));
    bench.pass(1);
    assert!(bench.effects.iter().any(|effect| matches!(effect, Effect::Ask(_, CancelReason::ExecutionTimeout))));
    assert_eq!(bench.end(&key, End::Stopped), Outcome::Failed { reason: "EXECUTION_TIMEOUT".into() });
}

#[test]
fn an_output_over_the_limit_is_a_failure_of_its_own() {
    let (mut bench, stream) = Bench::connected(1);
    let key = bench.run(stream, "r1");
    bench.end(&key, End::Returned(vec![b'1'; (1 << 20) + 1]));
    assert_eq!(reason(outcome(&bench.said(stream))), "OUTPUT_TOO_LARGE");
}

#[test]
fn no_result_goes_out_before_its_end_was_told() {
    let (mut bench, stream) = Bench::connected(1);
    let key = bench.run(stream, "r1");
    bench.machine.conclude(&key, End::Returned(vec![]), bench.now, clock::wall());
    assert_eq!(results(&bench.said(stream)), Vec::<String>::new());
    bench.machine.release(&key);
    assert_eq!(results(&bench.said(stream)), ["r1"]);
}

#[test]
fn what_is_over_leaves_no_timer_behind() {
    let (mut bench, stream) = Bench::connected(2);
    bench.heartbeat(stream);
    let before = bench.machine.timers.count();
    for run in 0..500 {
        let timeout = Some(prost_types::Duration { seconds: 3_600, nanos: 0 });
        let dispatch = Dispatch { execution_timeout: timeout, ..dispatch(&run.to_string(), 1, 0) };
        let key = bench.dispatch_as(stream, dispatch);
        assert!(bench.begin(&key).is_some());
        bench.said(stream);
        if run % 2 == 0 {
            bench.ack(stream, 1, vec![cancel(&key)]);
            bench.end(&key, End::Stopped);
            bench.said(stream);
            bench.result_ack(stream, &key, ResultDisposition::Applied);
        } else {
            bench.ack(stream, 1, vec![abandon(&key)]);
            bench.machine.vacate(&key, bench.now);
        }
        assert!(!bench.holds(&key));
    }
    assert_eq!(bench.machine.timers.count(), before);
}

#[test]
fn what_ends_without_an_answer_need_not_be_kept_and_what_waits_for_one_must_be() {
    let (mut bench, stream) = Bench::connected(3);
    let [answered, revoked, waiting] = ["answered", "revoked", "waiting"].map(|run| {
        let key = bench.run(stream, run);
        bench.end(&key, End::Returned(vec![]));
        key
    });
    bench.result_ack(stream, &answered, ResultDisposition::Applied);
    bench.hear(stream, Heard::Revoke(Revoke { attempt: Some(revoked.wire()), reason: 0 }));
    bench.machine.kill_all();
    bench.collect();
    let struck: Vec<_> = bench
        .effects
        .iter()
        .filter_map(|effect| if let Effect::Strike(key) = effect { Some(key.clone()) } else { None })
        .collect();
    assert_eq!(struck, [answered, revoked]);
    assert!(bench.holds(&waiting));
}

#[test]
fn no_work_is_taken_while_results_cannot_be_kept() {
    let (mut bench, stream) = Bench::connected(2);
    let running = bench.run(stream, "running");
    bench.said(stream);
    for (keepable, slots) in [(false, 0), (true, 2)] {
        bench.machine.set_keepable(keepable);
        let update = bench.said(stream).into_iter().find_map(|said| match said {
            Said::CapacityUpdate(update) => Some(update.capacity[0].max_in_flight),
            _ => None,
        });
        assert_eq!(update, Some(slots));
        let run = format!("keepable {keepable}");
        bench.dispatch(stream, &run, 0);
        assert_eq!(bench.starts().is_empty(), !keepable);
        if !keepable {
            assert_eq!(replies(&bench.said(stream)), [reply(&run, "NO_CAPACITY")]);
        }
    }
    assert!(bench.holds(&running));
}
