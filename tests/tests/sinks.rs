//! Webhooks end to end: a server process, a receiver on a socket of the test's own, and signatures that the test checks with
//! code of its own.

#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap like the tests themselves")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    time::Duration,
};

use mainspring_proto::{
    common::v1::Timeouts,
    scheduler::v1::{
        AutoDisable, Calendar, CatchUp, CreateCalendarRequest, CreateSinkRequest, DayOfWeek, DeliveryState, Event,
        EventTopic, FateReason, Job, JobChange, ListDeliveriesRequest, RunState, RunSubmission, Schedule,
        ScheduleChange, Sink, TestSinkRequest, TriggerJobRequest, UpdateCalendarRequest, UpdateSinkRequest,
        WeeklyHours, event::Detail, schedule::Rule,
    },
};
use mainspring_tests::harness::{
    client::{Client, Watch},
    document::blocks,
    host,
    process::Process,
    programs,
    receiver::{Answer, Heard, Receiver},
    server::{Server, Settings},
};
use tokio::process::Command;

const LEASE: Duration = Duration::from_secs(3);
/// The server of `dev`, which reaches its own machine.
async fn server() -> Server {
    Server::start(Settings::with_lease(LEASE)).await.unwrap()
}

/// Makes a sink that is told everything; its secret.
async fn sink(client: &Client, url: String) -> String {
    let sink = Sink { sink: "ops".into(), url, ..Sink::default() };
    let request = CreateSinkRequest { sink: Some(sink), ..CreateSinkRequest::default() };
    let answer = client.admin().create_sink(request).await.unwrap().into_inner();
    assert_eq!(answer.sink.unwrap().secret, "", "it is not told with the sink");
    answer.secret
}

fn at_once() -> Option<Timeouts> {
    let queue = Some(prost_types::Duration { seconds: 0, nanos: 100_000_000 });
    Some(Timeouts { queue, ..Timeouts::default() })
}

/// A run that nobody takes in time.
async fn dies(client: &Client) -> String {
    let run = RunSubmission { job_type: "nobody".into(), timeouts: at_once(), ..RunSubmission::default() };
    client.submit(run).await.unwrap()
}

async fn event(watch: &mut Watch, fits: impl Fn(&Detail) -> bool) -> Event {
    watch.run(fits).await.unwrap()
}

/// A calendar of whole days of the week.
fn calendar(days: &[DayOfWeek]) -> Option<Calendar> {
    let weekly = days.iter().map(|day| WeeklyHours { day: (*day).into(), ..WeeklyHours::default() }).collect();
    Some(Calendar { calendar: "apart".into(), weekly, ..Calendar::default() })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_goes_wrong_is_told_and_signed() {
    let mut receiver = Receiver::listen().await.unwrap();
    let mut server = server().await;
    let client = server.client().unwrap();
    let secret = sink(&client, receiver.url("/hook")).await;
    let mut heard: BTreeMap<String, Heard> = BTreeMap::new();
    let tried = TestSinkRequest { sink: "ops".into(), ..TestSinkRequest::default() };
    let tried = client.admin().test_sink(tried).await.unwrap().into_inner();
    assert!(tried.delivered && tried.status == 200, "{tried:?}");

    // A run that fails, and its job that is paused for it.
    let mut watch = client.watch(&[EventTopic::Runs, EventTopic::Jobs, EventTopic::Schedules], "", "").await.unwrap();
    let doomed = Job {
        job: "doomed".into(),
        job_type: "nobody".into(),
        timeouts: at_once(),
        auto_disable: Some(AutoDisable { failures: 1, ..AutoDisable::default() }),
        ..Job::default()
    };
    client.create_job(doomed).await.unwrap();
    let trigger = TriggerJobRequest { job: "doomed".into(), ..TriggerJobRequest::default() };
    let run = client.scheduler().trigger_job(trigger).await.unwrap().into_inner().run.unwrap().run_id;
    let dead = event(
        &mut watch,
        |detail| matches!(detail, Detail::Run(event) if event.run_id == run && event.state() == RunState::TimedOut),
    );
    let Some(Detail::Run(dead)) = dead.await.detail else { panic!("no run") };
    assert_eq!(dead.fingerprint.len(), 16, "watchers are told that it is a dead letter: {dead:?}");
    let disabled =
        event(&mut watch, |detail| matches!(detail, Detail::Job(event) if event.change() == JobChange::AutoDisabled));
    let Some(Detail::Job(disabled)) = disabled.await.detail else { panic!("no job") };
    assert_eq!((disabled.job.as_str(), disabled.note.as_str()), ("doomed", "1 runs in a row failed"));

    // A schedule that never fires.
    let create = CreateCalendarRequest { calendar: calendar(&[DayOfWeek::Sunday]), ..CreateCalendarRequest::default() };
    client.admin().create_calendar(create).await.unwrap();
    let daily = Schedule {
        rule: Some(Rule::Cron("0 3 * * *".into())),
        exclude_calendars: vec!["apart".into()],
        ..Schedule::default()
    };
    let starved = Job { job: "starved".into(), job_type: "nobody".into(), schedules: vec![daily], ..Job::default() };
    client.create_job(starved).await.unwrap();
    let week: Vec<_> = (1..=7).map(|day| DayOfWeek::try_from(day).unwrap()).collect();
    let update = UpdateCalendarRequest { calendar: calendar(&week), ..UpdateCalendarRequest::default() };
    client.admin().update_calendar(update).await.unwrap();
    let starved = event(&mut watch, |detail| matches!(detail, Detail::Schedule(event) if event.job == "starved"));
    let Some(Detail::Schedule(starved)) = starved.await.detail else { panic!("no schedule") };
    let why = (starved.change(), starved.reason(), starved.schedule.as_str(), starved.first_time);
    assert_eq!(why, (ScheduleChange::Error, FateReason::NeverFires, "default", None));

    // Instants that pass while no server is there.
    let every_second = Schedule { rule: Some(Rule::Cron("* * * * * *".into())), ..Schedule::default() };
    let clockwork = Job {
        job: "clockwork".into(),
        job_type: "nobody".into(),
        schedules: vec![every_second],
        catch_up: CatchUp::None.into(),
        ..Job::default()
    };
    client.create_job(clockwork).await.unwrap();
    server.kill().await.unwrap();
    host::pass_time(Duration::from_secs(2), "instants pass while no server is there").await;
    server.restart().await.unwrap();

    let kinds =
        ["sink.test", "run.failed", "run.dead_lettered", "job.auto_disabled", "schedule.error", "schedule.missed"];
    while kinds.iter().any(|kind| !heard.contains_key(*kind)) {
        let one = receiver.heard().await.unwrap();
        let body = one.verified(&secret).unwrap();
        heard.entry(body["type"].as_str().unwrap().to_owned()).or_insert(one);
    }
    let of = |kind: &str| heard[kind].json().unwrap();
    assert_eq!((&of("run.failed")["run"], &of("run.failed")["job"]), (&run.as_str().into(), &"doomed".into()));
    assert_eq!(of("run.dead_lettered")["fingerprint"], dead.fingerprint);
    assert_eq!(of("job.auto_disabled")["message"], "1 runs in a row failed");
    assert_eq!(of("schedule.error")["job"], "starved");
    let missed = of("schedule.missed");
    assert_eq!((&missed["job"], &missed["reason"]), (&"clockwork".into(), &"NO_SERVER".into()));
    assert!(missed["count"].as_u64().unwrap() >= 1, "{missed}");
    for one in heard.values() {
        assert!(one.verified("whsec_QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=").is_err(), "any secret is good");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_open_survives_a_server_that_dies() {
    let mut receiver = Receiver::listen().await.unwrap();
    let mut server = server().await;
    let client = server.client().unwrap();
    let secret = sink(&client, receiver.url("/hook")).await;
    // One half is refused, the other not answered, when the server dies.
    receiver.next("/hook", [Answer::Status(500), Answer::Status(503)]);
    receiver.always("/hook", Answer::Never);
    for _ in 0..3 {
        dies(&client).await;
    }
    receiver.counted("/hook", 6).await.unwrap();
    server.kill().await.unwrap();
    let mut before = BTreeSet::new();
    while receiver.has_heard() {
        before.insert(receiver.heard().await.unwrap().header("webhook-id").to_owned());
    }
    receiver.always("/hook", Answer::Status(200));
    server.restart().await.unwrap();
    let mut after = BTreeSet::new();
    while after.len() < 6 {
        let again = receiver.heard().await.unwrap();
        again.verified(&secret).unwrap();
        after.insert(again.header("webhook-id").to_owned());
    }
    assert!(before.is_subset(&after), "{before:?} {after:?}");
    let list = ListDeliveriesRequest { sink: "ops".into(), ..ListDeliveriesRequest::default() };
    let client = server.client().unwrap();
    let delivered = async {
        loop {
            let told = client.admin().list_deliveries(list.clone()).await.unwrap().into_inner().deliveries;
            assert_eq!(told.len(), 6);
            if told.iter().all(|one| one.state() == DeliveryState::Delivered && one.last_status == 200) {
                return;
            }
        }
    };
    host::within(host::PATIENCE, "all to be noted", delivered).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_a_setting_opens_is_reached_beside_what_is_public() {
    let more = vec![("MAINSPRING_WEBHOOKS__ALLOW_NETWORKS".to_owned(), "10.0.0.0/8".to_owned())];
    let server = Server::start(Settings { more, ..Settings::with_lease(LEASE) }).await.unwrap();
    let client = server.client().unwrap();
    let create = async |url: &str| {
        let sink = Sink { sink: "ops".into(), url: url.into(), ..Sink::default() };
        client.admin().create_sink(CreateSinkRequest { sink: Some(sink), ..CreateSinkRequest::default() }).await
    };
    for (url, setting) in [
        ("https://192.168.0.1/", "MAINSPRING_WEBHOOKS__ALLOW_NETWORKS"),
        ("https://169.254.169.254/latest/meta-data", "MAINSPRING_WEBHOOKS__ALLOW_NETWORKS"),
        ("http://10.0.0.1/", "MAINSPRING_WEBHOOKS__ALLOW_HTTP"),
    ] {
        let told = create(url).await.unwrap_err();
        assert!(told.message().contains(setting), "{url}: {told:?}");
    }
    create("https://10.0.0.1/").await.unwrap();
}

/// The receiver that the page about webhooks shows, in another language than ours.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_receiver_of_the_page_takes_what_is_signed_and_nothing_else() {
    let Some(python) = programs::tool("python3") else {
        println!("SKIPPED: the receiver in Python, which is not here");
        return;
    };
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/webhooks.md");
    let page = fs::read_to_string(page).unwrap();
    let server = server().await;
    let client = server.client().unwrap();
    let folder = server.folder("python").unwrap();
    let shown = blocks(&page, "python");
    fs::write(folder.join("receive.py"), shown[0]).unwrap();
    // Its port is known once it listens, and the secret before that: the sink is told where it is afterwards.
    let secret = sink(&client, "http://127.0.0.1:9/".into()).await;
    let mut receiver = Command::new(python);
    receiver.arg("receive.py").arg("0").current_dir(&folder).env("WEBHOOK_SECRET", &secret);
    let mut receiver = Process::start("receive", &folder, receiver).unwrap();
    let port = receiver.line_after("listening on ").await.unwrap();
    let url = format!("http://127.0.0.1:{}/", port.trim());
    let update_mask = Some(prost_types::FieldMask { paths: vec!["url".into()] });
    let moved = Sink { sink: "ops".into(), url, ..Sink::default() };
    let update = UpdateSinkRequest { sink: Some(moved), update_mask, ..UpdateSinkRequest::default() };
    client.admin().update_sink(update).await.unwrap();
    let tried = TestSinkRequest { sink: "ops".into(), ..TestSinkRequest::default() };
    let answer = client.admin().test_sink(tried.clone()).await.unwrap().into_inner();
    assert!(answer.delivered && answer.status == 204, "{answer:?}");
    assert_eq!(receiver.line().await.unwrap(), "sink.test - Somebody tries whether this sink is heard.");
    let named = Some(Sink { sink: "ops".into(), ..Sink::default() });
    let paths = vec!["secret".into()];
    let update_mask = Some(prost_types::FieldMask { paths });
    let rotate = UpdateSinkRequest { sink: named, rotate_secret: true, update_mask, ..UpdateSinkRequest::default() };
    let rotated = client.admin().update_sink(rotate).await.unwrap().into_inner();
    assert!(rotated.secret.starts_with("whsec_") && rotated.secret != secret);
    let answer = client.admin().test_sink(tried).await.unwrap().into_inner();
    assert!(!answer.delivered && answer.status == 401, "{answer:?}");
}
