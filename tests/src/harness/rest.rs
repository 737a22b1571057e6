//! After the last fault: no new load, and everything that began comes to its end.

use std::time::Duration;

use anyhow::{Context as _, Result};
use mainspring_proto::scheduler::v1::{EventTopic, Job, PauseJobRequest, event};

use super::{host, rows, scene::Scene};

/// Beyond what is allowed: whatever needs longer is stuck, and the judge shall say so with names.
const LONGEST: Duration = Duration::from_secs(60);
/// The longest handler, its retry, and a second for a busy machine.
const WORK: Duration = Duration::from_secs(3);

impl Scene {
    /// How much is unfinished, and how long after the last fault everything must be over: two leases, and the time to
    /// work off what waits.
    pub async fn allowed(&self, rate: u32) -> Result<(usize, Duration)> {
        let backlog = rows::unfinished(&self.server.database()).await?.len();
        let drain = Duration::from_secs_f64(backlog as f64 / f64::from(rate.max(1)));
        Ok((backlog, 2 * self.server.lease() + drain + WORK))
    }

    /// Lets every job fire once more, pauses it, and waits until no run is unfinished. `healed` is when the last fault
    /// was over, in microseconds since the epoch.
    pub async fn rest(&self, healed: i64, allowed: Duration) -> Result<()> {
        for job in &self.jobs {
            self.pause(job, healed).await.with_context(|| format!("job {}", job.job))?;
        }
        let database = self.server.database();
        host::within(allowed + LONGEST, "everything to come to an end", async {
            loop {
                let unfinished = rows::unfinished(&database).await?;
                if unfinished.is_empty() {
                    return Ok(());
                }
                for run in unfinished {
                    self.client.over(&run, allowed + LONGEST).await?;
                }
            }
        })
        .await?
    }

    /// Pauses a job once it has fired for an instant after the last fault: a schedule that stands still must be seen.
    async fn pause(&self, job: &Job, healed: i64) -> Result<()> {
        let mut watch = self.client.watch(&[EventTopic::Runs], &job.job, "").await?;
        loop {
            let event = watch.run(|detail| matches!(detail, event::Detail::Run(_))).await?;
            let Some(event::Detail::Run(event)) = event.detail else { continue };
            let nominal = self.client.run(&event.run_id).await?.nominal_time.unwrap_or_default();
            if nominal.seconds * 1_000_000 > healed {
                break;
            }
        }
        let note = "the load is over".into();
        let request = PauseJobRequest { job: job.job.clone(), note, ..PauseJobRequest::default() };
        self.client.scheduler().pause_job(request).await?;
        Ok(())
    }
}
