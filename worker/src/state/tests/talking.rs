//! What is said when, and in which order.

use mainspring_proto::worker::v1::{LogAck, LogEntry, ServerDrain, ServerDrainMode, WorkerState};

use super::*;
use crate::{LogLevel, Observed};

fn kinds(said: &[Said]) -> Vec<&'static str> {
    said.iter()
        .map(|message| match message {
            Said::Hello(_) => "hello",
            Said::Heartbeat(_) => "heartbeat",
            Said::CapacityUpdate(_) => "capacity",
            Said::DispatchReply(_) => "reply",
            Said::Progress(_) => "progress",
            Said::LogBatch(_) => "logs",
            Said::Result(_) => "result",
            Said::CancelReply(_) => "cancel reply",
            Said::Drain(_) => "drain",
        })
        .collect()
}

fn log(bench: &mut Bench, key: &Key, message: &str) {
    let entry = LogEntry { message: message.into(), ..LogEntry::default() };
    bench.machine.log(key, LogLevel::Info, entry, bench.now);
}

#[test]
fn hello_says_who_the_worker_is_and_comes_first_and_once() {
    let mut bench = Bench::new(3);
    let stream = bench.machine.open(bench.now);
    let hello = bench.hello(stream);
    assert_eq!((hello.worker_instance_id.as_str(), hello.connect_sequence), ("w1", 1));
    assert_eq!((hello.capacity[0].queue.as_str(), hello.capacity[0].max_in_flight), ("default", 3));
    assert_eq!(hello.handlers[0].job_type, "t");
    bench.pass(SECOND);
    assert!(bench.said(stream).is_empty(), "nothing before the Welcome");
}

#[test]
fn logs_and_progress_never_go_before_a_heartbeat_or_a_result() {
    let (mut bench, stream) = Bench::connected(4);
    let talkative = bench.run(stream, "r1");
    let done = bench.run(stream, "r2");
    bench.said(stream);
    for _ in 0..1_000 {
        log(&mut bench, &talkative, &"x".repeat(1_000));
    }
    bench.machine.progressed(&talkative, 0.5, "half".into(), bench.now);
    bench.end(&done, End::Returned(vec![]));
    let mut unknown = dispatch("r3", 1, 0);
    unknown.job_type = "other".into();
    bench.dispatch_as(stream, unknown);
    bench.pass(6 * SECOND);
    let order = kinds(&bench.said(stream));
    assert_eq!(order, ["reply", "heartbeat", "result", "progress", "logs", "logs", "logs", "logs"]);
}

#[test]
fn heartbeats_come_with_the_interval_and_its_jitter_and_the_newest_replaces_the_rest() {
    let (mut bench, stream) = Bench::connected(1);
    let mut last = bench.now;
    for sequence in 1..20 {
        let heartbeat = bench.heartbeat(stream);
        assert_eq!((heartbeat.sequence, heartbeat.state()), (sequence, WorkerState::Active));
        let gap = bench.now.since(last);
        assert!(gap >= Duration::from_millis(4_400) && gap <= Duration::from_millis(5_700), "{gap:?}");
        last = bench.now;
        bench.ack(stream, sequence, vec![]);
    }
    // The transport takes nothing for a while: one heartbeat is enough then, and it is of that moment.
    bench.pass(20 * SECOND);
    assert_eq!(kinds(&bench.said(stream)), ["heartbeat"]);
}

#[test]
fn a_silent_server_and_a_missing_welcome_end_the_stream() {
    let (mut bench, stream) = Bench::connected(1);
    bench.pass(20 * SECOND);
    bench.ack(stream, 0, vec![]);
    bench.effects.clear();
    bench.pass(30 * SECOND - 1);
    assert!(bench.effects.is_empty());
    bench.pass(1);
    assert!(matches!(bench.effects[..], [Effect::Close(id, _)] if id == stream));

    let mut bench = Bench::new(1);
    let stream = bench.machine.open(bench.now);
    bench.hello(stream);
    bench.pass(10 * SECOND);
    assert!(matches!(bench.effects[..], [Effect::Close(id, _)] if id == stream));
}

#[test]
fn a_welcome_for_another_hello_is_not_taken() {
    let mut bench = Bench::new(1);
    let stream = bench.machine.open(bench.now);
    bench.hello(stream);
    bench.hear(stream, Heard::Welcome(Welcome { session_epoch: 9, protocol_version: 1, ..Welcome::default() }));
    assert!(matches!(bench.effects[..], [Effect::Close(..)]));
    assert_eq!(bench.machine.session(), None);
}

#[test]
fn what_is_not_understood_is_ignored() {
    let (mut bench, stream) = Bench::connected(1);
    bench.machine.read(stream, WorkerStreamResponse { message: None }, bench.now);
    assert_eq!(bench.machine.session(), Some(stream));
}

#[test]
fn the_new_session_carries_everything_and_the_old_one_is_closed() {
    let (mut bench, old) = Bench::connected(2);
    let key = bench.run(old, "r1");
    let drain = ServerDrain { mode: ServerDrainMode::Reconnect.into(), ..ServerDrain::default() };
    bench.effects.clear();
    bench.hear(old, Heard::Drain(drain));
    assert!(matches!(bench.effects[..], [Effect::Reconnect(Duration::ZERO)]));
    let new = bench.machine.open(bench.now);
    bench.hello(new);
    // Until the Welcome the old session still carries results.
    bench.end(&key, End::Returned(vec![]));
    assert!(kinds(&bench.said(old)).contains(&"result"));
    bench.welcome(new, vec![]);
    assert!(matches!(bench.machine.pull(old, bench.now), Pull::End));
    assert_eq!(kinds(&bench.said(new)), ["result"]);
    bench.result_ack(old, &key, ResultDisposition::Applied);
    assert!(!bench.holds(&key), "an acknowledgement counts wherever it is read");
    let ups = bench.effects.iter().filter(|effect| matches!(effect, Effect::Observe(Observed::Session { .. })));
    assert_eq!(ups.count(), 1);
}

#[test]
fn progress_is_the_newest_and_no_more_often_than_the_server_wants() {
    let (mut bench, stream) = Bench::connected(1);
    let key = bench.run(stream, "r1");
    bench.said(stream);
    let mut seen = Vec::new();
    for step in 0..30 {
        bench.machine.progressed(&key, f64::from(step) / 30.0, step.to_string(), bench.now);
        bench.pass(100);
        for message in bench.said(stream) {
            if let Said::Progress(progress) = message {
                seen.push(progress.message);
            }
        }
    }
    assert_eq!(seen, ["0", "10", "20"]);
}

#[test]
fn the_last_progress_goes_out_before_the_result() {
    let (mut bench, stream) = Bench::connected(1);
    let key = bench.run(stream, "r1");
    for step in ["first", "last"] {
        bench.machine.progressed(&key, 1.0, step.into(), bench.now);
        bench.pass(1);
        drop(bench.said(stream));
        if step == "first" {
            bench.machine.progressed(&key, 1.0, "replaced".into(), bench.now);
        }
    }
    bench.end(&key, End::Returned(vec![]));
    let said = bench.said(stream);
    assert_eq!(kinds(&said), ["progress", "result"]);
    assert!(matches!(&said[0], Said::Progress(progress) if progress.message == "last"));
}

#[test]
fn logs_go_on_where_the_server_stopped_storing() {
    let (mut bench, first) = Bench::connected(1);
    let key = bench.run(first, "r1");
    for number in 0..3 {
        log(&mut bench, &key, &number.to_string());
    }
    bench.pass(200);
    assert!(kinds(&bench.said(first)).contains(&"logs"));
    bench.hear(first, Heard::LogAck(LogAck { attempt: Some(key.wire()), next_offset: 2 }));
    bench.lose(first);
    log(&mut bench, &key, "3");
    bench.end(&key, End::Returned(vec![]));
    let second = bench.connect();
    let said = bench.said(second);
    let Some(Said::LogBatch(batch)) = said.last() else { panic!("{said:?}") };
    let messages: Vec<_> = batch.entries.iter().map(|entry| entry.message.as_str()).collect();
    assert_eq!((batch.first_offset, batch.dropped_count, messages), (2, 0, vec!["2", "3"]));
    let Some(Said::Result(result)) = said.first() else { panic!("{said:?}") };
    assert_eq!(result.next_log_offset, Some(4));
}

#[test]
fn a_server_that_takes_no_logs_gets_none() {
    let mut bench = Bench::new(1);
    let stream = bench.machine.open(bench.now);
    bench.hello(stream);
    bench.hear(stream, Heard::Welcome(Welcome { session_epoch: 1, protocol_version: 1, ..Welcome::default() }));
    let key = bench.run(stream, "r1");
    log(&mut bench, &key, "nobody hears this");
    bench.pass(SECOND);
    assert_eq!(kinds(&bench.said(stream)), ["reply"]);
}
