//! Jobs: definitions that people write and read back.

use std::num::NonZeroU32;

use mainspring_engine::domain::{
    calendar::NamedCalendar,
    catch_up::CatchUp,
    ids::JobUid,
    instant::Instant,
    job::{Job, JobSpec, JobState, OnCompleted, Pause},
    keyed::{About, FillError},
    limit::Pace,
    names::{JobName, ScheduleName},
    schedule::ScheduleSpec,
};
use mainspring_proto::scheduler::v1 as wire;

use super::{
    Check, auto_disable, catch_up, overlap, payload, policy, policy::Policies, queue, schedule, schedule::Reading, time,
};

const MAX_DISPLAY_NAME: usize = 128;
const MAX_DESCRIPTION: usize = 4_096;
const MAX_OWNER: usize = 256;
const MAX_SCHEDULES: usize = 32;

/// The fields of a job that an update may name.
pub(crate) const MUTABLE: &[&str] = &[
    "display_name",
    "description",
    "owner",
    "labels",
    "job_type",
    "queue",
    "payload",
    "schedules",
    "overlap",
    "catch_up",
    "retry_policy",
    "timeouts",
    "delivery",
    "lease_loss_policy",
    "priority",
    "fairness_key",
    "overlap_max",
    "overlap_ignores_manual",
    "catch_up_max",
    "catch_up_pace",
    "max_lateness",
    "on_completed",
    "delete_after",
    "concurrency_key",
    "concurrency_limit",
    "auto_disable",
    "overlap_scope",
    "required_labels",
    "previous_success",
    "concurrency_rate",
];

/// What a definition is read against.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context<'a> {
    /// Now.
    pub(crate) now: Instant,
    /// The job's identity.
    pub(crate) uid: JobUid,
    /// Its schedules as they are stored.
    pub(crate) stored: &'a [ScheduleSpec],
    /// The calendars that its schedules name and that there are.
    pub(crate) calendars: &'a [NamedCalendar],
    /// The largest payload.
    pub(crate) max_payload: usize,
    /// The namespace of the request, which the job must not contradict.
    pub(crate) namespace: &'a str,
}

impl Check {
    /// A job's name and definition; output fields are not looked at.
    pub(crate) fn job(&mut self, job: wire::Job, context: Context<'_>) -> Option<(JobName, JobSpec)> {
        let wire::Job {
            namespace,
            job,
            uid: _,
            version: _,
            etag: _,
            display_name,
            description,
            owner,
            labels,
            job_type,
            queue,
            payload,
            schedules,
            overlap,
            catch_up,
            retry_policy,
            timeouts,
            delivery,
            lease_loss_policy,
            priority,
            state: _,
            pause: _,
            next_fire_time: _,
            create_time: _,
            update_time: _,
            fairness_key,
            overlap_max,
            overlap_ignores_manual,
            catch_up_max,
            catch_up_pace,
            max_lateness,
            on_completed,
            delete_after,
            concurrency_key,
            concurrency_limit,
            auto_disable,
            overlap_scope,
            required_labels,
            previous_success,
            concurrency_rate,
            error: _,
        } = job;
        self.same_namespace(&namespace, context.namespace);
        let name = self.required::<JobName>("job", &job);
        let job_type = self.required("job_type", &job_type);
        let overlap = self.overlap(overlap, overlap_max);
        let overlap_scope = self.overlap_scope(overlap_scope, &concurrency_key);
        let catch_up = self.catch_up(catch_up::Fields { catch_up, catch_up_max, catch_up_pace, max_lateness });
        let on_completed = self.on_completed(on_completed, delete_after);
        let spec = JobSpec {
            display_name: self.line("display_name", display_name, MAX_DISPLAY_NAME),
            description: self.text("description", description, MAX_DESCRIPTION),
            owner: self.line("owner", owner, MAX_OWNER),
            labels: self.labels("labels", labels),
            queue: self.or_default("queue", &queue),
            payload: self.payload("payload", payload, context.max_payload).unwrap_or_default(),
            schedules: self.schedules(schedules, catch_up, context),
            overlap: overlap.unwrap_or_default(),
            overlap_scope: overlap_scope.unwrap_or_default(),
            overlap_ignores_manual,
            catch_up,
            policy: self.policy(Policies { retry_policy, timeouts, delivery, lease_loss_policy }),
            priority: self.priority("priority", priority),
            fairness_key: self.or_default("fairness_key", &fairness_key),
            required_labels: self.labels("required_labels", required_labels),
            previous_success,
            on_completed,
            concurrency: self.concurrency(&concurrency_key, concurrency_limit, concurrency_rate),
            auto_disable: self.auto_disable(auto_disable),
            job_type: job_type?,
        };
        self.keys_of_fired_runs(&spec);
        Some((name?, spec))
    }

    /// Schedules make runs with the payload of their job: what its keys are made of must be there.
    fn keys_of_fired_runs(&mut self, spec: &JobSpec) {
        if spec.schedules.is_empty() || !self.is_clean() {
            return;
        }
        let about = About { labels: &spec.labels, payload: &spec.payload };
        let wants = |why: FillError| format!("{why}: its schedules make runs with the payload of the job");
        if let Err(why) = spec.fairness_key.fill(about) {
            self.refuse("fairness_key", wants(why));
        }
        if let Some(Err(why)) = spec.concurrency.as_ref().map(|concurrency| concurrency.fill(about)) {
            self.refuse("concurrency_key", wants(why));
        }
    }

    /// 0 to 9.
    pub(crate) fn priority(&mut self, field: &str, priority: i32) -> u8 {
        u8::try_from(self.within(field, priority, 0..=9)).unwrap_or(0)
    }

    fn on_completed(&mut self, on_completed: i32, after: Option<prost_types::Duration>) -> OnCompleted {
        let deletes = self.choice("on_completed", on_completed, |value| {
            Some(match value {
                wire::OnCompleted::Unspecified | wire::OnCompleted::Keep => false,
                wire::OnCompleted::Delete => true,
            })
        });
        let after = self.length("delete_after", after);
        if deletes == Some(false) && after.is_some() {
            self.refuse("delete_after", "is for DELETE; leave it out, or choose it");
        }
        match deletes {
            Some(true) => OnCompleted::Delete { after: after.unwrap_or_default() },
            Some(false) | None => OnCompleted::Keep,
        }
    }

    fn schedules(
        &mut self,
        schedules: Vec<wire::Schedule>,
        catch_up: CatchUp,
        context: Context<'_>,
    ) -> Vec<ScheduleSpec> {
        if schedules.len() > MAX_SCHEDULES {
            self.refuse("schedules", format!("must be at most {MAX_SCHEDULES}"));
            return Vec::new();
        }
        let Context { now, uid, stored, calendars, max_payload: _, namespace: _ } = context;
        let uid = uid.uuid();
        let reading = Reading { now, seed: uid.as_bytes(), catch_up, calendars, stored };
        let mut names: Vec<ScheduleName> = Vec::new();
        self.each("schedules", schedules, |check, schedule| {
            let spec = check.schedule(schedule, reading)?;
            if names.contains(&spec.name) {
                check.refuse("name", format!("`{}` is the name of another schedule of this job", spec.name));
            }
            names.push(spec.name.clone());
            Some(spec)
        })
    }
}

/// Replaces the fields of `job` that `mask` names by those of `new`; all that can be changed where it names none.
pub(crate) fn overlay(job: &mut wire::Job, new: wire::Job, mask: &[String]) {
    let named = |field: &str| mask.is_empty() || mask.iter().any(|path| path == field);
    let delivery = job.delivery;
    macro_rules! take {
        ($($field:ident),* $(,)?) => {$(
            if named(stringify!($field)) {
                job.$field = new.$field;
            }
        )*};
    }
    take!(
        display_name,
        description,
        owner,
        labels,
        job_type,
        queue,
        payload,
        schedules,
        overlap,
        overlap_max,
        overlap_ignores_manual,
        overlap_scope,
        required_labels,
        previous_success,
        catch_up,
        catch_up_max,
        catch_up_pace,
        max_lateness,
        on_completed,
        delete_after,
        retry_policy,
        timeouts,
        delivery,
        lease_loss_policy,
        priority,
        fairness_key,
        concurrency_key,
        concurrency_limit,
        concurrency_rate,
        auto_disable,
    );
    policy::follow_delivery(job, delivery, named);
}

/// A job for people; lists leave the payload out.
pub(crate) fn job(job: Job, with_payload: bool) -> wire::Job {
    let next_fire_time = job.next_fire_time();
    let etag = job.etag();
    let Job {
        uid,
        namespace,
        name,
        version,
        revision: _,
        spec,
        state,
        pause,
        next_times,
        run_counts,
        last_times: _,
        error,
        create_time,
        update_time,
        define_time: _,
    } = job;
    let JobSpec {
        display_name,
        description,
        owner,
        labels,
        job_type,
        queue,
        payload,
        schedules,
        overlap,
        overlap_scope,
        overlap_ignores_manual,
        required_labels,
        previous_success,
        catch_up,
        policy,
        priority,
        fairness_key,
        on_completed,
        concurrency,
        auto_disable,
    } = spec;
    let concurrency_rate = concurrency.as_ref().and_then(|concurrency| match concurrency.pace {
        Pace::Kept => None,
        Pace::Free => Some(wire::RateLimit::default()),
        Pace::At(rate) => Some(queue::rate_limit(rate)),
    });
    let concurrency_limit = concurrency.as_ref().and_then(|concurrency| concurrency.limit).map_or(0, NonZeroU32::get);
    let told = catch_up::catch_up(catch_up);
    let (on_completed, delete_after) = match on_completed {
        OnCompleted::Keep => (wire::OnCompleted::Keep, None),
        OnCompleted::Delete { after } => (wire::OnCompleted::Delete, Some(time::duration(after))),
    };
    let standing = next_times.into_iter().zip(run_counts).chain(std::iter::repeat((None, 0)));
    wire::Job {
        namespace: namespace.into(),
        job: name.into(),
        uid: uid.to_string(),
        version,
        etag,
        display_name,
        description,
        owner,
        labels,
        job_type: job_type.into(),
        queue: queue.into(),
        payload: with_payload.then(|| payload::to_caller(payload)).flatten(),
        schedules: schedules
            .into_iter()
            .zip(standing)
            .map(|(spec, (next, made))| schedule::schedule(spec, next, made))
            .collect(),
        overlap: overlap::overlap(overlap).into(),
        overlap_max: overlap::number(overlap),
        overlap_ignores_manual,
        overlap_scope: overlap::scope(overlap_scope).into(),
        required_labels,
        previous_success,
        catch_up: told.catch_up,
        catch_up_max: told.catch_up_max,
        catch_up_pace: told.catch_up_pace,
        max_lateness: told.max_lateness,
        retry_policy: Some(policy::retry(policy.retry)),
        timeouts: Some(policy::timeouts(policy.timeouts)),
        delivery: policy::delivery(policy.delivery),
        lease_loss_policy: policy::lease_loss(policy.lease_loss),
        priority: priority.into(),
        state: job_state(state),
        pause: pause.map(|Pause { note, actor, time, until }| wire::Pause {
            note,
            actor,
            pause_time: Some(time::timestamp(time)),
            until_time: until.map(time::timestamp),
        }),
        next_fire_time: next_fire_time.map(time::timestamp),
        create_time: Some(time::timestamp(create_time)),
        update_time: Some(time::timestamp(update_time)),
        fairness_key: fairness_key.into(),
        on_completed: on_completed.into(),
        delete_after,
        concurrency_key: concurrency.map(|concurrency| concurrency.key.into()).unwrap_or_default(),
        concurrency_limit: i32::try_from(concurrency_limit).unwrap_or(i32::MAX),
        concurrency_rate,
        auto_disable: Some(auto_disable::auto_disable(auto_disable)),
        error: error.map(|error| wire::JobError {
            reason: error.reason.code(),
            sentence: error.sentence(),
            schedule: error.schedule.map(String::from).unwrap_or_default(),
        }),
    }
}

/// The codes are those of the contract; a test holds them together.
pub(crate) fn job_state(state: JobState) -> i32 {
    state.code()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grpc::{convert::read, status::Refusal};

    fn context(stored: &[ScheduleSpec]) -> Context<'_> {
        let now = "2026-11-21T12:00:00Z".parse().unwrap();
        Context { now, uid: JobUid::new(now), stored, calendars: &[], max_payload: 1 << 20, namespace: "default" }
    }

    fn sent() -> wire::Job {
        let schedule = |name: &str| wire::Schedule {
            name: name.into(),
            rule: Some(wire::schedule::Rule::Cron("0 2 * * *".into())),
            ..wire::Schedule::default()
        };
        wire::Job {
            job: "nightly".into(),
            job_type: "report.build".into(),
            display_name: "Nightly".into(),
            labels: [("team".to_owned(), "ops".to_owned())].into(),
            payload: Some(mainspring_proto::common::v1::Payload {
                content_type: String::new(),
                data: Some(mainspring_proto::common::v1::payload::Data::Inline(b"x".to_vec())),
            }),
            schedules: vec![schedule(""), schedule("second")],
            overlap: wire::Overlap::Allow.into(),
            priority: 7,
            fairness_key: "tenant 1".into(),
            on_completed: wire::OnCompleted::Delete.into(),
            delete_after: Some(prost_types::Duration { seconds: 60, nanos: 0 }),
            concurrency_key: "host 1".into(),
            concurrency_limit: 3,
            concurrency_rate: Some(wire::RateLimit {
                count: 10,
                per: Some(prost_types::Duration { seconds: 60, nanos: 0 }),
                burst: 2,
            }),
            ..wire::Job::default()
        }
    }

    fn stored(spec: JobSpec, name: JobName) -> Job {
        let now = context(&[]).now;
        Job {
            uid: JobUid::new(now),
            namespace: "default".parse().unwrap(),
            name,
            version: 3,
            revision: 5,
            next_times: spec.schedules.iter().map(|spec| spec.next_after(now)).collect(),
            run_counts: vec![0; spec.schedules.len()],
            last_times: Vec::new(),
            error: None,
            spec,
            state: JobState::Active,
            pause: None,
            create_time: now,
            update_time: now,
            define_time: now,
        }
    }

    fn parsed(job: wire::Job) -> Result<(JobName, JobSpec), Refusal> {
        read(|check| check.job(job, context(&[])))
    }

    #[test]
    fn jobs_come_back() {
        let (name, spec) = parsed(sent()).unwrap();
        let shown = job(stored(spec.clone(), name.clone()), true);
        assert_eq!(shown.etag, "3-5");
        assert_eq!(shown.next_fire_time, shown.schedules[0].next_time);
        assert_eq!(parsed(shown).unwrap(), (name, spec));
    }

    #[test]
    fn everything_wrong_is_told_at_once() {
        let bad = wire::Job {
            job: "Not A Slug".into(),
            job_type: String::new(),
            display_name: "x".repeat(129),
            overlap: 9,
            priority: 10,
            fairness_key: "a\tb".into(),
            on_completed: wire::OnCompleted::Keep.into(),
            namespace: "other".into(),
            schedules: vec![sent().schedules.remove(0), sent().schedules.remove(0)],
            ..sent()
        };
        let status = tonic::Status::from(parsed(bad).unwrap_err());
        let details = tonic_types::StatusExt::get_error_details(&status);
        let mut fields: Vec<_> =
            details.bad_request().unwrap().field_violations.iter().map(|bad| bad.field.clone()).collect();
        fields.sort();
        assert_eq!(
            fields,
            [
                "delete_after",
                "display_name",
                "fairness_key",
                "job",
                "job_type",
                "namespace",
                "overlap",
                "priority",
                "schedules[1].name"
            ]
        );
    }

    #[test]
    fn an_update_changes_what_its_mask_names() {
        let (name, spec) = parsed(sent()).unwrap();
        let mut shown = job(stored(spec, name), true);
        let before = shown.clone();
        let new = wire::Job { owner: "ada".into(), priority: 1, ..wire::Job::default() };
        overlay(&mut shown, new.clone(), &["owner".into()]);
        assert_eq!(shown, wire::Job { owner: "ada".into(), ..before });
        overlay(&mut shown, new, &[]);
        assert_eq!((shown.priority, shown.schedules.len(), shown.job.as_str()), (1, 0, "nightly"));
    }

    #[test]
    fn a_change_of_delivery_takes_with_it_what_follows_from_it() {
        use mainspring_proto::common::v1::{Delivery, LeaseLossPolicy, RetryPolicy};
        let (name, spec) = parsed(wire::Job { retry_policy: None, ..sent() }).unwrap();
        let mut shown = job(stored(spec, name.clone()), true);
        let to = |shown: &mut wire::Job, delivery: Delivery| {
            overlay(shown, wire::Job { delivery: delivery.into(), ..wire::Job::default() }, &["delivery".into()]);
            parsed(shown.clone())
        };
        let (_, once) = to(&mut shown, Delivery::AtMostOnce).unwrap();
        assert_eq!((once.policy.at_most_once(), once.policy.retry.max_attempts), (true, 1));
        let mut shown = job(stored(once, name.clone()), true);
        assert_eq!(shown.lease_loss_policy(), LeaseLossPolicy::Stop);
        let (_, again) = to(&mut shown, Delivery::AtLeastOnce).unwrap();
        let mut shown = job(stored(again, name), true);
        let attempts = shown.retry_policy.as_ref().unwrap().max_attempts;
        assert_eq!((shown.lease_loss_policy(), attempts), (LeaseLossPolicy::Continue, Some(3)));
        // What somebody chose is not taken back in silence.
        shown.retry_policy = Some(RetryPolicy { max_attempts: Some(7), ..RetryPolicy::default() });
        let refusal = to(&mut shown, Delivery::AtMostOnce).unwrap_err();
        assert_eq!(refusal.first_field(), Some("retry_policy.max_attempts"));
    }

    #[test]
    fn the_mask_names_every_field_that_is_not_output() {
        let pool = prost_reflect_fields("mainspring.scheduler.v1.Job");
        let fixed = [
            "namespace",
            "job",
            "uid",
            "version",
            "etag",
            "state",
            "pause",
            "next_fire_time",
            "create_time",
            "update_time",
            "error",
        ];
        let mutable: Vec<_> = pool.iter().filter(|field| !fixed.contains(&field.as_str())).collect();
        assert_eq!(mutable, MUTABLE.iter().collect::<Vec<_>>());
    }

    /// The field names of a message, from the descriptor set.
    fn prost_reflect_fields(message: &str) -> Vec<String> {
        use prost::Message as _;
        let set = prost_types::FileDescriptorSet::decode(mainspring_proto::DESCRIPTOR_SET).unwrap();
        let (package, name) = message.rsplit_once('.').unwrap();
        set.file
            .iter()
            .filter(|file| file.package() == package)
            .flat_map(|file| &file.message_type)
            .find(|found| found.name() == name)
            .unwrap()
            .field
            .iter()
            .map(|field| field.name().to_owned())
            .collect()
    }

    #[test]
    fn states_have_the_codes_of_the_contract() {
        for state in JobState::ALL {
            let name = wire::JobState::try_from(job_state(state)).unwrap().as_str_name();
            assert_eq!(name, format!("JOB_STATE_{}", state.name()));
        }
    }
}
