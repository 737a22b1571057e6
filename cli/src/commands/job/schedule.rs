//! Time rules as `job create` and `job update` take them.

use clap::Args;
use mainspring_proto::scheduler::v1::{Interval, Schedule, schedule::Rule};

use crate::{
    clock,
    failure::Failure,
    times::{Length, Moment},
};

/// When a job is due.
#[derive(Args, Debug)]
pub(super) struct ScheduleArgs {
    /// When it is due: 5 fields, 6 with seconds first, or 7 with the year last; may be repeated
    #[arg(long, value_name = "EXPR", allow_hyphen_values = true)]
    cron: Vec<String>,
    /// Due in this rhythm
    #[arg(long, value_name = "LENGTH", allow_hyphen_values = true)]
    every: Option<Length>,
    /// Due once: RFC 3339, or now+1h
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    at: Option<Moment>,
    /// Zone of --cron, for example Europe/Berlin [default: UTC]
    #[arg(long, value_name = "ZONE", requires = "cron")]
    tz: Option<String>,
}

impl ScheduleArgs {
    pub(super) fn is_empty(&self) -> bool {
        self.cron.is_empty() && self.every.is_none() && self.at.is_none()
    }
}

/// One schedule keeps the name "default"; several are named after their kind, so that an edit keeps their cursors.
pub(super) fn schedules(args: &ScheduleArgs) -> Result<Vec<Schedule>, Failure> {
    let mut schedules = Vec::new();
    for expression in &args.cron {
        let (kind, rule) = rule(expression)?;
        let time_zone = match rule {
            Rule::Cron(_) => args.tz.clone().unwrap_or_default(),
            Rule::Interval(_) | Rule::At(_) => String::new(),
        };
        schedules.push((kind, Schedule { rule: Some(rule), time_zone, ..Schedule::default() }));
    }
    if let Some(every) = args.every {
        schedules.push(("every", Schedule { rule: Some(interval(every)), ..Schedule::default() }));
    }
    if let Some(at) = args.at {
        let instant = at.to_proto(clock::now());
        schedules.push(("at", Schedule { rule: Some(Rule::At(instant)), ..Schedule::default() }));
    }
    if let [(_, only)] = schedules.as_slice() {
        return Ok(vec![only.clone()]);
    }
    let mut counts = std::collections::BTreeMap::new();
    let named = schedules.into_iter().map(|(kind, schedule)| {
        let count = counts.entry(kind).and_modify(|count| *count += 1).or_insert(1);
        Schedule { name: format!("{kind}-{count}"), ..schedule }
    });
    Ok(named.collect())
}

/// `@every` and `@at` are no cron, but people type them there; they are shorthands of --every and --at.
fn rule(expression: &str) -> Result<(&'static str, Rule), Failure> {
    match expression.split_once(char::is_whitespace).map(|(macro_, rest)| (macro_, rest.trim())) {
        Some(("@every", length)) => Ok(("every", interval(length.parse().map_err(Failure::usage)?))),
        Some(("@at", moment)) => {
            let moment: Moment = moment.parse().map_err(Failure::usage)?;
            Ok(("at", Rule::At(moment.to_proto(clock::now()))))
        }
        Some(_) | None => Ok(("cron", Rule::Cron(expression.into()))),
    }
}

fn interval(every: Length) -> Rule {
    Rule::Interval(Interval { every: Some(every.to_proto()), phase: None })
}
