//! Lists: what they are narrowed by, which way they go, and where they end when their entries are large.

use mainspring_engine::{
    domain::{
        attempt::Outcome,
        filter::{Filter, Op, Value},
        ids::WorkerId,
        job::JobSpec,
        payload::{Failure, FailureDetails, Payload, RetryHint},
        worker::{Drain, Handler, WorkerStatus},
    },
    ports::store::{ApiKeyRecord, Direction, JobOrder, NewRun, Page, QueueSettings},
};

use super::world::{World, all, failure, page, pointer, secs, spec};

const KIB: usize = 1 << 10;

fn test(field: &'static str, op: Op, value: Value) -> Filter {
    Filter::Test { field, op, value }
}

fn is(field: &'static str, value: &str) -> Filter {
    test(field, Op::Equal, Value::Text(value.into()))
}

fn payload(size: usize) -> Payload {
    Payload { content_type: "text/plain".into(), data: vec![b'x'; size] }
}

pub async fn full_runs_stop_at_their_bytes(mut w: World) {
    let owner = w.connect().await;
    let mut made = Vec::new();
    for n in 0..6 {
        w.pass(secs(1));
        let moved = w.submit(vec![NewRun { payload: payload(100 * KIB), ..w.new_run() }]).await.remove(0);
        made.push(moved.run);
        if n == 0 {
            // An output counts like an input, and so does a failure.
            let key = w.lease(owner, pointer(&moved)).await.key;
            w.succeed_with(key, payload(100 * KIB)).await;
        }
    }
    let mut got = Vec::new();
    let mut sizes = Vec::new();
    loop {
        let page = Page { after: got.last().map(ToString::to_string), limit: 1_000, bytes: 310 * KIB };
        let listed = w.store.runs(&w.scope, &Filter::All, Direction::Up, page, true).await.unwrap();
        assert!(listed.entries.iter().all(|run| run.detail.as_ref().unwrap().payload == payload(100 * KIB)));
        sizes.push(listed.entries.len());
        got.extend(listed.entries.iter().map(|run| run.run));
        if !listed.cut {
            break;
        }
    }
    assert_eq!((got, sizes), (made.clone(), vec![2, 3, 1]));
    // One at least, however large; and what is not asked for does not count.
    let small = || Page { after: None, limit: 1_000, bytes: 1 };
    let listed = w.store.runs(&w.scope, &Filter::All, Direction::Down, small(), true).await.unwrap();
    assert_eq!((listed.entries.len(), listed.entries[0].run, listed.cut), (1, made[5], true));
    let listed = w.store.runs(&w.scope, &Filter::All, Direction::Down, small(), false).await.unwrap();
    assert_eq!((listed.entries.len(), listed.cut), (6, false));
}

pub async fn only_the_last_failure_of_a_run_is_read(mut w: World) {
    let owner = w.connect().await;
    let pointer = w.submit_one().await;
    let key = w.lease(owner, pointer).await.key;
    w.report(key, Outcome::Failed(failure("FIRST"))).await;
    w.pass(secs(3_600));
    let woken = w.store.wake(w.now, 10).await.unwrap();
    let key = w.lease(owner, super::world::pointer(&woken[0])).await.key;
    let last = Failure { hint: Some(RetryHint { retry: Some(false), delay: None }), ..failure("LAST") };
    w.report(key, Outcome::Failed(last)).await;
    let listed = w.store.runs(&w.scope, &Filter::All, Direction::Up, all(), true).await.unwrap();
    let detail = listed.entries[0].detail.as_ref().unwrap();
    assert_eq!(detail.failure.as_ref().unwrap().reason, "LAST");
}

pub async fn attempts_stop_at_their_bytes(mut w: World) {
    let owner = w.connect().await;
    let mut pointer = w.submit_one().await;
    let details = FailureDetails { content_type: "text/plain".into(), data: vec![0; 20 * KIB] };
    for _ in 0..2 {
        let key = w.lease(owner, pointer).await.key;
        w.report(key, Outcome::Failed(Failure { details: Some(details.clone()), ..failure("X") })).await;
        w.pass(secs(3_600));
        pointer = super::world::pointer(&w.store.wake(w.now, 10).await.unwrap()[0]);
    }
    let key = w.lease(owner, pointer).await.key;
    let numbers = async |after: Option<&str>, bytes| {
        let page = Page { after: after.map(str::to_owned), limit: 10, bytes };
        let listed = w.store.attempts(&w.scope, key.run, page).await.unwrap().unwrap();
        (listed.entries.iter().map(|attempt| attempt.attempt).collect::<Vec<_>>(), listed.cut)
    };
    assert_eq!(numbers(None, KIB).await, (vec![1], true));
    assert_eq!(numbers(Some("1"), KIB).await, (vec![2, 3], false));
    assert_eq!(numbers(None, 1 << 20).await, (vec![1, 2, 3], false));
}

pub async fn jobs_go_by_name_or_by_age(mut w: World) {
    for name in ["b", "c", "a"] {
        w.pass(secs(1));
        w.create(name, JobSpec { payload: payload(100 * KIB), ..spec(vec![]) }).await;
    }
    let list = async |order, page, detail| {
        let listed = w.store.jobs(&w.scope, &Filter::All, order, page, detail).await.unwrap();
        let keys: Vec<_> = listed.entries.iter().map(|job| (job.name.to_string(), job.uid.to_string())).collect();
        (keys.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>(), keys, listed.cut)
    };
    for (order, wanted) in [
        (JobOrder::Name(Direction::Up), ["a", "b", "c"]),
        (JobOrder::Name(Direction::Down), ["c", "b", "a"]),
        (JobOrder::Age(Direction::Up), ["b", "c", "a"]),
        (JobOrder::Age(Direction::Down), ["a", "c", "b"]),
    ] {
        let (names, keys, _) = list(order, all(), false).await;
        assert_eq!(names, wanted, "{order:?}");
        let after = match order {
            JobOrder::Name(_) => keys[0].0.clone(),
            JobOrder::Age(_) => keys[0].1.clone(),
        };
        assert_eq!(list(order, page(Some(after), 5), true).await.0, wanted[1..], "{order:?}");
        let two = Page { after: None, limit: 5, bytes: 210 * KIB };
        let (names, _, cut) = list(order, two, true).await;
        assert_eq!((names.as_slice(), cut), (wanted[..2].map_owned().as_slice(), true));
    }
}

pub async fn filters_narrow_queues(w: World) {
    let set = async |queue: &str, limit, paused| {
        let settings = QueueSettings {
            paused: Some((paused, String::new())),
            concurrency_limit: Some(limit),
            allow_missing: true,
            ..QueueSettings::default()
        };
        w.store.update_queue(w.now, &w.scope, &queue.parse().unwrap(), settings).await.unwrap();
    };
    set("a", 0, false).await;
    set("b", 5, true).await;
    set("c", 9, false).await;
    let list = async |filter: Filter, direction| {
        let found = w.store.queues(&w.scope, &filter, direction, all()).await.unwrap();
        found.iter().map(|view| view.queue.to_string()).collect::<Vec<_>>()
    };
    let paused = |paused: i64| test("paused", Op::Equal, Value::Number(paused));
    assert_eq!(list(paused(1), Direction::Up).await, ["b"]);
    assert_eq!(list(paused(0), Direction::Down).await, ["c", "a"]);
    assert_eq!(list(test("concurrency_limit", Op::Greater, Value::Number(0)), Direction::Up).await, ["b", "c"]);
    assert_eq!(list(is("queue", "a"), Direction::Up).await, ["a"]);
    let next = w.store.queues(&w.scope, &Filter::All, Direction::Down, page(Some("c".into()), 1)).await.unwrap();
    assert_eq!(next[0].queue.as_str(), "b");
}

pub async fn filters_narrow_workers(mut w: World) {
    let mut hello = w.hello(WorkerId::new(w.now), 1, &[]);
    hello.name = "first".into();
    w.say_hello(&hello).await;
    w.pass(secs(5));
    let mut hello = w.hello(WorkerId::new(w.now), 1, &[]);
    hello.name = "second".into();
    let mail =
        Handler { job_type: "Mail.Send".parse().unwrap(), queue: "mail".parse().unwrap(), ..hello.handlers[0].clone() };
    hello.handlers.push(mail);
    w.say_hello(&hello).await;
    w.store.drain_worker(w.now, &w.scope, hello.worker, Drain::Quiesce).await.unwrap();
    let list = async |filter: Filter, direction| {
        let found = w.store.workers(&w.scope, false, &filter, direction, all()).await.unwrap();
        found.iter().map(|view| view.name.clone()).collect::<Vec<_>>()
    };
    let draining = || test("state", Op::Equal, Value::Number(WorkerStatus::Draining.code().into()));
    let cases: Vec<(Filter, &[&str])> = vec![
        (Filter::All, &["first", "second"]),
        (draining(), &["second"]),
        (Filter::Not(Box::new(draining())), &["first"]),
        (is("name", "first"), &["first"]),
        (is("job_type", "test.job"), &["first", "second"]),
        (is("job_type", "Mail.Send"), &["second"]),
        // None of its types is that one.
        (test("job_type", Op::NotEqual, Value::Text("Mail.Send".into())), &["first"]),
        (test("queue", Op::Prefix, Value::Text("ma".into())), &["second"]),
        (is("sdk", "test/1"), &["first", "second"]),
        (is("build_id", ""), &[]),
        (test("connect_time", Op::Less, Value::Time(w.now)), &["first"]),
        (test("last_heartbeat_time", Op::GreaterEqual, Value::Time(w.now)), &["second"]),
    ];
    for (filter, wanted) in cases {
        assert_eq!(list(filter.clone(), Direction::Up).await, wanted, "{filter:?}");
    }
    assert_eq!(list(Filter::All, Direction::Down).await, ["second", "first"]);
}

pub async fn job_types_stop_at_their_bytes(mut w: World) {
    let mut hello = w.hello(WorkerId::new(w.now), 1, &[]);
    let schema = format!("{{\"title\": \"{}\"}}", "x".repeat(10 * KIB));
    hello.handlers = ["a", "b", "c"]
        .map(|name| Handler {
            job_type: name.parse().unwrap(),
            input_schema: schema.clone(),
            ..hello.handlers[0].clone()
        })
        .into();
    w.say_hello(&hello).await;
    w.pass(secs(1));
    let list = async |filter: Filter, direction, bytes| {
        let page = Page { after: None, limit: 10, bytes };
        let listed = w.store.job_types(&w.scope, &filter, direction, page).await.unwrap();
        (listed.entries.iter().map(|view| view.job_type.to_string()).collect::<Vec<_>>(), listed.cut)
    };
    let told = |names: &[&str], cut| (names.map_owned(), cut);
    assert_eq!(list(Filter::All, Direction::Up, 25 * KIB).await, told(&["a", "b"], true));
    assert_eq!(list(Filter::All, Direction::Down, 1).await, told(&["c"], true));
    assert_eq!(list(is("job_type", "b"), Direction::Up, 1).await, told(&["b"], false));
    let recent = test("announce_time", Op::GreaterEqual, Value::Time(w.now));
    assert_eq!(list(recent, Direction::Up, 1 << 20).await, told(&[], false));
}

pub async fn filters_narrow_keys(mut w: World) {
    for (id, role) in [("k1", "admin"), ("k2", "worker"), ("k3", "worker")] {
        w.pass(secs(1));
        let record = ApiKeyRecord {
            id: id.into(),
            name: format!("key {id}"),
            role: role.into(),
            secret_hash: [0; 32],
            creator: "user:root".into(),
            create_time: w.now,
            expire_time: (id == "k3").then(|| w.now.plus(secs(60))),
            revoke_time: None,
            last_use_time: None,
        };
        w.store.create_key(record, None).await.unwrap();
    }
    w.store.revoke_key(w.now, "k2").await.unwrap();
    let list = async |filter: Filter| {
        let found = w.store.keys(&filter, Direction::Up, all()).await.unwrap();
        found.into_iter().map(|key| key.id).collect::<Vec<_>>()
    };
    let revoked = |revoked: i64| test("revoked", Op::Equal, Value::Number(revoked));
    assert_eq!(list(is("role", "worker")).await, ["k2", "k3"]);
    assert_eq!(list(revoked(1)).await, ["k2"]);
    assert_eq!(list(Filter::And(vec![is("role", "worker"), revoked(0)])).await, ["k3"]);
    assert_eq!(list(is("creator", "user:root")).await, ["k1", "k2", "k3"]);
    assert_eq!(list(is("name", "key k1")).await, ["k1"]);
    assert_eq!(list(test("expire_time", Op::Greater, Value::Time(w.now))).await, ["k3"]);
    assert_eq!(list(test("create_time", Op::Less, Value::Time(w.now))).await, ["k1", "k2"]);
    assert_eq!(list(test("last_use_time", Op::NotEqual, Value::Time(w.now))).await, ["k1", "k2", "k3"]);
}

/// Texts of their own.
trait Owned {
    fn map_owned(&self) -> Vec<String>;
}

impl Owned for [&str] {
    fn map_owned(&self) -> Vec<String> {
        self.iter().map(|text| (*text).to_owned()).collect()
    }
}
