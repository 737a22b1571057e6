//! A thousand times no server is there while minutes, midnights and changes of the clock pass: afterwards every instant has
//! the one fate that its policy and its calendars say, and every fired one has one run.
//!
//! Time passes mostly in outages: between them lies a short while in which the server is there.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use mainspring_cron::Roll;
use mainspring_engine::domain::{
    budget::LATE_RUNS_A_SECOND,
    catch_up::{CatchUp, Mode},
    instant::Instant,
    job::JobSpec,
    ledger::Fate,
    overlap::Overlap,
    rules::LeaseRules,
};
use mainspring_tests::{conformance::world::spec, engine::Stage};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};

use crate::{
    held::Held,
    ledger::{Kept, kept},
    rules::{Due, Keeps, Rule},
    seed::Seed,
    wall::{ALL_HOURS, Wall},
};

const MINUTELY: Wall =
    Wall { zone: "Europe/Berlin", expr: "* * * * *", hours: ALL_HOURS, minutes: &MINUTES, appointment: false };
const MINUTES: [i8; 60] = {
    let mut minutes = [0; 60];
    let mut at = 0;
    while at < 60 {
        minutes[at] = at as i8;
        at += 1;
    }
    minutes
};
/// Whatever meets midnights and changes of the clock: of an hour, of half an hour, at midnight.
const DAILY: [Wall; 5] = [
    Wall { zone: "Europe/Berlin", expr: "30 2 * * *", hours: &[2], minutes: &[30], appointment: true },
    Wall { zone: "America/Havana", expr: "0 0 * * *", hours: &[0], minutes: &[0], appointment: true },
    Wall {
        zone: "Australia/Lord_Howe",
        expr: "15,45 1-3 * * *",
        hours: &[1, 2, 3],
        minutes: &[15, 45],
        appointment: false,
    },
    Wall { zone: "America/New_York", expr: "0 * * * *", hours: ALL_HOURS, minutes: &[0], appointment: false },
    Wall { zone: "Asia/Beirut", expr: "10 0,23 * * *", hours: &[0, 23], minutes: &[10], appointment: true },
];
const MODES: [Mode; 3] = [Mode::Latest, Mode::None, Mode::All];
/// Of what was missed, so many run where all are to.
const MAX: u32 = 3;

/// What the outages are about.
#[derive(Clone, Copy)]
enum Near {
    Minutes,
    Midnights,
    Changes,
}

/// A job and what must become of its instants.
struct Judged {
    name: String,
    mode: Mode,
    /// What its calendars make of it, since when.
    rules: Vec<(Instant, Rule)>,
}

/// How jobs keep to calendars, and to which of them.
const KEEPS: [(Keeps, &[usize]); 5] = [
    (Keeps::Exclude, &[0, 1]),
    (Keeps::Roll(Roll::Following), &[0]),
    (Keeps::Only, &[0]),
    (Keeps::Roll(Roll::Nearest), &[0, 1]),
    (Keeps::Roll(Roll::Preceding), &[0]),
];

/// Sets up one job of every policy for each wall clock, lets the outages happen, and judges.
async fn outages(seed: &Seed, count: u32, near: Near, walls: &[Wall]) {
    let mut rng = StdRng::seed_from_u64(seed.number);
    // What was missed is made up for before the next outage, or the oracle would have to know how far that had come.
    let look = Duration::from_secs(86_400);
    let mut stage = Stage::set_for_years(LeaseRules::default(), look, LATE_RUNS_A_SECOND).await;
    let begin = stage.engine.now();
    // Whoever is away for years looks at no more than the first of the dates; the days of the week are held all the while.
    let (days, hours) = (Held::days(&mut rng, begin, begin.plus(look * 60)), Held::hours(&mut rng));
    let mut calendars = [(days.create(&stage, "days").await, days), (hours.create(&stage, "hours").await, hours)];
    let mut jobs = Vec::new();
    for (number, wall) in walls.iter().enumerate() {
        let due = Due::Wall(*wall);
        let plain = MODES.map(|mode| (mode, Rule::plain(due)));
        let (keeps, which) = KEEPS[number];
        let kept = (MODES[number % MODES.len()], Rule::keeping(due, keeps, &calendars, which));
        for (place, (mode, rule)) in plain.into_iter().chain([kept]).enumerate() {
            let name = format!("job-{number}-{place}");
            let catch_up = CatchUp { max: MAX, ..CatchUp::default().in_mode(mode) };
            let schedules = vec![rule.schedule(&calendars)];
            let spec = JobSpec { overlap: Overlap::Allow { max: None }, catch_up, ..spec(schedules) };
            stage.create(&name, spec).await;
            jobs.push(Judged { name, mode, rules: vec![(begin, rule)] });
        }
    }
    let mut away = Vec::new();
    for _ in 0..count {
        let now = stage.engine.now();
        let (before, length) = match near {
            Near::Minutes => {
                let minute = 60_000_000 - now.as_micros().rem_euclid(60_000_000);
                let next = Duration::from_micros(u64::try_from(minute).unwrap());
                (now.plus(next + Duration::from_secs(60 * rng.random_range(0..5))), rng.random_range(1..400))
            }
            Near::Midnights => (walls.choose(&mut rng).unwrap().midnight_after(now), rng.random_range(1..80_000)),
            // Several about one change: what the next ones meet is the hour that comes twice, or the one after.
            Near::Changes if rng.random_ratio(2, 3) => {
                (now.plus(Duration::from_secs(rng.random_range(0..1_800))), rng.random_range(1..5_400))
            }
            Near::Changes => {
                let change = walls.iter().filter_map(|wall| wall.change_after(now)).min().unwrap();
                (change, rng.random_range(1..7_200))
            }
        };
        // Between the last outage and this one it is there for a while, up to a little before what this one is about.
        let there = Duration::from_millis(rng.random_range(0..300_000));
        let reach = before.minus(Duration::from_millis(rng.random_range(0..5_000)));
        let there = there.min(reach.since(now));
        stage.pass(there).await;
        if rng.random_ratio(1, 20) {
            let which = rng.random_range(0..2);
            let now = stage.engine.now();
            let held = if which == 0 { Held::days(&mut rng, now, now.plus(look * 60)) } else { Held::hours(&mut rng) };
            if let Some(calendar) = held.replace(&stage, &calendars[which].0).await {
                for Judged { rules, .. } in &mut jobs {
                    rules.extend(rules.last().unwrap().1.following(which, &held).map(|rule| (now, rule)));
                }
                calendars[which] = (calendar, held);
            }
        }
        let from = stage.engine.now();
        stage = stage.outage(reach.since(from) + Duration::from_secs(length)).await;
        away.push((from, stage.engine.now()));
    }
    let end = stage.engine.now();
    assert!(!stage.is_broken().await);
    let mut fates = BTreeMap::new();
    for job in &jobs {
        let untils = job.rules.iter().skip(1).map(|(from, _)| *from).chain([end]);
        let named =
            job.rules.iter().zip(untils).flat_map(|((from, rule), until)| {
                rule.named(*from, until).into_iter().map(|at| (at, rule.leaves_out(at)))
            });
        let (instants, left_out): (Vec<_>, Vec<_>) = named.unzip();
        let left_out: BTreeSet<_> =
            instants.iter().zip(left_out).filter(|(_, left_out)| *left_out).map(|(at, _)| *at).collect();
        let Kept { ranges, runs, ends: _, dropped: _ } = kept(&stage, &job.name).await;
        let (found, doubled) = ranges.fates(&instants);
        assert_eq!(doubled, Vec::<Instant>::new(), "{} has instants with two fates", job.name);
        let expected = expected(job.mode, (&instants, &left_out), &away);
        for at in &instants {
            assert_eq!(found.get(at), expected.get(at), "{} at {}", job.name, at.timestamp());
            *fates.entry(expected[at]).or_insert(0_u64) += 1;
        }
        assert_eq!(found.len(), instants.len(), "{} has fates for what its rule does not name", job.name);
        let fired: Vec<_> = expected.iter().filter(|(_, fate)| **fate == Fate::Fired).map(|(at, _)| *at).collect();
        assert_eq!(runs, fired, "the runs of {}", job.name);
    }
    let years = end.since(begin).as_secs_f64() / 86_400.0 / 365.25;
    println!("seed {}: {count} outages in {years:.1} years: {fates:?}", seed.number);
    for fate in [Fate::Fired, Fate::Coalesced, Fate::Missed, Fate::Dropped, Fate::Excluded] {
        assert!(fates.contains_key(&fate), "nothing was {fate:?}: that proves nothing");
    }
}

/// What each instant must have become, by the words of the policies.
fn expected(
    mode: Mode,
    (instants, left_out): (&[Instant], &BTreeSet<Instant>),
    away: &[(Instant, Instant)],
) -> BTreeMap<Instant, Fate> {
    let plain = |at: &Instant| if left_out.contains(at) { Fate::Excluded } else { Fate::Fired };
    let mut fates: BTreeMap<_, _> = instants.iter().map(|at| (*at, plain(at))).collect();
    for (from, until) in away {
        let free = instants.iter().filter(|at| !left_out.contains(at));
        let missed: BTreeSet<_> = free.filter(|at| *at > from && *at <= until).collect();
        let (runs, fate) = match mode {
            Mode::Latest => (1, Fate::Coalesced),
            Mode::None => (0, Fate::Missed),
            Mode::All => (MAX as usize, Fate::Dropped),
        };
        for at in missed.into_iter().rev().skip(runs) {
            fates.insert(*at, fate);
        }
    }
    fates
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_hundred_outages_across_minutes() {
    outages(&Seed::of("outages::four_hundred_outages_across_minutes"), 400, Near::Minutes, &[MINUTELY]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_hundred_outages_across_midnights() {
    outages(&Seed::of("outages::three_hundred_outages_across_midnights"), 300, Near::Midnights, &DAILY).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_hundred_outages_across_changes_of_the_clock() {
    outages(&Seed::of("outages::three_hundred_outages_across_changes_of_the_clock"), 300, Near::Changes, &DAILY).await;
}
