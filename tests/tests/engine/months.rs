//! Two months in seconds: jobs that people create, edit, pause, resume, trigger, backfill and delete, calendars that they
//! change, workers that die and lose their streams, machines that sleep and servers that are away, in an order that follows
//! from a seed.
//!
//! What is judged in the end is that nothing is stuck, that every instant of every version of every job has one fate, unless
//! its schedule had made all its runs before, that every one that fired or was superseded has one run, that no instant of a
//! backfill has two, and that every attempt has its end; and at each edit, that starts that were pending became what it said.

use std::{collections::BTreeSet, num::NonZeroU32, time::Duration};

use mainspring_engine::{
    domain::{
        auto_disable::AutoDisable,
        backfill::Range,
        catch_up::{CatchUp, Mode},
        ids::BackfillId,
        instant::Instant,
        job::{JobSpec, JobState, Pause},
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
use mainspring_tests::{conformance::world::spec, engine::Stage};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};
use sqlx::Connection as _;

use crate::{
    backfills,
    chain::Away,
    crew::{Crew, Seen, database, numbers},
    held::Held,
    lives::{self, Findings, Life},
    rules::{Calendars, Due, Rule},
    seed::Seed,
    wall::{ALL_HOURS, Wall},
};

const LEASE: Duration = Duration::from_secs(3 * 3_600);
/// A heartbeat: the step in which workers live.
const STEP: Duration = Duration::from_secs(1_800);
const DAYS: u64 = 60;
/// Nobody changes what is due in the last weeks.
const LAST_EDITS: Duration = Duration::from_secs(14 * 86_400);
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

/// Everything that goes on.
struct Story {
    stage: Stage,
    rng: StdRng,
    end: Instant,
    calendars: Calendars,
    lives: Vec<Life>,
    away: Vec<Away>,
    /// What happened how often, by name.
    deeds: BTreeSet<&'static str>,
    /// With the instants that they are of.
    backfills: Vec<(BackfillId, Vec<Instant>)>,
}

impl Story {
    fn definition(&mut self) -> (Rule, JobSpec) {
        let rng = &mut self.rng;
        let due = Due::any(rng, &WALLS);
        let overlap = *OVERLAPS.choose(rng).unwrap();
        let mode = *Mode::ALL.choose(rng).unwrap();
        let catch_up = CatchUp { max: 3, ..CatchUp::default().in_mode(mode) };
        let jitter = Duration::from_secs(rng.random_range(0..2) * 5_400);
        let max_runs = rng.random_ratio(1, 4).then(|| rng.random_range(1..60));
        let rule = Rule::any(rng, due, &self.calendars).bounded(max_runs);
        let schedule = ScheduleSpec { jitter, end: Some(self.end), ..rule.schedule(&self.calendars) };
        let mut spec = JobSpec { overlap, catch_up, ..spec(vec![schedule]) };
        if rng.random_ratio(1, 4) {
            // One failure is enough.
            spec.policy.retry.max_attempts = 1;
            let cooldown = rng.random_bool(0.5).then_some(Duration::from_secs(6 * 3_600));
            spec.auto_disable =
                AutoDisable::After { failures: NonZeroU32::MIN, window: Duration::from_secs(3_600), cooldown };
        }
        (rule, spec)
    }

    async fn create(&mut self) {
        let (rule, spec) = self.definition();
        let job = self.stage.create(&format!("job-{}", self.lives.len()), spec).await;
        self.lives.push(Life { rules: vec![(self.stage.engine.now(), rule)], job, deleted: None });
    }

    /// Somebody wants runs of what has passed lately, by the definition in force.
    async fn backfill(&mut self, living: &[usize]) {
        // What counts from ends has no instants but those that it had.
        let by_time = living.iter().filter(|at| !matches!(self.lives[**at].rule().due, Due::Delay(_)));
        let Some(at) = by_time.copied().collect::<Vec<_>>().choose(&mut self.rng).copied() else { return };
        let job = &self.stage.world().job(self.lives[at].job.name.as_str()).await.unwrap();
        let now = self.stage.engine.now();
        let from = now.minus(Duration::from_secs(self.rng.random_range(1..100) * 3_600));
        let rule = self.lives[at].rule();
        let before = |at: Instant| at.minus(Duration::from_micros(1));
        let mut instants = rule.named(before(from), before(now));
        instants.retain(|at| !rule.leaves_out(*at));
        let Some(new) = backfills::any(&mut self.rng, job, Range { from, to: now }, now) else {
            assert_eq!(instants, []);
            return;
        };
        let id = new.id;
        self.stage.engine.backfill(new).await.unwrap();
        self.backfills.push((id, instants));
        self.deeds.insert("backfill");
    }

    /// Somebody changes a calendar, and the jobs that keep to it follow.
    async fn change_calendar(&mut self) {
        let (now, which) = (self.stage.engine.now(), self.rng.random_range(0..2));
        let held = match which {
            0 => Held::days(&mut self.rng, now, self.end),
            _ => Held::hours(&mut self.rng),
        };
        let Some(calendar) = held.replace(&self.stage, &self.calendars[which].0).await else { return };
        for life in self.lives.iter_mut().filter(|life| life.deleted.is_none()) {
            life.rules.extend(life.rule().following(which, &held).map(|rule| (now, rule)));
        }
        self.calendars[which] = (calendar, held);
        self.deeds.insert("change a calendar");
    }

    /// One person does one thing to one job.
    async fn deed(&mut self) {
        let living: Vec<_> = (0..self.lives.len()).filter(|at| self.lives[*at].deleted.is_none()).collect();
        let Some(at) = living.choose(&mut self.rng).copied() else { return self.create().await };
        let now = self.stage.engine.now();
        // What is left of a schedule when it is nearly over, its calendars may leave nothing of.
        let is_late = now.plus(LAST_EDITS) > self.end;
        if !is_late && self.rng.random_ratio(1, 8) {
            return self.change_calendar().await;
        }
        // Not as it was when it was last touched: a pause may have ended since.
        let job = self.stage.world().job(self.lives[at].job.name.as_str()).await.unwrap();
        if job.state == JobState::AutoDisabled {
            self.deeds.insert("fail");
        }
        let (scope, engine) = (Scope::default(), self.stage.engine.clone());
        let (deed, change) = match self.rng.random_range(0..100) {
            0..25 if !is_late => return self.edit(&living).await,
            25..45 => {
                let hours = self.rng.random_range(1..72);
                let until = self.rng.random_bool(0.5).then(|| now.plus(Duration::from_secs(hours * 3_600)));
                let pause = Pause { note: "quiet".into(), actor: "ops".into(), time: now, until };
                ("pause", engine.jobs().pause(&scope, &job.name, pause, Paused::Keep).await.unwrap().0)
            }
            0..25 | 45..72 => {
                let resume = Resume::Asked(*Mode::ALL.choose(&mut self.rng).unwrap());
                ("resume", engine.jobs().resume(&scope, &job.name, resume).await.unwrap())
            }
            72..84 => return self.backfill(&living).await,
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
                let (change, _) = engine.jobs().delete(&scope, &job.name, None, Running::Detach, "ops").await.unwrap();
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

    /// Somebody defines a job anew. Who wants no more of its pending starts takes one that has some, if any has.
    async fn edit(&mut self, living: &[usize]) {
        let (rule, spec) = self.definition();
        let pending = *Pending::ALL.choose(&mut self.rng).unwrap();
        let mut eligible = living.to_vec();
        if pending == Pending::Cancel {
            let waiting = lives::with_pending_starts(&self.stage).await;
            eligible.retain(|at| waiting.contains(&self.lives[*at].job.uid));
        }
        let Some(at) = eligible.choose(&mut self.rng).or(living.first()).copied() else { return };
        let life = &mut self.lives[at];
        let job = self.stage.world().job(life.job.name.as_str()).await.unwrap();
        let actor = "ops".into();
        let update =
            UpdateJob { scope: Scope::default(), name: job.name, revision: job.revision, spec, pending, actor };
        match self.stage.engine.jobs().update(update).await.unwrap() {
            JobChange::Done(job) => {
                life.rules.push((self.stage.engine.now(), rule));
                life.judge_edit(&self.stage, pending, job.version).await;
                self.deeds.insert("edit");
            }
            JobChange::Unchanged(_) => {}
            other => panic!("edit: {other:?}"),
        }
    }
}

async fn months(seed: &Seed) {
    println!("seed {}", seed.number);
    // What was missed comes one by one.
    let stage = Stage::set_for_years(LeaseRules::for_lease(LEASE), Duration::from_secs(3_600), 1).await;
    let begin = stage.engine.now();
    let end = begin.plus(Duration::from_secs(DAYS * 86_400));
    let mut rng = StdRng::seed_from_u64(seed.number);
    let (days, hours) = (Held::days(&mut rng, begin, end), Held::hours(&mut rng));
    let calendars = [(days.create(&stage, "days").await, days), (hours.create(&stage, "hours").await, hours)];
    let (lives, deeds, backfills, away) = (Vec::new(), BTreeSet::new(), Vec::new(), Vec::new());
    let mut story = Story { stage, rng, end, calendars, lives, away, deeds, backfills };
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
        let from = story.stage.engine.now();
        if story.rng.random_ratio(1, 60) {
            outages += 1;
            crew.lose_server();
            let length = Duration::from_secs(story.rng.random_range(1..80_000));
            story.stage = story.stage.outage(length).await;
        } else if story.rng.random_ratio(1, 300) {
            sleeps += 1;
            story.stage.sleep(Duration::from_secs(story.rng.random_range(600..20_000))).await;
        }
        if story.stage.engine.now() > from {
            story.away.push((from, story.stage.engine.now()));
        }
    }
    let Story { stage, lives, deeds, backfills, away, .. } = story;
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
        seen.deaths > 5 && seen.breaks > 20 && outages > 10 && deeds.len() == 8,
        "a quiet life proves nothing: {deeds:?}"
    );
    let last = end.minus(Duration::from_micros(1));
    let mut findings = Findings::default();
    for life in &lives {
        life.judge(&stage, last, &away, &mut findings).await;
    }
    println!("{findings:?}");
    let Findings { fates, ended, links } = findings;
    for fate in [
        Fate::Fired,
        Fate::SkippedOverlap,
        Fate::Coalesced,
        Fate::Missed,
        Fate::Paused,
        Fate::Dropped,
        Fate::Superseded,
        Fate::Excluded,
    ] {
        assert!(fates.contains(&fate), "nothing was {fate:?}: that proves nothing");
    }
    assert!(
        ended > 0 && links > 100,
        "{ended} made their last run, and chains have {links} links: that proves nothing"
    );
    judge_runs(&stage, seen).await;
    backfills::judge(&stage, &backfills).await;
}

async fn judge_runs(stage: &Stage, seen: &Seen) {
    let succeeded = numbers(stage, "SELECT count(*) FROM run WHERE state = 6").await[0];
    assert!(succeeded >= i64::try_from(seen.over.len()).unwrap() && succeeded > 100);
    let mut db = database(stage).await;
    // SUCCEEDED is 6, and what ended so is told by the run alone.
    let ends = "(SELECT group_concat(attempt || '/' || state || '/' || cause) FROM attempt_end WHERE run_id = id)";
    let sql = format!(
        "SELECT printf('%s of job %s: state %d, attempt %d, open %s, ends %s, reason %s, %d losses', hex(id), hex(job_uid), \
         state, attempt, coalesce(open_token, 'none'), {ends}, reason, losses) FROM run \
         WHERE attempt <> (state = 6) + (SELECT count(*) FROM attempt_end WHERE run_id = id)"
    );
    let odd: Vec<String> = sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_all(&mut db).await.unwrap();
    db.close().await.unwrap();
    assert_eq!(odd, Vec::<String>::new(), "every attempt has its end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_months_of_people_workers_and_outages() {
    months(&Seed::of("months::two_months_of_people_workers_and_outages")).await;
}
