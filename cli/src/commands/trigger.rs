//! `trigger`: a run of a job, now or later.

use clap::Args;
use mainspring_proto::scheduler::v1::TriggerJobRequest;

use super::{
    examples,
    passes::PassArgs,
    policy::{self, PayloadArgs, PolicyArgs},
    unique::UniqueArgs,
};
use crate::{
    clock,
    connection::Server,
    exit::Exit,
    failure::Failure,
    follow::{self, FollowArgs},
    named,
    session::Session,
    times::{self, Length, Moment},
};

/// Run a job now or later, whatever its schedules say
#[derive(Args, Debug)]
#[command(before_help = examples![
    "mainspring trigger demo.hello -d name=Ada --follow",
    "mainspring trigger demo.hello --delay 5s --wait=1m",
    "mainspring trigger demo.hello --request-id order-4711 --force -o json",
])]
pub(crate) struct TriggerArgs {
    /// The job
    #[arg(value_parser = named::job)]
    job: String,
    #[command(flatten)]
    payload: PayloadArgs,
    #[command(flatten)]
    when: WhenArgs,
    #[command(flatten)]
    passes: PassArgs,
    #[command(flatten)]
    policy: PolicyArgs,
    #[command(flatten)]
    unique: UniqueArgs,
    #[command(flatten)]
    follow: FollowArgs,
}

/// When, and in whose name.
#[derive(Args, Debug)]
pub(crate) struct WhenArgs {
    /// When it is due: RFC 3339, or now+5m
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, conflicts_with = "delay")]
    at: Option<Moment>,
    /// Due after this
    #[arg(long, value_name = "LENGTH", allow_hyphen_values = true)]
    delay: Option<Length>,
    /// Makes a repeated call harmless: the same id answers with the same run for 24 h
    #[arg(long, value_name = "ID")]
    pub(super) request_id: Option<String>,
    /// Why, for whoever looks at the run later
    #[arg(long, value_name = "TEXT")]
    pub(super) note: Option<String>,
}

impl WhenArgs {
    pub(super) fn due_time(&self) -> Option<prost_types::Timestamp> {
        let now = clock::now();
        match (self.at, self.delay) {
            (Some(moment), _) => Some(moment.to_proto(now)),
            (None, Some(Length(delay))) => Some(times::to_proto(now.saturating_add(delay).unwrap_or(now))),
            (None, None) => None,
        }
    }
}

pub(super) async fn run(args: TriggerArgs, session: &Session) -> Result<Exit, Failure> {
    let TriggerArgs { job, payload, when, passes, policy, unique, follow } = args;
    let payload = payload.payload()?;
    let trigger = async |server: &Server| {
        let request = TriggerJobRequest {
            namespace: server.namespace(),
            job,
            payload,
            due_time: when.due_time(),
            note: when.note.unwrap_or_default(),
            force: passes.force,
            request_id: when.request_id.unwrap_or_default(),
            priority: policy.priority,
            retry_policy: policy.retry_policy(),
            timeouts: policy.timeouts(),
            concurrency_rate: policy.concurrency_rate(),
            fairness_key: policy.fairness_key,
            while_paused: passes.while_paused,
            unique: unique.message(),
            concurrency_key: policy.concurrency_key,
            concurrency_limit: policy.concurrency_limit.unwrap_or_default(),
            required_labels: policy::required(policy.require_label),
        };
        Ok(server.scheduler().trigger_job(request).await?.into_inner().run.unwrap_or_default())
    };
    follow::made(session, follow, trigger).await
}
