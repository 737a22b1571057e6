//! Other zone data while a server runs: what was announced moves, and nothing is doubled or lost by it.

use std::time::Duration;

use mainspring_cron::{Expr, Rule, Zones};
use mainspring_engine::{
    domain::{
        catch_up::{CatchUp, Mode},
        event::{Detail, JobChange},
        filter::Filter,
        instant::Instant,
        job::{Job, JobSpec, JobState},
        ledger::{Fate, FateReason},
        names::Scope,
        overlap::Overlap,
        retime::Retiming,
        rules::LeaseRules,
        schedule::ScheduleSpec,
    },
    flow::events::Watch,
    ports::{
        clock::Clock as _,
        store::{Due as _, Fired, ZoneData as _},
    },
};
use mainspring_tests::{
    conformance::world::{every, spec},
    engine::Stage,
    harness::{
        host::{self, PATIENCE},
        zones::ahead,
    },
};

const ZONE: &str = "Test/City";
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

fn at(text: &str) -> Instant {
    text.parse().unwrap()
}

/// Zone data in which the city is so many hours ahead of UTC, or that do not have it.
fn data(version: &str, hours: Option<i32>) -> Zones {
    let city = hours.map(|hours| (ZONE.to_owned(), ahead(hours)));
    let files = city.into_iter().chain([("Test/Other".to_owned(), ahead(0))]);
    Zones::read(Some(version.into()), files).unwrap()
}

/// It is 08:00 on 15 January 2027, and the city is an hour ahead.
async fn set() -> Stage {
    let stage = Stage::set_with(LeaseRules::for_lease(HOUR), DAY).await;
    assert_eq!(stage.clock.now(), at("2027-01-15T08:00:00Z"));
    stage.engine.use_zones(data("a", Some(1))).await.unwrap();
    stage
}

/// At nine in the morning, there.
async fn nine(stage: &Stage) -> Job {
    let rule = Rule::cron(Expr::parse("0 9 * * *").unwrap());
    let zone = stage.engine.zones().zone(ZONE).unwrap();
    stage.create("nine", spec(vec![ScheduleSpec { rule, zone, ..every("main", 60) }])).await
}

async fn told(watch: &mut Watch, what: &str, wanted: impl Fn(&Detail) -> bool) -> Detail {
    let heard = async {
        loop {
            let (_, event) = watch.next().await.unwrap();
            if wanted(&event.detail) {
                return event.detail.clone();
            }
        }
    };
    host::within(PATIENCE, what, heard).await.unwrap()
}

async fn retimed(watch: &mut Watch) -> Retiming {
    match told(watch, "a schedule to be retimed", |detail| matches!(detail, Detail::Retimed { .. })).await {
        Detail::Retimed { retiming, .. } => retiming,
        other => panic!("{other:?}"),
    }
}

/// The instants that became runs, with the version of the data that each run names.
async fn fired(stage: &Stage, job: &Job) -> Vec<(String, String)> {
    let whole = (job.create_time, stage.clock.now().plus(Duration::from_secs(1)));
    let ledger = stage.engine.ledger().list(job, whole, &Filter::All, None, 100).await.unwrap();
    let mut fired = Vec::new();
    for instant in ledger {
        assert_eq!(instant.fate, Fate::Fired, "{instant:?}");
        let (run, _) = instant.run.unwrap_or_else(|| panic!("no run: {instant:?}"));
        let run = stage.run(run).await;
        assert_eq!(run.nominal_time, Some(instant.nominal));
        fired.push((instant.nominal.to_string(), run.zone_data.unwrap().to_string()));
    }
    fired
}

fn pairs(of: &[(&str, &str)]) -> Vec<(String, String)> {
    of.iter().map(|(at, version)| ((*at).to_owned(), (*version).to_owned())).collect()
}

#[tokio::test]
async fn a_clock_that_is_moved_ahead_loses_no_morning() {
    let stage = set().await;
    let job = nine(&stage).await;
    let mut watch = stage.engine.events().watch(None).unwrap();
    // Half an hour before the third morning.
    stage.pass(3 * DAY - HOUR / 2).await;
    stage.engine.use_zones(data("b", Some(2))).await.unwrap();
    let Retiming { from, to, before, after } = retimed(&mut watch).await;
    let (old, new) = (at("2027-01-18T08:00:00Z"), at("2027-01-18T07:00:00Z"));
    assert_eq!((from.as_str(), to.as_str()), ("a", "b"));
    assert_eq!(before, (0..5).map(|day| old.plus(day * DAY)).collect::<Vec<_>>());
    assert_eq!(after, (0..5).map(|day| new.plus(day * DAY)).collect::<Vec<_>>());
    // That of today has passed by the new data, and nobody waits for when it was announced.
    stage.pass(Duration::ZERO).await;
    assert_eq!(fired(&stage, &job).await.len(), 3);
    stage.pass(DAY).await;
    let expected = [
        ("2027-01-16T08:00:00Z", "a"),
        ("2027-01-17T08:00:00Z", "a"),
        ("2027-01-18T07:00:00Z", "b"),
        ("2027-01-19T07:00:00Z", "b"),
    ];
    assert_eq!(fired(&stage, &job).await, pairs(&expected));
}

#[tokio::test]
async fn a_clock_that_is_moved_back_doubles_no_morning() {
    let stage = set().await;
    let job = nine(&stage).await;
    let mut watch = stage.engine.events().watch(None).unwrap();
    // Half an hour after the first morning, which by the new data is still to come.
    stage.pass(DAY + HOUR / 2).await;
    stage.engine.use_zones(data("b", Some(0))).await.unwrap();
    let Retiming { before, after, .. } = retimed(&mut watch).await;
    assert_eq!((before[0], after[0]), (at("2027-01-17T08:00:00Z"), at("2027-01-17T09:00:00Z")));
    let shown = stage.engine.store().job(&Scope::default(), &job.name).await.unwrap().unwrap();
    assert_eq!(shown.next_times, [Some(after[0])]);
    stage.pass(2 * DAY).await;
    let expected = [("2027-01-16T08:00:00Z", "a"), ("2027-01-17T09:00:00Z", "b")];
    assert_eq!(fired(&stage, &job).await, pairs(&expected));
    // Back again: what fired by the other data is not named anew by these.
    stage.engine.use_zones(data("a", Some(1))).await.unwrap();
    let Retiming { from, to, .. } = retimed(&mut watch).await;
    assert_eq!((from.as_str(), to.as_str()), ("b", "a"));
    stage.pass(DAY).await;
    let expected = [
        ("2027-01-16T08:00:00Z", "a"),
        ("2027-01-17T09:00:00Z", "b"),
        ("2027-01-18T08:00:00Z", "a"),
        ("2027-01-19T08:00:00Z", "a"),
    ];
    assert_eq!(fired(&stage, &job).await, pairs(&expected));
}

#[tokio::test]
async fn what_is_due_before_its_turn_is_retimed_first() {
    let stage = set().await;
    let job = nine(&stage).await;
    let mut watch = stage.engine.events().watch(None).unwrap();
    stage.pass(DAY - HOUR / 2).await;
    // Nobody says so to the stage that looks at all of them.
    stage.store.use_zones(data("b", Some(0))).await.unwrap();
    stage.pass(HOUR / 2).await;
    let Retiming { before, after, .. } = retimed(&mut watch).await;
    assert_eq!((before[0], after[0]), (at("2027-01-16T08:00:00Z"), at("2027-01-16T09:00:00Z")));
    assert_eq!(fired(&stage, &job).await, []);
    stage.pass(HOUR).await;
    assert_eq!(fired(&stage, &job).await, pairs(&[("2027-01-16T09:00:00Z", "b")]));
}

/// The first instant is the same by both, and so is where the schedule stands.
#[tokio::test]
async fn what_was_evaluated_by_the_data_before_is_not_committed() {
    let stage = set().await;
    let rule = Rule::cron(Expr::parse("0 10-12 * * *").unwrap());
    let zone = stage.engine.zones().zone(ZONE).unwrap();
    stage.create("thrice", spec(vec![ScheduleSpec { rule, zone, ..every("main", 60) }])).await;
    let mut world = stage.world();
    let shard = world.own().await;
    world.now = at("2027-01-15T11:00:00Z");
    let firings = world.evaluate(shard).await;
    assert_eq!(firings[0].evaluation.instants(), 3);
    stage.store.use_zones(data("b", Some(2))).await.unwrap();
    stage.store.retime(world.now, None, 10).await.unwrap();
    let fired = stage.store.fire(world.now, shard, firings).await.unwrap();
    assert!(matches!(fired[..], [Fired::Overtaken]), "{fired:?}");
    let firings = world.evaluate(shard).await;
    assert_eq!(firings[0].evaluation.instants(), 2);
}

#[tokio::test]
async fn data_that_move_nothing_are_not_told_of() {
    let stage = set().await;
    let job = nine(&stage).await;
    // Of the same zone, by whose clock nothing of it goes.
    let zone = stage.engine.zones().zone(ZONE).unwrap();
    let other = stage.create("other", spec(vec![ScheduleSpec { zone, ..every("main", 3_600) }])).await;
    let mut watch = stage.engine.events().watch(None).unwrap();
    stage.engine.use_zones(data("b", Some(1))).await.unwrap();
    stage.engine.use_zones(data("c", Some(2))).await.unwrap();
    let Retiming { from, .. } = retimed(&mut watch).await;
    assert!(from == "a" || from == "b", "{from}");
    stage.pass(DAY).await;
    let more = std::iter::from_fn(|| futures::FutureExt::now_or_never(watch.next()));
    let more: Vec<_> =
        more.map_while(Result::ok).filter(|(_, it)| matches!(it.detail, Detail::Retimed { .. })).collect();
    assert!(more.is_empty(), "{more:?}");
    assert_eq!(fired(&stage, &job).await, pairs(&[("2027-01-16T07:00:00Z", "c")]));
    let versions = fired(&stage, &other).await;
    assert!(versions.len() == 24 && versions.iter().all(|(_, version)| version == "c"), "{versions:?}");
}

#[tokio::test]
async fn a_zone_that_is_gone_stops_its_job_alone_until_it_is_there_again() {
    let stage = set().await;
    let job = nine(&stage).await;
    let other = stage.create("other", spec(vec![every("main", 3_600)])).await;
    let mut watch = stage.engine.events().watch(None).unwrap();
    stage.pass(DAY + HOUR).await;
    stage.engine.use_zones(data("b", None)).await.unwrap();
    let range = match told(&mut watch, "the error", |detail| matches!(detail, Detail::Schedule { .. })).await {
        Detail::Schedule { schedule, range, .. } if schedule.as_str() == "main" => range,
        other => panic!("{other:?}"),
    };
    assert_eq!((range.fate, range.reason), (Fate::Error, Some(FateReason::ZoneMissing)));
    let failed = |detail: &Detail| matches!(detail, Detail::Job { change: JobChange::Failed, .. });
    told(&mut watch, "the job's error", failed).await;
    let state = async || stage.engine.store().job(&Scope::default(), &job.name).await.unwrap().unwrap().state;
    assert_eq!(state().await, JobState::Error);
    let error = stage.engine.store().job(&Scope::default(), &job.name).await.unwrap().unwrap().error.unwrap();
    assert_eq!((error.schedule, error.reason), (Some("main".parse().unwrap()), FateReason::ZoneMissing));
    let asked = at("2027-01-17T08:00:00Z");
    let explained = stage.engine.ledger().explain(&Scope::default(), &job.name, asked).await.unwrap().unwrap();
    assert!(explained.sentence.contains("do not have a zone"), "{}", explained.sentence);
    stage.pass(DAY).await;
    assert_eq!(fired(&stage, &job).await, pairs(&[("2027-01-16T08:00:00Z", "a")]));
    assert_eq!(fired(&stage, &other).await.len(), 49);
    // The morning that passed meanwhile is caught up with.
    stage.engine.use_zones(data("c", Some(1))).await.unwrap();
    let found = |detail: &Detail| matches!(detail, Detail::Job { state: Some(JobState::Active), .. });
    told(&mut watch, "the job to be active", found).await;
    assert_eq!(state().await, JobState::Active);
    stage.pass(DAY).await;
    let expected = [("2027-01-16T08:00:00Z", "a"), ("2027-01-17T08:00:00Z", "c"), ("2027-01-18T08:00:00Z", "c")];
    assert_eq!(fired(&stage, &job).await, pairs(&expected));
}

#[tokio::test]
async fn what_passed_without_a_zone_was_missed_however_short_it_was() {
    let stage = set().await;
    let zone = stage.engine.zones().zone(ZONE).unwrap();
    let often = |mode| {
        let rule = Rule::cron(Expr::parse("*/2 * * * * *").unwrap());
        let schedule = ScheduleSpec { rule, zone: zone.clone(), ..every("main", 60) };
        let catch_up = CatchUp::default().in_mode(mode);
        JobSpec { catch_up, overlap: Overlap::Allow { max: None }, ..spec(vec![schedule]) }
    };
    let none = stage.create("none", often(Mode::None)).await;
    let latest = stage.create("latest", often(Mode::Latest)).await;
    let mut watch = stage.engine.events().watch(None).unwrap();
    stage.pass(Duration::from_secs(10)).await;
    stage.engine.use_zones(data("b", None)).await.unwrap();
    let failed = |detail: &Detail| matches!(detail, Detail::Job { change: JobChange::Failed, .. });
    told(&mut watch, "an error", failed).await;
    told(&mut watch, "the other error", failed).await;
    stage.pass(Duration::from_secs(14)).await;
    stage.engine.use_zones(data("c", Some(1))).await.unwrap();
    let found = |detail: &Detail| matches!(detail, Detail::Job { state: Some(JobState::Active), .. });
    told(&mut watch, "a job to be active", found).await;
    told(&mut watch, "the other to be active", found).await;
    stage.pass(Duration::from_secs(2)).await;
    let whole = (none.create_time, stage.clock.now().plus(Duration::from_secs(1)));
    for (job, expected) in
        [(&none, [(Fate::Missed, 7), (Fate::Fired, 6)]), (&latest, [(Fate::Coalesced, 6), (Fate::Fired, 7)])]
    {
        let ledger = stage.engine.ledger().list(job, whole, &Filter::All, None, 100).await.unwrap();
        for (fate, count) in expected {
            assert_eq!(ledger.iter().filter(|instant| instant.fate == fate).count(), count, "{ledger:?}");
        }
        assert_eq!(ledger.len(), 13);
    }
}

/// A rule that broke before is still broken, whatever becomes of the zone that it shares with others.
#[tokio::test]
async fn a_zone_that_is_there_again_mends_no_rule_that_is_broken() {
    let stage = set().await;
    let rule = Rule::cron(Expr::parse("0 9 * * *").unwrap());
    let zone = stage.engine.zones().zone(ZONE).unwrap();
    let nine = |name: &str| ScheduleSpec { rule: rule.clone(), zone: zone.clone(), ..every(name, 60) };
    let job = stage.create("nine", spec(vec![nine("broken"), nine("sound")])).await;
    let mut watch = stage.engine.events().watch(None).unwrap();
    let due = stage.store.due(stage.clock.now().plus(DAY), Some(job.uid), 2).await.unwrap().ready;
    let due = due.into_iter().find(|due| due.schedule.as_str() == "broken").unwrap();
    let (now, why) = (stage.clock.now(), FateReason::RuleBroken);
    let failed = stage.store.fail_schedule(now, due.job, &due.schedule, &due.position, why).await.unwrap();
    assert_eq!(failed.unwrap().first, at("2027-01-16T08:00:00Z"));
    stage.engine.use_zones(data("b", None)).await.unwrap();
    told(&mut watch, "the error", |detail| matches!(detail, Detail::Schedule { .. })).await;
    stage.engine.use_zones(data("c", Some(1))).await.unwrap();
    let updated = |detail: &Detail| matches!(detail, Detail::Job { change: JobChange::Updated, .. });
    told(&mut watch, "the zone to be there", updated).await;
    let shown = stage.engine.store().job(&Scope::default(), &job.name).await.unwrap().unwrap();
    assert_eq!(shown.state, JobState::Error);
    assert_eq!(shown.next_times, [None, Some(at("2027-01-16T08:00:00Z"))]);
}

/// Bad data are taken back before anything came of them.
#[tokio::test]
async fn data_that_are_taken_back_lose_no_morning() {
    for (bad, first) in [(0, "2027-01-16T09:00:00Z"), (2, "2027-01-16T07:00:00Z")] {
        let stage = set().await;
        let job = nine(&stage).await;
        let mut watch = stage.engine.events().watch(None).unwrap();
        stage.engine.use_zones(data("bad", Some(bad))).await.unwrap();
        assert_eq!(retimed(&mut watch).await.after[0], at(first));
        stage.engine.use_zones(data("a", Some(1))).await.unwrap();
        assert_eq!(retimed(&mut watch).await.after[0], at("2027-01-16T08:00:00Z"));
        stage.pass(2 * DAY).await;
        assert_eq!(fired(&stage, &job).await, pairs(&[("2027-01-16T08:00:00Z", "a"), ("2027-01-17T08:00:00Z", "a")]));
    }
}

/// Of several changes before one morning the last says that it has passed.
#[tokio::test]
async fn several_changes_before_one_morning_lose_it_not() {
    let stage = set().await;
    let job = nine(&stage).await;
    let mut watch = stage.engine.events().watch(None).unwrap();
    stage.pass(DAY - HOUR / 2).await;
    for (version, hours, first) in [("b", 0, "2027-01-16T09:00:00Z"), ("c", 2, "2027-01-16T07:00:00Z")] {
        stage.engine.use_zones(data(version, Some(hours))).await.unwrap();
        assert_eq!(retimed(&mut watch).await.after[0], at(first));
    }
    stage.pass(DAY).await;
    assert_eq!(fired(&stage, &job).await, pairs(&[("2027-01-16T07:00:00Z", "c"), ("2027-01-17T07:00:00Z", "c")]));
}
