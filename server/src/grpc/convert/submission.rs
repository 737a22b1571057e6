//! Requests that make runs.

use std::{collections::BTreeMap, num::NonZeroU32, str::FromStr, time::Duration};

use mainspring_engine::{
    domain::{
        ids::RunId,
        instant::Instant,
        job::Job,
        keyed::{About, KeyTemplate},
        limit::{Concurrency, Pace},
        names::{ConcurrencyKey, FairnessKey, KeyError, Lane, Scope},
        policy::RunPolicy,
        run::RunOrigin,
        selector::Selector,
        unique::{Conflict, Unique},
    },
    ports::store::{JobRef, NewRun, RequestKey, RunView},
};
use mainspring_proto::scheduler::v1 as wire;
use prost::Message;
use sha2::{Digest as _, Sha256};

use super::{Check, MAX_NOTE, policy::Policies};

/// The call under which the request ids of single and of batched submissions meet.
pub(crate) const SUBMIT: &str = "SubmitRun";
/// The call under which the request ids of triggers meet.
pub(crate) const TRIGGER: &str = "TriggerJob";
/// The call under which the request ids of retries meet.
pub(crate) const RETRY: &str = "RetryRun";
/// The call under which the request ids of replays meet.
pub(crate) const REPLAY: &str = "ReplayRun";
/// The call under which the request ids of many retries meet, each with the run that is retried.
pub(crate) const RETRY_MANY: &str = "RetryRuns";
/// The call under which the request ids of backfills meet.
pub(crate) const BACKFILL: &str = "BackfillJob";
/// The call under which the request ids of job creations meet.
pub(crate) const CREATE_JOB: &str = "CreateJob";
/// The call under which the request ids of sinks meet.
pub(crate) const CREATE_SINK: &str = "CreateSink";
/// The call under which the request ids of API keys meet.
pub(crate) const CREATE_KEY: &str = "CreateApiKey";

/// What every run that is made now has in common.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    /// Where.
    pub(crate) scope: Scope,
    /// Now.
    pub(crate) now: Instant,
    /// The largest payload.
    pub(crate) max_payload: usize,
    /// Trace context and the like, for the worker.
    pub(crate) headers: BTreeMap<String, String>,
}

/// SHA-256 of a request as it is encoded, its request id cleared by the caller. Maps are sorted, so that the order a
/// client wrote them in does not count.
pub(crate) fn body_hash(request: &impl Message) -> [u8; 32] {
    Sha256::digest(request.encode_to_vec()).into()
}

/// Takes the request id out of a request and pairs it with the hash of the rest; none where it is empty.
pub(crate) fn request_key<M: Message>(
    call: &'static str,
    request: &mut M,
    id: impl FnOnce(&mut M) -> &mut String,
) -> Option<RequestKey> {
    let id = std::mem::take(id(request));
    (!id.is_empty()).then(|| RequestKey { call, id, body: body_hash(request) })
}

impl Check {
    /// A run without a job, whose request id was taken out.
    pub(crate) fn submission(
        &mut self,
        run: wire::RunSubmission,
        request: Option<RequestKey>,
        context: &Context,
    ) -> Option<NewRun> {
        self.request_id(request.as_ref());
        let wire::RunSubmission {
            job_type,
            queue,
            payload,
            labels,
            priority,
            due_time,
            retry_policy,
            timeouts,
            delivery,
            lease_loss_policy,
            request_id: _,
            note,
            fairness_key,
            unique,
            concurrency_key,
            concurrency_limit,
            required_labels,
            concurrency_rate,
        } = run;
        let job_type = self.required("job_type", &job_type);
        let queue = self.or_default("queue", &queue);
        let labels = self.labels("labels", labels);
        let payload = self.payload("payload", payload, context.max_payload).unwrap_or_default();
        let about = About { labels: &labels, payload: &payload };
        let fairness = self.or_default("fairness_key", &fairness_key);
        let fairness_key = self.filled("fairness_key", &fairness, about).unwrap_or_default();
        let concurrency = self.concurrency(&concurrency_key, concurrency_limit, concurrency_rate);
        let concurrency = concurrency.and_then(|concurrency| self.concurrency_of(concurrency, about));
        let unique = self.unique(unique, about);
        let new = Parts {
            due: self.instant("due_time", due_time),
            priority: self.priority("priority", priority),
            fairness_key,
            concurrency,
            unique,
            labels,
            payload,
            policy: self.policy(Policies { retry_policy, timeouts, delivery, lease_loss_policy }),
            note: self.text("note", note, MAX_NOTE),
            request,
        };
        let selector = Selector::of(&self.labels("required_labels", required_labels));
        let lane = Lane { namespace: context.scope.0.clone(), queue, job_type: job_type?, selector };
        Some(new.run(lane, RunOrigin::Submit, context))
    }

    /// A run of a job, now or later; the request id was taken out.
    pub(crate) fn trigger(
        &mut self,
        request: wire::TriggerJobRequest,
        key: Option<RequestKey>,
        job: &Job,
        context: &Context,
    ) -> NewRun {
        self.request_id(key.as_ref());
        let wire::TriggerJobRequest {
            namespace: _,
            job: _,
            payload,
            note,
            due_time,
            force,
            request_id: _,
            priority,
            retry_policy,
            timeouts,
            while_paused: _,
            fairness_key,
            unique,
            concurrency_key,
            concurrency_limit,
            required_labels,
            concurrency_rate,
        } = request;
        let payload = match payload {
            None => job.spec.payload.clone(),
            replaced => self.payload("payload", replaced, context.max_payload).unwrap_or_default(),
        };
        let about = About { labels: &job.spec.labels, payload: &payload };
        let fairness = match fairness_key {
            Some(key) => self.or_default("fairness_key", &key),
            None => job.spec.fairness_key.clone(),
        };
        let concurrency = match concurrency_key {
            Some(key) => self.concurrency(&key, concurrency_limit, concurrency_rate),
            None => {
                // What is said of no key is refused, whatever the job's is.
                self.concurrency("", concurrency_limit, concurrency_rate);
                job.spec.concurrency.clone()
            }
        };
        let fairness_key = self.filled("fairness_key", &fairness, about).unwrap_or_default();
        let concurrency = concurrency.and_then(|concurrency| self.concurrency_of(concurrency, about));
        let unique = self.unique(unique, about);
        let new = Parts {
            due: self.instant("due_time", due_time),
            priority: priority.map_or(job.spec.priority, |priority| self.priority("priority", priority)),
            fairness_key,
            concurrency,
            unique,
            labels: job.spec.labels.clone(),
            payload,
            policy: self.policy_over(job.spec.policy.clone(), retry_policy, timeouts),
            note: self.text("note", note, MAX_NOTE),
            request: key,
        };
        let mut lane = job.spec.lane(&context.scope.0);
        if !required_labels.is_empty() {
            lane.selector = Selector::of(&self.labels("required_labels", required_labels));
        }
        NewRun {
            job: Some(job_ref(job)),
            overlap: Some(job.spec.overlap).filter(|_| !force && !job.spec.overlap_ignores_manual),
            by_key: job.spec.overlaps_by_key(),
            apart: job.spec.overlap_ignores_manual,
            ..new.run(lane, RunOrigin::Trigger, context)
        }
    }
}

/// A limit of a concurrency key is at most so much.
const MOST_AT_ONCE: i32 = 1_000_000;
/// A run holds a unique key for at most so long after it is over.
const LONGEST_WINDOW: Duration = Duration::from_secs(366 * 86_400);

impl Check {
    /// The concurrency key of a job or a run, or its template, and what is said of it.
    pub(crate) fn concurrency(
        &mut self,
        key: &str,
        limit: i32,
        rate: Option<wire::RateLimit>,
    ) -> Option<Concurrency<KeyTemplate<ConcurrencyKey>>> {
        let limit = u32::try_from(self.within("concurrency_limit", limit, 0..=MOST_AT_ONCE)).unwrap_or(0);
        if key.is_empty() && limit > 0 {
            self.refuse("concurrency_limit", "needs a `concurrency_key`");
        }
        if key.is_empty() && rate.is_some() {
            self.refuse("concurrency_rate", "needs a `concurrency_key`");
        }
        let pace = self.pace(rate);
        let key = self.optional("concurrency_key", key)?;
        Some(Concurrency { key, limit: NonZeroU32::new(limit), pace })
    }

    /// What is said of the rate of a key.
    fn pace(&mut self, rate: Option<wire::RateLimit>) -> Pace {
        let Some(rate) = rate else { return Pace::Kept };
        if rate == wire::RateLimit::default() {
            return Pace::Free;
        }
        self.under("concurrency_rate", |check| check.rate(rate)).map_or(Pace::Kept, Pace::At)
    }

    /// The key that a template makes for a run.
    pub(crate) fn filled<K: FromStr<Err = KeyError> + Clone>(
        &mut self,
        field: &str,
        template: &KeyTemplate<K>,
        about: About<'_>,
    ) -> Option<K> {
        match template.fill(about) {
            Ok(key) => Some(key),
            Err(why) => {
                self.refuse(field, why.to_string());
                None
            }
        }
    }

    fn concurrency_of(
        &mut self,
        concurrency: Concurrency<KeyTemplate<ConcurrencyKey>>,
        about: About<'_>,
    ) -> Option<Concurrency> {
        let Concurrency { key, limit, pace } = concurrency;
        Some(Concurrency { key: self.filled("concurrency_key", &key, about)?, limit, pace })
    }

    fn unique(&mut self, unique: Option<wire::UniqueKey>, about: About<'_>) -> Option<Unique> {
        let wire::UniqueKey { key, window, on_conflict } = unique?;
        self.under("unique", |check| {
            let key = check.required("key", &key).and_then(|key| check.filled("key", &key, about));
            let window = check.length("window", window).unwrap_or_default();
            if window > LONGEST_WINDOW {
                check.refuse("window", "must be at most 366 days");
            }
            let on_conflict = check.choice("on_conflict", on_conflict, |value| {
                Some(match value {
                    wire::UniqueConflict::Unspecified | wire::UniqueConflict::Reject => Conflict::Reject,
                    wire::UniqueConflict::ReturnExisting => Conflict::ReturnExisting,
                    wire::UniqueConflict::ReplacePending => Conflict::ReplacePending,
                })
            });
            Some(Unique { key: key?, window, on_conflict: on_conflict? })
        })
    }
}

/// The job, as a run names it.
fn job_ref(job: &Job) -> JobRef {
    JobRef { uid: job.uid, name: job.name.clone(), version: job.version }
}

/// A run like one that is over. Its view must have come with everything.
pub(crate) fn again(
    old: RunView,
    job: Option<JobRef>,
    note: String,
    request: Option<RequestKey>,
    context: &Context,
) -> Option<NewRun> {
    let detail = old.detail?;
    let new = Parts {
        due: None,
        priority: old.priority,
        fairness_key: old.fairness_key,
        concurrency: old.concurrency_key.map(|key| Concurrency { key, limit: None, pace: Pace::Kept }),
        // It stands in for the old one, and holds the key as that one would.
        unique: old.unique_key.map(|key| Unique { key, window: Duration::ZERO, on_conflict: Conflict::Reject }),
        labels: old.labels,
        payload: detail.payload,
        policy: detail.policy,
        note,
        request,
    };
    let lane = Lane { namespace: old.namespace, queue: old.queue, job_type: old.job_type, selector: old.selector };
    Some(NewRun { job, parent: Some(old.run), ..new.run(lane, RunOrigin::Retry, context) })
}

/// What differs between runs, whoever asks for them.
struct Parts {
    due: Option<Instant>,
    priority: u8,
    fairness_key: FairnessKey,
    concurrency: Option<Concurrency>,
    unique: Option<Unique>,
    labels: BTreeMap<String, String>,
    payload: mainspring_engine::domain::payload::Payload,
    policy: RunPolicy,
    note: String,
    request: Option<RequestKey>,
}

impl Parts {
    fn run(self, lane: Lane, origin: RunOrigin, context: &Context) -> NewRun {
        let Self { due, priority, fairness_key, concurrency, unique, labels, payload, policy, note, request } = self;
        NewRun {
            id: RunId::new(context.now),
            lane,
            job: None,
            origin,
            // The past means now.
            due: due.map_or(context.now, |due| due.max(context.now)),
            priority,
            fairness_key,
            labels,
            payload,
            policy,
            request,
            note,
            parent: None,
            headers: context.headers.clone(),
            overlap: None,
            by_key: false,
            apart: false,
            concurrency,
            unique,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grpc::{convert::read, status::Refusal};

    fn context() -> Context {
        Context {
            scope: Scope::default(),
            now: Instant::from_micros(1_000_000),
            max_payload: 16,
            headers: [("traceparent".to_owned(), "00-1".to_owned())].into(),
        }
    }

    fn sent() -> wire::RunSubmission {
        wire::RunSubmission { job_type: "a".into(), request_id: "r1".into(), ..wire::RunSubmission::default() }
    }

    fn parsed(mut run: wire::RunSubmission) -> Result<NewRun, Refusal> {
        let key = request_key(SUBMIT, &mut run, |run| &mut run.request_id);
        read(|check| check.submission(run, key, &context()))
    }

    #[test]
    fn a_submission_is_due_now_unless_it_says_later() {
        let run = parsed(sent()).unwrap();
        assert_eq!((run.due, run.origin, run.lane.queue.as_str()), (context().now, RunOrigin::Submit, "default"));
        assert_eq!(run.headers["traceparent"], "00-1");
        let past = Some(prost_types::Timestamp { seconds: 0, nanos: 0 });
        let run = parsed(wire::RunSubmission { due_time: past, ..sent() }).unwrap();
        assert_eq!(run.due, context().now);
        let later = Some(prost_types::Timestamp { seconds: 9, nanos: 0 });
        let run = parsed(wire::RunSubmission { due_time: later, ..sent() }).unwrap();
        assert_eq!(run.due, Instant::from_micros(9_000_000));
    }

    #[test]
    fn the_body_behind_a_request_id_is_all_but_the_id() {
        let key = |run| parsed(run).unwrap().request.unwrap();
        let first = key(sent());
        assert_eq!((first.id.as_str(), first.call), ("r1", SUBMIT));
        assert_eq!(first.body, key(wire::RunSubmission { request_id: "r2".into(), ..sent() }).body);
        assert_ne!(first.body, key(wire::RunSubmission { priority: 1, ..sent() }).body);
        let labels = |pairs: [(&str, &str); 2]| pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        let one = key(wire::RunSubmission { labels: labels([("a", "1"), ("b", "2")]), ..sent() });
        let other = key(wire::RunSubmission { labels: labels([("b", "2"), ("a", "1")]), ..sent() });
        assert_eq!(one, other);
        let none = wire::RunSubmission { request_id: String::new(), ..sent() };
        assert!(parsed(none).unwrap().request.is_none());
    }

    #[test]
    fn limits_hold() {
        let bad = wire::RunSubmission {
            note: "x".repeat(1_025),
            priority: -1,
            request_id: "r".repeat(129),
            queue: "No".into(),
            fairness_key: "ä".repeat(65),
            ..sent()
        };
        let refusal = parsed(bad).unwrap_err();
        assert!(refusal.message().contains("and 4 more"), "{}", refusal.message());
    }
}
