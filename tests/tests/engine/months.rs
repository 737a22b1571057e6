//! Two months in seconds: jobs that people create, edit, pause, resume, trigger and delete, workers that die and lose their
//! streams, machines that sleep and servers that are away, in an order that follows from a seed.
//!
//! What is judged in the end is that nothing is stuck, that every instant of every version of every job has one fate, unless
//! its schedule had made all its runs before, that every one that fired or was superseded has one run, that no instant of a
//! backfill has two, and that every attempt has its end.

use std::{collections::BTreeSet, time::Duration};

use mainspring_engine::{
    domain::{
        backfill::Range,
        catch_up::{CatchUp, Mode},
        ids::BackfillId,
        instant::Instant,
        job::{Job, JobSpec, Pause},
        ledger::Fate,
        names::Scope,
        overlap::Overlap,
        rules::LeaseRules,
        schedule::ScheduleSpec,
        stop::{Paused, Running},
        supersede::Pending,
    },
    ports::store::{JobChange, Resume, UpdateJob},
};
use mainspring_tests::{
    conformance::world::{every, spec},
    engine::Stage,
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};

use crate::{
    backfills,
    crew::{Crew, Seen, numbers},
    ledger::{Kept, kept_of},
    seed::Seed,
    wall::{ALL_HOURS, Wall},
};

const LEASE: Duration = Duration::from_secs(3 * 3_600);
/// A heartbeat: the step in which workers live.
const STEP: Duration = Duration::from_secs(1_800);
const DAYS: u64 = 60;
const WALLS: [Wall; 4] = [
    Wall { zone: "Europe/Berlin", expr: "30 2 * * *", hours: &[2], minutes: &[30], appointment: true },
    Wall { zone: "America/Havana", expr: "0 0,12 * * *", hours: &[0, 12], minutes: &[0], appointment: true },
    Wall { zone: "America/New_York", expr: "0 * * * *", hours: ALL_HOURS, minutes: &[0], appointment: false },
    Wall {
        zone: "Asia/Kathmandu",
        expr: "15 4-9 * * *",
        hours: &[4, 5, 6, 7, 8, 9],
        minutes: &[15],
        appointment: false,
    },
];
const OVERLAPS: [Overlap; 6] = [
    Overlap::Skip,
    Overlap::Allow { max: Some(3) },
    Overlap::BufferOne,
    Overlap::BufferAll { max: 2 },
    Overlap::CancelOther,
    Overlap::TerminateOther,
];

/// When a job is due.
#[derive(Clone, Copy, Debug)]
enum Due {
    Wall(Wall),
    /// Every so many seconds, counted from the epoch.
    Every(u64),
}

impl Due {
    fn any(rng: &mut StdRng) -> Self {
        let period = rng.random_range(4..80) * 900;
        WALLS.choose(rng).filter(|_| rng.random_ratio(2, 3)).map_or(Self::Every(period), |wall| Self::Wall(*wall))
    }

    fn schedule(&self, end: Instant) -> ScheduleSpec {
        let schedule = match self {
            Self::Wall(wall) => wall.schedule("main"),
            Self::Every(seconds) => every("main", *seconds),
        };
        ScheduleSpec { end: Some(end), ..schedule }
    }

    /// The instants in `(after, until]`.
    fn instants(&self, after: Instant, until: Instant) -> Vec<Instant> {
        match self {
            Self::Wall(wall) => wall.instants(after, until),
            Self::Every(seconds) => {
                let period = i64::try_from(*seconds).unwrap() * 1_000_000;
                let numbers = after.as_micros().div_euclid(period) + 1..=until.as_micros().div_euclid(period);
                numbers.map(|number| Instant::from_micros(number * period)).collect()
            }
        }
    }
}

/// What a definition says of the instants of a job.
#[derive(Clone, Copy, Debug)]
struct Rule {
    due: Due,
    max_runs: Option<u64>,
}

/// A job, and what its rule was since when.
struct Life {
    job: Job,
    rules: Vec<(Instant, Rule)>,
    deleted: Option<Instant>,
}

/// Everything that goes on.
struct Story {
    stage: Stage,
    rng: StdRng,
    end: Instant,
    lives: Vec<Life>,
    /// What happened how often, by name.
    deeds: BTreeSet<&'static str>,
    /// With the instants that they are of.
    backfills: Vec<(BackfillId, Vec<Instant>)>,
}

impl Story {
    fn definition(&mut self) -> (Rule, JobSpec) {
        let due = Due::any(&mut self.rng);
        let overlap = *OVERLAPS.choose(&mut self.rng).unwrap();
        let mode = *Mode::ALL.choose(&mut self.rng).unwrap();
        let catch_up = CatchUp { max: 3, ..CatchUp::default().in_mode(mode) };
        let jitter = Duration::from_secs(self.rng.random_range(0..2) * 5_400);
        let max_runs = self.rng.random_ratio(1, 4).then(|| self.rng.random_range(1..60));
        let schedule = ScheduleSpec { jitter, max_runs, ..due.schedule(self.end) };
        (Rule { due, max_runs }, JobSpec { overlap, catch_up, ..spec(vec![schedule]) })
    }

    async fn create(&mut self) {
        let (rule, spec) = self.definition();
        let job = self.stage.create(&format!("job-{}", self.lives.len()), spec).await;
        self.lives.push(Life { rules: vec![(self.stage.engine.now(), rule)], job, deleted: None });
    }

    /// Somebody wants runs of what has passed lately, by the definition in force.
    async fn backfill(&mut self, at: usize, job: &Job) {
        let now = self.stage.engine.now();
        let from = now.minus(Duration::from_secs(self.rng.random_range(1..100) * 3_600));
        let (_, rule) = self.lives[at].rules.last().unwrap();
        let before = |at: Instant| at.minus(Duration::from_micros(1));
        let instants = rule.due.instants(before(from), before(now));
        let Some(new) = backfills::any(&mut self.rng, job, Range { from, to: now }, now) else {
            assert_eq!(instants, []);
            return;
        };
        let id = new.id;
        self.stage.engine.backfill(new).await.unwrap();
        self.backfills.push((id, instants));
        self.deeds.insert("backfill");
    }

    /// One person does one thing to one job.
    async fn deed(&mut self) {
        let living: Vec<_> = (0..self.lives.len()).filter(|at| self.lives[*at].deleted.is_none()).collect();
        let Some(at) = living.choose(&mut self.rng).copied() else { return self.create().await };
        let now = self.stage.engine.now();
        // Not as it was when it was last touched: a pause may have ended since.
        let job = self.stage.world().job(self.lives[at].job.name.as_str()).await.unwrap();
        let (scope, engine) = (Scope::default(), self.stage.engine.clone());
        let (deed, change) = match self.rng.random_range(0..100) {
            0..25 => {
                let (rule, spec) = self.definition();
                let pending = *Pending::ALL.choose(&mut self.rng).unwrap();
                let update = UpdateJob { scope, name: job.name.clone(), revision: job.revision, spec, pending };
                let change = engine.jobs().update(update).await.unwrap();
                if let JobChange::Done(_) = &change {
                    self.lives[at].rules.push((now, rule));
                }
                ("edit", change)
            }
            25..45 => {
                let hours = self.rng.random_range(1..72);
                let until = self.rng.random_bool(0.5).then(|| now.plus(Duration::from_secs(hours * 3_600)));
                let pause = Pause { note: "quiet".into(), actor: "ops".into(), time: now, until };
                ("pause", engine.jobs().pause(&scope, &job.name, pause, Paused::Keep).await.unwrap().0)
            }
            45..75 => {
                let resume = Resume::Asked(*Mode::ALL.choose(&mut self.rng).unwrap());
                ("resume", engine.jobs().resume(&scope, &job.name, resume).await.unwrap())
            }
            75..84 => return self.backfill(at, &job).await,
            84..92 => {
                let run = mainspring_engine::ports::store::NewRun {
                    overlap: Some(job.spec.overlap),
                    ..self.stage.world().run_of(&job)
                };
                let _ = engine.submit(vec![run]).await.unwrap();
                self.deeds.insert("trigger");
                return;
            }
            _ => {
                let (change, _) = engine.jobs().delete(&scope, &job.name, None, Running::Detach).await.unwrap();
                self.lives[at].deleted = Some(now);
                self.create().await;
                ("delete", change)
            }
        };
        match change {
            JobChange::Done(_) => drop(self.deeds.insert(deed)),
            // A job whose instants are all over, or that is paused already.
            JobChange::Unchanged(_) => {}
            other => panic!("{deed}: {other:?}"),
        }
    }
}

async fn months(seed: &Seed) {
    println!("seed {}", seed.number);
    // What was missed comes one by one.
    let stage = Stage::set_for_years(LeaseRules::for_lease(LEASE), Duration::from_secs(3_600), 1).await;
    let begin = stage.engine.now();
    let end = begin.plus(Duration::from_secs(DAYS * 86_400));
    let rng = StdRng::seed_from_u64(seed.number);
    let mut story = Story { stage, rng, end, lives: Vec::new(), deeds: BTreeSet::new(), backfills: Vec::new() };
    for _ in 0..8 {
        story.create().await;
    }
    let mut crew = Crew::new(&story.stage, seed.number, STEP);
    let (mut outages, mut sleeps) = (0, 0);
    while story.stage.engine.now() < end {
        crew.live_dangerously(&story.stage, &mut story.rng).await;
        if story.rng.random_ratio(1, 12) {
            story.deed().await;
        }
        if story.rng.random_ratio(1, 60) {
            outages += 1;
            crew.lose_server();
            let length = Duration::from_secs(story.rng.random_range(1..80_000));
            story.stage = story.stage.outage(length).await;
        } else if story.rng.random_ratio(1, 300) {
            sleeps += 1;
            story.stage.sleep(Duration::from_secs(story.rng.random_range(600..20_000))).await;
        }
    }
    let Story { stage, lives, deeds, backfills, .. } = story;
    // Whatever is left has its lease, its retries, those it waits for, and an hour's look.
    crew.finish(&stage, Duration::from_secs(20 * 86_400)).await;
    let seen = &crew.seen;
    println!(
        "{} deaths, {} broken streams, {outages} outages, {sleeps} sleeps, {} jobs",
        seen.deaths,
        seen.breaks,
        lives.len()
    );
    assert!(
        seen.deaths > 5 && seen.breaks > 20 && outages > 10 && deeds.len() == 6,
        "a quiet life proves nothing: {deeds:?}"
    );
    judge(&stage, &lives, end, seen).await;
    backfills::judge(&stage, &backfills).await;
}

async fn judge(stage: &Stage, lives: &[Life], end: Instant, seen: &Seen) {
    let last = end.minus(Duration::from_micros(1));
    let (mut fates, mut ended) = (BTreeSet::new(), 0);
    for Life { job, rules, deleted } in lives {
        let over = deleted.unwrap_or(last).min(last);
        let until = rules.iter().skip(1).map(|(from, _)| *from).chain([over]);
        let named: Vec<_> = rules
            .iter()
            .zip(until)
            .flat_map(|((from, rule), until)| rule.due.instants(*from, until).into_iter().map(|at| (at, rule.max_runs)))
            .collect();
        let instants: Vec<_> = named.iter().map(|(at, _)| *at).collect();
        let Kept { ranges, runs } = kept_of(stage, job.uid).await;
        let (found, doubled) = ranges.fates(&instants);
        assert_eq!(doubled, Vec::<Instant>::new(), "{} has instants with two fates: {rules:?}", job.name);
        let mut made = Vec::new();
        for (at, max_runs) in named {
            let is_done = max_runs.is_some_and(|most| made.len() as u64 >= most);
            match found.get(&at) {
                None => assert!(is_done, "{} has an instant without a fate: {at}, {rules:?}", job.name),
                Some(fate @ (Fate::Fired | Fate::Superseded)) => {
                    assert!(!is_done, "{} is {fate:?} at {at}, after its last run: {rules:?}", job.name);
                    made.push(at);
                }
                Some(_) => {}
            }
        }
        assert_eq!(runs, made, "the runs of {}", job.name);
        ended += u32::from(found.len() < instants.len());
        fates.extend(found.into_values());
    }
    println!("{fates:?}");
    for fate in [
        Fate::Fired,
        Fate::SkippedOverlap,
        Fate::Coalesced,
        Fate::Missed,
        Fate::Paused,
        Fate::Dropped,
        Fate::Superseded,
    ] {
        assert!(fates.contains(&fate), "nothing was {fate:?}: that proves nothing");
    }
    assert!(ended > 0, "no schedule made its last run: that proves nothing");
    let succeeded = numbers(stage, "SELECT count(*) FROM run WHERE state = 6").await[0];
    assert!(succeeded >= i64::try_from(seen.over.len()).unwrap() && succeeded > 100);
    let ends =
        "SELECT count(*) FROM run WHERE attempt <> (state = 6) + (SELECT count(*) FROM attempt_end WHERE run_id = id)";
    assert_eq!(numbers(stage, ends).await, [0], "every attempt has its end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_months_of_people_workers_and_outages() {
    months(&Seed::of("months::two_months_of_people_workers_and_outages")).await;
}
