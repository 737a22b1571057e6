//! Backfills: what is asked for, and how they stand.

use std::num::NonZeroU32;

use mainspring_engine::domain::{
    backfill::{
        Backfill, BackfillSpec, Beside, MOST_AT_ONCE, MOST_INSTANTS, Only, Order, Plan, Range, RunCounts, Unplanned,
        template::{About, Template},
    },
    ids::BackfillId,
    instant::Instant,
    job::{Job, JobSpec},
    names::ScheduleName,
};
use mainspring_proto::scheduler::v1 as wire;
use uuid::Uuid;

use super::{Check, MAX_NOTE, time};
use crate::grpc::status::Reason;

/// What a backfill is read with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context<'a> {
    /// The job, with the definition that it makes runs by.
    pub(crate) job: &'a Job,
    /// Now.
    pub(crate) now: Instant,
    /// The largest payload.
    pub(crate) max_payload: usize,
    /// Who asks.
    pub(crate) actor: &'a str,
}

impl Check {
    /// What somebody asks for.
    pub(crate) fn backfill(&mut self, request: wire::BackfillJobRequest, context: Context<'_>) -> Option<BackfillSpec> {
        let wire::BackfillJobRequest {
            namespace: _,
            job: _,
            schedules,
            from_time,
            to_time,
            order,
            overlap,
            instants,
            concurrency,
            priority,
            payload_template,
            while_paused,
            note,
            request_id: _,
            validate_only: _,
        } = request;
        let schedules = self.chosen(&schedules, context.job);
        let from = self.bound("from_time", from_time);
        let to = self.bound("to_time", to_time);
        if to.is_some_and(|to| to > context.now) {
            self.refuse("to_time", "is to come; instants that are fire by themselves, so leave it at now or before");
        }
        if let (Some(from), Some(to)) = (from, to)
            && from >= to
        {
            self.refuse("to_time", "must be later than `from_time`");
        }
        let order = self.choice("order", order, |order| {
            Some(match order {
                wire::BackfillOrder::Unspecified | wire::BackfillOrder::OldestFirst => Order::OldestFirst,
                wire::BackfillOrder::NewestFirst => Order::NewestFirst,
            })
        });
        let beside = self.choice("overlap", overlap, |overlap| {
            Some(match overlap {
                wire::BackfillOverlap::Unspecified | wire::BackfillOverlap::Allow => Beside::Allow,
                wire::BackfillOverlap::Wait => Beside::Wait,
            })
        });
        let only = self.choice("instants", instants, |only| {
            Some(match only {
                wire::BackfillInstants::Unspecified | wire::BackfillInstants::Unsucceeded => Only::Unsucceeded,
                wire::BackfillInstants::Missing => Only::Missing,
                wire::BackfillInstants::All => Only::All,
            })
        });
        let concurrency = self.within("concurrency", concurrency, 0..=MOST_AT_ONCE.cast_signed());
        let concurrency = u32::try_from(concurrency).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN);
        let priority = self.priority("priority", priority);
        let template = payload_template.and_then(|template| {
            let given = self.payload("payload_template", Some(template), context.max_payload)?;
            // What is wrong with it as a payload was said.
            if !self.is_clean() {
                return None;
            }
            match Template::read(given) {
                Ok(template) => Some(template),
                Err(why) => {
                    self.refuse("payload_template", why.to_string());
                    None
                }
            }
        });
        if let Some(template) = &template {
            self.keys_of_filled(template, &context.job.spec);
        }
        let note = self.text("note", note, MAX_NOTE);
        let (from, to) = (from?, to?);
        if !self.is_clean() {
            return None;
        }
        let plan = self.plan(context.job, &schedules, Range { from, to })?;
        Some(BackfillSpec {
            schedules,
            from,
            to,
            order: order?,
            beside: beside?,
            only: only?,
            concurrency,
            priority,
            while_paused,
            note,
            actor: context.actor.to_owned(),
            plan,
            template,
        })
    }

    /// What the keys of the job are made of must be there whatever the instant, and the longest of them must be a key.
    fn keys_of_filled(&mut self, template: &Template, spec: &JobSpec) {
        let Some(schedule) = spec.schedules.first() else { return };
        let (nominal, backfill) = (Instant::CALENDAR_MAX, BackfillId::from_uuid(Uuid::max()));
        let payload = template.fill(About { nominal, zone: &schedule.zone, backfill });
        if let Err(why) = spec.keys(&payload) {
            self.refuse("payload_template", format!("makes no key of the job's: {why}"));
        }
    }

    fn bound(&mut self, field: &str, at: Option<prost_types::Timestamp>) -> Option<Instant> {
        if at.is_none() {
            self.refuse(field, "is required");
        }
        self.instant(field, at)
    }

    /// Which schedules of the job.
    fn chosen(&mut self, names: &[String], job: &Job) -> Vec<ScheduleName> {
        let all: Vec<ScheduleName> = job.spec.schedules.iter().map(|schedule| schedule.name.clone()).collect();
        if names.is_empty() {
            return all;
        }
        let there = all.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let mut chosen = self.each("schedules", names, |check, name| {
            let name = check.required::<ScheduleName>("", name)?;
            if !all.contains(&name) {
                let has = if there.is_empty() { "none".to_owned() } else { there.clone() };
                check.refuse("", format!("is no schedule of job `{}`, which has {has}", job.name));
            }
            if job.spec.schedules.iter().any(|schedule| schedule.name == name && schedule.delay().is_some()) {
                check.refuse("", "counts from the ends of its runs, and so has no instant beside those that it fired");
            }
            Some(name)
        });
        chosen.dedup();
        chosen
    }

    /// How much there is to do, or how to ask for less.
    fn plan(&mut self, job: &Job, schedules: &[ScheduleName], range: Range) -> Option<Plan> {
        match Plan::of(&job.spec.schedules, schedules, range) {
            Ok(plan) => Some(plan),
            Err(Unplanned::Nothing) => {
                self.refuse("from_time", format!("job `{}` has no instant between it and `to_time`", job.name));
                None
            }
            Err(Unplanned::TooMany(end)) => {
                let end = end.timestamp();
                let why = format!(
                    "the range holds more than {MOST_INSTANTS} instants; end it at {end} or before, or name fewer \
                     `schedules`, and ask for the rest afterwards"
                );
                self.refuse_as(Reason::BackfillTooLarge, "to_time", why);
                self.detail("limit", MOST_INSTANTS);
                self.detail("to_time", end);
                None
            }
        }
    }
}

/// A backfill for people.
pub(crate) fn backfill(backfill: Backfill) -> wire::Backfill {
    let Backfill {
        id,
        namespace,
        job: _,
        job_name,
        version,
        spec,
        state,
        cursor: _,
        is_through: _,
        made,
        skipped,
        runs: RunCounts { open, succeeded, failed, cancelled },
        cancel_note,
        create_time,
        end_time,
    } = backfill;
    let BackfillSpec {
        schedules,
        from,
        to,
        order,
        beside,
        only,
        concurrency,
        priority,
        while_paused,
        note,
        actor,
        plan: Plan { count: instants, first, last },
        template: _,
    } = spec;
    let count = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    wire::Backfill {
        namespace: namespace.into(),
        backfill_id: id.to_string(),
        job: job_name.into(),
        job_version: version,
        schedules: schedules.into_iter().map(String::from).collect(),
        from_time: Some(time::timestamp(from)),
        to_time: Some(time::timestamp(to)),
        order: match order {
            Order::OldestFirst => wire::BackfillOrder::OldestFirst,
            Order::NewestFirst => wire::BackfillOrder::NewestFirst,
        }
        .into(),
        overlap: match beside {
            Beside::Allow => wire::BackfillOverlap::Allow,
            Beside::Wait => wire::BackfillOverlap::Wait,
        }
        .into(),
        instants: match only {
            Only::Unsucceeded => wire::BackfillInstants::Unsucceeded,
            Only::Missing => wire::BackfillInstants::Missing,
            Only::All => wire::BackfillInstants::All,
        }
        .into(),
        concurrency: i32::try_from(concurrency.get()).unwrap_or(i32::MAX),
        priority: priority.into(),
        while_paused,
        note,
        actor,
        state: state.code(),
        instant_count: count(instants),
        first_time: Some(time::timestamp(first)),
        last_time: Some(time::timestamp(last)),
        made_count: count(made),
        skipped_count: count(skipped),
        open_count: count(open),
        succeeded_count: count(succeeded),
        failed_count: count(failed),
        cancelled_count: count(cancelled),
        create_time: Some(time::timestamp(create_time)),
        end_time: end_time.map(time::timestamp),
        cancel_note,
    }
}

#[cfg(test)]
mod tests {
    use mainspring_engine::domain::backfill::BackfillState;

    use super::*;

    #[test]
    fn states_have_the_codes_of_the_contract() {
        for (state, name) in BackfillState::ALL.into_iter().zip(["RUNNING", "COMPLETED", "CANCELLING", "CANCELLED"]) {
            let told = wire::BackfillState::try_from(state.code()).unwrap().as_str_name();
            assert_eq!(told, format!("BACKFILL_STATE_{name}"));
        }
    }
}
