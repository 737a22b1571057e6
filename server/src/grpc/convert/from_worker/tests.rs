use mainspring_engine::domain::ids::{RunId, WorkerId};
use mainspring_proto::common::v1 as common;
use proptest::prelude::*;
use prost::Message as _;

use super::*;

fn now() -> Instant {
    Instant::from_micros(1_700_000_000_000_000)
}

fn attempt_ref() -> Option<wire::AttemptRef> {
    Some(wire::AttemptRef { run_id: RunId::new(now()).to_string(), attempt: 1 })
}

fn sent_hello() -> wire::Hello {
    wire::Hello {
        worker_instance_id: WorkerId::new(now()).to_string(),
        min_protocol_version: 1,
        max_protocol_version: 1,
        connect_sequence: 1,
        handlers: vec![wire::HandlerSpec { job_type: "a".into(), ..wire::HandlerSpec::default() }],
        capacity: vec![wire::QueueCapacity { queue: String::new(), max_in_flight: 8 }],
        ..wire::Hello::default()
    }
}

fn refused(hello: wire::Hello) -> String {
    super::hello(hello, "key:x".into()).unwrap_err().first_field().unwrap_or_default().to_owned()
}

#[test]
fn a_hello_is_read() {
    let greeting = hello(sent_hello(), "key:x".into()).unwrap();
    assert_eq!(greeting.hello.capacity, [("default".parse().unwrap(), 8)].into());
    assert_eq!((greeting.hello.max_message, greeting.hello.namespace.as_str()), (4 << 20, "default"));
}

#[test]
fn a_hello_that_cannot_be_is_refused() {
    let capacity = |max| vec![wire::QueueCapacity { queue: String::new(), max_in_flight: max }];
    let twice = [sent_hello().handlers, sent_hello().handlers].concat();
    let listed = wire::AttemptStatus { attempt: attempt_ref(), phase: 2, next_log_offset: 0 };
    for (field, bad) in [
        ("worker_instance_id", wire::Hello { worker_instance_id: "me".into(), ..sent_hello() }),
        ("max_protocol_version", wire::Hello { max_protocol_version: 0, ..sent_hello() }),
        ("connect_sequence", wire::Hello { connect_sequence: 0, ..sent_hello() }),
        ("handlers", wire::Hello { handlers: vec![], ..sent_hello() }),
        ("handlers[1].job_type", wire::Hello { handlers: twice, ..sent_hello() }),
        ("capacity", wire::Hello { capacity: capacity(5_001), ..sent_hello() }),
        ("capacity[0].max_in_flight", wire::Hello { capacity: capacity(-1), ..sent_hello() }),
        ("max_receive_message_bytes", wire::Hello { max_receive_message_bytes: -1, ..sent_hello() }),
        ("max_receive_message_bytes", wire::Hello { max_receive_message_bytes: 4_096, ..sent_hello() }),
        ("in_flight[1].attempt", wire::Hello { in_flight: vec![listed.clone(), listed], ..sent_hello() }),
        ("namespace", wire::Hello { namespace: "No".into(), ..sent_hello() }),
    ] {
        assert_eq!(refused(bad), field);
    }
    let schema = wire::HandlerSpec { job_type: "a".into(), input_schema: "[1]".into(), ..wire::HandlerSpec::default() };
    assert_eq!(refused(wire::Hello { handlers: vec![schema], ..sent_hello() }), "handlers[0].input_schema");
}

#[test]
fn a_heartbeat_must_say_its_state() {
    let sent = wire::Heartbeat { sequence: 1, state: 1, in_flight: vec![], capacity: vec![] };
    assert!(matches!(heartbeat(sent.clone(), 0), Ok(FromWorker::Heartbeat { sequence: 1, draining: false, .. })));
    for state in [0, 7] {
        assert!(heartbeat(wire::Heartbeat { state, ..sent.clone() }, 0).is_err());
    }
    for last in [1, i64::MAX] {
        let refusal = heartbeat(sent.clone(), last).unwrap_err();
        assert_eq!(refusal.first_field(), Some("sequence"), "after heartbeat {last}");
    }
}

#[test]
fn a_worker_with_all_its_slots_may_list_a_result_for_each_of_them_too() {
    let listed = |count: usize| {
        let status = |attempt| wire::AttemptStatus {
            attempt: Some(wire::AttemptRef { attempt, ..attempt_ref().unwrap() }),
            phase: wire::AttemptPhase::ResultPending.into(),
            next_log_offset: 0,
        };
        (1..).take(count).map(status).collect::<Vec<_>>()
    };
    let beat = |in_flight| heartbeat(wire::Heartbeat { sequence: 1, state: 1, in_flight, capacity: vec![] }, 0);
    assert!(beat(listed(MAX_LISTED)).is_ok());
    let refusal = beat(listed(MAX_LISTED + 1)).unwrap_err();
    assert_eq!(refusal.reason(), Reason::SlowConsumer, "never for good: the worker comes back");
    let refusal = hello(wire::Hello { in_flight: listed(MAX_LISTED + 1), ..sent_hello() }, String::new());
    assert_eq!(refusal.unwrap_err().reason(), Reason::SlowConsumer);
}

#[test]
fn long_log_lines_are_cut_and_long_batches_are_taken_in_parts() {
    let entry = |size: usize| wire::LogEntry { message: "x".repeat(size), ..wire::LogEntry::default() };
    let sent = wire::LogBatch {
        attempt: attempt_ref(),
        entries: (0..9).map(|_| entry(20_000)).collect(),
        ..wire::LogBatch::default()
    };
    let FromWorker::Logs(batch) = logs(sent, now()).unwrap() else { panic!("not logs") };
    assert_eq!(batch.lines.len(), 4);
    assert!(batch.lines.iter().all(|line| line.message.len() <= MAX_LOG_LINE && line.message.ends_with("[cut]")));
    assert_eq!(batch.lines[0].time, now());
    let negative = wire::LogBatch { attempt: attempt_ref(), first_offset: -1, ..wire::LogBatch::default() };
    assert!(logs(negative, now()).is_err());
    for (first_offset, dropped_count) in [(i64::MAX, 0), (0, i64::MAX), (i64::MAX, i64::MAX)] {
        let entries = vec![entry(1)];
        let endless = wire::LogBatch { attempt: attempt_ref(), first_offset, entries, dropped_count };
        assert!(logs(endless, now()).is_err(), "from {first_offset} after {dropped_count} dropped");
    }
}

fn succeeded(data: Option<common::payload::Data>) -> wire::AttemptResult {
    let output = Some(common::Payload { content_type: String::new(), data });
    wire::AttemptResult {
        attempt: attempt_ref(),
        outcome: Some(wire::attempt_result::Outcome::Succeeded(wire::AttemptSucceeded { output })),
        ..wire::AttemptResult::default()
    }
}

#[test]
fn a_result_that_cannot_be_kept_fails_the_attempt_for_good() {
    let too_large = succeeded(Some(common::payload::Data::Inline(vec![0; 11])));
    for (sent, reason) in [
        (too_large, "OUTPUT_TOO_LARGE"),
        (succeeded(None), "RESULT_INVALID"),
        (wire::AttemptResult { attempt: attempt_ref(), ..wire::AttemptResult::default() }, "RESULT_INVALID"),
    ] {
        let heard = result(sent, &Scope::default(), 10).unwrap();
        let Outcome::Failed(failure) = heard.report.outcome else { panic!("not a failure") };
        assert_eq!((failure.reason.as_str(), failure.hint.and_then(|hint| hint.retry)), (reason, Some(false)));
        assert!(heard.invalid.is_some());
    }
    let fine = succeeded(Some(common::payload::Data::Inline(vec![0; 10])));
    let heard = result(fine, &Scope::default(), 10).unwrap();
    assert!(heard.invalid.is_none() && heard.report.output.is_some());
    assert!(result(wire::AttemptResult::default(), &Scope::default(), 10).is_err());
}

#[test]
fn a_result_tells_how_many_lines_there_are_or_does_not() {
    for (sent, read) in [(Some(3), Some(3)), (Some(0), Some(0)), (None, None), (Some(-1), None)] {
        let sent = wire::AttemptResult { next_log_offset: sent, ..succeeded(None) };
        assert_eq!(result(sent, &Scope::default(), 10).unwrap().report.log_lines, read);
    }
}

#[test]
fn progress_is_bounded() {
    let sent = wire::AttemptProgress {
        attempt: attempt_ref(),
        phase: 2,
        completed_fraction: f64::NAN,
        message: "ä".repeat(300),
        checkpoint: None,
    };
    let FromWorker::Progress(_, _, told) = progress(sent, now()).unwrap() else { panic!("not progress") };
    assert_eq!((told.fraction, told.message.chars().count()), (0.0, 256));
}

proptest! {
    #[test]
    fn nothing_a_worker_sends_panics(bytes: Vec<u8>) {
        if let Ok(message) = wire::Hello::decode(bytes.as_slice()) {
            let _ = hello(message, String::new());
        }
        if let Ok(message) = wire::AttemptResult::decode(bytes.as_slice()) {
            let _ = result(message, &Scope::default(), 10);
        }
        if let Ok(message) = wire::LogBatch::decode(bytes.as_slice()) {
            let _ = logs(message, now());
        }
        if let Ok(message) = wire::Heartbeat::decode(bytes.as_slice()) {
            let _ = heartbeat(message, 0);
        }
    }
}
