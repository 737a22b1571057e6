//! Sinks, and the deliveries that come with what they are told.

use std::{collections::BTreeSet, num::NonZeroU32, sync::Arc};

use mainspring_cron::Calendar;
use mainspring_engine::{
    domain::{
        attempt::Outcome as Ended,
        auto_disable::AutoDisable,
        calendar::{CalendarSpec, Exclusion},
        catch_up::{CatchUp, Mode},
        delivery::{Delivery, DeliveryState, Outcome, Outgoing, Verdict},
        ids::{CalendarUid, NoticeId, SinkUid},
        instant::Instant,
        job::JobSpec,
        names::Scope,
        notice::Kind,
        payload::{Failure, RetryHint},
        policy::RunPolicy,
        schedule::ScheduleSpec,
        sink::{Disabled, MAX_OPEN, Sealed, Sink, SinkSpec},
        transition::Event,
    },
    ports::store::{
        Apply, CalendarChange, NewCalendar, NewSink, Noted, Quota, RequestKey, RetentionPolicy, SinkChange,
        UpdateCalendar, UpdateSink,
    },
};
use serde_json::{Value, json};

use super::world::{World, every, failure, job_name, pointer, secs, spec};

fn wants(kinds: &[Kind]) -> SinkSpec {
    SinkSpec {
        description: "on call".into(),
        url: "https://example.org/hook".into(),
        kinds: kinds.iter().copied().collect(),
        job: None,
        disabled: None,
    }
}

fn new(w: &World, name: &str, spec: SinkSpec) -> NewSink {
    let (uid, name) = (SinkUid::new(w.now), name.parse().unwrap());
    NewSink { scope: w.scope.clone(), uid, name, spec, secret: Sealed(vec![7; 40]), request: None }
}

async fn created(w: &World, name: &str, spec: SinkSpec) -> Sink {
    match w.store.create_sink(w.now, new(w, name, spec)).await.unwrap() {
        SinkChange::Done(sink) => *sink,
        other => panic!("{other:?}"),
    }
}

async fn updated(w: &World, sink: &Sink, spec: SinkSpec) -> SinkChange {
    let (scope, name, revision) = (w.scope.clone(), sink.name.clone(), sink.revision);
    w.store.update_sink(w.now, UpdateSink { scope, name, revision, spec, secret: None }).await.unwrap()
}

async fn told(w: &World, sink: &Sink) -> Vec<Delivery> {
    w.store.deliveries(sink.uid, None, None, 2_000).await.unwrap()
}

async fn bodies(w: &World, sink: &Sink) -> Vec<Value> {
    told(w, sink).await.iter().rev().map(|one| serde_json::from_str(&one.body).unwrap()).collect()
}

async fn types(w: &World, sink: &Sink) -> Vec<String> {
    bodies(w, sink).await.into_iter().map(|body| body["type"].as_str().unwrap().to_owned()).collect()
}

/// A failure that is the last one.
fn last(message: &str) -> Failure {
    let hint = Some(RetryHint { retry: Some(false), delay: None });
    Failure { message: message.into(), hint, ..failure("SMTP_BUSY") }
}

async fn dies(w: &World, message: &str) {
    let owner = w.connect().await;
    let key = w.leased(owner).await;
    w.report(key, Ended::Failed(last(message))).await;
}

fn noted(of: &Outgoing, outcome: Outcome, verdict: Verdict) -> Noted {
    Noted { sink: of.sink, id: of.id, attempts: of.attempts, outcome, verdict }
}

fn answered(status: u16) -> Outcome {
    Outcome::Answered { status, retry_after: None, said: String::new() }
}

async fn due(w: &World, most: usize) -> Vec<Outgoing> {
    w.store.due_deliveries(w.now, most).await.unwrap()
}

pub async fn sinks_read_back_by_name(mut w: World) {
    let first = created(&w, "ops", wants(&[Kind::RunFailed, Kind::ScheduleError])).await;
    assert_eq!((first.revision, first.dropped, first.secret.clone()), (1, 0, Sealed(vec![7; 40])));
    let second = created(&w, "pager", wants(&Kind::ALL)).await;
    assert_eq!(w.store.sink(&w.scope, &first.name).await.unwrap(), Some(first.clone()));
    assert_eq!(w.store.sink_by_uid(&w.scope, first.uid).await.unwrap(), Some(first.clone()));
    assert_eq!(w.store.sinks(&w.scope, None, 10).await.unwrap(), [first.clone(), second.clone()]);
    assert_eq!(w.store.sinks(&w.scope, Some(first.name.clone()), 10).await.unwrap(), [second]);
    let elsewhere = Scope("elsewhere".parse().unwrap());
    assert_eq!(w.store.sink(&elsewhere, &first.name).await.unwrap(), None);
    assert!(w.store.sinks(&elsewhere, None, 10).await.unwrap().is_empty());
    w.pass(secs(1));
    let job = Some(job_name("report"));
    let changed = SinkSpec { job, disabled: Some(Disabled::Asked), ..wants(&[Kind::RunFailed]) };
    let SinkChange::Done(now) = updated(&w, &first, changed.clone()).await else { panic!("it is there") };
    assert_eq!((now.revision, &now.spec, now.update_time), (2, &changed, w.now));
    assert!(matches!(updated(&w, &first, changed.clone()).await, SinkChange::RevisionMismatch));
    let SinkChange::Done(same) = updated(&w, &now, changed).await else { panic!("it is there") };
    assert_eq!(same.revision, 2, "nothing was changed");
    let secret = Some(Sealed(vec![8; 9]));
    let (scope, name, spec) = (w.scope.clone(), now.name.clone(), now.spec.clone());
    let rotate = UpdateSink { scope, name, revision: 2, spec, secret };
    let SinkChange::Done(now) = w.store.update_sink(w.now, rotate).await.unwrap() else { panic!("it is there") };
    assert_eq!((now.revision, now.secret.clone()), (3, Sealed(vec![8; 9])));
    let stale = w.store.delete_sink(w.now, &w.scope, &now.name, Some(2)).await.unwrap();
    assert!(matches!(stale, SinkChange::RevisionMismatch));
    assert!(matches!(w.store.delete_sink(w.now, &w.scope, &now.name, None).await.unwrap(), SinkChange::Done(_)));
    assert_eq!(w.store.sink(&w.scope, &now.name).await.unwrap(), None);
    assert!(matches!(w.store.delete_sink(w.now, &w.scope, &now.name, None).await.unwrap(), SinkChange::Missing));
    assert_ne!(created(&w, "ops", wants(&Kind::ALL)).await.uid, now.uid, "the name is free again");
}

pub async fn a_sink_is_made_once(w: World) {
    let request = |body| Some(RequestKey { call: "CreateSink", id: "one".into(), body: [body; 32] });
    let first = NewSink { request: request(1), ..new(&w, "ops", wants(&Kind::ALL)) };
    let SinkChange::Done(made) = w.store.create_sink(w.now, first).await.unwrap() else { panic!("it is new") };
    let again = NewSink { request: request(1), ..new(&w, "ops", wants(&Kind::ALL)) };
    let SinkChange::Replayed(same) = w.store.create_sink(w.now, again).await.unwrap() else { panic!("it was made") };
    assert_eq!(same.uid, made.uid);
    let other = NewSink { request: request(2), ..new(&w, "other", wants(&Kind::ALL)) };
    assert!(matches!(w.store.create_sink(w.now, other).await.unwrap(), SinkChange::RequestReused));
    let taken = new(&w, "ops", wants(&Kind::ALL));
    assert!(matches!(w.store.create_sink(w.now, taken).await.unwrap(), SinkChange::NameTaken));
}

pub async fn there_are_so_many_sinks_and_no_more(w: World) {
    for number in 0..Quota::Sinks.limit() {
        created(&w, &format!("sink-{number}"), wants(&Kind::ALL)).await;
    }
    let one_more = w.store.create_sink(w.now, new(&w, "more", wants(&Kind::ALL))).await.unwrap();
    assert!(matches!(one_more, SinkChange::Full(Quota::Sinks)), "{one_more:?}");
    w.store.delete_sink(w.now, &w.scope, &"sink-7".parse().unwrap(), None).await.unwrap();
    created(&w, "more", wants(&Kind::ALL)).await;
}

pub async fn a_run_that_dies_is_told_to_whom_it_may_concern(mut w: World) {
    let all = created(&w, "all", wants(&Kind::ALL)).await;
    let failed = created(&w, "failed", wants(&[Kind::RunFailed])).await;
    let of_job = created(&w, "of-job", SinkSpec { job: Some(job_name("report")), ..wants(&Kind::ALL) }).await;
    let off = created(&w, "off", SinkSpec { disabled: Some(Disabled::Asked), ..wants(&Kind::ALL) }).await;
    dies(&w, "busy for 3 s").await;
    w.pass(secs(1));
    dies(&w, "busy for 4 s").await;
    assert_eq!(types(&w, &failed).await, ["run.failed"; 2]);
    assert_eq!((types(&w, &of_job).await.len(), types(&w, &off).await.len()), (0, 0));
    let told = bodies(&w, &all).await;
    let mut dead: Vec<_> = told.iter().filter(|body| body["type"] == "run.dead_lettered").collect();
    dead.sort_by_key(|body| body["time"].as_str().unwrap().to_owned());
    assert_eq!((told.len(), dead.len()), (4, 2));
    let counts: Vec<_> = dead.iter().map(|body| body["count"].as_u64().unwrap()).collect();
    assert_eq!((counts, &dead[0]["fingerprint"]), (vec![1, 2], &dead[1]["fingerprint"]), "they went wrong alike");
    assert_eq!((&dead[1]["message"], &dead[1]["reason"]), (&json!("busy for 4 s"), &json!("SMTP_BUSY")));
    assert_eq!(dead[1]["time"], w.now.to_string());
    let ids: BTreeSet<_> = told.iter().map(|body| body["id"].to_string()).collect();
    assert_eq!(ids.len(), 4, "each notice has an id of its own");
    // A run of the job, which is told to its sink as well.
    let job = w.create("report", spec(Vec::new())).await;
    let run = w.submit(vec![w.run_of(&job)]).await;
    let owner = w.connect().await;
    let key = w.lease(owner, pointer(&run[0])).await.key;
    w.report(key, Ended::Failed(last("no such report"))).await;
    let told = bodies(&w, &of_job).await;
    assert!(told.iter().all(|body| body["job"] == "report" && body["run"] == key.run.to_string()), "{told:?}");
    assert_eq!(told.len(), 2);
    let seen: BTreeSet<_> = bodies(&w, &all).await.into_iter().map(|body| body["id"].to_string()).collect();
    assert!(told.iter().all(|body| seen.contains(&body["id"].to_string())), "one notice has one id for every sink");
}

pub async fn other_ends_are_told_to_nobody(w: World) {
    let sink = created(&w, "all", wants(&Kind::ALL)).await;
    let owner = w.connect().await;
    let good = w.leased(owner).await;
    w.report(good, Ended::Succeeded).await;
    let gone = w.submit_one().await;
    w.apply(gone.run, Event::Cancel { reason: String::new(), grace: None }).await;
    let again = w.leased(owner).await;
    w.report(again, Ended::Failed(failure("X"))).await;
    assert!(told(&w, &sink).await.is_empty(), "one is to be tried again");
}

pub async fn instants_that_are_lost_are_told_as_ranges(mut w: World) {
    let sink = created(&w, "all", wants(&Kind::ALL)).await;
    let catch_up = CatchUp { mode: Mode::None, ..CatchUp::default() };
    w.create("report", JobSpec { catch_up, ..spec(vec![every("main", 1)]) }).await;
    // One later instant stands for those of this one.
    w.create("latest", spec(vec![every("main", 1)])).await;
    w.pass(secs(100));
    let shard = w.own().await;
    w.fire_due(shard).await;
    let told = bodies(&w, &sink).await;
    assert_eq!(told.len(), 1, "{told:?}");
    let body = &told[0];
    assert_eq!(
        (&body["type"], &body["job"], &body["schedule"]),
        (&json!("schedule.missed"), &json!("report"), &json!("main"))
    );
    assert_eq!((&body["reason"], body["count"].as_u64()), (&json!("NO_SERVER"), Some(100)));
    let span = |field: &str| body[field].as_str().unwrap().parse::<Instant>().unwrap();
    assert_eq!(span("last_time").since(span("first_time")), secs(99));
}

pub async fn a_schedule_that_fails_is_told(mut w: World) {
    let sink = created(&w, "all", wants(&Kind::ALL)).await;
    w.create("report", spec(vec![every("main", 1)])).await;
    w.pass(secs(1));
    let shard = w.own().await;
    let firing = w.evaluate(shard).await.remove(0);
    w.fail(&firing.due).await;
    w.fail(&firing.due).await;
    let told = bodies(&w, &sink).await;
    assert_eq!(told.len(), 1, "the second found that it had failed: {told:?}");
    assert_eq!((&told[0]["type"], &told[0]["job"]), (&json!("schedule.error"), &json!("report")));
    assert_eq!((&told[0]["schedule"], &told[0]["count"]), (&json!("main"), &json!(1)));
}

pub async fn a_job_that_a_calendar_starves_is_told(w: World) {
    let sink = created(&w, "all", wants(&[Kind::ScheduleError])).await;
    let held = |from: Instant, until: Instant| {
        let calendar = Calendar { spans: vec![(from.timestamp(), until.timestamp())], ..Calendar::default() };
        CalendarSpec { description: String::new(), calendar: Arc::new(calendar) }
    };
    let (scope, name) = (w.scope.clone(), "apart".parse().unwrap());
    let spec_of = held(w.now.plus(secs(10)), w.now.plus(secs(20)));
    let calendar = NewCalendar { scope, uid: CalendarUid::new(w.now), name, spec: spec_of };
    let CalendarChange::Done(calendar) = w.store.create_calendar(w.now, calendar).await.unwrap() else {
        panic!("it is new")
    };
    let schedule = ScheduleSpec { exclude: vec![Exclusion::from(&calendar)], ..every("main", 60) };
    w.create("report", spec(vec![schedule])).await;
    let (scope, name, version) = (w.scope.clone(), calendar.name.clone(), calendar.version);
    let all = held(Instant::EPOCH, Instant::CALENDAR_MAX);
    w.store.update_calendar(w.now, UpdateCalendar { scope, name, version, spec: all }).await.unwrap();
    w.store.pin_jobs(w.now, calendar.uid, 10).await.unwrap();
    let told = bodies(&w, &sink).await;
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!((&told[0]["job"], &told[0]["reason"]), (&json!("report"), &json!("NEVER_FIRES")));
}

pub async fn a_job_that_is_paused_by_itself_is_told(w: World) {
    let sink = created(&w, "all", wants(&[Kind::JobAutoDisabled])).await;
    let auto_disable = AutoDisable::After { failures: NonZeroU32::new(1).unwrap(), window: secs(60), cooldown: None };
    let job = w.create("report", JobSpec { auto_disable, ..spec(vec![every("main", 60)]) }).await;
    let run = w.submit(vec![w.run_of(&job)]).await;
    let owner = w.connect().await;
    let key = w.lease(owner, pointer(&run[0])).await.key;
    w.report(key, Ended::Failed(last("X"))).await;
    for _ in 0..2 {
        w.store.disable_job(w.now, &w.scope, &job.name).await.unwrap();
    }
    let told = bodies(&w, &sink).await;
    assert_eq!(told.len(), 1, "it was paused once: {told:?}");
    assert_eq!((&told[0]["job"], &told[0]["count"]), (&json!("report"), &json!(1)));
    assert_eq!(told[0]["message"], "1 runs in a row failed");
}

pub async fn what_is_due_comes_in_turn_and_a_few_of_each_sink(mut w: World) {
    let one = created(&w, "one", wants(&[Kind::RunFailed])).await;
    let other = created(&w, "other", wants(&[Kind::RunFailed])).await;
    for number in 0..3 {
        dies(&w, &format!("number {number}")).await;
        w.pass(secs(1));
    }
    let first = due(&w, 2).await;
    let of = |sink: &Sink| first.iter().filter(|due| due.sink == sink.uid).collect::<Vec<_>>();
    assert_eq!((of(&one).len(), of(&other).len()), (2, 2));
    assert!(of(&one)[0].id < of(&one)[1].id, "the longest due comes first");
    let Outgoing { name, namespace, url, secret, attempts, .. } = of(&one)[0];
    assert_eq!((name, namespace, url), (&one.name, &w.scope.0, &one.spec.url));
    assert_eq!((secret, *attempts), (&one.secret, 0));
    assert_eq!(due(&w, 2).await.len(), 4, "what is not noted stays due");
    // One arrives, one is to be tried again, and makes room for the third.
    let at = w.now.plus(secs(5));
    let both = vec![
        noted(of(&one)[0], answered(200), Verdict::Delivered),
        noted(of(&one)[1], answered(500), Verdict::Again(at)),
    ];
    w.store.note_deliveries(w.now, both.clone()).await.unwrap();
    let left: Vec<_> = due(&w, 2).await.into_iter().filter(|due| due.sink == one.uid).map(|due| due.id).collect();
    let states: Vec<_> = told(&w, &one).await.iter().rev().map(|one| (one.id, one.state)).collect();
    assert_eq!(left, [states[2].0]);
    let is = [DeliveryState::Delivered, DeliveryState::Pending, DeliveryState::Pending];
    assert_eq!(states.iter().map(|(_, state)| *state).collect::<Vec<_>>(), is);
    // What was noted once is not noted again.
    w.store.note_deliveries(w.now, both).await.unwrap();
    let again = told(&w, &one).await;
    let tried = again.iter().find(|delivery| delivery.id == of(&one)[1].id).unwrap();
    assert_eq!((tried.attempts, tried.status, tried.next_time), (1, Some(500), Some(at)));
    assert_eq!(tried.error, "the receiver answered 500");
    assert_eq!(w.store.next_delivery(w.now).await.unwrap(), Some(at));
    assert_eq!(w.store.next_delivery(at).await.unwrap(), None);
    w.pass(secs(5));
    assert!(due(&w, 9).await.iter().any(|due| due.id == tried.id && due.attempts == 1));
}

pub async fn what_was_given_up_can_be_begun_anew(mut w: World) {
    let sink = created(&w, "ops", wants(&[Kind::RunFailed])).await;
    dies(&w, "busy").await;
    let of = due(&w, 1).await.remove(0);
    let why = Outcome::Unanswered("nobody listens".into());
    w.store.note_deliveries(w.now, vec![noted(&of, why, Verdict::Failed)]).await.unwrap();
    let failed = told(&w, &sink).await.remove(0);
    assert_eq!((failed.state, failed.attempts, failed.status), (DeliveryState::Failed, 1, None));
    assert_eq!((failed.error.as_str(), failed.end_time, failed.next_time), ("nobody listens", Some(w.now), None));
    assert!(due(&w, 1).await.is_empty());
    w.pass(secs(60));
    let again = w.store.redeliver(w.now, sink.uid, of.id).await.unwrap().unwrap();
    assert_eq!((again.state, again.attempts, again.next_time), (DeliveryState::Pending, 0, Some(w.now)));
    assert_eq!((again.id, &again.body), (failed.id, &failed.body), "it is the same notice");
    assert_eq!(due(&w, 1).await.remove(0).id, of.id);
    assert!(w.store.redeliver(w.now, sink.uid, NoticeId::new(w.now)).await.unwrap().is_none());
    assert!(w.store.redeliver(w.now, SinkUid::new(w.now), of.id).await.unwrap().is_none());
    let in_state = async |state| w.store.deliveries(sink.uid, Some(state), None, 9).await.unwrap().len();
    assert_eq!((in_state(DeliveryState::Pending).await, in_state(DeliveryState::Failed).await), (1, 0));
    assert!(w.store.deliveries(sink.uid, None, Some(of.id), 9).await.unwrap().is_empty());
}

pub async fn a_receiver_that_is_gone_disables_its_sink(w: World) {
    let sink = created(&w, "ops", wants(&[Kind::RunFailed])).await;
    dies(&w, "busy").await;
    dies(&w, "busy").await;
    let of = due(&w, 9).await;
    let gone = of.iter().map(|of| noted(of, answered(410), Verdict::Gone)).collect();
    let disabled = w.store.note_deliveries(w.now, gone).await.unwrap();
    assert_eq!(disabled, [(w.scope.0.clone(), sink.name.clone())], "it is told once");
    let now = w.store.sink(&w.scope, &sink.name).await.unwrap().unwrap();
    assert_eq!((now.spec.disabled, now.revision), (Some(Disabled::Gone), 2));
    dies(&w, "busy").await;
    let states: Vec<_> = told(&w, &sink).await.iter().map(|one| one.state).collect();
    assert_eq!(states, [DeliveryState::Failed; 2], "nothing new is kept for it");
    w.store.redeliver(w.now, sink.uid, of[0].id).await.unwrap().unwrap();
    assert!(due(&w, 9).await.is_empty() && w.store.next_delivery(Instant::EPOCH).await.unwrap().is_none());
    let enabled = SinkSpec { disabled: None, ..now.spec.clone() };
    updated(&w, &now, enabled).await;
    assert_eq!(due(&w, 9).await.len(), 1, "what waited goes on");
}

pub async fn what_is_too_much_is_counted_and_not_kept(mut w: World) {
    let sink = created(&w, "ops", wants(&[Kind::RunFailed])).await;
    let mut policy = RunPolicy::default();
    policy.timeouts.queue = Some(secs(5));
    let runs: Vec<_> = (0..MAX_OPEN + 7)
        .map(|_| mainspring_engine::ports::store::NewRun { policy: policy.clone(), ..w.new_run() })
        .collect();
    let runs: Vec<_> = w.submit(runs).await.iter().map(|run| run.run).collect();
    w.pass(secs(5));
    for piece in runs.chunks(500) {
        let late = |run: &_| Apply { run: *run, event: Event::Deadline, owner: None, scope: None };
        w.store.apply(w.now, piece.iter().map(late).collect()).await.unwrap();
    }
    let now = w.store.sink(&w.scope, &sink.name).await.unwrap().unwrap();
    assert_eq!((told(&w, &sink).await.len(), now.dropped), (MAX_OPEN, 7));
    let of = due(&w, 1).await.remove(0);
    w.store.note_deliveries(w.now, vec![noted(&of, answered(204), Verdict::Delivered)]).await.unwrap();
    dies(&w, "there is room again").await;
    assert_eq!(told(&w, &sink).await.len(), MAX_OPEN + 1);
}

pub async fn what_is_over_goes_and_so_does_what_is_left_of_a_sink(mut w: World) {
    let kept = RetentionPolicy { deliveries: secs(100), ..RetentionPolicy::default() };
    let (sink, gone) =
        (created(&w, "ops", wants(&[Kind::RunFailed])).await, created(&w, "gone", wants(&Kind::ALL)).await);
    dies(&w, "busy").await;
    dies(&w, "busy").await;
    let of = due(&w, 9).await.into_iter().find(|of| of.sink == sink.uid).unwrap();
    w.store.note_deliveries(w.now, vec![noted(&of, answered(200), Verdict::Delivered)]).await.unwrap();
    w.store.delete_sink(w.now, &w.scope, &gone.name, None).await.unwrap();
    assert!(due(&w, 9).await.iter().all(|of| of.sink == sink.uid), "nothing is sent to what is gone");
    w.store.sweep(w.now.plus(secs(100)), kept, 500).await.unwrap();
    assert_eq!((told(&w, &sink).await.len(), told(&w, &gone).await.len()), (2, 0));
    let later = w.pass(secs(101));
    w.store.sweep(later, kept, 500).await.unwrap();
    let left = told(&w, &sink).await;
    assert_eq!(left.iter().map(|one| one.state).collect::<Vec<_>>(), [DeliveryState::Pending], "what is open stays");
    assert_eq!(w.store.sweep(later, kept, 500).await.unwrap().rows, 0);
}
