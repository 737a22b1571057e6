//! Time rules. A rule is read, and checked to fire at all, before it is stored.

use jiff::Timestamp;
use mainspring_cron::{Anchor, At, Expr, Interval, ParseError, Rule, RuleError, Zone};
use mainspring_engine::domain::{instant::Instant, job::ScheduleSpec};
use mainspring_proto::scheduler::v1 as wire;

use super::{Check, time};
use crate::grpc::status::Reason;

const MICROS: i64 = 1_000_000;

/// What a rule is read against.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading<'a> {
    /// Now: a rule that names nothing after it is refused.
    pub(crate) now: Instant,
    /// Decides what `H` stands for; the job's uid.
    pub(crate) seed: &'a [u8],
    /// Schedules as they are stored: one that is not changed is not judged again, since what fired once and is over is
    /// no mistake.
    pub(crate) stored: &'a [ScheduleSpec],
}

impl Check {
    /// One schedule of a job.
    pub(crate) fn schedule(&mut self, schedule: wire::Schedule, reading: Reading<'_>) -> Option<ScheduleSpec> {
        let wire::Schedule { name, time_zone, start_time, end_time, next_time: _, rule } = schedule;
        let name = self.or_default("name", &name);
        let zone = self.zone(&time_zone);
        let start = self.instant("start_time", start_time);
        let end = self.instant("end_time", end_time);
        if start.zip(end).is_some_and(|(start, end)| end <= start) {
            self.refuse("end_time", "must be later than start_time");
        }
        let rule = self.rule(rule);
        let (rule, zone) = (rule?, zone?);
        // One seed per schedule, or two schedules of a job would share every `H`.
        let seed = [reading.seed, name_of(&name)].concat();
        let spec = ScheduleSpec { name, rule: rule.resolve(&seed), zone, start, end };
        if !reading.stored.contains(&spec) {
            self.fires(&spec, reading.now);
        }
        Some(spec)
    }

    fn zone(&mut self, name: &str) -> Option<Zone> {
        if name.is_empty() {
            return Some(Zone::utc());
        }
        match Zone::parse(name) {
            Ok(zone) => Some(zone),
            Err(error) => {
                self.refuse("time_zone", error.to_string());
                self.suggest(error.suggestion);
                None
            }
        }
    }

    fn rule(&mut self, rule: Option<wire::schedule::Rule>) -> Option<Rule> {
        match rule {
            None => {
                self.refuse("", "must carry `cron`, `interval` or `at`");
                None
            }
            Some(wire::schedule::Rule::Cron(text)) => match Expr::parse(&text) {
                Ok(expr) => Some(Rule::cron(expr)),
                Err(error) => {
                    self.cron_error(&error);
                    None
                }
            },
            Some(wire::schedule::Rule::Interval(interval)) => {
                self.under("interval", |check| check.interval(&interval)).map(Rule::Interval)
            }
            Some(wire::schedule::Rule::At(at)) => {
                let at = self.instant("at", Some(at))?;
                if at > Instant::CALENDAR_MAX {
                    self.refuse("at", format!("must be no later than {}", Instant::CALENDAR_MAX));
                    return None;
                }
                Some(Rule::At(At::new(at.timestamp())))
            }
        }
    }

    fn cron_error(&mut self, error: &ParseError) {
        self.refuse_as(Reason::CronInvalid, "cron", error.to_string());
        if let Some(field) = error.field {
            self.detail("field", field);
        }
        self.detail("column", error.column);
        self.suggest(error.suggestion.as_deref());
    }

    /// What was probably meant by what was refused last.
    fn suggest(&mut self, suggestion: Option<impl std::fmt::Display>) {
        if let Some(suggestion) = suggestion {
            self.detail("suggestion", suggestion);
        }
    }

    fn interval(&mut self, interval: &wire::Interval) -> Option<Interval> {
        let wire::Interval { every, phase } = *interval;
        if every.is_none() {
            self.refuse("every", "is required");
        }
        let micros = |length: std::time::Duration| i64::try_from(length.as_micros()).unwrap_or(i64::MAX);
        let every = self.length("every", every).map(micros)?;
        let phase_us = self.length("phase", phase).map_or(0, micros);
        if every < MICROS {
            self.refuse("every", "must be at least 1 s");
            return None;
        }
        match Interval::new(every, Anchor::Epoch { phase_us }) {
            Ok(interval) => Some(interval),
            Err(error) => {
                self.refuse("phase", error.to_string());
                None
            }
        }
    }

    /// Whether a schedule names anything after now, within its bounds.
    fn fires(&mut self, spec: &ScheduleSpec, now: Instant) {
        match spec.rule.validate(&spec.zone, now.timestamp()) {
            Ok(_) if spec.next_after(now).is_some() => {}
            Err(error) if error != RuleError::NeverFires => self.refuse("", error.to_string()),
            Ok(_) | Err(_) => {
                let why = match (&spec.rule, spec.start.is_some() || spec.end.is_some()) {
                    (Rule::At(at), false) => format!("{} has passed; name an instant that is to come", at.instant()),
                    (_, true) => "names no instant between now, its start_time and its end_time".into(),
                    (_, false) => "names no instant in the next 400 years".into(),
                };
                self.refuse_as(Reason::ScheduleNeverFires, "", why);
            }
        }
    }
}

fn name_of(name: &mainspring_engine::domain::names::ScheduleName) -> &[u8] {
    name.as_str().as_bytes()
}

/// A schedule for people.
pub(crate) fn schedule(spec: ScheduleSpec, next: Option<Instant>) -> wire::Schedule {
    let ScheduleSpec { name, rule, zone, start, end } = spec;
    let rule = match rule {
        Rule::Cron(cron) => wire::schedule::Rule::Cron(cron.expr.to_string()),
        Rule::Interval(interval) => {
            let length = |micros: i64| time::duration(std::time::Duration::from_micros(micros.unsigned_abs()));
            let phase = match interval.anchor() {
                Anchor::Epoch { phase_us: 0 } | Anchor::Hashed | Anchor::Start(_) => None,
                Anchor::Epoch { phase_us } => Some(length(phase_us)),
            };
            wire::schedule::Rule::Interval(wire::Interval { every: Some(length(interval.every_us())), phase })
        }
        Rule::At(at) => wire::schedule::Rule::At(time::timestamp(Instant::from_timestamp(at.instant()))),
    };
    wire::Schedule {
        name: name.into(),
        time_zone: zone.name().into(),
        start_time: start.map(time::timestamp),
        end_time: end.map(time::timestamp),
        next_time: next.map(time::timestamp),
        rule: Some(rule),
    }
}

/// The instants a schedule names after another, with what they look like on the wall and what clock changes do to them.
pub(crate) fn preview(
    spec: &ScheduleSpec,
    after: Instant,
    until: Option<Instant>,
    count: usize,
) -> wire::PreviewedSchedule {
    let ScheduleSpec { name, rule, zone, start, end } = spec;
    let from = match start {
        Some(start) if *start > after => start.timestamp() - jiff::SignedDuration::from_micros(1),
        _ => after.timestamp(),
    };
    let until = until.unwrap_or(Instant::MAX).timestamp();
    let fires: Vec<_> = rule
        .fires(zone, from, until)
        .take_while(|fire| end.is_none_or(|end| Instant::from_timestamp(fire.at) < end))
        .take(count)
        .collect();
    let last = fires.last().map_or(from, |fire| fire.at);
    let mut warnings: Vec<_> = rule.validate(zone, from).unwrap_or_default().iter().map(ToString::to_string).collect();
    // What fires with a note says so beside the instant; what does not fire has no instant to say it beside.
    warnings.extend(
        rule.dst_notes(zone, from, last, count)
            .iter()
            .filter(|note| note.effect == mainspring_cron::DstEffect::Skipped)
            .map(ToString::to_string),
    );
    wire::PreviewedSchedule {
        schedule: name.to_string(),
        sentence: rule.explain(),
        canonical: canonical(rule),
        instants: fires
            .iter()
            .map(|fire| wire::PreviewedInstant {
                time: Some(time::timestamp(Instant::from_timestamp(fire.at))),
                local_time: local_time(zone, fire.at),
                note: fire.note.map(|note| note.to_string()).unwrap_or_default(),
            })
            .collect(),
        warnings,
    }
}

/// The rule as text that reads back as the same rule.
fn canonical(rule: &Rule) -> String {
    match rule {
        Rule::Cron(cron) => cron.expr.to_string(),
        Rule::Interval(interval) => {
            let every = mainspring_cron::format_duration(interval.every_us());
            match interval.anchor() {
                Anchor::Epoch { phase_us } if phase_us > 0 => {
                    format!("every {every} + {}", mainspring_cron::format_duration(phase_us))
                }
                Anchor::Epoch { .. } | Anchor::Hashed | Anchor::Start(_) => format!("every {every}"),
            }
        }
        Rule::At(at) => format!("at {}", at.instant()),
    }
}

/// RFC 3339 with the zone's offset.
fn local_time(zone: &Zone, at: Timestamp) -> String {
    at.display_with_offset(zone.offset(at)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grpc::{convert::read, status::Refusal};

    const NOW: &str = "2026-11-21T12:00:00Z";

    fn parsed(schedule: wire::Schedule) -> Result<ScheduleSpec, Refusal> {
        let reading = Reading { now: NOW.parse().unwrap(), seed: b"uid", stored: &[] };
        read(|check| check.schedule(schedule, reading))
    }

    fn cron(text: &str) -> wire::Schedule {
        wire::Schedule { rule: Some(wire::schedule::Rule::Cron(text.into())), ..wire::Schedule::default() }
    }

    fn at(text: &str) -> wire::Schedule {
        let at = time::timestamp(text.parse().unwrap());
        wire::Schedule { rule: Some(wire::schedule::Rule::At(at)), ..wire::Schedule::default() }
    }

    fn every(secs: i64) -> wire::Schedule {
        let every = Some(prost_types::Duration { seconds: secs, nanos: 0 });
        let rule = wire::schedule::Rule::Interval(wire::Interval { every, phase: None });
        wire::Schedule { rule: Some(rule), ..wire::Schedule::default() }
    }

    #[test]
    fn a_bad_expression_says_where() {
        let refusal = parsed(cron("0 24 * * *")).unwrap_err();
        assert_eq!((refusal.reason(), refusal.first_field()), (Reason::CronInvalid, Some("cron")));
        assert_eq!((refusal.metadata()["field"].as_str(), refusal.metadata()["column"].as_str()), ("hour", "3"));
        assert!(refusal.metadata().contains_key("suggestion"));
    }

    #[test]
    fn what_never_fires_is_refused() {
        for schedule in [cron("0 0 30 2 *"), at("2026-11-21T11:59:59Z")] {
            assert_eq!(parsed(schedule).unwrap_err().reason(), Reason::ScheduleNeverFires);
        }
        let over = wire::Schedule {
            end_time: Some(time::timestamp("2026-11-21T12:30:00Z".parse().unwrap())),
            ..cron("0 0 * * *")
        };
        assert_eq!(parsed(over).unwrap_err().reason(), Reason::ScheduleNeverFires);
        assert!(parsed(at("2026-11-21T12:00:01Z")).is_ok());
    }

    #[test]
    fn a_stored_rule_is_not_judged_again() {
        let earlier = Reading { now: "2026-01-01T00:00:00Z".parse().unwrap(), seed: b"uid", stored: &[] };
        let spec = read(|check| check.schedule(at("2026-02-01T00:00:00Z"), earlier)).unwrap();
        let now = Reading { now: NOW.parse().unwrap(), stored: std::slice::from_ref(&spec), ..earlier };
        assert_eq!(read(|check| check.schedule(at("2026-02-01T00:00:00Z"), now)).unwrap(), spec);
    }

    #[test]
    fn zones_and_intervals_are_checked() {
        let refusal = parsed(wire::Schedule { time_zone: "Europe/Berln".into(), ..cron("0 0 * * *") }).unwrap_err();
        assert!(refusal.message().contains("Europe/Berlin"), "{}", refusal.message());
        assert_eq!(refusal.metadata()["suggestion"], "Europe/Berlin");
        assert!(parsed(every(0)).is_err());
        assert!(parsed(wire::Schedule::default()).is_err());
        assert!(parsed(every(1)).is_ok());
    }

    #[test]
    fn schedules_come_back() {
        for schedule in [cron("*/15 9-17 * * MON-FRI"), cron("H H * * *"), every(90), at("2027-01-01T00:00:00Z")] {
            let spec =
                parsed(wire::Schedule { name: "n".into(), time_zone: "Europe/Berlin".into(), ..schedule }).unwrap();
            assert_eq!(parsed(super::schedule(spec.clone(), None)).unwrap(), spec);
        }
    }

    #[test]
    fn a_preview_tells_what_clock_changes_do() {
        let berlin = wire::Schedule { time_zone: "Europe/Berlin".into(), ..cron("30 2 * * *") };
        let spec = parsed(berlin).unwrap();
        let shown = preview(&spec, "2026-03-27T12:00:00Z".parse().unwrap(), None, 3);
        let times: Vec<_> = shown.instants.iter().map(|instant| instant.local_time.as_str()).collect();
        assert_eq!(times, ["2026-03-28T02:30:00+01:00", "2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"]);
        assert!(shown.instants[1].note.contains("does not exist"), "{shown:?}");
        assert_eq!(shown.canonical, "30 2 * * *");
        let bounded = preview(&spec, NOW.parse().unwrap(), Some("2026-11-22T12:00:00Z".parse().unwrap()), 100);
        assert_eq!(bounded.instants.len(), 1);
    }
}
