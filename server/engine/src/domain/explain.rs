//! Explaining one instant: what became of it, what will, or why there is nothing to become of it.
//!
//! Pure: [`crate::flow::instants`] brings the job, what the ledger has of the instant and what else is known ([`Beside`]). What
//! the ledger has is the answer; where it has nothing, the definition in force says whether the instant is to come or is none,
//! and what edits and deletes took is told as that. Each answer is one sentence, for whoever asks why nothing ran.

use std::{fmt::Write as _, time::Duration};

use spent::Spent;

use super::{
    ids::RunId,
    instant::Instant,
    job::{Job, JobState, Pause},
    lapse::{Ending, Lapse, Lapsed},
    ledger::{Fate, InstantView, SkippedWalls, fragment},
    names::{ConcurrencyKey, JobName, ScheduleName},
    overlap::Overlap,
    run::RunState,
    schedule::ScheduleSpec,
    supersede::cancelled,
};

mod elsewhere;
mod spent;

/// What there is to say of an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Finding {
    /// The ledger has its fate.
    Decided,
    /// It is to come, and will have this fate unless something changes.
    Predicted,
    /// It is due, and is decided in a moment.
    Pending,
    /// No schedule names it, or did when it came.
    NotNamed,
    /// It is older than what the ledger keeps.
    Forgotten,
    /// The job was not there yet.
    BeforeJob,
    /// The job is deleted, and was by then.
    AfterJob,
}

impl Finding {
    /// All of them, in the order of their codes.
    pub const ALL: [Self; 7] = [
        Self::Decided,
        Self::Predicted,
        Self::Pending,
        Self::NotNamed,
        Self::Forgotten,
        Self::BeforeJob,
        Self::AfterJob,
    ];

    /// The number that stands for it on the wire.
    pub const fn code(self) -> i32 {
        match self {
            Self::Decided => 1,
            Self::Predicted => 2,
            Self::Pending => 3,
            Self::NotNamed => 4,
            Self::Forgotten => 5,
            Self::BeforeJob => 6,
            Self::AfterJob => 7,
        }
    }
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// What there is to say.
    pub finding: Finding,
    /// What became of it, or will: one entry for each schedule that names it, the one whose run it is first.
    pub instants: Vec<InstantView>,
    /// All of it in one sentence.
    pub sentence: String,
    /// Runs that backfills made of it, the latest first.
    pub backfilled: Vec<(RunId, RunState)>,
    /// The nearest instant before it that the rules in force name.
    pub previous: Option<Instant>,
    /// The nearest instant after it that they name.
    pub next: Option<Instant>,
}

/// What is known of an instant beside what the ledger has.
#[derive(Clone, Debug, Default)]
pub struct Beside {
    /// What edits and deletes took from schedules that may have named it, the latest first.
    pub lapses: Vec<Lapsed>,
    /// Runs that backfills made of it, the latest first.
    pub backfilled: Vec<(RunId, RunState)>,
    /// Of one that met another run: what is known of that.
    pub overlap: Option<Met>,
    /// The time of the wall clock that it would have been, which a clock change took, and the schedule that named it.
    pub skipped: Option<(ScheduleName, SkippedWalls)>,
    /// Since when the ledger keeps what became of instants; none where it keeps all.
    pub kept: Option<Instant>,
}

/// What an instant met that became no run since another run was not over.
#[derive(Clone, Debug)]
pub struct Met {
    /// The concurrency key whose runs it meets; none where it meets those of its job.
    pub key: Option<ConcurrencyKey>,
    /// The run, where it is known.
    pub run: Option<InTheWay>,
}

/// A run that was not over when an instant came.
#[derive(Clone, Debug, PartialEq)]
pub struct InTheWay {
    /// Which.
    pub run: RunId,
    /// How it stands now.
    pub state: RunState,
    /// Its job, where that is not the one of the instant.
    pub job: Option<JobName>,
}

/// Whose instant it is, and when the question is asked.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The job, as it is or as it was last.
    pub job: &'a Job,
    /// When it was deleted.
    pub delete_time: Option<Instant>,
    /// Now.
    pub now: Instant,
}

impl Subject<'_> {
    /// Explains an instant of which the ledger has `decided`.
    pub fn explain(self, at: Instant, mut decided: Vec<InstantView>, beside: Beside) -> Explanation {
        let Beside { lapses, backfilled, overlap, skipped, kept } = beside;
        // The run stands by the schedule that made it.
        decided.sort_by_key(|view| view.fate != Fate::Fired);
        let taken = self.taken_by(&lapses, at, &decided);
        let (finding, mut instants, mut sentence) = match (decided.first(), taken.first()) {
            (Some(first), _) => {
                let sentence = self.past(at, first, &decided, overlap.as_ref());
                (Finding::Decided, decided, sentence)
            }
            // While it was deleted it named nothing, though it may be back.
            (None, Some(lapse)) if lapse.by == Ending::Delete || !self.claims(at) => self.superseded(at, &taken),
            (None, Some(_)) => match self.undecided(at, kept) {
                (Finding::NotNamed | Finding::Forgotten, ..) => self.superseded(at, &taken),
                told => told,
            },
            (None, None) => match (self.undecided(at, kept), skipped) {
                ((Finding::NotNamed | Finding::Forgotten, ..), Some((schedule, walls))) => self.taken(&schedule, walls),
                (told, _) => told,
            },
        };
        if matches!(finding, Finding::Decided | Finding::Predicted) {
            instants.extend(taken.into_iter().map(|lapse| lapse.view(at)));
        }
        if instants.first().is_some_and(|first| first.fate.is_a_run())
            && let Some(origin) = self.came_from(at)
        {
            // Writing to a text does not fail.
            let _ = write!(sentence, " {origin}.");
        }
        if !backfilled.is_empty() {
            let made: Vec<_> =
                backfilled.iter().map(|(run, state)| format!("run {run}, which {}", stands(*state))).collect();
            let _ = write!(sentence, " It was backfilled as {}.", made.join(", and as "));
        }
        let (previous, next) = (self.previous(at), self.next(at));
        Explanation { finding, instants, sentence, backfilled, previous, next }
    }

    /// The last edit or delete that took it from each schedule that named it and that nothing else became of, the latest first.
    fn taken_by<'l>(self, lapses: &'l [Lapsed], at: Instant, decided: &[InstantView]) -> Vec<&'l Lapse> {
        let mut taken: Vec<&Lapse> = Vec::new();
        for lapse in lapses.iter().filter(|lapsed| lapsed.took(at)).map(|lapsed| &lapsed.lapse) {
            let name = &lapse.schedule;
            let is_told = decided.iter().any(|view| view.schedule == *name);
            let is_older = taken.iter().any(|later| later.schedule == *name);
            if !is_told && !is_older {
                taken.push(lapse);
            }
        }
        taken.retain(|lapse| {
            lapse.by == Ending::Delete || !self.claimed(at).any(|schedule| schedule.name == lapse.schedule)
        });
        taken
    }

    /// Whether the definition in force has a word for it.
    fn claims(self, at: Instant) -> bool {
        self.claimed(at).next().is_some()
    }

    /// The schedules in force that have a word for it: they name it, or move it to another day.
    fn claimed(&self, at: Instant) -> impl Iterator<Item = &ScheduleSpec> {
        let names = move |(schedule, next): &(&ScheduleSpec, Option<Instant>)| match schedule.delay() {
            None => schedule.names(at) || schedule.moved(at).is_some(),
            Some(_) => *next == Some(at),
        };
        let is_in_force = at > self.job.define_time;
        self.with_next().filter(move |standing| is_in_force && names(standing)).map(|(schedule, _)| schedule)
    }

    /// What the ledger has of an instant, and of which the first entry is the one that made the run.
    fn past(self, at: Instant, first: &InstantView, all: &[InstantView], met: Option<&Met>) -> String {
        let of = all.iter().filter(|view| view.fate.is_a_run() == first.fate.is_a_run()).map(|view| &view.schedule);
        let mut text = format!("{at}, of {}, {}", schedules(of), self.became(first, met));
        // Schedules of one job that named one instant, and of which one was edited or paused in between.
        for view in all.iter().filter(|view| view.fate.is_a_run() != first.fate.is_a_run()) {
            // Writing to a text does not fail.
            let _ = write!(text, "; of schedule `{}`, it {}", view.schedule, self.became(view, met));
        }
        text.push('.');
        text
    }

    fn became(self, view: &InstantView, met: Option<&Met>) -> String {
        let pause = self.job.pause.as_ref().filter(|pause| view.fate == Fate::Paused && pause.time <= view.nominal);
        let met = met.filter(|_| view.fate == Fate::SkippedOverlap);
        if view.was_dropped() {
            return dropped(view);
        }
        match (view.run, view.fate.is_a_run(), pause, met) {
            (Some((run, state)), ..) => format!("became run {run}, which {}", stands(state)),
            (None, true, ..) => "became a run, which is no longer kept".into(),
            (None, false, Some(pause), _) => format!("became no run: the job was paused{}", by(pause)),
            (None, false, None, Some(met)) => format!("became no run: {}", met.words()),
            (None, false, None, None) => format!("became no run: {}", fragment(&view.sentence())),
        }
    }

    /// What edits and deletes took, of which the latest comes first.
    fn superseded(self, at: Instant, taken: &[&Lapse]) -> (Finding, Vec<InstantView>, String) {
        let latest = taken.first().map(|lapse| (lapse.by, lapse.time));
        let together = taken.iter().filter(|lapse| Some((lapse.by, lapse.time)) == latest);
        let of = schedules(together.map(|lapse| &lapse.schedule));
        let becomes = if at > self.now { "will become" } else { "became" };
        let why = taken.first().map(|lapse| fragment(&lapse.sentence())).unwrap_or_default();
        (Finding::Decided, Vec::new(), format!("{at}, of {of}, {becomes} no run: {why}."))
    }

    fn undecided(self, at: Instant, kept: Option<Instant>) -> (Finding, Vec<InstantView>, String) {
        let Job { name, create_time, define_time, version, spec, .. } = self.job;
        let says = |finding, sentence| (finding, Vec::new(), sentence);
        if let Some(deleted) = self.delete_time.filter(|deleted| *deleted <= at) {
            return says(
                Finding::AfterJob,
                format!("Job `{name}` was deleted at {deleted}; nothing of it fires after that."),
            );
        }
        if at <= *create_time {
            let first = self.next(at).map(|next| format!("; its first instant is {next}")).unwrap_or_default();
            let sentence = format!("Job `{name}` was created at {create_time}, and nothing before is its own{first}.");
            return says(Finding::BeforeJob, sentence);
        }
        // What the definition in force says of itself holds as long as it is in force; of one before it only the ledger knows.
        if at <= *define_time && kept.is_some_and(|kept| at < kept) {
            let sentence = format!("{at} is older than what the ledger keeps of job `{name}`, which was edited since.");
            return says(Finding::Forgotten, sentence);
        }
        if spec.schedules.is_empty() {
            let sentence =
                format!("Job `{name}` has no schedule: it runs when it is triggered, and no other time is its own.");
            return says(Finding::NotNamed, sentence);
        }
        if let Some(unknown) = spec.schedules.iter().find(|schedule| !schedule.is_known()) {
            let why = format!(
                "The zone data in force do not have a zone that schedule `{}` of job `{name}` depends on; what it names is not \
                 known until some have it.",
                unknown.name
            );
            return says(Finding::NotNamed, why);
        }
        let names = |schedule: &ScheduleSpec, next| match schedule.delay() {
            None => schedule.names(at),
            Some(_) => next == Some(at),
        };
        let named = self.with_next().zip(self.last_times()).filter(|((schedule, next), _)| names(schedule, *next));
        let (done, named): (Vec<_>, Vec<_>) = named.partition(|((schedule, next), last)| {
            let is_done = next.is_none() && schedule.max_runs.is_some() && self.job.state != JobState::Error;
            is_done && (at > self.now || last.is_some_and(|last| at > last))
        });
        if let ([((done, _), last), ..], []) = (&done[..], &named[..]) {
            let most = done.max_runs.unwrap_or_default();
            let last = last.map(|last| format!(", the last at {last}")).unwrap_or_default();
            let sentence = format!(
                "Schedule `{}` of job `{name}` has made its {most} runs{last}, and names nothing more.",
                done.name
            );
            return says(Finding::NotNamed, sentence);
        }
        let mut named: Vec<_> = named.into_iter().map(|(named, _)| named).collect();
        let mut gone = None;
        named.retain(|(schedule, next)| match self.spent(schedule, *next, at) {
            Spent::Since(last) => {
                gone = gone.or(Some((*schedule, last)));
                false
            }
            Spent::No | Spent::Perhaps => true,
        });
        if let (Some((schedule, last)), []) = (gone, &named[..]) {
            return says(Finding::NotNamed, spent::sentence(schedule, last, name, at));
        }
        let Some((first, next)) = named.first() else {
            if let Some((schedule, walls)) =
                self.with_next().find_map(|(schedule, _)| Some((schedule, schedule.skips(at)?)))
                && walls.change > self.begin()
            {
                return self.taken(&schedule.name, walls);
            }
            if let Some(sentence) = self.elsewhere(at) {
                return says(Finding::NotNamed, sentence);
            }
            let (neighbours, ends, stands) = (self.neighbours(at), self.ends(at), self.stands_still());
            let sentence = format!("No schedule of job `{name}` names {at}{neighbours}{ends}{stands}.");
            return says(Finding::NotNamed, sentence);
        };
        if at <= *define_time {
            let sentence = format!(
                "No schedule of job `{name}` named {at} when it came: `{}` does since version {version}, from {define_time}.",
                first.name
            );
            return says(Finding::NotNamed, sentence);
        }
        let of = schedules(named.iter().map(|(schedule, _)| &schedule.name));
        if next.is_some_and(|next| next <= at) && at <= self.now {
            return says(
                Finding::Pending,
                format!("{at}, of {of}, is due, and what becomes of it is decided in a moment."),
            );
        }
        if at <= self.now {
            let sentence = format!("{at}, of {of}, is older than what the ledger keeps of job `{name}`.");
            return says(Finding::Forgotten, sentence);
        }
        let past = |(schedule, next): &(&ScheduleSpec, Option<Instant>)| {
            next.is_some_and(|next| next > at) && schedule.excluded(at).is_none()
        };
        if named.iter().all(past) {
            let sentence =
                format!("{at}, of {of}, is by the zone data in force what had come by those before, and comes once.");
            return says(Finding::NotNamed, sentence);
        }
        // Of several schedules the one that makes the run counts.
        let fires = named.iter().find(|(schedule, _)| schedule.excluded(at).is_none());
        let (first, next) = fires.unwrap_or(&named[0]);
        let (fate, what, unless) = match first.excluded(at) {
            Some(exclusion) => {
                (Fate::Excluded, format!("will become no run: calendar `{}` leaves it out", exclusion.name), "")
            }
            None => self.prediction(at, *next),
        };
        let due = Some(first.due(self.job.uid, at, first.next_after(at)));
        let due = due.filter(|due| fate == Fate::Fired && *due > at);
        let views = named.iter().enumerate().map(|(place, (schedule, _))| InstantView {
            fate: match schedule.excluded(at) {
                Some(_) => Fate::Excluded,
                None if fate == Fate::Fired && place > 0 => Fate::United,
                None => fate,
            },
            reason: if fate == Fate::Error { self.job.error.as_ref().map(|error| error.reason) } else { None },
            due,
            calendar: schedule.excluded(at).map(|exclusion| exclusion.name.clone()),
            ..InstantView::new(schedule.name.clone(), at, fate)
        });
        let when = due.map(|due| format!(" that is due at {due}")).unwrap_or_default();
        let most = first.max_runs.filter(|_| fate == Fate::Fired && self.spent(first, *next, at) == Spent::Perhaps);
        let most = most.map(|most| format!(", unless it has made its {most} runs by then")).unwrap_or_default();
        (Finding::Predicted, views.collect(), format!("{at}, of {of}, {what}{when}{unless}{most}."))
    }

    /// What a clock change took from a schedule.
    fn taken(self, schedule: &ScheduleName, walls: SkippedWalls) -> (Finding, Vec<InstantView>, String) {
        let finding = if walls.change <= self.now { Finding::Decided } else { Finding::Predicted };
        let view =
            InstantView { walls: Some(walls), ..InstantView::new(schedule.clone(), walls.change, Fate::DstSkipped) };
        let time = walls.first.strftime("%F %T");
        let why = "does not exist: the clocks go forward, and by its rule it fires nothing for it";
        (finding, vec![view], format!("{time}, of schedule `{schedule}`, {why}."))
    }

    /// What will become of an instant to come, of a schedule that has this one next.
    fn prediction(self, at: Instant, next: Option<Instant>) -> (Fate, String, &'static str) {
        let Job { state, pause, spec, .. } = self.job;
        if let Some(pause) = pause.as_ref().filter(|pause| pause.until.is_none_or(|until| at < until)) {
            let until = pause.until.map_or("somebody resumes it".to_owned(), |until| until.to_string());
            let by = by(pause);
            return (
                Fate::Paused,
                format!("will become no run: the job is paused until {until}, which was done{by}"),
                "",
            );
        }
        if next.is_none() && *state == JobState::Error {
            let why = match &self.job.error {
                Some(error) => fragment(&error.sentence()),
                None => "its schedule could not be evaluated, and stands until it is edited".into(),
            };
            return (Fate::Error, format!("will become no run: {why}"), "");
        }
        let unless = match spec.overlap {
            Overlap::Skip => ", unless one is not over by then",
            Overlap::Allow { max: None } => "",
            Overlap::Allow { max: Some(_) } => ", unless as many as are allowed are not over by then",
            Overlap::BufferOne | Overlap::BufferAll { .. } => ", which waits where another is not over by then",
            Overlap::CancelOther | Overlap::TerminateOther => ", and end another that is not over by then",
        };
        (Fate::Fired, "will become a run".into(), unless)
    }

    /// The schedules in force, each with its next instant.
    fn with_next(&self) -> impl Iterator<Item = (&ScheduleSpec, Option<Instant>)> {
        let next = self.job.next_times.iter().copied().chain(std::iter::repeat(None));
        self.job.spec.schedules.iter().zip(next)
    }

    /// What each schedule fired last, where that is known.
    fn last_times(&self) -> impl Iterator<Item = Option<Instant>> {
        self.job.last_times.iter().copied().chain(std::iter::repeat(None))
    }

    /// What the definition in force counts from: nothing before is its own.
    fn begin(&self) -> Instant {
        self.job.define_time.max(self.job.create_time)
    }

    fn previous(&self, at: Instant) -> Option<Instant> {
        let at = self.delete_time.map_or(at, |deleted| deleted.min(at));
        let found = self.with_next().zip(self.last_times()).filter_map(|((schedule, next), last)| {
            // What has made its runs named nothing after the last.
            let last = last.filter(|_| next.is_none() && schedule.max_runs.is_some());
            let last = last.or_else(|| self.last_to_come(schedule, next));
            schedule.prev_fire(last.map_or(at, |last| last.plus(Duration::from_micros(1)).min(at)))
        });
        let found = found.max();
        found.filter(|found| *found > self.begin())
    }

    fn next(&self, at: Instant) -> Option<Instant> {
        let from = at.max(self.begin());
        let made = self.job.run_counts.iter().copied().chain(std::iter::repeat(0));
        let found = self.with_next().zip(made).filter_map(|((schedule, next), made)| match schedule.delay() {
            None => {
                let found = schedule.next_shown(from, made)?;
                self.last_to_come(schedule, next).is_none_or(|last| found <= last).then_some(found)
            }
            Some(_) => next.filter(|next| *next > at),
        });
        let found = found.min();
        found.filter(|found| self.delete_time.is_none_or(|deleted| *found < deleted))
    }

    /// What names instants to come that nobody knows yet.
    fn ends(&self, at: Instant) -> String {
        let open = |(schedule, next): (&ScheduleSpec, Option<Instant>)| {
            let is_open = schedule.delay().is_some() && next.is_none_or(|next| next < at);
            is_open.then(|| format!("; schedule `{}` is due {}", schedule.name, schedule.rule.explain()))
        };
        // Only what is to come is not known.
        if at > self.now && self.job.state != JobState::Completed {
            self.with_next().filter_map(open).collect()
        } else {
            String::new()
        }
    }

    /// Why a job in ERROR fires nothing, or less than it would.
    fn stands_still(&self) -> String {
        let error =
            self.job.error.as_ref().map(|error| format!("; the job is in ERROR: {}", fragment(&error.sentence())));
        error.unwrap_or_default()
    }

    fn neighbours(&self, at: Instant) -> String {
        let neighbours = match (self.previous(at), self.next(at)) {
            (Some(previous), Some(next)) => format!("; the nearest are {previous} before and {next} after"),
            (Some(previous), None) => format!("; the nearest is {previous} before, and there is none after"),
            (None, Some(next)) => format!("; the nearest is {next} after"),
            (None, None) => String::new(),
        };
        let is_over = self.job.state == JobState::Completed && self.next(at).is_none();
        if is_over { neighbours + "; the job is COMPLETED, and has no instant left" } else { neighbours }
    }
}

impl Met {
    fn words(&self) -> String {
        let Self { key, run } = self;
        let whose = key.as_ref().map_or_else(|| "the job".into(), |key| format!("concurrency key `{key}`"));
        let run = run.as_ref().map(|InTheWay { run, state, job }| {
            let of = job.as_ref().map(|job| format!(" of job `{job}`")).unwrap_or_default();
            format!(" (run {run}{of}, which {} by now)", stands(*state))
        });
        let run = run.unwrap_or_default();
        format!("a run of {whose} was not over{run}")
    }
}

/// What became of an instant whose run an edit cancelled.
fn dropped(view: &InstantView) -> String {
    let run = view.run.map_or("a run".to_owned(), |(run, _)| format!("run {run}"));
    let now = match view.run {
        Some((_, RunState::Cancelled)) => String::new(),
        Some((_, state)) => format!(", and which {} by now", stands(state)),
        None => ", and which is no longer kept".into(),
    };
    format!("became {}{now}", cancelled(&run, view.dropped.as_deref()))
}

/// Who paused, since when, and why.
fn by(Pause { note, actor, time, until: _ }: &Pause) -> String {
    let who = if actor.is_empty() { String::new() } else { format!(" by {actor}") };
    let why = if note.is_empty() { String::new() } else { format!(": {note}") };
    format!("{who} at {time}{why}")
}

fn stands(state: RunState) -> &'static str {
    match state {
        RunState::Scheduled => "waits for its time or for another run",
        RunState::Queued => "waits for a worker",
        RunState::Leased | RunState::Running => "is at a worker",
        RunState::RetryWait => "waits for its next attempt",
        RunState::Succeeded => "succeeded",
        RunState::Failed => "failed",
        RunState::Cancelled => "was cancelled",
        RunState::TimedOut => "took too long",
    }
}

/// Schedules by their names.
fn schedules<'a>(names: impl Iterator<Item = &'a ScheduleName>) -> String {
    let names: Vec<_> = names.map(|name| format!("`{name}`")).collect();
    match names.split_last() {
        Some((last, [])) => format!("schedule {last}"),
        Some((last, others)) => format!("schedules {} and {last}", others.join(", ")),
        None => "no schedule".into(),
    }
}

/// A definition with nothing in it, for the tests of this crate.
#[cfg(test)]
pub(super) fn bare_spec() -> super::job::JobSpec {
    super::job::JobSpec {
        display_name: String::new(),
        description: String::new(),
        owner: String::new(),
        labels: Default::default(),
        job_type: "report".parse().unwrap(),
        queue: "default".parse().unwrap(),
        payload: Default::default(),
        schedules: Vec::new(),
        overlap: Overlap::Skip,
        overlap_scope: Default::default(),
        required_labels: Default::default(),
        previous_success: false,
        overlap_ignores_manual: false,
        catch_up: Default::default(),
        policy: Default::default(),
        priority: 0,
        fairness_key: Default::default(),
        on_completed: Default::default(),
        concurrency: None,
        auto_disable: Default::default(),
    }
}

#[cfg(test)]
mod tests;
