//! What a definition says of instants, in a simulation: the product's schedule, and an oracle of what it names and leaves out.

use std::time::Duration;

use jiff::tz::TimeZone;
use mainspring_cron::{FixedDelay, Roll, Rule as CronRule};
use mainspring_engine::domain::{
    calendar::{Exclusion, NamedCalendar},
    instant::Instant,
    schedule::ScheduleSpec,
};
use mainspring_tests::conformance::world::every;
use rand::{RngExt as _, rngs::StdRng, seq::IndexedRandom as _};

use crate::{
    held::{Held, moved},
    wall::Wall,
};

/// No day moves further than this.
const REACH: Duration = Duration::from_secs(14 * 86_400);

/// When a job is due.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Due {
    Wall(Wall),
    /// Every so many seconds, counted from the epoch.
    Every(u64),
    /// So many seconds after the run before it is over.
    Delay(u64),
}

/// How it keeps to calendars.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Keeps {
    /// It leaves out what they hold.
    Exclude,
    /// It leaves out what they do not hold.
    Only,
    /// Whole days that they hold move; it leaves out what they hold besides.
    Roll(Roll),
}

/// The calendars that there are, the first of whole days and the second of hours, and what they hold now.
pub(crate) type Calendars = [(NamedCalendar, Held); 2];

/// What a definition says of the instants of a job, while its calendars hold this.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) due: Due,
    pub(crate) max_runs: Option<u64>,
    keeps: Keeps,
    /// Which calendars, and what they hold.
    held: Vec<(usize, Held)>,
}

impl Keeps {
    const ALL: [Self; 5] = [
        Self::Exclude,
        Self::Only,
        Self::Roll(Roll::Following),
        Self::Roll(Roll::Preceding),
        Self::Roll(Roll::Nearest),
    ];
}

impl Due {
    /// Of these wall clocks, or none.
    pub(crate) fn any(rng: &mut StdRng, walls: &[Wall]) -> Self {
        let seconds = rng.random_range(4..80) * 900;
        match rng.random_range(0..6) {
            0 => Self::Every(seconds),
            1 | 2 => Self::Delay(seconds),
            _ => Self::Wall(*walls.choose(rng).unwrap()),
        }
    }

    pub(crate) fn zone(&self) -> TimeZone {
        match self {
            Self::Wall(wall) => wall.time_zone(),
            Self::Every(_) | Self::Delay(_) => TimeZone::UTC,
        }
    }

    /// The instants in `(after, until]`, as far as time alone says which they are.
    fn instants(&self, after: Instant, until: Instant) -> Vec<Instant> {
        match self {
            Self::Wall(wall) => wall.instants(after, until),
            Self::Every(seconds) => {
                let period = i64::try_from(*seconds).unwrap() * 1_000_000;
                let numbers = after.as_micros().div_euclid(period) + 1..=until.as_micros().div_euclid(period);
                numbers.map(|number| Instant::from_micros(number * period)).collect()
            }
            Self::Delay(_) => Vec::new(),
        }
    }
}

impl Rule {
    /// One that keeps to no calendar.
    pub(crate) fn plain(due: Due) -> Self {
        Self { due, max_runs: None, keeps: Keeps::Exclude, held: Vec::new() }
    }

    /// One that keeps to some of these.
    pub(crate) fn keeping(due: Due, keeps: Keeps, calendars: &Calendars, which: &[usize]) -> Self {
        let held = which.iter().map(|at| (*at, calendars[*at].1.clone())).collect();
        Self { keeps, held, ..Self::plain(due) }
    }

    /// Any that these calendars leave something of, week for week.
    pub(crate) fn any(rng: &mut StdRng, due: Due, calendars: &Calendars) -> Self {
        if rng.random_bool(0.5) {
            return Self::plain(due);
        }
        let keeps = match (*Keeps::ALL.choose(rng).unwrap(), due) {
            // What counts from ends has no days of its own.
            (Keeps::Roll(_), Due::Delay(_)) => Keeps::Exclude,
            (keeps, Due::Wall(_) | Due::Every(_) | Due::Delay(_)) => keeps,
        };
        let which: &[usize] = match keeps {
            Keeps::Exclude => [&[0][..], &[1], &[0, 1]].choose(rng).unwrap(),
            Keeps::Only => &[0],
            Keeps::Roll(_) => [&[0][..], &[0, 1]].choose(rng).unwrap(),
        };
        Self::keeping(due, keeps, calendars, which)
    }

    /// The same with so many runs at most.
    pub(crate) fn bounded(self, max_runs: Option<u64>) -> Self {
        Self { max_runs, ..self }
    }

    /// The same once one of its calendars holds something else; nothing where it is none of them.
    pub(crate) fn following(&self, which: usize, held: &Held) -> Option<Self> {
        let mut next = self.clone();
        next.held.iter_mut().find(|(at, _)| *at == which)?.1 = held.clone();
        Some(next)
    }

    /// The product's schedule of the same meaning.
    pub(crate) fn schedule(&self, calendars: &Calendars) -> ScheduleSpec {
        let schedule = match self.due {
            Due::Wall(wall) => wall.schedule("main"),
            Due::Every(seconds) => every("main", seconds),
            Due::Delay(seconds) => {
                let delay = FixedDelay::new(i64::try_from(seconds).unwrap() * 1_000_000).unwrap();
                ScheduleSpec { rule: CronRule::FixedDelay(delay), ..every("main", 1) }
            }
        };
        let which = self.held.iter().map(|(at, _)| Exclusion::from(&calendars[*at].0)).collect();
        let schedule = ScheduleSpec { max_runs: self.max_runs, ..schedule };
        match self.keeps {
            Keeps::Exclude => ScheduleSpec { exclude: which, ..schedule },
            Keeps::Only => ScheduleSpec { only: which, ..schedule },
            Keeps::Roll(roll) => ScheduleSpec { exclude: which, roll, ..schedule },
        }
    }

    /// What it names in `(after, until]`, as far as time alone says that, whatever its calendars leave out.
    pub(crate) fn named(&self, after: Instant, until: Instant) -> Vec<Instant> {
        let Keeps::Roll(roll) = self.keeps else { return self.due.instants(after, until) };
        let held: Vec<_> = self.held.iter().map(|(_, held)| held.clone()).collect();
        let (zone, around) = (self.due.zone(), self.due.instants(after.minus(REACH), until.plus(REACH)));
        let mut found: Vec<_> = around.into_iter().map(|at| moved(&held, &zone, roll, at)).collect();
        found.sort_unstable();
        found.dedup();
        found.retain(|at| *at > after && *at <= until);
        found
    }

    /// Whether its calendars leave an instant out.
    pub(crate) fn leaves_out(&self, at: Instant) -> bool {
        let zone = self.due.zone();
        let is_held = self.held.iter().any(|(_, held)| held.holds(&zone, at));
        match self.keeps {
            Keeps::Exclude | Keeps::Roll(_) => is_held,
            Keeps::Only => !is_held,
        }
    }

    /// Whether somebody who looks for runs of it would look at this very instant. What counts from ends takes over whatever
    /// was due before.
    pub(crate) fn makes(&self, at: Instant) -> bool {
        let before = at.minus(Duration::from_micros(1));
        let is_named = matches!(self.due, Due::Delay(_)) || self.named(before, at) == [at];
        is_named && !self.leaves_out(at)
    }
}
