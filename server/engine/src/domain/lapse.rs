//! Lapses: what an edit or a delete took from a schedule that named instants still.
//!
//! The ledger has what came due. What a former definition named, and what was replaced before it was due, never did: it is
//! known by the rule and by the change that ended it, so a lapse is one row for however many instants, and they are named
//! again when somebody asks ([`Lapsed`]). What the definition after it names as well is that one's and is not lost.

use std::{sync::Arc, time::Duration};

use super::{
    instant::Instant,
    job::JobSpec,
    ledger::{Fate, FateReason, InstantView},
    names::ScheduleName,
    schedule::ScheduleSpec,
};

/// What ended a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// An edit, which made this version.
    Edit {
        /// The version.
        version: i64,
    },
    /// A delete of its job.
    Delete,
}

/// A schedule that was ended while it named instants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lapse {
    /// Which.
    pub schedule: ScheduleName,
    /// The version of its job that it belongs to.
    pub version: i64,
    /// What ended it.
    pub by: Ending,
    /// When.
    pub time: Instant,
    /// Who; empty where nobody did it by hand.
    pub actor: String,
    /// The first instant that it named and that was not due yet: the one that was announced.
    pub first: Instant,
    /// Up to here the ledger tells of its instants one by one: they were announced, or come before the first of what replaced it.
    pub shown: Instant,
    /// It took nothing after this; none where nothing bounds that.
    pub end: Option<Instant>,
}

impl Lapse {
    /// The lapse of `rule`, which has `first` next and has made so many runs; `next` is the first instant of what replaces it.
    pub fn of(
        rule: &ScheduleSpec,
        (version, by): (i64, Ending),
        (time, actor): (Instant, &str),
        (first, made): (Instant, u64),
        next: Option<Instant>,
    ) -> Self {
        let end = rule.last_run(first, made);
        let shown = next.map_or(first, |next| next.minus(Duration::from_micros(1)).max(first));
        let shown = end.map_or(shown, |end| end.min(shown));
        Self { schedule: rule.name.clone(), version, by, time, actor: actor.to_owned(), first, shown, end }
    }

    /// Why its instants have their fate, where the fate alone does not say it.
    pub fn reason(&self) -> Option<FateReason> {
        match self.by {
            Ending::Edit { .. } => None,
            Ending::Delete => Some(FateReason::JobDeleted),
        }
    }

    /// One of its instants.
    pub fn view(&self, at: Instant) -> InstantView {
        InstantView {
            reason: self.reason(),
            lapse: Some(Box::new(self.clone())),
            ..InstantView::new(self.schedule.clone(), at, Fate::Superseded)
        }
    }

    /// What became of its instants, as one sentence.
    pub fn sentence(&self) -> String {
        let Self { by, time, actor, .. } = self;
        let who = if actor.is_empty() { String::new() } else { format!(" by {actor}") };
        match by {
            Ending::Edit { version } => {
                format!("Version {version} replaced the schedule that named it, at {time}{who}.")
            }
            Ending::Delete => format!("The job was deleted at {time}{who} before it was due."),
        }
    }
}

/// A lapse with what names its instants.
#[derive(Clone, Debug)]
pub struct Lapsed {
    /// The lapse.
    pub lapse: Lapse,
    /// The definition of its version.
    pub spec: Arc<JobSpec>,
    /// The definition that replaced it; none where its job was deleted.
    pub successor: Option<Arc<JobSpec>>,
}

impl Lapsed {
    fn rule(&self) -> Option<&ScheduleSpec> {
        self.spec.schedules.iter().find(|rule| rule.name == self.lapse.schedule)
    }

    /// Whether it took this very instant.
    pub fn took(&self, at: Instant) -> bool {
        let Lapse { first, end, .. } = self.lapse;
        let within = at >= first && end.is_none_or(|end| at <= end);
        let named = |rule: &ScheduleSpec| match rule.delay() {
            // Only one is known.
            Some(_) => at == first,
            None => rule.names(at) && rule.excluded(at).is_none(),
        };
        let names = |rule: &ScheduleSpec| rule.delay().is_none() && rule.names(at);
        within
            && self.rule().is_some_and(named)
            && !self.successor.as_ref().is_some_and(|successor| successor.schedules.iter().any(names))
    }

    /// The instants in `[from, until]` that the ledger tells of, at most `limit`.
    pub fn shown(&self, from: Instant, until: Instant, limit: usize) -> Vec<Instant> {
        let Lapse { first, shown, .. } = self.lapse;
        let (from, until) = (from.max(first), until.min(shown));
        let Some(rule) = self.rule().filter(|_| from <= until) else { return Vec::new() };
        let mut found = match rule.delay() {
            Some(_) => vec![first],
            None => rule.instants(from.minus(Duration::from_micros(1)), until, limit),
        };
        found.retain(|at| *at >= from && self.took(*at));
        found
    }
}

#[cfg(test)]
mod tests {
    use mainspring_cron::{Anchor, FixedDelay, Interval, Rule, Zone};

    use super::{super::explain::bare_spec, *};

    fn at(second: i64) -> Instant {
        Instant::from_micros(1_800_000_000_000_000 + second * 1_000_000)
    }

    fn every(seconds: i64) -> ScheduleSpec {
        let rule = Rule::Interval(Interval::new(seconds * 1_000_000, Anchor::Epoch { phase_us: 0 }).unwrap());
        ScheduleSpec::new(Default::default(), rule, Zone::utc())
    }

    fn spec(schedules: Vec<ScheduleSpec>) -> Arc<JobSpec> {
        Arc::new(JobSpec { schedules, ..bare_spec() })
    }

    fn edited(was: &ScheduleSpec, first: i64, next: Option<i64>) -> Lapse {
        Lapse::of(was, (1, Ending::Edit { version: 2 }), (at(1), "ops"), (at(first), 0), next.map(at))
    }

    #[test]
    fn what_is_told_of_ends_with_the_first_of_what_replaces_it() {
        let lapse = edited(&every(10), 10, Some(40));
        let lapsed = Lapsed { lapse, spec: spec(vec![every(10)]), successor: Some(spec(vec![every(40)])) };
        assert_eq!(lapsed.shown(Instant::MIN, Instant::MAX, 10), [at(10), at(20), at(30)]);
        assert_eq!(lapsed.shown(at(11), at(29), 10), [at(20)]);
        assert_eq!(lapsed.shown(Instant::MIN, Instant::MAX, 2), [at(10), at(20)]);
        // Whoever asks for a later one is told as well, and what both name was not lost.
        assert!(lapsed.took(at(100)) && !lapsed.took(at(80)) && !lapsed.took(at(101)) && !lapsed.took(at(0)));
        let sooner = Lapsed { lapse: edited(&every(10), 10, Some(5)), ..lapsed };
        assert_eq!(sooner.shown(Instant::MIN, Instant::MAX, 10), [at(10)]);
    }

    #[test]
    fn a_schedule_with_so_many_runs_left_loses_no_more() {
        let thrice = ScheduleSpec { max_runs: Some(3), ..every(10) };
        let lapse = Lapse::of(&thrice, (1, Ending::Delete), (at(1), ""), (at(10), 1), None);
        assert_eq!((lapse.end, lapse.shown), (Some(at(20)), at(10)));
        let lapsed = Lapsed { lapse, spec: spec(vec![thrice]), successor: None };
        assert!(lapsed.took(at(20)) && !lapsed.took(at(30)));
    }

    #[test]
    fn of_what_counts_from_ends_one_instant_is_known() {
        let delay = |seconds: i64| {
            let rule = Rule::FixedDelay(FixedDelay::new(seconds * 1_000_000).unwrap());
            ScheduleSpec::new(Default::default(), rule, Zone::utc())
        };
        let lapse = edited(&delay(10), 10, Some(60));
        let lapsed = Lapsed { lapse, spec: spec(vec![delay(10)]), successor: Some(spec(vec![delay(60)])) };
        assert_eq!(lapsed.shown(Instant::MIN, Instant::MAX, 10), [at(10)]);
        assert!(lapsed.took(at(10)) && !lapsed.took(at(20)));
    }

    #[test]
    fn it_says_what_took_it_and_who() {
        assert_eq!(
            edited(&every(10), 10, None).sentence(),
            format!("Version 2 replaced the schedule that named it, at {} by ops.", at(1))
        );
        let deleted = Lapse::of(&every(10), (1, Ending::Delete), (at(1), ""), (at(10), 0), None);
        assert_eq!(deleted.sentence(), format!("The job was deleted at {} before it was due.", at(1)));
        assert_eq!(deleted.reason(), Some(FateReason::JobDeleted));
    }
}
