//! "Did you mean": the nearest of the names there are.

use std::time::Duration;

use mainspring_proto::scheduler::v1::{ListJobTypesRequest, ListJobsRequest, ListQueuesRequest};

use crate::{clock, failure::Failure, session::Session};

/// So much is worth a hint, and no more.
const WITHIN: Duration = Duration::from_secs(2);
/// So many names are looked at.
const NAMES: i32 = 1000;
/// Below this, two names have nothing to do with each other.
const ALIKE: f64 = 0.7;

/// The nearest of some names; none where all of them are far away.
pub(crate) fn nearest<'a>(name: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let (name, mut best) = (name.to_lowercase(), None);
    for other in names {
        let lower = other.to_lowercase();
        let mut likeness = strsim::jaro_winkler(&name, &lower);
        // What a person left off or added is near, however long it is.
        if name.len() > 2 && (lower.contains(&name) || name.contains(&lower)) {
            likeness = likeness.max(ALIKE);
        }
        if likeness >= ALIKE && best.is_none_or(|(_, most)| likeness > most) {
            best = Some((other, likeness));
        }
    }
    best.map(|(other, _)| other)
}

/// The failure, with the name that was probably meant where that can be found out quickly.
pub(crate) async fn improved(failure: Failure, session: &Session) -> Failure {
    let (kind, all) = match failure.reason() {
        "JOB_NOT_FOUND" => ("job", "`mainspring job list` shows all"),
        "QUEUE_NOT_FOUND" => ("queue", "`mainspring queue list` shows all"),
        "JOB_TYPE_NOT_FOUND" => ("type", "`mainspring type list` shows all"),
        _ => return failure,
    };
    let Some(wanted) = failure.named(kind).map(str::to_owned) else { return failure };
    let names = async { clock::within(WITHIN, names(kind, session)).await?.ok() };
    let Some(names) = names.await else { return failure };
    match nearest(&wanted, names.iter().map(String::as_str)) {
        Some(near) => failure.hint(format!("did you mean {kind}/{near}? ({all})")),
        None => failure,
    }
}

async fn names(kind: &str, session: &Session) -> Result<Vec<String>, Failure> {
    let server = session.server().await?;
    let namespace = server.namespace();
    Ok(match kind {
        "job" => {
            let request = ListJobsRequest { namespace, page_size: NAMES, ..ListJobsRequest::default() };
            let jobs = server.scheduler().list_jobs(request).await?.into_inner().jobs;
            jobs.into_iter().map(|job| job.job).collect()
        }
        "queue" => {
            let request = ListQueuesRequest { namespace, page_size: NAMES, ..ListQueuesRequest::default() };
            let queues = server.queues().list_queues(request).await?.into_inner().queues;
            queues.into_iter().map(|queue| queue.queue).collect()
        }
        _ => {
            let request = ListJobTypesRequest { namespace, page_size: NAMES, ..ListJobTypesRequest::default() };
            let types = server.queues().list_job_types(request).await?.into_inner().job_types;
            types.into_iter().map(|one| one.job_type).collect()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_slip_of_the_finger_finds_its_name() {
        let jobs = ["nightly-eu", "hourly", "report.build", "demo.hello"];
        for (typed, meant) in [
            ("nightly", Some("nightly-eu")),
            ("nigthly-eu", Some("nightly-eu")),
            ("Hourly", Some("hourly")),
            ("demo.helo", Some("demo.hello")),
            ("build", Some("report.build")),
            ("zzz", None),
        ] {
            assert_eq!(nearest(typed, jobs), meant, "{typed}");
        }
    }
}
