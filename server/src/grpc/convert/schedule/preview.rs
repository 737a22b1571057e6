//! The instants a schedule names, as a preview shows them.

use jiff::Timestamp;
use mainspring_cron::{Anchor, DstEffect, Fire, Lint, LintCode, Rule, Zone, format_duration};
use mainspring_engine::domain::{ids::JobUid, instant::Instant, schedule::ScheduleSpec};
use mainspring_proto::scheduler::v1 as wire;

use super::time;

/// What there is to know of a schedule of a job that exists.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing {
    /// The job.
    pub(crate) job: JobUid,
    /// How many runs the schedule has made.
    pub(crate) made: u64,
    /// What it names next.
    pub(crate) next: Option<Instant>,
}

/// The instants a schedule names after another, with what they look like on the wall and what clock changes do to them. One
/// that counts from the ends of its runs names what is known.
pub(crate) fn preview(
    spec: &ScheduleSpec,
    after: Instant,
    until: Option<Instant>,
    count: usize,
    of: Option<Standing>,
) -> wire::PreviewedSchedule {
    let ScheduleSpec { name, rule, zone, start, end: _, jitter, max_runs, exclude: _, only: _, roll: _ } = spec;
    let made = of.map_or(0, |of| of.made);
    let left = max_runs.map_or(u64::MAX, |most| most.saturating_sub(made));
    let count = count.min(usize::try_from(left).unwrap_or(usize::MAX));
    let due = |at: Instant| {
        let Standing { job, .. } = of.filter(|_| !jitter.is_zero())?;
        Some(time::timestamp(spec.due(job, at, spec.next_after(at))))
    };
    let from = match start {
        Some(start) if *start > after && spec.delay().is_none() => {
            start.timestamp() - jiff::SignedDuration::from_micros(1)
        }
        _ => after.timestamp(),
    };
    let until = until.unwrap_or(Instant::MAX).timestamp();
    let last = Instant::from_timestamp(until);
    let before = jiff::SignedDuration::from_micros(1);
    let known = of.filter(|_| spec.delay().is_some()).map(|of| of.next.filter(|next| *next > after));
    let named: Vec<_> = match known {
        Some(next) => next.into_iter().collect(),
        None => spec.fires(Instant::from_timestamp(from)).take(count).collect(),
    };
    let fires: Vec<_> = named
        .into_iter()
        .take_while(|at| *at <= last)
        .take(count)
        .map(|at| {
            // A day that was moved is not met by clock changes as the rule meets them.
            let own = rule.fires(zone, at.timestamp() - before, at.timestamp()).next();
            own.unwrap_or(Fire { at: at.timestamp(), note: None })
        })
        .collect();
    let last = fires.last().map_or(from, |fire| fire.at);
    let mut warnings: Vec<_> = rule.validate(zone, from).unwrap_or_default().iter().map(ToString::to_string).collect();
    if spec.has_calendars()
        && let Some(first) = fires.first()
        && !warnings.iter().any(|warning| warning.starts_with(LintCode::FirstFireFar.as_str()))
    {
        // The rule knows nothing of calendars.
        warnings.extend(Lint::far(from, first.at).map(|lint| lint.to_string()));
    }
    // What fires with a note says so beside the instant; what does not fire has no instant to say it beside.
    warnings.extend(
        rule.dst_notes(zone, from, last, count)
            .iter()
            .filter(|note| note.effect == DstEffect::Skipped)
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
                due_time: due(Instant::from_timestamp(fire.at)),
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
            let every = format_duration(interval.every_us());
            match interval.anchor() {
                Anchor::Epoch { phase_us } if phase_us > 0 => format!("every {every} + {}", format_duration(phase_us)),
                Anchor::Epoch { .. } | Anchor::Hashed => format!("every {every}"),
                Anchor::Start(first) => format!("every {every} from {first}"),
            }
        }
        Rule::CalendarInterval(interval) => interval.to_string(),
        Rule::FixedDelay(delay) => format!("fixed delay {}", format_duration(delay.delay_us())),
        Rule::At(at) => format!("at {}", at.instant()),
    }
}

/// RFC 3339 with the zone's offset.
fn local_time(zone: &Zone, at: Timestamp) -> String {
    at.display_with_offset(zone.offset(at)).to_string()
}
