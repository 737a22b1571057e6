//! What can be read of a definition that cannot be read as a whole, after a page went bad or by a program that knows it not.
//!
//! Such a job fires nothing ([`super::due`] has it fail), and must be seen, changed and deleted like any other: so whoever shows
//! or changes it is given what there is of it, as a job in ERROR. What could not be read is not in it, and is gone for good once
//! the job is changed; the version itself stays as it was stored.

use std::str::FromStr as _;

use mainspring_cron::Zones;
use mainspring_engine::{
    domain::{
        auto_disable::AutoDisable,
        catch_up::CatchUp,
        ids::JobUid,
        job::{JobSpec, OnCompleted},
        names::{JobType, QueueName},
        overlap::{Overlap, OverlapScope},
        payload::Payload,
        policy::RunPolicy,
        schedule::ScheduleSpec,
    },
    ports::store::{StoreError, StoreResult},
};
use serde::Deserialize as _;
use serde_json::{Map, Value};

use super::rows::json;

/// The type of a job of which not even that can be read. No worker handles it.
const UNREADABLE: &str = "unreadable";

/// As much of a definition as there is.
pub(super) fn salvaged(job: JobUid, text: &str, zones: &Zones, why: &str) -> StoreResult<JobSpec> {
    tracing::error!(%job, why, "a definition cannot be read; the job is shown with what there is of it");
    let bare = bare()?;
    let Ok(Value::Object(fields)) = serde_json::from_str(text) else { return Ok(bare) };
    let Ok(Value::Object(mut kept)) = serde_json::from_str(&json(&bare)?) else { return Ok(bare) };
    for (name, value) in fields {
        let value = match (name.as_str(), value) {
            ("schedules", Value::Array(schedules)) => readable(schedules),
            (_, value) => value,
        };
        let before = kept.insert(name.clone(), value);
        if spec(&kept).is_none() {
            match before {
                Some(before) => drop(kept.insert(name, before)),
                None => drop(kept.remove(&name)),
            }
        }
    }
    let mut spec = spec(&kept).unwrap_or(bare);
    spec.count_with(zones);
    Ok(spec)
}

fn readable(mut schedules: Vec<Value>) -> Value {
    schedules.retain(|schedule| ScheduleSpec::deserialize(schedule).is_ok());
    Value::Array(schedules)
}

fn spec(fields: &Map<String, Value>) -> Option<JobSpec> {
    JobSpec::deserialize(Value::Object(fields.clone())).ok()
}

fn bare() -> StoreResult<JobSpec> {
    let job_type = JobType::from_str(UNREADABLE).map_err(|error| StoreError::Corrupt(error.to_string()))?;
    Ok(JobSpec {
        display_name: String::new(),
        description: String::new(),
        owner: String::new(),
        labels: Default::default(),
        job_type,
        queue: QueueName::default(),
        payload: Payload::default(),
        schedules: Vec::new(),
        overlap: Overlap::default(),
        overlap_scope: OverlapScope::default(),
        overlap_ignores_manual: false,
        catch_up: CatchUp::default(),
        policy: RunPolicy::default(),
        priority: 0,
        fairness_key: Default::default(),
        previous_success: false,
        required_labels: Default::default(),
        on_completed: OnCompleted::default(),
        concurrency: None,
        auto_disable: AutoDisable::default(),
    })
}

#[cfg(test)]
mod tests {
    use mainspring_engine::domain::instant::Instant;

    use super::*;

    #[test]
    fn what_can_be_read_of_a_definition_is_kept() {
        let mut whole = bare().unwrap();
        whole.owner = "ada".into();
        whole.job_type = "report.build".parse().unwrap();
        whole.priority = 7;
        let uid = JobUid::new(Instant::EPOCH);
        let text = json(&whole).unwrap();
        assert_eq!(salvaged(uid, &text, &Zones::bundled(), "").unwrap(), whole);
        for (from, to) in [
            (r#""priority":7"#, r#""priority":"high""#),
            (r#""schedules":[]"#, r#""schedules":[{"name":"n","rule":{"cron":"* * * * 99"}}]"#),
            (r#""owner":"ada""#, r#""owner":["ada"]"#),
        ] {
            let broken = text.replace(from, to);
            assert_ne!(broken, text, "{from} is in {text}");
            let kept = salvaged(uid, &broken, &Zones::bundled(), "").unwrap();
            assert_eq!(kept.job_type, whole.job_type, "{to}");
            assert_eq!(
                (kept.priority, kept.owner.as_str()),
                match from {
                    r#""priority":7"# => (0, "ada"),
                    r#""owner":"ada""# => (7, ""),
                    _ => (7, "ada"),
                }
            );
        }
        for nothing in ["", "{", "[]", "null"] {
            assert_eq!(salvaged(uid, nothing, &Zones::bundled(), "").unwrap().job_type.as_str(), UNREADABLE);
        }
    }
}
