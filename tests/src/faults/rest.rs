//! After the last fault: no new load, and everything that began comes to its end.

use std::time::Duration;

use anyhow::{Context as _, Result};
use mainspring_proto::scheduler::v1::{EventTopic, Job, PauseJobRequest, event};

use super::scene::Scene;
use crate::harness::{host, rows};

/// Beyond what is allowed: whatever needs longer is stuck, and the judge shall say so with names.
const LONGEST: Duration = Duration::from_secs(60);
/// The longest handler, its retry, and a second for a busy machine.
const WORK: Duration = Duration::from_secs(3);

/// How long after the last fault everything must be over: two leases, and the time to work off what waits.
pub(super) async fn allowed(scene: &Scene, lease: Duration, rate: u32) -> Result<(usize, Duration)> {
    let backlog = rows::unfinished(&scene.server.database()).await?.len();
    let drain = Duration::from_secs_f64(backlog as f64 / f64::from(rate.max(1)));
    Ok((backlog, 2 * lease + drain + WORK))
}

/// Lets every job fire once more, pauses it, and waits until no run is unfinished. Fails with what is left.
pub(super) async fn come(scene: &Scene, healed: i64, allowed: Duration) -> Result<()> {
    for job in &scene.jobs {
        pause(scene, job, healed).await.with_context(|| format!("job {}", job.job))?;
    }
    let database = scene.server.database();
    host::within(allowed + LONGEST, "everything to come to an end", async {
        loop {
            let unfinished = rows::unfinished(&database).await?;
            if unfinished.is_empty() {
                return Ok(());
            }
            for run in unfinished {
                scene.client.over(&run, allowed + LONGEST).await?;
            }
        }
    })
    .await?
}

/// Pauses a job once it has fired for an instant after the last fault: a schedule that stands still must be seen.
async fn pause(scene: &Scene, job: &Job, healed: i64) -> Result<()> {
    let mut watch = scene.client.watch(&[EventTopic::Runs], &job.job, "").await?;
    loop {
        let event = watch.run(|detail| matches!(detail, event::Detail::Run(_))).await?;
        let Some(event::Detail::Run(event)) = event.detail else { continue };
        let nominal = scene.client.run(&event.run_id).await?.nominal_time.unwrap_or_default();
        if nominal.seconds * 1_000_000 > healed {
            break;
        }
    }
    let request =
        PauseJobRequest { job: job.job.clone(), note: "the load is over".into(), ..PauseJobRequest::default() };
    scene.client.scheduler().pause_job(request).await?;
    Ok(())
}
