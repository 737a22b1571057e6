//! How the worker leaves.

use mainspring_proto::worker::v1::{ServerDrain, ServerDrainMode, WorkerState};

use super::*;
use crate::{ctx::CancelReason, state::Farewell};

#[test]
fn it_hands_back_what_has_not_started_and_takes_nothing_new() {
    let (mut bench, stream) = Bench::connected(1);
    let running = bench.run(stream, "r1");
    let reserved = bench.dispatch(stream, "r2", 0);
    bench.pass(200);
    bench.said(stream);
    bench.machine.leave("test", bench.now);
    bench.dispatch(stream, "r3", 0);
    let said = bench.said(stream);
    assert!(matches!(&said[0], Said::Drain(drain) if drain.deadline.is_some_and(|deadline| deadline.seconds == 10)));
    assert_eq!(replies(&said), [reply("r2", "DRAINING"), reply("r3", "DRAINING")]);
    assert!(matches!(&said[3], Said::CapacityUpdate(update) if update.capacity[0].max_in_flight == 0));
    assert!(!bench.holds(&reserved));
    assert_eq!(bench.machine.farewell(bench.now), None);

    let heartbeat = bench.heartbeat(stream);
    assert_eq!(heartbeat.state(), WorkerState::Draining);
    assert_eq!(listed(&heartbeat.in_flight), [("r1".into(), AttemptPhase::Running)]);
    bench.end(&running, End::Returned(vec![]));
    bench.said(stream);
    assert_eq!(bench.machine.farewell(bench.now), None, "the result is not acknowledged");
    bench.result_ack(stream, &running, ResultDisposition::Applied);
    assert_eq!(bench.machine.farewell(bench.now), Some(Farewell::Settled));
}

#[test]
fn what_does_not_finish_in_time_is_asked_then_dropped_and_goes_back_as_interrupted() {
    let (mut bench, stream) = Bench::connected(2);
    let obeys = bench.run(stream, "obeys");
    let ignores = bench.run(stream, "ignores");
    bench.effects.clear();
    bench.machine.leave("test", bench.now);
    bench.pass(10 * SECOND);
    let asked = |effect: &&Effect| matches!(effect, Effect::Ask(_, CancelReason::Shutdown));
    assert_eq!(bench.effects.iter().filter(asked).count(), 2);
    assert_eq!(bench.end(&obeys, End::Stopped), Outcome::Interrupted);
    bench.pass(2 * SECOND);
    assert_eq!(bench.effects.iter().filter(|effect| matches!(effect, Effect::Kill(..))).count(), 1);
    assert_eq!(bench.end(&ignores, End::Dropped), Outcome::Interrupted);
}

#[test]
fn what_cannot_even_be_dropped_is_reported_and_left_behind() {
    let (mut bench, stream) = Bench::connected(1);
    let stuck = bench.run(stream, "stuck");
    bench.machine.leave("test", bench.now);
    for _ in 0..13 {
        bench.pass(SECOND);
    }
    assert_eq!(results(&bench.said(stream)), ["stuck"]);
    bench.result_ack(stream, &stuck, ResultDisposition::Applied);
    assert_eq!(bench.machine.farewell(bench.now), Some(Farewell::Settled));
}

#[test]
fn without_a_server_it_waits_for_a_while_and_then_says_what_was_lost() {
    let (mut bench, stream) = Bench::connected(1);
    let key = bench.run(stream, "r1");
    bench.lose(stream);
    bench.machine.leave("test", bench.now);
    bench.end(&key, End::Returned(vec![]));
    bench.pass(27 * SECOND);
    assert_eq!(bench.machine.farewell(bench.now), None);
    bench.pass(SECOND);
    assert_eq!(bench.machine.farewell(bench.now), Some(Farewell::Undelivered(1)));
}

#[test]
fn an_idle_worker_without_a_server_leaves_at_once() {
    let mut bench = Bench::new(1);
    bench.machine.leave("test", bench.now);
    assert_eq!(bench.machine.farewell(bench.now), Some(Farewell::Settled));
}

#[test]
fn it_waits_a_moment_for_its_last_log_lines() {
    let (mut bench, stream) = Bench::connected(1);
    let key = bench.run(stream, "r1");
    bench.machine.log(&key, crate::LogLevel::Info, Default::default(), bench.now);
    bench.end(&key, End::Returned(vec![]));
    bench.machine.leave("test", bench.now);
    bench.said(stream);
    bench.result_ack(stream, &key, ResultDisposition::Applied);
    assert_eq!(bench.machine.farewell(bench.now), None);
    bench.pass(3 * SECOND);
    assert_eq!(bench.machine.farewell(bench.now), Some(Farewell::Settled));
}

#[test]
fn the_server_can_ask_for_quiet_or_for_the_end() {
    let (mut bench, stream) = Bench::connected(1);
    let mut ask = |mode: ServerDrainMode| {
        bench.hear(stream, Heard::Drain(ServerDrain { mode: mode.into(), ..ServerDrain::default() }));
        let capacity = bench
            .said(stream)
            .iter()
            .any(|said| matches!(said, Said::CapacityUpdate(update) if update.capacity[0].max_in_flight == 0));
        (capacity, bench.machine.farewell(bench.now))
    };
    assert_eq!(ask(ServerDrainMode::Quiesce), (true, None));
    assert_eq!(ask(ServerDrainMode::Terminate), (false, Some(Farewell::Settled)));
}
