//! Random walks: whatever order things happen in, the rules of starting hold. The walk keeps its own account of what was
//! sent, acknowledged and refused, from the messages alone, and judges every start by it.

use std::collections::{HashMap, HashSet};

use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng};

use super::*;

const FENCE: Duration = Duration::from_secs(27);
const WINDOW: Duration = Duration::from_secs(15);

struct Walk {
    bench: Bench,
    dice: SmallRng,
    streams: Vec<StreamId>,
    live: Option<StreamId>,
    /// The stream whose Hello came out last.
    newest_hello: Option<StreamId>,
    /// What Hello and each Heartbeat listed, and when it came out.
    sent: HashMap<(StreamId, i64), (Instant, HashSet<String>)>,
    unacked: Vec<(StreamId, i64)>,
    lease_until: Instant,
    /// Until when an attempt may start unconfirmed.
    start_before: HashMap<Key, Instant>,
    confirmed: HashSet<String>,
    starting: Vec<Key>,
    running: Vec<Key>,
    started: HashSet<Key>,
    refused: HashSet<Key>,
    /// Unstarted when the lease ran out.
    given_up: HashSet<Key>,
    runs: u32,
}

impl Walk {
    fn new(seed: u64) -> Self {
        let bench = Bench::new(2);
        Self {
            lease_until: bench.now,
            bench,
            dice: SmallRng::seed_from_u64(seed),
            streams: Vec::new(),
            live: None,
            newest_hello: None,
            sent: HashMap::new(),
            unacked: Vec::new(),
            start_before: HashMap::new(),
            confirmed: HashSet::new(),
            starting: Vec::new(),
            running: Vec::new(),
            started: HashSet::new(),
            refused: HashSet::new(),
            given_up: HashSet::new(),
            runs: 0,
        }
    }

    fn step(&mut self) {
        match self.dice.random_range(0..100) {
            0..25 => self.pass(),
            25..50 => self.dispatch(),
            50..65 => self.begin(),
            65..75 => self.end(),
            75..90 => self.ack(),
            90..94 => self.reconnect(),
            94..97 => self.lose(),
            _ => self.take_away(),
        }
        self.listen();
    }

    fn pass(&mut self) {
        let longest = if self.dice.random_bool(0.04) { 40_000 } else { 3_000 };
        let millis = self.dice.random_range(0..longest);
        // Sometimes the process is stopped for that time, and no timer runs.
        if self.dice.random_bool(0.2) {
            self.bench.now = self.bench.now + Duration::from_millis(millis);
            return;
        }
        self.bench.pass(millis);
        if self.lease_until <= self.bench.now {
            let unstarted = self.start_before.keys().filter(|key| !self.started.contains(*key));
            self.given_up.extend(unstarted.cloned());
        }
    }

    fn listen(&mut self) {
        for stream in self.streams.clone() {
            for message in self.bench.said(stream) {
                match message {
                    Said::Hello(hello) => {
                        self.newest_hello = Some(stream);
                        self.note_listed(stream, 0, &hello.in_flight);
                    }
                    Said::Heartbeat(heartbeat) => self.note_listed(stream, heartbeat.sequence, &heartbeat.in_flight),
                    Said::DispatchReply(reply) => {
                        let key = Key::of(reply.attempt.as_ref()).unwrap();
                        if matches!(reply.outcome, Some(Reply::Rejected(_))) {
                            assert!(!self.started.contains(&key), "refused after its start: {key:?}");
                            self.refused.insert(key);
                        }
                    }
                    _ => assert!(Some(stream) == self.live || self.live.is_none()),
                }
            }
        }
        for effect in std::mem::take(&mut self.bench.effects) {
            if let Effect::Start(key) = effect {
                self.starting.push(key);
            }
        }
    }

    fn note_listed(&mut self, stream: StreamId, sequence: i64, statuses: &[AttemptStatus]) {
        let runs = listed(statuses).into_iter().map(|(run, _)| run).collect();
        self.sent.insert((stream, sequence), (self.bench.now, runs));
        self.unacked.push((stream, sequence));
    }

    fn dispatch(&mut self) {
        let Some(stream) = self.pick(&self.streams.clone()) else { return };
        self.runs += 1;
        let run = self.runs.to_string();
        let known: Vec<i64> = self.sent.keys().filter(|(of, _)| *of == stream).map(|(_, sequence)| *sequence).collect();
        let basis = self.pick(&known).unwrap_or(7_777);
        let key = self.bench.dispatch(stream, &run, basis);
        if Some(stream) == self.newest_hello
            && let Some((sent_at, _)) = self.sent.get(&(stream, basis))
        {
            self.start_before.insert(key, *sent_at + WINDOW);
        }
    }

    fn begin(&mut self) {
        let Some(key) = self.pick(&self.starting.clone()) else { return };
        self.starting.retain(|starting| *starting != key);
        if self.bench.begin(&key).is_none() {
            return;
        }
        let now = self.bench.now;
        assert!(now < self.lease_until, "started without a lease: {key:?}");
        let before = self.start_before.get(&key).expect("started from a stream that no longer counted");
        assert!(now < *before || self.confirmed.contains(&*key.run_id), "started too late: {key:?}");
        assert!(!self.refused.contains(&key), "started after it was refused: {key:?}");
        assert!(!self.given_up.contains(&key), "started after it was given up: {key:?}");
        assert!(self.started.insert(key.clone()), "started twice: {key:?}");
        self.running.push(key);
    }

    fn end(&mut self) {
        let Some(key) = self.pick(&self.running.clone()) else { return };
        self.running.retain(|running| *running != key);
        self.bench.end(&key, End::Returned(vec![]));
        if let Some(live) = self.live {
            self.bench.result_ack(live, &key, ResultDisposition::Applied);
        }
    }

    /// Acknowledges any heartbeat of the session that was not, late ones too.
    fn ack(&mut self) {
        let Some(live) = self.live else { return };
        let open: Vec<_> = self.unacked.iter().copied().filter(|(of, _)| *of == live).collect();
        let Some((stream, sequence)) = self.pick(&open) else { return };
        self.acked(stream, sequence);
        self.bench.ack(stream, sequence, vec![]);
    }

    fn acked(&mut self, stream: StreamId, sequence: i64) {
        self.unacked.retain(|unacked| *unacked != (stream, sequence));
        let (sent_at, _) = self.sent[&(stream, sequence)];
        self.lease_until = self.lease_until.max(sent_at + FENCE);
        // It answers the earlier ones of its stream as well.
        for ((of, earlier), (_, listed)) in &self.sent {
            if *of == stream && *earlier <= sequence {
                self.confirmed.extend(listed.iter().cloned());
            }
        }
    }

    fn reconnect(&mut self) {
        let stream = self.bench.machine.open(self.bench.now);
        self.streams.push(stream);
        self.listen();
        if self.dice.random_bool(0.3) {
            // The Welcome never comes.
            return;
        }
        self.acked(stream, 0);
        self.bench.welcome(stream, vec![]);
        self.live = Some(stream);
    }

    fn lose(&mut self) {
        let Some(stream) = self.pick(&self.streams.clone()) else { return };
        self.streams.retain(|other| *other != stream);
        self.live = self.live.filter(|live| *live != stream);
        self.bench.lose(stream);
    }

    fn take_away(&mut self) {
        let held: Vec<Key> = self.bench.machine.attempts.keys().cloned().collect();
        let (Some(key), Some(live)) = (self.pick(&held), self.live) else { return };
        let directive = if self.dice.random_bool(0.5) { abandon(&key) } else { cancel(&key) };
        self.acked(live, 0);
        self.bench.ack(live, 0, vec![directive]);
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> Option<T> {
        (!from.is_empty()).then(|| from[self.dice.random_range(0..from.len())].clone())
    }
}

#[test]
fn nothing_starts_against_the_rules_whatever_happens() {
    let mut starts = 0;
    for seed in 0..400 {
        let mut walk = Walk::new(seed);
        for _ in 0..400 {
            walk.step();
        }
        starts += walk.started.len();
    }
    assert!(starts > 3_000, "the walks hardly start anything: {starts}");
}

#[test]
fn the_slots_come_back_whatever_happens() {
    for seed in 0..100 {
        let mut walk = Walk::new(seed);
        for _ in 0..400 {
            walk.step();
        }
        // Let everything end, then the worker is as new.
        for _ in 0..200 {
            walk.begin();
            walk.end();
            walk.listen();
        }
        walk.bench.pass(1);
        walk.reconnect();
        while walk.live.is_none() || walk.live != walk.streams.last().copied() {
            walk.reconnect();
        }
        let live = walk.live.unwrap();
        for key in walk.bench.machine.attempts.keys().cloned().collect::<Vec<_>>() {
            walk.bench.ack(live, 0, vec![abandon(&key)]);
        }
        for _ in 0..200 {
            walk.begin();
            walk.listen();
        }
        assert_eq!(walk.bench.machine.capacity()["default"], 2, "seed {seed}");
        walk.bench.dispatch(live, "last", 0);
        assert_eq!(walk.bench.starts(), ["last"], "seed {seed}");
    }
}
