//! How the worker's stream refuses.

use mainspring_proto::worker::v1 as wire;
use tonic::Code;
use wire::{worker_stream_request::Message as Say, worker_stream_response::Message as Hear};

use super::{
    server::Server,
    stage::Told,
    worker::{Worker, hello},
};

/// How a stream ends that says these messages.
async fn end(server: &Server, says: impl IntoIterator<Item = Option<Say>>) -> Told {
    let mut worker = Worker::connect(server, Some(server.key())).await.unwrap();
    for message in says {
        worker.say.send(wire::WorkerStreamRequest { message }).await.unwrap();
    }
    Told::of(&worker.end().await.expect("the stream ended well"))
}

#[tokio::test]
async fn the_first_message_is_hello_and_no_other_is() {
    let server = Server::start().await;
    let firsts = [
        None,
        Some(Say::Heartbeat(wire::Heartbeat::default())),
        Some(Say::CapacityUpdate(wire::CapacityUpdate::default())),
        Some(Say::DispatchReply(wire::DispatchReply::default())),
        Some(Say::Progress(wire::AttemptProgress::default())),
        Some(Say::LogBatch(wire::LogBatch::default())),
        Some(Say::Result(wire::AttemptResult::default())),
        Some(Say::CancelReply(wire::CancelReply::default())),
        Some(Say::Drain(wire::WorkerDrain::default())),
    ];
    for first in firsts {
        let why = format!("{first:?}");
        end(&server, [first]).await.is(Code::InvalidArgument, "HELLO_REQUIRED", &why);
    }
    let twice = [Some(Say::Hello(hello())), Some(Say::Hello(hello()))];
    end(&server, twice).await.is(Code::InvalidArgument, "HELLO_REQUIRED", "two Hellos");
}

#[tokio::test]
async fn a_hello_with_bad_fields_names_each_of_them() {
    let server = Server::start().await;
    let handler = |job_type: &str| wire::HandlerSpec { job_type: job_type.into(), ..wire::HandlerSpec::default() };
    let capacity = |queue: &str, max| wire::QueueCapacity { queue: queue.into(), max_in_flight: max };
    let held = |attempt, phase| wire::AttemptStatus { attempt, phase, ..wire::AttemptStatus::default() };
    let of = |run_id: &str, attempt| Some(wire::AttemptRef { run_id: run_id.into(), attempt });
    let run = uuid::Uuid::now_v7().to_string();
    let cases: Vec<(&str, wire::Hello)> = vec![
        ("worker_instance_id", wire::Hello { worker_instance_id: String::new(), ..hello() }),
        ("worker_instance_id", wire::Hello { worker_instance_id: "me".into(), ..hello() }),
        ("worker_name", wire::Hello { worker_name: "x".repeat(129), ..hello() }),
        ("max_protocol_version", wire::Hello { min_protocol_version: 0, ..hello() }),
        ("max_protocol_version", wire::Hello { min_protocol_version: 2, ..hello() }),
        ("connect_sequence", wire::Hello { connect_sequence: 0, ..hello() }),
        ("max_receive_message_bytes", wire::Hello { max_receive_message_bytes: 1, ..hello() }),
        ("max_receive_message_bytes", wire::Hello { max_receive_message_bytes: -1, ..hello() }),
        ("namespace", wire::Hello { namespace: "No Name".into(), ..hello() }),
        ("build_id", wire::Hello { build_id: "x".repeat(129), ..hello() }),
        ("labels", wire::Hello { labels: [("No Key".to_owned(), String::new())].into(), ..hello() }),
        ("handlers", wire::Hello { handlers: vec![], ..hello() }),
        ("handlers[0].job_type", wire::Hello { handlers: vec![handler("")], ..hello() }),
        ("handlers[1].job_type", wire::Hello { handlers: vec![handler("a"), handler("a")], ..hello() }),
        ("capacity[0].max_in_flight", wire::Hello { capacity: vec![capacity("a", -1)], ..hello() }),
        ("capacity[0].queue", wire::Hello { capacity: vec![capacity("No Queue", 1)], ..hello() }),
        ("capacity[1].queue", wire::Hello { capacity: vec![capacity("a", 1), capacity("a", 1)], ..hello() }),
        ("capacity", wire::Hello { capacity: vec![capacity("a", 5_001)], ..hello() }),
        ("in_flight[0].attempt", wire::Hello { in_flight: vec![held(None, 2)], ..hello() }),
        ("in_flight[0].attempt.run_id", wire::Hello { in_flight: vec![held(of("me", 1), 2)], ..hello() }),
        ("in_flight[0].attempt.attempt", wire::Hello { in_flight: vec![held(of(&run, 0), 2)], ..hello() }),
        ("in_flight[0].phase", wire::Hello { in_flight: vec![held(of(&run, 1), 999)], ..hello() }),
    ];
    for (field, hello) in cases {
        end(&server, [Some(Say::Hello(hello))]).await.is_field("FIELD_INVALID", field, field);
    }
}

#[tokio::test]
async fn a_version_that_the_server_does_not_speak_is_told_what_it_does() {
    let server = Server::start().await;
    let newer = wire::Hello { min_protocol_version: 7, max_protocol_version: 9, ..hello() };
    let told = end(&server, [Some(Say::Hello(newer))]).await;
    told.is(Code::FailedPrecondition, "PROTOCOL_VERSION_UNSUPPORTED", "newer");
    told.says(&["min_protocol_version", "max_protocol_version"], "newer");
}

#[tokio::test]
async fn of_two_streams_of_a_process_the_newer_one_stays() {
    let server = Server::start().await;
    let hello = wire::Hello { connect_sequence: 5, ..hello() };
    let welcomed = async |sequence| {
        let mut worker = Worker::connect(&server, Some(server.key())).await.unwrap();
        worker.say(Say::Hello(wire::Hello { connect_sequence: sequence, ..hello.clone() })).await;
        assert!(matches!(worker.heard().await, Hear::Welcome(_)));
        worker
    };
    let mut older = welcomed(5).await;
    let newer = welcomed(6).await;
    Told::of(&older.end().await.unwrap()).is(Code::Aborted, "SESSION_SUPERSEDED", "the older one");
    // One that comes late is older all the same.
    let late = wire::Hello { connect_sequence: 4, ..hello.clone() };
    end(&server, [Some(Say::Hello(late))]).await.is(Code::Aborted, "SESSION_SUPERSEDED", "a late one");
    drop(newer);
}

#[tokio::test]
async fn a_heartbeat_that_cannot_be_read_ends_the_stream() {
    let server = Server::start().await;
    for (field, sequence, state) in [("sequence", 0, 1), ("state", 1, 0), ("state", 1, 999)] {
        let beat = wire::Heartbeat { sequence, state, ..wire::Heartbeat::default() };
        let says = [Some(Say::Hello(hello())), Some(Say::Heartbeat(beat))];
        end(&server, says).await.is_field("FIELD_INVALID", field, field);
    }
}
