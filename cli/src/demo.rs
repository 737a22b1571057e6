//! What `dev` runs so that there is something to look at: four jobs, and a worker in this process that serves them.
//!
//! They are an ordinary client and an ordinary worker, over the loopback like everybody else's.

mod ends;
mod handlers;

use std::time::Duration;

use mainspring_proto::{
    common::v1::RetryPolicy,
    scheduler::v1::{CreateJobRequest, Interval, Job, Overlap, Schedule, TriggerJobRequest, schedule::Rule},
};
use secrecy::SecretString;

use self::ends::Ends;
use crate::{address::Address, connection::Server, failure::Failure, output::Output, payload};

/// The server is in this process.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// The built-in worker, and the jobs it serves.
#[derive(Debug)]
pub(crate) struct Demo {
    worker: handlers::BuiltIn,
    ends: Ends,
}

impl Demo {
    /// Creates the jobs that are not there yet, starts the worker, and has one run made at once.
    pub(crate) async fn start(address: &Address, api_key: &SecretString) -> Result<Self, Failure> {
        let server = Server::open(address, Some(api_key), String::new(), CONNECT_WITHIN).await?;
        for job in jobs()? {
            create(&server, job).await?;
        }
        // Watched before there is anything to see, or the first run would not be told.
        let ends = Ends::watch(server.clone()).await?;
        let demo = Self { worker: handlers::BuiltIn::start(address, api_key), ends };
        greet(&server).await;
        Ok(demo)
    }

    /// A line for every run of a demo job that ends, for as long as this is awaited.
    pub(crate) async fn show(&mut self, out: &Output) -> ! {
        self.ends.show(out).await
    }

    /// Lets the worker finish what it has, and leave.
    pub(crate) async fn stop(self) {
        self.worker.stop().await;
    }
}

/// The definitions, each named like its type.
fn jobs() -> Result<Vec<Job>, Failure> {
    let every = |seconds| {
        Rule::Interval(Interval { every: Some(prost_types::Duration { seconds, nanos: 0 }), ..Interval::default() })
    };
    Ok(vec![
        job("demo.hello", "Greets somebody, in three steps", Rule::Cron("* * * * *".into()), &["name=world"])?,
        job("demo.progress", "Counts its steps", Rule::Cron("*/5 * * * *".into()), &["steps:=20"])?,
        job("demo.sleep", "Sleeps, and wakes when it is cancelled", every(3600), &["seconds:=5"])?,
        Job {
            retry_policy: Some(RetryPolicy {
                max_attempts: Some(5),
                initial_backoff: Some(prost_types::Duration { seconds: 1, nanos: 0 }),
                ..RetryPolicy::default()
            }),
            ..job("demo.flaky", "Fails until its third attempt", every(600), &["succeed_on:=3"])?
        },
    ])
}

fn job(name: &str, description: &str, rule: Rule, data: &[&str]) -> Result<Job, Failure> {
    let data: Vec<String> = data.iter().map(|argument| (*argument).into()).collect();
    Ok(Job {
        job: name.into(),
        job_type: name.into(),
        description: description.into(),
        schedules: vec![Schedule { rule: Some(rule), ..Schedule::default() }],
        // Whoever triggers it by hand should not have to wait for the one that is running.
        overlap: Overlap::Allow.into(),
        payload: payload::from_arguments(&data).map_err(Failure::usage)?,
        ..Job::default()
    })
}

/// One that is there stays as it is: somebody may have changed it.
async fn create(server: &Server, job: Job) -> Result<(), Failure> {
    let request = CreateJobRequest { job: Some(job), ..CreateJobRequest::default() };
    match server.scheduler().create_job(request).await.map_err(Failure::from) {
        Err(failure) if failure.reason() == "JOB_ALREADY_EXISTS" => Ok(()),
        result => result.map(drop),
    }
}

/// A run to look at, without waiting for the minute. A demo job that somebody paused stays quiet.
async fn greet(server: &Server) {
    let request = TriggerJobRequest {
        job: "demo.hello".into(),
        note: "mainspring dev was started".into(),
        force: true,
        ..TriggerJobRequest::default()
    };
    if let Err(status) = server.scheduler().trigger_job(request).await {
        tracing::warn!(reason = Failure::from(status).reason(), "demo.hello was not triggered at the start");
    }
}

/// Whether a job is one of these.
fn is_demo(job: &str) -> bool {
    job.starts_with("demo.")
}

#[cfg(test)]
mod tests {
    use super::{is_demo, jobs};

    #[test]
    fn each_job_is_named_like_its_type_and_has_input() {
        let jobs = jobs().unwrap();
        let names: Vec<&str> = jobs.iter().map(|job| job.job.as_str()).collect();
        assert_eq!(names, ["demo.hello", "demo.progress", "demo.sleep", "demo.flaky"]);
        assert!(names.into_iter().all(is_demo));
        assert!(jobs.iter().all(|job| job.job == job.job_type && job.payload.is_some() && job.schedules.len() == 1));
    }
}
