//! Explaining one instant: what became of it, what will, or why there is nothing to become of it.
//!
//! Pure: [`crate::flow::instants`] brings the job and what the ledger has of the instant. What the ledger has is the answer;
//! where it has nothing, the definition in force says whether the instant is to come or is none. Each answer is one
//! sentence, for whoever asks why nothing ran.

use std::fmt::Write as _;

use super::{
    instant::Instant,
    job::{Job, JobState},
    ledger::{Fate, InstantView, SkippedWalls},
    names::ScheduleName,
    overlap::Overlap,
    run::RunState,
    schedule::ScheduleSpec,
};

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
    /// The nearest instant before it that the rules in force name.
    pub previous: Option<Instant>,
    /// The nearest instant after it that they name.
    pub next: Option<Instant>,
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
    pub fn explain(self, at: Instant, mut decided: Vec<InstantView>) -> Explanation {
        // The run stands by the schedule that made it.
        decided.sort_by_key(|view| view.fate != Fate::Fired);
        let (finding, instants, sentence) = match decided.first() {
            Some(first) => {
                let sentence = past(at, first, &decided);
                (Finding::Decided, decided, sentence)
            }
            None => self.undecided(at),
        };
        Explanation { finding, instants, sentence, previous: self.previous(at), next: self.next(at) }
    }

    fn undecided(self, at: Instant) -> (Finding, Vec<InstantView>, String) {
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
        let named: Vec<_> = self.with_next().filter(|(schedule, next)| names(schedule, *next)).collect();
        if let [(done, None), ..] = named[..]
            && at > self.now
            && let Some(most) = done.max_runs.filter(|_| self.job.state != JobState::Error)
        {
            let sentence =
                format!("Schedule `{}` of job `{name}` has made its {most} runs, and names nothing more.", done.name);
            return says(Finding::NotNamed, sentence);
        }
        let Some((first, next)) = named.first() else {
            if let Some((schedule, walls)) =
                self.with_next().find_map(|(schedule, _)| Some((schedule, schedule.skips(at)?)))
                && walls.change > self.begin()
            {
                return self.taken(schedule, walls);
            }
            if let Some(sentence) = self.moved(at) {
                return says(Finding::NotNamed, sentence);
            }
            let (neighbours, ends) = (self.neighbours(at), self.ends(at));
            return says(Finding::NotNamed, format!("No schedule of job `{name}` names {at}{neighbours}{ends}."));
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
            schedule: schedule.name.clone(),
            nominal: at,
            fate: match schedule.excluded(at) {
                Some(_) => Fate::Excluded,
                None if fate == Fate::Fired && place > 0 => Fate::United,
                None => fate,
            },
            reason: None,
            run: None,
            due,
            walls: None,
            calendar: schedule.excluded(at).map(|exclusion| exclusion.name.clone()),
        });
        let when = due.map(|due| format!(" that is due at {due}")).unwrap_or_default();
        (Finding::Predicted, views.collect(), format!("{at}, of {of}, {what}{when}{unless}."))
    }

    /// What a calendar moves to another day.
    fn moved(self, at: Instant) -> Option<String> {
        let find = |schedule: &'_ ScheduleSpec| {
            let (holder, to) = schedule.moved(at)?;
            let (schedule, holder) = (&schedule.name, &holder.name);
            let to = to.map_or("there is no free day within a year".into(), |to| format!("it moves to {to}"));
            Some(format!("Calendar `{holder}` holds the day of {at}, which schedule `{schedule}` names: {to}."))
        };
        self.job.spec.schedules.iter().find_map(find)
    }

    /// What a clock change took from a schedule.
    fn taken(self, schedule: &ScheduleSpec, walls: SkippedWalls) -> (Finding, Vec<InstantView>, String) {
        let finding = if walls.change <= self.now { Finding::Decided } else { Finding::Predicted };
        let view = InstantView {
            schedule: schedule.name.clone(),
            nominal: walls.change,
            fate: Fate::DstSkipped,
            reason: None,
            run: None,
            due: None,
            walls: Some(walls),
            calendar: None,
        };
        let time = walls.first.strftime("%F %T");
        let why = "does not exist: the clocks go forward, and by its rule it fires nothing for it";
        (finding, vec![view], format!("{time}, of schedule `{}`, {why}.", schedule.name))
    }

    /// What will become of an instant to come, of a schedule that has this one next.
    fn prediction(self, at: Instant, next: Option<Instant>) -> (Fate, String, &'static str) {
        let Job { state, pause, spec, .. } = self.job;
        if let Some(pause) = pause.as_ref().filter(|pause| pause.until.is_none_or(|until| at < until)) {
            let until = pause.until.map_or("somebody resumes it".to_owned(), |until| until.to_string());
            return (Fate::Paused, format!("will become no run: the job is paused until {until}"), "");
        }
        if next.is_none() && *state == JobState::Error {
            let why = "will become no run: its schedule could not be evaluated, and stands until it is edited";
            return (Fate::Error, why.into(), "");
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

    /// What the definition in force counts from: nothing before is its own.
    fn begin(&self) -> Instant {
        self.job.define_time.max(self.job.create_time)
    }

    fn previous(&self, at: Instant) -> Option<Instant> {
        let at = self.delete_time.map_or(at, |deleted| deleted.min(at));
        let found = self.job.spec.schedules.iter().filter_map(|schedule| schedule.prev_fire(at)).max();
        found.filter(|found| *found > self.begin())
    }

    fn next(&self, at: Instant) -> Option<Instant> {
        let from = at.max(self.begin());
        let made = self.job.run_counts.iter().copied().chain(std::iter::repeat(0));
        let found = self.with_next().zip(made).filter_map(|((schedule, next), made)| match schedule.delay() {
            None => schedule.next_shown(from, made),
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

    fn neighbours(&self, at: Instant) -> String {
        match (self.previous(at), self.next(at)) {
            (Some(previous), Some(next)) => format!("; the nearest are {previous} before and {next} after"),
            (Some(previous), None) => format!("; the nearest is {previous} before, and there is none after"),
            (None, Some(next)) => format!("; the nearest is {next} after"),
            (None, None) => String::new(),
        }
    }
}

/// What the ledger has of an instant, and of which the first entry is the one that made the run.
fn past(at: Instant, first: &InstantView, all: &[InstantView]) -> String {
    let of =
        schedules(all.iter().filter(|view| view.fate.is_a_run() == first.fate.is_a_run()).map(|view| &view.schedule));
    let mut text = format!("{at}, of {of}, {}", became(first));
    // Schedules of one job that named one instant, and of which one was edited or paused in between.
    for view in all.iter().filter(|view| view.fate.is_a_run() != first.fate.is_a_run()) {
        // Writing to a text does not fail.
        let _ = write!(text, "; of schedule `{}`, it {}", view.schedule, became(view));
    }
    text.push('.');
    text
}

fn became(view: &InstantView) -> String {
    match (view.run, view.fate.is_a_run()) {
        (Some((run, state)), _) => format!("became run {run}, which {}", stands(state)),
        (None, true) => "became a run, which is no longer kept".into(),
        (None, false) => format!("became no run: {}", fragment(&view.sentence())),
    }
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

/// A sentence as a part of another.
fn fragment(sentence: &str) -> String {
    let mut letters = sentence.trim_end_matches('.').chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
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
mod tests {
    use std::time::Duration;

    use mainspring_cron::{Expr, Rule, Zone};

    use super::{Explanation, Fate, Finding, Instant, InstantView, Job, JobState, RunState, ScheduleSpec, Subject};
    use crate::domain::{
        ids::{JobUid, RunId},
        job::{JobSpec, Pause},
        ledger::FateReason,
    };

    fn at(text: &str) -> Instant {
        text.parse().unwrap()
    }

    fn schedule(name: &str, expression: &str) -> ScheduleSpec {
        let rule = Rule::cron(Expr::parse(expression).unwrap());
        ScheduleSpec::new(name.parse().unwrap(), rule, Zone::utc())
    }

    /// Created on the 1st, edited on the 10th.
    fn job(schedules: Vec<ScheduleSpec>) -> Job {
        let created = at("2026-03-01T12:00:00Z");
        let spec = JobSpec { schedules, ..super::bare_spec() };
        Job {
            uid: JobUid::new(created),
            namespace: "default".parse().unwrap(),
            name: "report".parse().unwrap(),
            version: 2,
            revision: 2,
            next_times: spec.schedules.iter().map(|schedule| schedule.next_after(NOW.parse().unwrap())).collect(),
            run_counts: vec![0; spec.schedules.len()],
            spec,
            state: JobState::Active,
            pause: None,
            create_time: created,
            update_time: at("2026-03-10T12:00:00Z"),
            define_time: at("2026-03-10T12:00:00Z"),
        }
    }

    const NOW: &str = "2026-03-20T12:00:00Z";

    fn explain(job: &Job, time: &str, decided: Vec<InstantView>) -> Explanation {
        Subject { job, delete_time: None, now: at(NOW) }.explain(at(time), decided)
    }

    fn view(schedule: &str, time: &str, fate: Fate, run: Option<RunState>) -> InstantView {
        let run = run.map(|state| (RunId::from_uuid(uuid::Uuid::nil()), state));
        InstantView {
            schedule: schedule.parse().unwrap(),
            nominal: at(time),
            fate,
            reason: None,
            run,
            due: None,
            walls: None,
            calendar: None,
        }
    }

    #[test]
    fn what_is_past_is_what_the_ledger_has() {
        let job = job(vec![schedule("nine", "0 9 * * *")]);
        let time = "2026-03-12T09:00:00Z";
        let fired = explain(&job, time, vec![view("nine", time, Fate::Fired, Some(RunState::Succeeded))]);
        let run = "00000000-0000-0000-0000-000000000000";
        assert_eq!(fired.sentence, format!("{time}, of schedule `nine`, became run {run}, which succeeded."));
        assert_eq!(fired.finding, Finding::Decided);
        let late = InstantView { reason: Some(FateReason::NoServer), ..view("nine", time, Fate::Missed, None) };
        let missed = explain(&job, time, vec![late]);
        assert_eq!(
            missed.sentence,
            format!("{time}, of schedule `nine`, became no run: it passed while no server was there to fire it.")
        );
        assert_eq!(
            (missed.previous, missed.next),
            (Some(at("2026-03-11T09:00:00Z")), Some(at("2026-03-13T09:00:00Z")))
        );
        let gone = explain(&job, time, vec![view("nine", time, Fate::Fired, None)]);
        assert!(gone.sentence.ends_with("became a run, which is no longer kept."), "{}", gone.sentence);
    }

    #[test]
    fn schedules_that_share_a_run_are_named_together() {
        let job = job(vec![schedule("nine", "0 9 * * *")]);
        let time = "2026-03-12T09:00:00Z";
        let both = vec![
            view("daily", time, Fate::United, Some(RunState::Running)),
            view("nine", time, Fate::Fired, Some(RunState::Running)),
            view("old", time, Fate::Paused, None),
        ];
        let both = explain(&job, time, both);
        let run = "00000000-0000-0000-0000-000000000000";
        assert_eq!(
            both.sentence,
            format!(
                "{time}, of schedules `nine` and `daily`, became run {run}, which is at a worker; \
                 of schedule `old`, it became no run: the job was paused."
            )
        );
        assert_eq!(both.instants[0].fate, Fate::Fired);
    }

    #[test]
    fn what_is_to_come_is_predicted() {
        let mut job = job(vec![schedule("nine", "0 9 * * *"), schedule("hours", "0 * * * *")]);
        let found = explain(&job, "2026-03-21T09:00:00Z", Vec::new());
        assert_eq!(
            found.sentence,
            "2026-03-21T09:00:00Z, of schedules `nine` and `hours`, will become a run, unless one is not over by then."
        );
        let fates: Vec<_> = found.instants.iter().map(|view| view.fate).collect();
        assert_eq!((found.finding, fates), (Finding::Predicted, vec![Fate::Fired, Fate::United]));
        job.pause = Some(Pause {
            note: String::new(),
            actor: String::new(),
            time: at(NOW),
            until: Some(at("2026-03-22T00:00:00Z")),
        });
        let paused = explain(&job, "2026-03-21T09:00:00Z", Vec::new());
        assert_eq!(paused.instants[0].fate, Fate::Paused);
        assert!(paused.sentence.contains("the job is paused until 2026-03-22T00:00:00Z"), "{}", paused.sentence);
        assert_eq!(explain(&job, "2026-03-22T09:00:00Z", Vec::new()).instants[0].fate, Fate::Fired);
        let mut spread = job.clone();
        spread.pause = None;
        spread.spec.schedules[0].jitter = Duration::from_secs(60);
        let found = explain(&spread, "2026-03-21T09:00:00Z", Vec::new());
        let due = found.instants[0].due.unwrap();
        let told = format!("will become a run that is due at {due}, unless");
        assert!(found.sentence.contains(&told), "{}", found.sentence);
        spread.spec.schedules.truncate(1);
        spread.spec.schedules[0].max_runs = Some(3);
        (spread.run_counts, spread.next_times) = (vec![3], vec![None]);
        let done = explain(&spread, "2026-03-21T09:00:00Z", Vec::new());
        assert_eq!((done.finding, done.next), (Finding::NotNamed, None));
        assert!(done.sentence.contains("has made its 3 runs"), "{}", done.sentence);
        let broken = Job { pause: None, state: JobState::Error, next_times: vec![None, None], ..job };
        assert_eq!(explain(&broken, "2026-03-22T09:00:00Z", Vec::new()).instants[0].fate, Fate::Error);
    }

    #[test]
    fn a_time_that_nobody_names_has_neighbours() {
        let job = job(vec![schedule("nine", "0 9 * * *")]);
        let found = explain(&job, "2026-03-19T10:00:00Z", Vec::new());
        assert_eq!(found.finding, Finding::NotNamed);
        assert_eq!(
            found.sentence,
            "No schedule of job `report` names 2026-03-19T10:00:00Z; the nearest are 2026-03-19T09:00:00Z before and \
             2026-03-20T09:00:00Z after."
        );
        let far = explain(&job, "9999-12-31T23:59:59.999999Z", Vec::new());
        assert_eq!((far.finding, far.next), (Finding::NotNamed, None));
        let none = explain(&self::job(Vec::new()), "2026-03-19T10:00:00Z", Vec::new());
        assert!(none.sentence.contains("has no schedule"), "{}", none.sentence);
    }

    #[test]
    fn a_time_that_the_clocks_skip_is_told_as_that() {
        let zone = Zone::parse("Europe/Berlin").unwrap();
        let job = job(vec![ScheduleSpec { zone, ..schedule("half", "30 * * * *") }]);
        let found = explain(&job, "2026-03-29T02:30:00+01:00", Vec::new());
        // The same instant by the new clock is one that fires.
        assert_eq!((found.finding, found.instants[0].fate), (Finding::Predicted, Fate::Fired));
        let mut daily = job.clone();
        daily.spec.schedules[0].rule =
            serde_json::from_str(r#"{"kind": "cron", "expr": "30 2 * * *", "gap": "SKIP"}"#).unwrap();
        let found = explain(&daily, "2026-03-29T02:30:00+01:00", Vec::new());
        assert_eq!((found.finding, found.instants[0].fate), (Finding::Predicted, Fate::DstSkipped));
        assert_eq!(
            found.sentence,
            "2026-03-29 02:30:00, of schedule `half`, does not exist: the clocks go forward, and by its rule it fires \
             nothing for it."
        );
    }

    #[test]
    fn nothing_is_before_the_job_or_its_edit_or_after_its_end() {
        let job = job(vec![schedule("nine", "0 9 * * *")]);
        let before = explain(&job, "2026-02-01T09:00:00Z", Vec::new());
        assert_eq!((before.finding, before.next), (Finding::BeforeJob, Some(at("2026-03-11T09:00:00Z"))));
        let edited = explain(&job, "2026-03-05T09:00:00Z", Vec::new());
        assert_eq!(edited.finding, Finding::NotNamed);
        assert!(edited.sentence.contains("does since version 2"), "{}", edited.sentence);
        let deleted = Some(at("2026-03-15T12:00:00Z"));
        let gone =
            Subject { job: &job, delete_time: deleted, now: at(NOW) }.explain(at("2026-03-16T09:00:00Z"), Vec::new());
        assert_eq!(
            (gone.finding, gone.previous, gone.next),
            (Finding::AfterJob, Some(at("2026-03-15T09:00:00Z")), None)
        );
        let before =
            Subject { job: &job, delete_time: deleted, now: at(NOW) }.explain(at("2026-03-14T10:00:00Z"), Vec::new());
        assert_eq!((before.finding, before.next), (Finding::NotNamed, Some(at("2026-03-15T09:00:00Z"))));
    }

    #[test]
    fn what_is_due_is_decided_in_a_moment_and_what_is_old_is_forgotten() {
        let mut job = job(vec![schedule("nine", "0 9 * * *")]);
        assert_eq!(explain(&job, "2026-03-12T09:00:00Z", Vec::new()).finding, Finding::Forgotten);
        job.next_times = vec![Some(at("2026-03-20T09:00:00Z"))];
        assert_eq!(explain(&job, "2026-03-20T09:00:00Z", Vec::new()).finding, Finding::Pending);
        let later = at("2026-03-20T09:00:00Z").plus(Duration::from_secs(86_400));
        assert_eq!(explain(&job, &later.to_string(), Vec::new()).finding, Finding::Predicted);
    }
}
