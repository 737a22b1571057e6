//! Notices: what a sink is told, as one documented JSON object.
//!
//! A notice is made in the step that it is about, with an id that stays the same in every attempt to send it. Its body is
//! written once ([`Notice::body`]) and stored, so that every attempt sends the same bytes.

use serde::Serialize;

use super::{
    dead::Death,
    ids::{NoticeId, RunId},
    instant::Instant,
    ledger::{FateReason, Range, sentence},
    names::{JobName, NamespaceName, QueueName, ScheduleName},
};

/// What a notice is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A run ended FAILED or TIMED_OUT, and is not tried again.
    RunFailed,
    /// It is a dead letter: the same end, as one of those that went wrong alike.
    RunDeadLettered,
    /// A job was paused by itself, since its runs failed.
    JobAutoDisabled,
    /// Instants of a schedule were missed for good.
    ScheduleMissed,
    /// A schedule could not be evaluated, and fires no more.
    ScheduleError,
    /// Somebody tries a sink.
    Test,
}

impl Kind {
    /// All that happen by themselves, in the order of their codes.
    pub const ALL: [Self; 5] =
        [Self::RunFailed, Self::RunDeadLettered, Self::JobAutoDisabled, Self::ScheduleMissed, Self::ScheduleError];

    /// The number that stands for it in columns and on the wire.
    pub const fn code(self) -> i32 {
        match self {
            Self::RunFailed => 1,
            Self::RunDeadLettered => 2,
            Self::JobAutoDisabled => 3,
            Self::ScheduleMissed => 4,
            Self::ScheduleError => 5,
            Self::Test => 6,
        }
    }

    /// The kind behind a code.
    pub fn from_code(code: i32) -> Option<Self> {
        Self::ALL.into_iter().chain([Self::Test]).find(|kind| kind.code() == code)
    }

    /// `type` of the body.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RunFailed => "run.failed",
            Self::RunDeadLettered => "run.dead_lettered",
            Self::JobAutoDisabled => "job.auto_disabled",
            Self::ScheduleMissed => "schedule.missed",
            Self::ScheduleError => "schedule.error",
            Self::Test => "sink.test",
        }
    }
}

/// Something to be told.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    /// The same in every attempt.
    pub id: NoticeId,
    /// When it happened.
    pub time: Instant,
    /// Where.
    pub namespace: NamespaceName,
    /// Of which job.
    pub job: Option<JobName>,
    /// What.
    pub about: About,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum About {
    /// A run ended so.
    Run {
        /// What of it is told.
        kind: RunKind,
        /// Which.
        run: RunId,
        /// Its type.
        job_type: String,
        /// Its queue.
        queue: QueueName,
        /// Its last attempt.
        attempt: i64,
        /// Why, as `Run.reason` says it.
        reason: String,
        /// What went wrong.
        death: Death,
    },
    /// A job was paused by itself.
    AutoDisabled {
        /// How many runs failed in a row.
        failures: u64,
        /// The note of its pause.
        note: String,
    },
    /// Instants of a schedule, with their fate: missed, or not to be evaluated.
    Schedule {
        /// Which.
        schedule: ScheduleName,
        /// The instants.
        range: Range,
    },
    /// A job's schedules came into a state in which they never fire.
    NeverFires,
    /// Somebody tries a sink.
    Test,
}

/// What is told of a run's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunKind {
    /// That it failed.
    Failed,
    /// That it is a dead letter, one of so many that went wrong alike and are open.
    DeadLettered(u64),
}

/// The JSON object. What is empty or does not apply is not in it.
#[derive(Debug, Default, Serialize)]
struct Body<'a> {
    id: String,
    r#type: &'static str,
    time: String,
    namespace: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    job: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    schedule: &'a str,
    #[serde(skip_serializing_if = "String::is_empty")]
    run: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    job_type: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    queue: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<i64>,
    #[serde(skip_serializing_if = "str::is_empty")]
    reason: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    message: &'a str,
    #[serde(skip_serializing_if = "String::is_empty")]
    fingerprint: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_time: Option<String>,
}

impl Notice {
    /// What it is about.
    pub fn kind(&self) -> Kind {
        match &self.about {
            About::Run { kind: RunKind::Failed, .. } => Kind::RunFailed,
            About::Run { kind: RunKind::DeadLettered(_), .. } => Kind::RunDeadLettered,
            About::AutoDisabled { .. } => Kind::JobAutoDisabled,
            // A range that is told is one of these two.
            About::Schedule { range, .. } if range.is_lost() => Kind::ScheduleMissed,
            About::Schedule { .. } | About::NeverFires => Kind::ScheduleError,
            About::Test => Kind::Test,
        }
    }

    /// The bytes that are sent.
    pub fn body(&self) -> String {
        let Self { id, time, namespace, job, about } = self;
        let mut body = Body {
            id: id.to_string(),
            r#type: self.kind().name(),
            time: time.to_string(),
            namespace: namespace.as_str(),
            job: job.as_ref().map_or("", JobName::as_str),
            ..Body::default()
        };
        match about {
            About::Run { kind, run, job_type, queue, attempt, reason, death } => {
                let Death { fingerprint, message } = death;
                (body.run, body.job_type, body.queue) = (run.to_string(), job_type, queue.as_str());
                (body.attempt, body.reason, body.message) = (Some(*attempt), reason, message);
                body.fingerprint = fingerprint.to_string();
                body.count = match kind {
                    RunKind::Failed => None,
                    RunKind::DeadLettered(open) => Some(*open),
                };
            }
            About::AutoDisabled { failures, note } => {
                (body.reason, body.message, body.count) = ("RUNS_FAILED", note, Some(*failures));
            }
            About::Schedule { schedule, range } => {
                let Range { version: _, first, last, count, fate, reason } = range;
                (body.schedule, body.count) = (schedule.as_str(), Some(*count));
                (body.reason, body.message) = (reason.map_or("", FateReason::name), sentence(*fate, *reason));
                (body.first_time, body.last_time) = (Some(first.to_string()), Some(last.to_string()));
            }
            About::NeverFires => {
                body.reason = "NEVER_FIRES";
                body.message = "What its calendars leave of a schedule never fires.";
            }
            About::Test => body.message = "Somebody tries whether this sink is heard.",
        }
        // Texts and numbers are always JSON.
        serde_json::to_string(&body).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::domain::ledger::Fate;

    fn notice(about: About) -> Notice {
        let time = "2026-11-30T12:00:00Z".parse().unwrap();
        let id = NoticeId::from_uuid(uuid::Uuid::from_u128(7));
        Notice { id, time, namespace: NamespaceName::default(), job: Some("nightly".parse().unwrap()), about }
    }

    fn body(notice: &Notice) -> Value {
        serde_json::from_str(&notice.body()).unwrap()
    }

    #[test]
    fn a_body_holds_what_applies_and_nothing_else() {
        let death = Death { fingerprint: "00000000000000ff".parse().unwrap(), message: "no such mailbox".into() };
        let run = |kind| About::Run {
            kind,
            run: RunId::from_uuid(uuid::Uuid::from_u128(9)),
            job_type: "email.send".into(),
            queue: QueueName::default(),
            attempt: 3,
            reason: "HANDLER_FAILED".into(),
            death: death.clone(),
        };
        let failed = json!({
            "id": "00000000-0000-0000-0000-000000000007", "type": "run.failed", "time": "2026-11-30T12:00:00Z",
            "namespace": "default", "job": "nightly", "run": "00000000-0000-0000-0000-000000000009",
            "job_type": "email.send", "queue": "default", "attempt": 3, "reason": "HANDLER_FAILED",
            "message": "no such mailbox", "fingerprint": "00000000000000ff",
        });
        assert_eq!(body(&notice(run(RunKind::Failed))), failed);
        let dead = body(&notice(run(RunKind::DeadLettered(4))));
        assert_eq!((&dead["type"], &dead["count"]), (&json!("run.dead_lettered"), &json!(4)));
        let at = |second: i64| Instant::from_micros(second * 1_000_000);
        let range = Range { count: 3, last: at(3), ..Range::one(1, at(1), Fate::Missed, Some(FateReason::NoServer)) };
        let missed = body(&notice(About::Schedule { schedule: ScheduleName::default(), range }));
        let told = json!({
            "id": "00000000-0000-0000-0000-000000000007", "type": "schedule.missed", "time": "2026-11-30T12:00:00Z",
            "namespace": "default", "job": "nightly", "schedule": "default", "reason": "NO_SERVER",
            "message": "It passed while no server was there to fire it.", "count": 3,
            "first_time": "1970-01-01T00:00:01Z", "last_time": "1970-01-01T00:00:03Z",
        });
        assert_eq!(missed, told);
    }

    #[test]
    fn every_kind_has_a_code_and_a_name_of_its_own() {
        let names: std::collections::BTreeSet<_> = Kind::ALL.into_iter().map(Kind::name).collect();
        assert_eq!(names.len(), Kind::ALL.len());
        for kind in Kind::ALL.into_iter().chain([Kind::Test]) {
            assert_eq!(Kind::from_code(kind.code()), Some(kind));
        }
        assert_eq!(Kind::from_code(0), None);
    }
}
