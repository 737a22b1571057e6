//! Comparing two definitions of a job by what they name next, before one takes the place of the other.

use std::collections::BTreeSet;

use super::{instant::Instant, job::JobSpec, names::ScheduleName};

/// An instant that one of two definitions names, or both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compared {
    /// The instant.
    pub at: Instant,
    /// The one in force names it.
    pub before: bool,
    /// The other does.
    pub after: bool,
}

/// The next instants of two definitions at `now`, so many of each at most, and none that one of them may name and was not
/// asked about. `made` tells how many runs a schedule has made.
pub fn compare(
    before: &JobSpec,
    after: &JobSpec,
    made: impl Fn(&ScheduleName) -> u64,
    now: Instant,
    count: usize,
) -> Vec<Compared> {
    let (old, new) = (upcoming(before, &made, now, count), upcoming(after, &made, now, count));
    let reach = |instants: &BTreeSet<Instant>| instants.last().copied().filter(|_| instants.len() == count);
    let until = [reach(&old), reach(&new)].into_iter().flatten().min().unwrap_or(Instant::MAX);
    let all: BTreeSet<_> = old.union(&new).copied().take_while(|at| *at <= until).collect();
    all.into_iter().map(|at| Compared { at, before: old.contains(&at), after: new.contains(&at) }).collect()
}

/// The next instants of a definition, of all its schedules together.
fn upcoming(spec: &JobSpec, made: impl Fn(&ScheduleName) -> u64, now: Instant, count: usize) -> BTreeSet<Instant> {
    let mut named = BTreeSet::new();
    for schedule in &spec.schedules {
        let left = schedule.max_runs.map_or(u64::MAX, |most| most.saturating_sub(made(&schedule.name)));
        let count = count.min(usize::try_from(left).unwrap_or(usize::MAX));
        named.extend(schedule.fires(schedule.begin(now, spec.catch_up)).take(count));
    }
    named.into_iter().take(count).collect()
}

#[cfg(test)]
mod tests {
    use mainspring_cron::{Expr, Rule, Zone};

    use super::*;
    use crate::domain::schedule::ScheduleSpec;

    fn spec(expressions: &[&str]) -> JobSpec {
        let schedules = expressions.iter().map(|expression| {
            let rule = Rule::cron(Expr::parse(expression).unwrap());
            ScheduleSpec::new(expression.len().to_string().parse().unwrap(), rule, Zone::utc())
        });
        JobSpec { schedules: schedules.collect(), ..crate::domain::explain::bare_spec() }
    }

    fn told(before: &JobSpec, after: &JobSpec, count: usize) -> Vec<String> {
        let now = "2026-03-01T00:00:00Z".parse().unwrap();
        let compared = compare(before, after, |_| 0, now, count).into_iter();
        let sign = |compared: Compared| match (compared.before, compared.after) {
            (true, true) => ' ',
            (true, false) => '-',
            (false, _) => '+',
        };
        compared.map(|compared| format!("{}{}", sign(compared), compared.at.timestamp().strftime("%d %H"))).collect()
    }

    #[test]
    fn what_is_named_by_one_or_both_is_told_as_far_as_both_are_known() {
        let (nine, twelve) = (spec(&["0 9 * * *"]), spec(&["0 9,12 * * *"]));
        assert_eq!(told(&nine, &twelve, 4), [" 01 09", "+01 12", " 02 09", "+02 12"]);
        assert_eq!(told(&twelve, &nine, 4), [" 01 09", "-01 12", " 02 09", "-02 12"]);
        assert_eq!(told(&spec(&[]), &nine, 2), ["+01 09", "+02 09"]);
        assert_eq!(told(&spec(&["0 9 * * *", "0 12 1 * *"]), &nine, 2), [" 01 09", "-01 12"]);
        assert_eq!(told(&nine, &nine, 2), [" 01 09", " 02 09"]);
    }

    #[test]
    fn a_schedule_names_no_more_than_the_runs_it_has_left() {
        let mut twice = spec(&["0 9 * * *"]);
        twice.schedules[0].max_runs = Some(3);
        let now = "2026-03-01T00:00:00Z".parse().unwrap();
        assert_eq!(compare(&twice, &twice, |_| 1, now, 5).len(), 2);
    }
}
