//! What rules mean and what became of their instants: previews and the ledger.

use mainspring_engine::domain::{
    catch_up::CatchUp,
    filter::{Field, Kind},
    instant::Instant,
    names::ScheduleName,
    run::RunState,
    schedule::ScheduleSpec,
};
use mainspring_engine::flow::instants::{InstantKey, key};
use mainspring_proto::scheduler::v1 as wire;

use super::{
    calendars,
    jobs::{find, missing},
    runs,
};
use crate::grpc::{
    Api,
    convert::{
        self, read,
        schedule::{Reading, Standing, preview as shown},
    },
    filter,
    status::Refusal,
};

const FATES: &[(&str, i64)] = &[
    ("FIRED", 1),
    ("UNITED", 2),
    ("SKIPPED_OVERLAP", 3),
    ("COALESCED", 4),
    ("MISSED", 5),
    ("PAUSED", 6),
    ("SUPERSEDED", 7),
    ("ERROR", 8),
    ("EXCLUDED", 9),
    ("DST_SKIPPED", 10),
    ("DROPPED", 11),
];
const REASONS: &[(&str, i64)] = &[
    ("UNSPECIFIED", 0),
    ("LATER_RUN", 1),
    ("NO_SERVER", 2),
    ("SCHEDULE_MISSING", 3),
    ("RULE_BROKEN", 4),
    ("BUFFER_FULL", 5),
    ("TOO_LATE", 6),
    ("CATCH_UP_MAX", 7),
    ("NEVER_FIRES", 8),
    ("ZONE_MISSING", 9),
    ("JOB_DELETED", 10),
];

/// What a list of instants may be narrowed by.
const FIELDS: &[Field] = &[
    Field { name: "schedule", kind: Kind::Text },
    Field { name: "fate", kind: Kind::Enum(FATES) },
    Field { name: "reason", kind: Kind::Enum(REASONS) },
];

const DEFAULT_COUNT: usize = 5;
const MAX_COUNT: i32 = 100;

pub(super) async fn preview(
    api: &Api,
    request: wire::PreviewScheduleRequest,
) -> Result<wire::PreviewScheduleResponse, Refusal> {
    let wire::PreviewScheduleRequest { namespace, job, schedule, range } = request;
    let now = api.now();
    let wire::PreviewRange { after_time, count, within } = range.unwrap_or_default();
    let calendars = calendars::named(api, &namespace, schedule.iter()).await?;
    let (_, (after, count, within, unsaved)) = api
        .read(&namespace, |check, _| {
            let (after, count, within) = check.under("range", |check| {
                let after = check.instant("after_time", after_time).unwrap_or(now);
                let count = check.within("count", count, 0..=MAX_COUNT);
                (after, count, check.length("within", within))
            });
            let unsaved = match (schedule, job.is_empty()) {
                (Some(schedule), true) => {
                    // What `H` stands for is decided when the schedule is saved.
                    let catch_up = CatchUp::default();
                    let reading = Reading { now: after, seed: &[], catch_up, calendars: &calendars, stored: &[] };
                    Some(check.under("schedule", |check| check.schedule(schedule, reading))?)
                }
                (None, false) => None,
                (Some(_), false) | (None, true) => {
                    check.refuse("schedule", "give either `job` or `schedule`");
                    None
                }
            };
            Some((after, usize::try_from(count).unwrap_or(0), within, unsaved))
        })
        .await?;
    let count = if count == 0 { DEFAULT_COUNT } else { count };
    let until = within.map(|within| after.plus(within));
    let schedules = match unsaved {
        Some(rule) => vec![shown(&rule, after, until, count, None)],
        None => {
            let job = find(api, &namespace, &job).await?.1;
            let next = job.next_times.iter().copied().chain(std::iter::repeat(None));
            let standing = |(rule, next): (&ScheduleSpec, Option<Instant>)| {
                let of = Standing { job: job.uid, made: job.made(&rule.name), next };
                shown(rule, after, until, count, Some(of))
            };
            job.spec.schedules.iter().zip(next).map(standing).collect()
        }
    };
    Ok(wire::PreviewScheduleResponse { schedules, zone_data_version: api.engine.zones().version().into() })
}

pub(super) async fn list(
    api: &Api,
    mut request: wire::ListInstantsRequest,
) -> Result<wire::ListInstantsResponse, Refusal> {
    let turn = api.pages.turn(&mut request, api.now())?;
    let wire::ListInstantsRequest { namespace, job, from_time, to_time, filter: text, page_size: _, page_token: _ } =
        request;
    let (from, to) = read(|check| {
        let (from, to) = (check.instant("from_time", from_time), check.instant("to_time", to_time));
        if from.zip(to).is_some_and(|(from, to)| to < from) {
            check.refuse("to_time", "must not be earlier than from_time");
        }
        Some((from, to))
    })?;
    let after = turn.place(place)?;
    let filter = filter(&text, FIELDS, turn.asked)?;
    let (_, job) = find(api, &namespace, &job).await?;
    let range = (from.unwrap_or(Instant::MIN), to.unwrap_or(turn.asked));
    let found = api.engine.ledger().list(&job, range, &filter, after, turn.page().limit).await?;
    let entries = found.into_iter().map(|view| {
        let (nominal, schedule, skipped) = key(&view);
        let key = format!("{}/{schedule}/{}", nominal.as_micros(), u8::from(skipped));
        (key, convert::instant::instant(view))
    });
    let (instants, next_page_token) = turn.cut(entries);
    Ok(wire::ListInstantsResponse { instants, next_page_token })
}

pub(super) async fn explain(
    api: &Api,
    request: wire::ExplainInstantRequest,
) -> Result<wire::ExplainInstantResponse, Refusal> {
    let wire::ExplainInstantRequest { namespace, job, time } = request;
    let (scope, (name, at)) = api
        .read(&namespace, |check, _| {
            let name = check.required("job", &job);
            if time.is_none() {
                check.refuse("time", "is required");
            }
            let at = check.instant("time", time);
            Some((name?, at?))
        })
        .await?;
    let found = api.engine.ledger().explain(&scope, &name, at).await?;
    let found = found.ok_or_else(|| missing(&name, &scope))?;
    let run = found.instants.first().and_then(|first| first.run);
    let mut shown = convert::instant::explanation(found);
    // Retention may have been faster.
    if let Some((run, RunState::Scheduled | RunState::Queued)) = run
        && let Some(view) = api.store().run(&scope, run).await?
    {
        let sentence = runs::waiting(api, &scope, view).await?.wait_sentence;
        if !sentence.is_empty() {
            shown.sentence.push_str(&format!(" {sentence}."));
        }
        shown.wait_sentence = sentence;
    }
    Ok(shown)
}

/// Where a page of the ledger ended.
fn place(key: &str) -> Option<InstantKey> {
    let (nominal, rest) = key.split_once('/')?;
    let (schedule, skipped) = rest.split_once('/')?;
    let nominal = Instant::from_micros(nominal.parse().ok()?);
    Some((nominal, schedule.parse::<ScheduleName>().ok()?, skipped == "1"))
}

#[cfg(test)]
mod tests {
    use mainspring_engine::domain::ledger::{Fate, FateReason};

    use super::*;

    #[test]
    fn filters_know_every_fate_and_reason() {
        let prefixed = |code: i64, name: String, prefix: &str| {
            let code = i32::try_from(code).unwrap();
            let known = match prefix {
                "FATE_" => wire::Fate::try_from(code).unwrap().as_str_name(),
                _ => wire::FateReason::try_from(code).unwrap().as_str_name(),
            };
            assert_eq!(known, format!("{prefix}{name}"));
        };
        assert_eq!((FATES.len(), REASONS.len()), (Fate::ALL.len(), FateReason::ALL.len() + 1));
        FATES.iter().for_each(|(name, code)| prefixed(*code, (*name).to_owned(), "FATE_"));
        REASONS.iter().for_each(|(name, code)| prefixed(*code, (*name).to_owned(), "FATE_REASON_"));
    }
}
