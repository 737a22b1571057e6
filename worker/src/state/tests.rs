//! The worker's rules, each as a sequence of calls. The names of the violations (V6 …) are those of the model that found
//! them.

mod leaving;
mod results;
mod starting;
mod talking;
mod walking;

use std::{collections::BTreeMap, time::Duration};

use mainspring_proto::{
    common::v1::LeaseLossPolicy,
    worker::v1::{
        AttemptDirective, AttemptPhase, AttemptRef, AttemptStatus, CancelDirective, Capability, Dispatch, HandlerSpec,
        Heartbeat, HeartbeatAck, Hello, ResultAck, ResultDisposition, Welcome, WorkerStreamResponse,
        attempt_directive::Directive, dispatch_reply::Outcome as Reply, worker_stream_request::Message as Said,
        worker_stream_response::Message as Heard,
    },
};

use super::{Begin, Effect, End, Identity, Key, Machine, Pull, StreamId};
use crate::{
    clock::{self, Instant},
    ctx::Stop,
    observe::Outcome,
};

const SECOND: u64 = 1_000;

/// A machine and its time. Leases of 30 s, heartbeats of 5 s, a start window of 15 s.
struct Bench {
    machine: Machine,
    now: Instant,
    effects: Vec<Effect>,
}

impl Bench {
    fn new(slots: u32) -> Self {
        let identity = Identity {
            worker_id: "w1".into(),
            handlers: vec![HandlerSpec { job_type: "t".into(), queue: "default".into(), ..Default::default() }],
            ..Identity::default()
        };
        let slots = BTreeMap::from([("default".to_owned(), slots)]);
        let machine = Machine::new(identity, slots, Duration::from_secs(10), Duration::from_secs(2), 7);
        Self { machine, now: Instant::at(Duration::from_secs(1_000)), effects: Vec::new() }
    }

    /// A machine with a session.
    fn connected(slots: u32) -> (Self, StreamId) {
        let mut bench = Self::new(slots);
        let stream = bench.connect();
        (bench, stream)
    }

    /// Lets time pass, and does what falls due at its end.
    fn pass(&mut self, millis: u64) {
        self.now = self.now + Duration::from_millis(millis);
        self.machine.tick(self.now);
        self.collect();
    }

    fn collect(&mut self) {
        for effect in self.machine.take_effects() {
            // There is nothing it would have to be kept in.
            if let Effect::Keep(key) = &effect {
                self.machine.release(key);
            }
            self.effects.push(effect);
        }
    }

    fn connect(&mut self) -> StreamId {
        let stream = self.machine.open(self.now);
        self.hello(stream);
        self.welcome(stream, Vec::new());
        stream
    }

    fn hello(&mut self, stream: StreamId) -> Hello {
        match self.said(stream).pop() {
            Some(Said::Hello(hello)) => hello,
            other => panic!("no Hello but {other:?}"),
        }
    }

    fn welcome(&mut self, stream: StreamId, directives: Vec<AttemptDirective>) {
        let length = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
        let welcome = Welcome {
            session_id: format!("s{}", stream.0),
            session_epoch: stream.0,
            protocol_version: 1,
            capabilities: vec![Capability::Logs.into()],
            heartbeat_interval: length(5),
            lease_ttl: length(30),
            silence_timeout: length(30),
            start_window: length(15),
            directives,
            ..Welcome::default()
        };
        self.hear(stream, Heard::Welcome(welcome));
    }

    fn hear(&mut self, stream: StreamId, message: Heard) {
        self.machine.read(stream, WorkerStreamResponse { message: Some(message) }, self.now);
        self.collect();
    }

    /// Everything the machine has to say on a stream.
    fn said(&mut self, stream: StreamId) -> Vec<Said> {
        let mut said = Vec::new();
        while let Pull::Message(message) = self.machine.pull(stream, self.now) {
            said.extend(message.message);
        }
        said
    }

    fn dispatch(&mut self, stream: StreamId, run: &str, basis: i64) -> Key {
        self.dispatch_as(stream, dispatch(run, 1, basis))
    }

    fn dispatch_as(&mut self, stream: StreamId, dispatch: Dispatch) -> Key {
        let key = Key::of(dispatch.attempt.as_ref()).unwrap();
        self.hear(stream, Heard::Dispatch(dispatch));
        key
    }

    /// Sends the heartbeat that falls due within six seconds.
    fn heartbeat(&mut self, stream: StreamId) -> Heartbeat {
        for _ in 0..60 {
            self.pass(100);
            for message in self.said(stream) {
                if let Said::Heartbeat(heartbeat) = message {
                    return heartbeat;
                }
            }
        }
        panic!("no heartbeat")
    }

    fn ack(&mut self, stream: StreamId, sequence: i64, directives: Vec<AttemptDirective>) {
        self.hear(stream, Heard::HeartbeatAck(HeartbeatAck { sequence, lease_ttl: None, directives }));
    }

    /// The runs for which a task was asked since the last time.
    fn starts(&mut self) -> Vec<String> {
        let mut starts = Vec::new();
        self.effects.retain(|effect| match effect {
            Effect::Start(key) => {
                starts.push(key.run_id.to_string());
                false
            }
            _ => true,
        });
        starts
    }

    fn begin(&mut self, key: &Key) -> Option<Stop> {
        let begin = self.machine.begin(key, self.now, clock::wall());
        self.collect();
        match begin {
            Begin::Go(_, stop) => Some(stop),
            Begin::No => None,
        }
    }

    /// Takes an attempt all the way into user code.
    fn run(&mut self, stream: StreamId, run: &str) -> Key {
        let key = self.dispatch(stream, run, 0);
        assert!(self.starts().contains(&run.to_owned()));
        assert!(self.begin(&key).is_some());
        key
    }

    fn end(&mut self, key: &Key, end: End) -> Outcome {
        let outcome = self.machine.conclude(key, end, self.now, clock::wall());
        self.machine.release(key);
        self.collect();
        outcome
    }

    fn result_ack(&mut self, stream: StreamId, key: &Key, disposition: ResultDisposition) {
        let ack = ResultAck { attempt: Some(key.wire()), disposition: disposition.into(), message: String::new() };
        self.hear(stream, Heard::ResultAck(ack));
    }

    fn lose(&mut self, stream: StreamId) {
        self.machine.ended(stream);
        self.collect();
    }

    fn holds(&self, key: &Key) -> bool {
        self.machine.attempts.contains_key(key)
    }
}

fn dispatch(run: &str, attempt: i64, basis_sequence: i64) -> Dispatch {
    Dispatch {
        attempt: Some(AttemptRef { run_id: run.into(), attempt }),
        job_type: "t".into(),
        queue: "default".into(),
        basis_sequence,
        ..Dispatch::default()
    }
}

fn must_stop(dispatch: Dispatch) -> Dispatch {
    Dispatch { lease_loss_policy: LeaseLossPolicy::Stop.into(), ..dispatch }
}

fn abandon(key: &Key) -> AttemptDirective {
    AttemptDirective { attempt: Some(key.wire()), directive: Some(Directive::Abandon(Default::default())) }
}

fn cancel(key: &Key) -> AttemptDirective {
    let cancel = CancelDirective { note: "enough".into(), grace_period: None };
    AttemptDirective { attempt: Some(key.wire()), directive: Some(Directive::Cancel(cancel)) }
}

/// The replies among what was said: run, and RESERVED, RUNNING or the reason of the rejection.
fn replies(said: &[Said]) -> Vec<(String, String)> {
    said.iter()
        .filter_map(|message| match message {
            Said::DispatchReply(reply) => {
                let what = match reply.outcome.as_ref().unwrap() {
                    Reply::Accepted(accepted) => accepted.phase().as_str_name(),
                    Reply::Rejected(rejected) => rejected.reason().as_str_name(),
                };
                let what = what.trim_start_matches("ATTEMPT_PHASE_").trim_start_matches("REJECT_REASON_");
                Some((reply.attempt.clone().unwrap().run_id, what.to_owned()))
            }
            _ => None,
        })
        .collect()
}

fn reply(run: &str, what: &str) -> (String, String) {
    (run.into(), what.into())
}

/// The runs whose results are among what was said.
fn results(said: &[Said]) -> Vec<String> {
    said.iter()
        .filter_map(|message| match message {
            Said::Result(result) => Some(result.attempt.clone().unwrap().run_id),
            _ => None,
        })
        .collect()
}

/// A list of attempts, as run and phase.
fn listed(statuses: &[AttemptStatus]) -> Vec<(String, AttemptPhase)> {
    statuses.iter().map(|status| (status.attempt.clone().unwrap().run_id, status.phase())).collect()
}
