//! Sinks are told by HTTP, again and again if need be; and what hangs holds up nobody else.

use std::time::Duration;

use mainspring_engine::{
    domain::{
        catch_up::{CatchUp, Mode},
        delivery::{Delivery, DeliveryState, MAX_ATTEMPTS},
        event::{Detail, SinkChange as Told},
        ids::SinkUid,
        job::JobSpec,
        ledger::{Fate, FateReason},
        names::Scope,
        notice::Kind,
        policy::RunPolicy,
        rules::LeaseRules,
        run::RunState,
        sink::{Disabled, Sealed, Sink, SinkSpec},
    },
    flow::DELIVERY_TIMEOUT,
    ports::store::{NewRun, NewSink, SinkChange},
};
use mainspring_tests::{
    conformance::world::{every, secs, spec},
    engine::Stage,
    harness::{
        host::{self, PATIENCE},
        receiver::{Answer, Receiver},
    },
};

/// `whsec_` and 32 times the letter A.
const SECRET: &str = "whsec_QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=";

fn secret(stage: &Stage) -> Sealed {
    stage.engine.sinks().seal(&[b'A'; 32])
}

/// Whose stages look seldom, and so depend on what they are told.
async fn stage_for_days() -> Stage {
    Stage::set_with(LeaseRules::default(), secs(3_600)).await
}

async fn sink(stage: &Stage, name: &str, url: String) -> Sink {
    let kinds = [Kind::RunFailed].into();
    let spec = SinkSpec { description: String::new(), url, kinds, job: None, disabled: None };
    let (scope, uid, name, secret) =
        (Scope::default(), SinkUid::new(stage.engine.now()), name.parse().unwrap(), secret(stage));
    let new = NewSink { scope, uid, name, spec, secret, request: None };
    match stage.engine.sinks().create(new).await.unwrap() {
        SinkChange::Done(sink) => *sink,
        other => panic!("{other:?}"),
    }
}

/// A run that nobody takes in time.
async fn dies(stage: &Stage) {
    let mut policy = RunPolicy::default();
    policy.timeouts.queue = Some(secs(1));
    let run = NewRun { policy, ..stage.world().new_run() };
    let run = stage.submit(run).await;
    stage.pass(secs(1)).await;
    stage.until(run, RunState::TimedOut).await;
}

async fn told(stage: &Stage, sink: &Sink) -> Vec<Delivery> {
    stage.engine.store().deliveries(sink.uid, None, None, 100).await.unwrap()
}

/// Waits until the first delivery of a sink was noted to be so; the clock stands still meanwhile.
async fn noted(stage: &Stage, sink: &Sink, is: impl Fn(&Delivery) -> bool) -> Delivery {
    let reached = async {
        loop {
            if let Some(delivery) = told(stage, sink).await.into_iter().next().filter(&is) {
                return delivery;
            }
            tokio::task::yield_now().await;
        }
    };
    host::within(PATIENCE, "a delivery to be noted", reached).await.unwrap()
}

async fn attempted(stage: &Stage, sink: &Sink, attempts: u32) -> Delivery {
    noted(stage, sink, |delivery| delivery.attempts == attempts).await
}

/// Moves the clock to when a delivery is sent next.
async fn until_next(stage: &Stage, delivery: &Delivery) {
    stage.pass(delivery.next_time.unwrap().since(stage.engine.now())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_refused_is_sent_again_under_the_same_id() {
    let stage = stage_for_days().await;
    let mut receiver = Receiver::listen().await.unwrap();
    let sink = sink(&stage, "ops", receiver.url("/hook")).await;
    let busy = Answer::Full(503, "retry-after: 60\r\n".into(), "no room".into());
    receiver.next("/hook", [Answer::Status(500), Answer::Status(302), busy]);
    dies(&stage).await;
    let first = receiver.heard().await.unwrap();
    let body = first.verified(SECRET).unwrap();
    assert_eq!((&body["type"], &body["reason"]), (&"run.failed".into(), &"QUEUE_TIMEOUT".into()));
    let delivery = attempted(&stage, &sink, 1).await;
    assert_eq!((delivery.status, delivery.error.as_str()), (Some(500), "the receiver answered 500"));
    until_next(&stage, &delivery).await;
    let delivery = attempted(&stage, &sink, 2).await;
    assert!(delivery.error.contains("redirects are not followed"), "{}", delivery.error);
    until_next(&stage, &delivery).await;
    let delivery = attempted(&stage, &sink, 3).await;
    assert_eq!(delivery.error, "the receiver answered 503: no room");
    let patience = delivery.next_time.unwrap().since(stage.engine.now());
    assert!(patience >= secs(100), "two minutes are more than the receiver asks for: {patience:?}");
    until_next(&stage, &delivery).await;
    let delivery = attempted(&stage, &sink, 4).await;
    assert_eq!((delivery.state, delivery.status), (DeliveryState::Delivered, Some(200)));
    for _ in 0..3 {
        let again = receiver.heard().await.unwrap();
        assert_eq!((again.header("webhook-id"), &again.body), (first.header("webhook-id"), &first.body));
        again.verified(SECRET).unwrap();
    }
    stage.pass(secs(3_600)).await;
    assert!(!receiver.has_heard(), "what has arrived is not sent again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_hangs_holds_up_nobody_else() {
    let stage = Stage::set().await;
    let mut receiver = Receiver::listen().await.unwrap();
    let slow = sink(&stage, "slow", receiver.url("/slow")).await;
    let quick = sink(&stage, "quick", receiver.url("/quick")).await;
    receiver.always("/slow", Answer::Never);
    for _ in 0..9 {
        dies(&stage).await;
    }
    for _ in 0..9 {
        receiver.heard_at("/quick").await.unwrap().verified(SECRET).unwrap();
    }
    noted(&stage, &quick, |_| true).await;
    receiver.counted("/slow", 4).await.unwrap();
    assert_eq!(receiver.count("/slow"), 4, "a few of one sink are under way at a time");
    assert!(told(&stage, &slow).await.iter().all(|one| one.attempts == 0), "nobody knows what became of them");
    receiver.always("/slow", Answer::Status(200));
    stage.pass(DELIVERY_TIMEOUT).await;
    let mut arrived = 0;
    while arrived < 9 {
        stage.pass(secs(10)).await;
        receiver.counted("/slow", 5).await.unwrap();
        let all = told(&stage, &slow).await;
        arrived = all.iter().filter(|one| one.state == DeliveryState::Delivered).count();
        tokio::task::yield_now().await;
    }
    let most = told(&stage, &slow).await.iter().map(|one| one.attempts).max().unwrap();
    assert!(most >= 2, "those that hung were sent again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_hangs_is_given_up_and_told_so() {
    let stage = stage_for_days().await;
    let receiver = Receiver::listen().await.unwrap();
    let sink = sink(&stage, "ops", receiver.url("/hook")).await;
    receiver.always("/hook", Answer::Never);
    dies(&stage).await;
    let mut watch = stage.engine.events().watch(None).unwrap();
    for (attempt, seen) in [(1, 1), (2, 2), (MAX_ATTEMPTS, 3)] {
        receiver.counted("/hook", seen).await.unwrap();
        stage.pass(DELIVERY_TIMEOUT).await;
        let delivery = attempted(&stage, &sink, attempt).await;
        assert_eq!(delivery.error, "the receiver did not answer within 15 s");
        if seen == 2 {
            // Days later, in which nobody answered.
            stage.sql(format!("UPDATE delivery SET attempts = {}", MAX_ATTEMPTS - 1)).await;
        }
        if delivery.next_time.is_some() {
            until_next(&stage, &delivery).await;
        }
    }
    assert_eq!(told(&stage, &sink).await[0].state, DeliveryState::Failed);
    let failed = async {
        loop {
            let (_, event) = watch.next().await.unwrap();
            if let Detail::Sink { sink, change, attempts, .. } = &event.detail {
                return (sink.to_string(), *change, *attempts);
            }
        }
    };
    let failed = host::within(PATIENCE, "the end to be told", failed).await.unwrap();
    assert_eq!(failed, ("ops".into(), Told::DeliveryFailed, MAX_ATTEMPTS));
    // Somebody who has mended it sends it again.
    receiver.always("/hook", Answer::Status(204));
    let id = told(&stage, &sink).await[0].id;
    stage.engine.sinks().redeliver(sink.uid, id).await.unwrap().unwrap();
    let delivery = noted(&stage, &sink, |delivery| delivery.state == DeliveryState::Delivered).await;
    assert_eq!((delivery.attempts, delivery.status), (1, Some(204)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_is_gone_is_not_asked_again() {
    let stage = Stage::set().await;
    let mut receiver = Receiver::listen().await.unwrap();
    let sink = sink(&stage, "ops", receiver.url("/hook")).await;
    receiver.always("/hook", Answer::Status(410));
    dies(&stage).await;
    receiver.heard().await.unwrap();
    noted(&stage, &sink, |delivery| delivery.state == DeliveryState::Failed).await;
    let now = stage.engine.store().sink(&Scope::default(), &sink.name).await.unwrap().unwrap();
    assert_eq!(now.spec.disabled, Some(Disabled::Gone));
    dies(&stage).await;
    stage.pass(secs(3_600)).await;
    assert!(!receiver.has_heard());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_not_be_reached_is_not() {
    let stage = Stage::set().await;
    let receiver = Receiver::listen().await.unwrap();
    let sinks = stage.engine.sinks();
    for (url, why) in [
        ("http://169.254.169.254/latest/meta-data", "link-local"),
        ("https://10.0.0.1/", "ALLOW_NETWORKS"),
        ("https://[fd00:ec2::254]/", "private"),
        ("https://[::ffff:192.168.0.1]/", "private"),
        ("ftp://example.org/", "such as https"),
    ] {
        let told = sinks.check(url).unwrap_err();
        assert!(told.contains(why), "{url}: {told}");
    }
    // What only a look at the network tells is told by the attempt: no name is judged by how it looks.
    for (url, why) in [("https://0x0a000001/", "private"), ("http://2886729729/", "private")] {
        sinks.check(url).unwrap();
        let sink = Sink { spec: SinkSpec { url: url.into(), ..sink_spec(&receiver) }, ..any(&stage, &receiver).await };
        let tried = sinks.test(&sink).await;
        let told = tried.outcome.error();
        assert!(told.contains(why) || told.contains("cannot be resolved"), "{url}: {told}");
    }
    assert_eq!(receiver.count("/hook"), 0);
}

fn sink_spec(receiver: &Receiver) -> SinkSpec {
    let kinds = [Kind::RunFailed].into();
    SinkSpec { description: String::new(), url: receiver.url("/hook"), kinds, job: None, disabled: None }
}

async fn any(stage: &Stage, receiver: &Receiver) -> Sink {
    static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    sink(stage, &format!("any-{number}"), receiver.url("/hook")).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_that_is_tried_is_told_at_once() {
    let stage = Stage::set().await;
    let mut receiver = Receiver::listen().await.unwrap();
    let sink = any(&stage, &receiver).await;
    receiver.next("/hook", [Answer::Full(200, String::new(), "x".repeat(100_000))]);
    let tried = stage.engine.sinks().test(&sink).await;
    assert!(tried.outcome.is_success(), "{tried:?}");
    let body = receiver.heard().await.unwrap().verified(SECRET).unwrap();
    assert_eq!((&body["type"], &body["id"]), (&"sink.test".into(), &tried.notice.id.to_string().into()));
    let other = Sink { secret: Sealed(vec![0; 60]), ..sink.clone() };
    let told = stage.engine.sinks().test(&other).await.outcome.error();
    assert!(told.contains("give it a new one"), "{told}");
    assert!(told_nothing(&stage, &sink).await, "nothing of it is kept");
    assert!(DELIVERY_TIMEOUT > Duration::from_secs(1));
}

async fn told_nothing(stage: &Stage, sink: &Sink) -> bool {
    told(stage, sink).await.is_empty()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_open_is_sent_by_the_server_that_comes_next() {
    let stage = Stage::set().await;
    let mut receiver = Receiver::listen().await.unwrap();
    let sink = sink(&stage, "ops", receiver.url("/hook")).await;
    receiver.always("/hook", Answer::Never);
    dies(&stage).await;
    // It was sent, and nobody noted it.
    let first = receiver.heard().await.unwrap();
    receiver.always("/hook", Answer::Status(200));
    let stage = stage.outage(secs(60)).await;
    let again = receiver.heard().await.unwrap();
    again.verified(SECRET).unwrap();
    assert_eq!((again.header("webhook-id"), &again.body), (first.header("webhook-id"), &first.body));
    noted(&stage, &sink, |delivery| delivery.state == DeliveryState::Delivered).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watchers_are_told_of_instants_that_are_lost() {
    let stage = Stage::set().await;
    let mut watch = stage.engine.events().watch(None).unwrap();
    let catch_up = CatchUp { mode: Mode::None, ..CatchUp::default() };
    stage.create("report", JobSpec { catch_up, ..spec(vec![every("main", 1)]) }).await;
    stage.sleep(secs(100)).await;
    let lost = async {
        loop {
            let (_, event) = watch.next().await.unwrap();
            if let Detail::Schedule { job, schedule, range } = &event.detail {
                return (job.to_string(), schedule.to_string(), range.clone());
            }
        }
    };
    let (job, schedule, range) = host::within(PATIENCE, "what was lost to be told", lost).await.unwrap();
    assert_eq!((job.as_str(), schedule.as_str()), ("report", "main"));
    assert_eq!((range.fate, range.reason), (Fate::Missed, Some(FateReason::NoServer)));
    assert!(range.count >= 60, "{range:?}");
}
