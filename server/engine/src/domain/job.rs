//! Jobs: named definitions, as the engine decides on them.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    auto_disable::AutoDisable,
    catch_up::CatchUp,
    ids::JobUid,
    instant::Instant,
    keyed::{About, FillError, KeyTemplate, Keys},
    ledger::{Fate, FateReason, fragment, sentence},
    limit::Concurrency,
    names::{ConcurrencyKey, FairnessKey, JobName, JobType, Lane, NamespaceName, QueueName, ScheduleName},
    overlap::{Overlap, OverlapScope},
    payload::Payload,
    policy::{RetryUntil, RunPolicy},
    schedule::ScheduleSpec,
    selector::Selector,
};

/// What a user defines: immutable once stored, versioned, kept as JSON text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobSpec {
    /// Name for people.
    pub display_name: String,
    /// What it is for.
    pub description: String,
    /// Who answers for it.
    pub owner: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// The type that names the handler.
    pub job_type: JobType,
    /// The queue its runs wait in.
    pub queue: QueueName,
    /// Input of every run; kept beside the text, since it is bytes.
    #[serde(skip)]
    pub payload: Payload,
    /// Its time rules.
    pub schedules: Vec<ScheduleSpec>,
    /// What happens when it is due while a run of it is not over.
    pub overlap: Overlap,
    /// Whose runs those are.
    #[serde(default)]
    pub overlap_scope: OverlapScope,
    /// Runs that people made hold no slot, and take no notice of it.
    #[serde(default)]
    pub overlap_ignores_manual: bool,
    /// What happens to instants that nobody could fire.
    #[serde(default)]
    pub catch_up: CatchUp,
    /// What its runs are promised.
    pub policy: RunPolicy,
    /// 0 to 9, higher first.
    pub priority: u8,
    /// Runs of one priority take turns by this key.
    #[serde(default)]
    pub fairness_key: KeyTemplate<FairnessKey>,
    /// Its handlers are told the last instant that succeeded.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub previous_success: bool,
    /// Labels that a worker must have to be given a run of it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub required_labels: BTreeMap<String, String>,
    /// What becomes of it once its schedules have no instant left.
    #[serde(default)]
    pub on_completed: OnCompleted,
    /// At most so many runs of this key are at workers at once.
    #[serde(default)]
    pub concurrency: Option<Concurrency<KeyTemplate<ConcurrencyKey>>>,
    /// When it is paused by itself.
    #[serde(default)]
    pub auto_disable: AutoDisable,
}

impl JobSpec {
    /// The lane of its runs.
    pub fn lane(&self, namespace: &NamespaceName) -> Lane {
        Lane {
            namespace: namespace.clone(),
            queue: self.queue.clone(),
            job_type: self.job_type.clone(),
            selector: Selector::of(&self.required_labels),
        }
    }

    /// The keys of a run of it that has this input.
    pub fn keys(&self, payload: &Payload) -> Result<Keys, FillError> {
        let about = About { labels: &self.labels, payload };
        Ok(Keys {
            fairness: self.fairness_key.fill(about)?,
            concurrency: self.concurrency.as_ref().map(|concurrency| concurrency.fill(about)).transpose()?,
        })
    }

    /// Whether its runs meet those of their concurrency key, and not only each other.
    pub fn overlaps_by_key(&self) -> bool {
        match self.overlap_scope {
            OverlapScope::Job => false,
            OverlapScope::Key => self.concurrency.is_some(),
        }
    }

    /// Up to when a run that one of its schedules makes at `now` is tried again; none where nothing bounds that, or nobody knows.
    pub fn retry_until(&self, schedule: &ScheduleSpec, now: Instant) -> Option<Instant> {
        match self.policy.retry.until {
            RetryUntil::Budget => None,
            RetryUntil::NextOccurrence => schedule.next_fire(now).filter(|_| schedule.delay().is_none()),
        }
    }
}

/// What becomes of a job whose schedules have no instant left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnCompleted {
    /// It stays.
    #[default]
    Keep,
    /// It is deleted, so long after, and not before its runs are over.
    Delete {
        /// How long.
        after: Duration,
    },
}

impl OnCompleted {
    /// When a job is deleted that is COMPLETED since `now`.
    pub fn delete_time(self, now: Instant) -> Option<Instant> {
        match self {
            Self::Keep => None,
            Self::Delete { after } => Some(now.plus(after)),
        }
    }
}

/// Whether a job fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JobState {
    /// Fires when due.
    Active,
    /// Fires nothing until resumed.
    Paused,
    /// One of its schedules cannot be evaluated.
    Error,
    /// Its schedules have no instant left.
    Completed,
    /// Fires nothing until resumed, since its runs failed.
    AutoDisabled,
}

impl JobState {
    /// All of them, in the order of their codes.
    pub const ALL: [Self; 5] = [Self::Active, Self::Paused, Self::Error, Self::Completed, Self::AutoDisabled];

    /// The number that stands for it in columns and on the wire.
    pub const fn code(self) -> i32 {
        match self {
            Self::Active => 1,
            Self::Paused => 2,
            Self::Error => 3,
            Self::Completed => 4,
            Self::AutoDisabled => 5,
        }
    }

    /// The state behind a code.
    pub fn from_code(code: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.code() == code)
    }

    /// The name in filters.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Paused => "PAUSED",
            Self::Error => "ERROR",
            Self::Completed => "COMPLETED",
            Self::AutoDisabled => "AUTO_DISABLED",
        }
    }
}

/// Who paused a job, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pause {
    /// Why.
    pub note: String,
    /// Who.
    pub actor: String,
    /// Since when.
    pub time: Instant,
    /// It ends by itself at this time.
    pub until: Option<Instant>,
}

/// Why one of a job's schedules fires nothing any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobError {
    /// Which; none where the definition as a whole cannot be read.
    pub schedule: Option<ScheduleName>,
    /// Why.
    pub reason: FateReason,
}

impl JobError {
    /// All of it, as one sentence.
    pub fn sentence(&self) -> String {
        match &self.schedule {
            Some(schedule) => {
                let why = fragment(sentence(Fate::Error, Some(self.reason)));
                format!("Schedule `{schedule}` fires nothing: {why}.")
            }
            None => "Its definition cannot be read, and it fires nothing until it is defined anew.".into(),
        }
    }
}

/// A job as stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// Its identity through all versions.
    pub uid: JobUid,
    /// Whose.
    pub namespace: NamespaceName,
    /// Its name.
    pub name: JobName,
    /// Grows by one with every change of the definition.
    pub version: i64,
    /// Grows by one with every change of anything people see: the etag.
    pub revision: i64,
    /// The definition.
    pub spec: JobSpec,
    /// Whether it fires.
    pub state: JobState,
    /// Set while paused.
    pub pause: Option<Pause>,
    /// The next instant of each of its schedules, in the order of `spec.schedules`.
    pub next_times: Vec<Option<Instant>>,
    /// How many runs each of them has made, in the same order.
    pub run_counts: Vec<u64>,
    /// The instant that each of them fired last, where nothing else has become of one since, in the same order.
    pub last_times: Vec<Option<Instant>>,
    /// Set in ERROR, also where a pause hides that.
    pub error: Option<JobError>,
    /// When it was created.
    pub create_time: Instant,
    /// When anything of it last changed.
    pub update_time: Instant,
    /// Since when the definition is in force.
    pub define_time: Instant,
}

impl Job {
    /// The next instant at which it fires; none while it does not.
    pub fn next_fire_time(&self) -> Option<Instant> {
        match self.state {
            JobState::Active | JobState::Error => self.next_times.iter().flatten().min().copied(),
            JobState::Paused | JobState::AutoDisabled | JobState::Completed => None,
        }
    }

    /// How many runs a schedule of it has made.
    pub fn made(&self, schedule: &ScheduleName) -> u64 {
        let mut standing = self.spec.schedules.iter().zip(&self.run_counts);
        standing.find(|(spec, _)| spec.name == *schedule).map_or(0, |(_, made)| *made)
    }

    /// The schedules of which its calendars leave nothing from now on, where that is why it is in ERROR.
    pub fn starved(&self, now: Instant) -> impl Iterator<Item = &ScheduleName> {
        let is_broken = self.state == JobState::Error;
        let schedules = self.spec.schedules.iter().filter(move |_| is_broken);
        let starved =
            schedules.filter(move |schedule| !schedule.is_done(self.made(&schedule.name)) && schedule.is_starved(now));
        starved.map(|schedule| &schedule.name)
    }

    /// The etag people see and send back.
    pub fn etag(&self) -> String {
        format!("{}-{}", self.version, self.revision)
    }
}
