//! Instants explained: what the ledger has of them, what will become of them, and what is none.

use std::time::Duration;

use mainspring_cron::Zone;
use mainspring_engine::{
    domain::{
        attempt::Outcome,
        explain::{Explanation, Finding},
        filter::Filter,
        ids::JobUid,
        instant::Instant,
        job::{Job, JobSpec, Pause},
        keyed::KeyTemplate,
        lapse::Ending,
        ledger::{Fate, FateReason},
        limit::{Concurrency, Pace},
        names::{ConcurrencyKey, JobName, Scope},
        overlap::{Overlap, OverlapScope},
        rules::LeaseRules,
        run::RunState,
        schedule::ScheduleSpec,
        stop::{Paused, Running},
        supersede::Pending,
    },
    flow::instants::key,
    ports::store::{CreateJob, JobChange, NewJob, RetentionPolicy, UpdateJob},
};
use mainspring_tests::{
    conformance::world::{every, spec},
    engine::Stage,
};

const PERIOD: Duration = Duration::from_secs(10);

async fn create(stage: &Stage, spec: JobSpec) -> Job {
    let uid = JobUid::new(stage.engine.now());
    let job = NewJob { scope: Scope::default(), uid, name: "report".parse().unwrap(), spec, request: None };
    let CreateJob::Created(job) = stage.engine.jobs().create(job).await.unwrap() else { panic!("it is there") };
    job
}

async fn explain(stage: &Stage, at: Instant) -> Explanation {
    let name = "report".parse().unwrap();
    stage.engine.ledger().explain(&Scope::default(), &name, at).await.unwrap().unwrap()
}

/// What was found, and the fate.
async fn told(stage: &Stage, at: Instant) -> (Finding, Option<Fate>) {
    let found = explain(stage, at).await;
    (found.finding, found.instants.first().map(|view| view.fate))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instant_is_told_by_the_ledger_and_by_the_rules() {
    let stage = Stage::set().await;
    let began = stage.engine.now();
    let at = |number: u32| began.plus(PERIOD * number);
    let schedules = vec![every("a", PERIOD.as_secs()), every("b", 2 * PERIOD.as_secs())];
    let job = create(&stage, JobSpec { overlap: Overlap::Skip, ..spec(schedules) }).await;
    let mut worker = stage.connect(1).await;
    assert_eq!(told(&stage, at(1)).await, (Finding::Predicted, Some(Fate::Fired)));
    stage.pass(PERIOD).await;
    worker.accepted().await;
    stage.pass(PERIOD).await;
    let first = explain(&stage, at(1)).await;
    assert_eq!((first.finding, first.instants[0].fate), (Finding::Decided, Fate::Fired));
    let (run, state) = first.instants[0].run.unwrap();
    assert_eq!(state, RunState::Running);
    assert!(first.sentence.contains(&format!("became run {run}, which is at a worker")), "{}", first.sentence);
    let second = explain(&stage, at(2)).await;
    assert_eq!(second.instants.iter().map(|view| view.fate).collect::<Vec<_>>(), [Fate::SkippedOverlap; 2]);
    let met = format!("a run of the job was not over (run {run}, which is at a worker by now)");
    assert!(second.sentence.contains(&met), "{}", second.sentence);
    assert_eq!(told(&stage, at(2).plus(Duration::from_secs(1))).await, (Finding::NotNamed, None));
    assert_eq!(told(&stage, began.minus(PERIOD)).await, (Finding::BeforeJob, None));
    // After a pause, and after an edit.
    let pause = Pause { note: "too loud".into(), actor: "ops".into(), time: stage.engine.now(), until: None };
    let paused = format!("the job was paused by ops at {}: too loud", pause.time);
    stage.engine.jobs().pause(&Scope::default(), &job.name, pause, Paused::Keep).await.unwrap();
    assert_eq!(told(&stage, at(3)).await, (Finding::Predicted, Some(Fate::Paused)));
    stage.pass(PERIOD).await;
    assert_eq!(told(&stage, at(3)).await, (Finding::Decided, Some(Fate::Paused)));
    let third = explain(&stage, at(3)).await;
    assert!(third.sentence.contains(&paused), "{}", third.sentence);
    let stored = stage.engine.store().job(&Scope::default(), &job.name).await.unwrap().unwrap();
    let finer = JobSpec { schedules: vec![every("a", 1)], ..stored.spec };
    let update = UpdateJob {
        scope: Scope::default(),
        name: job.name.clone(),
        revision: stored.revision,
        spec: finer,
        pending: Pending::Keep,
        actor: "ops".into(),
    };
    assert!(matches!(stage.engine.jobs().update(update).await.unwrap(), JobChange::Done(_)));
    let odd = at(2).plus(Duration::from_secs(1));
    let edited = explain(&stage, odd).await;
    assert_eq!(edited.finding, Finding::NotNamed);
    assert!(edited.sentence.contains("does since version 2"), "{}", edited.sentence);
    assert_eq!(told(&stage, at(1)).await, (Finding::Decided, Some(Fate::Fired)));
    // After its end.
    stage.engine.jobs().delete(&Scope::default(), &job.name, None, Running::Detach, "ops").await.unwrap();
    assert_eq!(told(&stage, at(1)).await, (Finding::Decided, Some(Fate::Fired)));
    assert_eq!(told(&stage, at(9)).await, (Finding::Decided, Some(Fate::Superseded)));
    assert_eq!(told(&stage, at(9).plus(Duration::from_millis(1))).await, (Finding::AfterJob, None));
    let nobody = "nobody".parse().unwrap();
    assert_eq!(stage.engine.ledger().explain(&Scope::default(), &nobody, began).await.unwrap(), None);
}

async fn update(stage: &Stage, change: impl FnOnce(JobSpec) -> JobSpec) {
    edit(stage, Pending::Keep, change).await;
}

async fn edit(stage: &Stage, pending: Pending, change: impl FnOnce(JobSpec) -> JobSpec) {
    let name: JobName = "report".parse().unwrap();
    let Job { revision, spec, .. } = stage.engine.store().job(&Scope::default(), &name).await.unwrap().unwrap();
    let (scope, actor) = (Scope::default(), "ada".into());
    let update = UpdateJob { scope, name, revision, spec: change(spec), pending, actor };
    let changed = stage.engine.jobs().update(update).await.unwrap();
    assert!(matches!(changed, JobChange::Done(_) | JobChange::DoneWith(..)));
}

/// What the ledger tells, up to an instant, some at a time: instants by their seconds, and fates.
async fn listed(stage: &Stage, job: &Job, until: Instant, page: usize) -> Vec<(u64, Fate)> {
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let ledger = stage.engine.ledger();
        let found = ledger.list(job, (job.create_time, until), &Filter::All, after.take(), page).await.unwrap();
        let Some(last) = found.last() else { return seen };
        after = Some(key(last));
        seen.extend(found.into_iter().map(|view| (view.nominal.since(job.create_time).as_secs(), view.fate)));
    }
}

async fn as_it_is(stage: &Stage, name: &JobName) -> Job {
    stage.engine.store().job(&Scope::default(), name).await.unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_edits_and_deletes_took_has_a_fate() {
    let stage = Stage::set().await;
    let began = stage.engine.now();
    let at = |second| began.plus(Duration::from_secs(second));
    let seconds = Duration::from_secs;
    let job = create(&stage, spec(vec![every("main", 10)])).await;
    stage.pass(seconds(15)).await;
    update(&stage, |spec| JobSpec { schedules: vec![every("main", 40)], ..spec }).await;
    let edited = stage.engine.now();
    // Of what is to come, and of what has passed.
    let to_come = explain(&stage, at(20)).await;
    assert_eq!(
        to_come.sentence,
        format!(
            "{}, of schedule `main`, will become no run: version 2 replaced the schedule that named it, at {edited} by ada.",
            at(20)
        )
    );
    stage.pass(seconds(25)).await;
    let passed = explain(&stage, at(20)).await;
    assert_eq!((passed.finding, passed.instants[0].fate), (Finding::Decided, Fate::Superseded));
    assert!(passed.sentence.contains("became no run: version 2 replaced"), "{}", passed.sentence);
    // Long after, too, but for what the new definition names as well.
    assert_eq!(told(&stage, at(90)).await, (Finding::Decided, Some(Fate::Superseded)));
    assert_eq!(told(&stage, at(80)).await, (Finding::Predicted, Some(Fate::Fired)));
    assert_eq!(told(&stage, at(81)).await, (Finding::NotNamed, None));
    let until = [(10, Fate::Fired), (20, Fate::Superseded), (30, Fate::Superseded), (40, Fate::Fired)];
    for page in [1, 100] {
        assert_eq!(listed(&stage, &as_it_is(&stage, &job.name).await, at(41), page).await, until);
    }
    // What is named again before it was due was not lost.
    update(&stage, |spec| JobSpec { schedules: vec![every("main", 50)], ..spec }).await;
    update(&stage, |spec| JobSpec { schedules: vec![every("main", 40)], ..spec }).await;
    let now = as_it_is(&stage, &job.name).await;
    assert_eq!(told(&stage, at(80)).await, (Finding::Predicted, Some(Fate::Fired)));
    assert_eq!(listed(&stage, &now, at(100), 1).await[4..], [(50, Fate::Superseded)]);
    // A delete, and after it.
    stage.engine.jobs().delete(&Scope::default(), &job.name, None, Running::Detach, "ops").await.unwrap();
    let deleted = explain(&stage, at(80)).await;
    let (view, sentence) = (&deleted.instants[0], deleted.sentence.as_str());
    assert_eq!((view.fate, view.reason), (Fate::Superseded, Some(FateReason::JobDeleted)));
    assert!(sentence.contains(&format!("the job was deleted at {} by ops before it was due", at(40))), "{sentence}");
    stage.pass(seconds(60)).await;
    stage.engine.jobs().undelete(&Scope::default(), &job.name).await.unwrap();
    assert_eq!(told(&stage, at(80)).await, (Finding::Decided, Some(Fate::Superseded)));
    assert_eq!(told(&stage, at(120)).await, (Finding::Predicted, Some(Fate::Fired)));
    let now = as_it_is(&stage, &job.name).await;
    assert_eq!(listed(&stage, &now, at(100), 2).await[4..], [(50, Fate::Superseded), (80, Fate::Superseded)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_meets_a_key_is_told_by_it() {
    let stage = Stage::set().await;
    let began = stage.engine.now();
    let concurrency =
        Concurrency { key: "host 1".parse::<KeyTemplate<ConcurrencyKey>>().unwrap(), limit: None, pace: Pace::Kept };
    let by_key = JobSpec {
        overlap: Overlap::Skip,
        overlap_scope: OverlapScope::Key,
        concurrency: Some(concurrency),
        ..spec(vec![every("main", PERIOD.as_secs())])
    };
    stage.create("other", JobSpec { schedules: vec![every("first", 7)], ..by_key.clone() }).await;
    create(&stage, by_key).await;
    stage.pass(PERIOD).await;
    let met = explain(&stage, began.plus(PERIOD)).await;
    assert_eq!(met.instants[0].fate, Fate::SkippedOverlap);
    let told = "a run of concurrency key `host 1` was not over (run ";
    assert!(met.sentence.contains(told) && met.sentence.contains(" of job `other`, which "), "{}", met.sentence);
    // Also when that is over, and while a later one is none of its business.
    let mut worker = stage.connect(1).await;
    let run = worker.accepted().await;
    worker.reported(run, Outcome::Succeeded).await;
    let over = explain(&stage, began.plus(PERIOD)).await;
    assert!(over.sentence.contains(" of job `other`, which succeeded by now)"), "{}", over.sentence);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_an_edit_cancelled_is_told_with_the_edit() {
    let seconds = Duration::from_secs;
    let waits = JobSpec { overlap: Overlap::BufferAll { max: 100 }, ..spec(vec![every("main", 10)]) };
    let spread = ScheduleSpec { jitter: seconds(100), ..every("main", 100) };
    let spread = JobSpec { overlap: Overlap::Allow { max: None }, ..spec(vec![spread]) };
    for (pending, definition, period, number) in
        [(Pending::Cancel, &waits, 10, 2), (Pending::Recompute, &waits, 10, 3), (Pending::Cancel, &spread, 100, 1)]
    {
        let stage = Stage::set().await;
        let at = stage.engine.now().plus(seconds(period * number));
        let job = create(&stage, definition.clone()).await;
        stage.pass(seconds(period * number)).await;
        // Nobody knows the actor of an edit that took no instants, and this one replaces the schedule.
        edit(&stage, pending, |spec| JobSpec { schedules: vec![every("main", 7_777)], ..spec }).await;
        let edited = stage.engine.now();
        let told = explain(&stage, at).await;
        let view = &told.instants[0];
        assert_eq!((told.finding, view.fate), (Finding::Decided, Fate::Superseded));
        let (run, state) = view.run.unwrap();
        assert_eq!(state, RunState::Cancelled);
        let cancelled = format!("run {run}, which version 2 cancelled before it began, at {edited} by ada.");
        assert_eq!(told.sentence, format!("{at}, of schedule `main`, became {cancelled}"));
        assert_eq!(view.dropped.as_ref().map(|dropped| (dropped.version, dropped.by)), Some((1, Some((2, edited)))));
        let whole = (at, at.plus(seconds(1)));
        let job = as_it_is(&stage, &job.name).await;
        let listed = stage.engine.ledger().list(&job, whole, &Filter::All, None, 10).await.unwrap();
        assert_eq!(listed[0], *view);
        assert_eq!(
            listed[0].sentence(),
            format!("It became a run, which version 2 cancelled before it began, at {edited} by ada.")
        );
        // What is left of it once the run is not kept.
        stage.sql("DELETE FROM run WHERE state = 8").await;
        let gone = explain(&stage, at).await;
        assert!(
            gone.sentence.ends_with(
                "became a run, which an edit of the job cancelled before it began, and which is no longer kept."
            ),
            "{}",
            gone.sentence
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_edit_that_took_an_instant_is_the_one_that_is_told() {
    let stage = Stage::set().await;
    let began = stage.engine.now();
    let at = |second| began.plus(Duration::from_secs(second));
    let job = create(&stage, spec(vec![every("a", 7), every("c", 40)])).await;
    let only = |schedules: Vec<ScheduleSpec>| move |spec| JobSpec { schedules, ..spec };
    stage.pass(Duration::from_secs(1)).await;
    update(&stage, only(vec![every("a", 7)])).await;
    stage.pass(Duration::from_secs(1)).await;
    // Announced is the instant before the one in question.
    update(&stage, only(vec![every("a", 7), every("c", 20)])).await;
    stage.pass(Duration::from_secs(1)).await;
    update(&stage, only(vec![every("a", 7)])).await;
    let told = explain(&stage, at(40)).await;
    let lapse = told.instants[0].lapse.clone().unwrap();
    assert_eq!((lapse.version, lapse.by), (3, Ending::Edit { version: 4 }));
    let now = as_it_is(&stage, &job.name).await;
    let ledger = stage.engine.ledger();
    for from in [at(40), at(1)] {
        let listed = ledger.list(&now, (from, at(41)), &Filter::All, None, 100).await.unwrap();
        let row = listed.iter().find(|view| view.nominal == at(40)).unwrap();
        assert_eq!(*row, told.instants[0]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_schedule_that_named_an_instant_has_an_entry() {
    let stage = Stage::set().await;
    let began = stage.engine.now();
    let at = |second| began.plus(Duration::from_secs(second));
    let job = create(&stage, spec(vec![every("a", 10), every("b", 20), every("c", 20)])).await;
    let entries = async |instant| {
        let told = explain(&stage, instant).await;
        let mut entries: Vec<_> =
            told.instants.into_iter().map(|view| (view.schedule.to_string(), view.fate)).collect();
        let first = entries.first().map(|(_, fate)| *fate);
        entries.sort();
        (first, entries)
    };
    let listed = async |instant: Instant| {
        let whole = (instant, instant.plus(Duration::from_micros(1)));
        let job = as_it_is(&stage, &job.name).await;
        let listed = stage.engine.ledger().list(&job, whole, &Filter::All, None, 100).await.unwrap();
        listed.into_iter().map(|view| (view.schedule.to_string(), view.fate)).collect::<Vec<_>>()
    };
    let entry = |name: &str, fate| (name.to_owned(), fate);
    stage.pass(Duration::from_secs(1)).await;
    update(&stage, |spec| JobSpec { schedules: vec![every("a", 15)], ..spec }).await;
    // Both were taken by one edit.
    let taken = ["a", "b", "c"].map(|name| entry(name, Fate::Superseded)).to_vec();
    assert_eq!(entries(at(20)).await, (Some(Fate::Superseded), taken));
    let both = explain(&stage, at(20)).await.sentence;
    assert!(both.contains("of schedules `a`, `b` and `c`, will become no run: version 2 replaced"), "{both}");
    // Another may fire then: before, and after.
    update(&stage, |spec| JobSpec { schedules: vec![every("a", 4)], ..spec }).await;
    let mixed = vec![entry("a", Fate::Fired), entry("b", Fate::Superseded), entry("c", Fate::Superseded)];
    assert_eq!(entries(at(20)).await, (Some(Fate::Fired), mixed.clone()));
    assert_eq!(explain(&stage, at(20)).await.finding, Finding::Predicted);
    stage.pass(Duration::from_secs(19)).await;
    assert_eq!(entries(at(20)).await, (Some(Fate::Fired), mixed.clone()));
    assert_eq!(listed(at(20)).await, mixed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_ledger_let_go_of_is_forgotten_and_not_denied() {
    let kept = Duration::from_secs(300);
    let stage = Stage::set_keeping(RetentionPolicy { ledger: kept, ..RetentionPolicy::default() }).await;
    let began = stage.engine.now();
    let at = |second| began.plus(Duration::from_secs(second));
    create(&stage, spec(vec![every("main", 20)])).await;
    stage.pass(Duration::from_secs(30)).await;
    update(&stage, |spec| JobSpec { schedules: vec![every("main", 70)], ..spec }).await;
    assert_eq!(told(&stage, at(20)).await, (Finding::Decided, Some(Fate::Fired)));
    assert_eq!(told(&stage, at(21)).await, (Finding::NotNamed, None));
    stage.pass(kept + Duration::from_secs(200)).await;
    // What became a run that is kept is known by that.
    let run = explain(&stage, at(20)).await;
    assert_eq!((run.finding, run.instants[0].fate), (Finding::Decided, Fate::Fired));
    assert!(run.sentence.contains("of schedule `main`, became run "), "{}", run.sentence);
    stage.sql(format!("DELETE FROM run WHERE nominal_time = {}", at(20).as_micros())).await;
    // Whether anything was named then is not known, either.
    for second in [20, 21] {
        assert_eq!(told(&stage, at(second)).await, (Finding::Forgotten, None));
    }
    assert_eq!(told(&stage, at(31)).await, (Finding::NotNamed, None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_clock_change_took_is_told_after_an_edit_as_well() {
    let stage = Stage::set_with(LeaseRules::default(), Duration::from_secs(3_600)).await;
    // The stage begins in January 2027.
    let begin = "2027-03-28T00:00:00Z".parse::<Instant>().unwrap();
    stage.sleep(begin.since(stage.engine.now())).await;
    let rule = serde_json::from_str(r#"{"kind": "cron", "expr": "0 30 2 28 3 *", "gap": "SKIP"}"#).unwrap();
    let zone = Zone::parse("Europe/Berlin").unwrap();
    let lost = ScheduleSpec { rule, zone, ..every("a", 60) };
    let kept = every("k", 7 * 86_400);
    create(&stage, spec(vec![lost, kept.clone()])).await;
    let asked: Instant = "2027-03-28T02:30:00+01:00".parse().unwrap();
    let change: Instant = "2027-03-28T01:00:00Z".parse().unwrap();
    assert_eq!(told(&stage, asked).await, (Finding::Predicted, Some(Fate::DstSkipped)));
    stage.pass(Duration::from_secs(3 * 3_600)).await;
    let before = explain(&stage, asked).await;
    update(&stage, |spec| JobSpec { schedules: vec![kept.clone()], ..spec }).await;
    let after = explain(&stage, asked).await;
    assert_eq!((after.finding, after.instants[0].fate), (Finding::Decided, Fate::DstSkipped));
    assert_eq!((after.instants[0].nominal, &after.sentence), (change, &before.sentence));
    // Another time that the change took was none of its.
    let other: Instant = "2027-03-28T02:31:00+01:00".parse().unwrap();
    assert_eq!(told(&stage, other).await, (Finding::NotNamed, None));
}
