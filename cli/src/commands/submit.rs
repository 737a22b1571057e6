//! `submit`: a run without a job.

use clap::Args;
use mainspring_proto::scheduler::v1::{RunSubmission, SubmitRunRequest};

use super::{
    examples,
    policy::{self, PayloadArgs, PolicyArgs},
    retry::DeliveryArgs,
    trigger::WhenArgs,
    unique::UniqueArgs,
};
use crate::{
    connection::Server,
    exit::Exit,
    failure::Failure,
    follow::{self, FollowArgs},
    named,
    session::Session,
};

/// Run something once, without a job
#[derive(Args, Debug)]
#[command(before_help = examples![
    "mainspring submit demo.hello -d name=Ada --follow",
    "mainspring submit demo.hello --label team=ops --concurrency-key '${labels.team}' --wait",
    "mainspring submit demo.hello --delay 1h --unique-key mail-7 --on-conflict return-existing",
])]
pub(crate) struct SubmitArgs {
    /// The type that names the worker's handler
    #[arg(value_name = "TYPE")]
    job_type: String,
    /// The queue it waits in [default: "default"]
    #[arg(long, value_name = "NAME", value_parser = named::queue)]
    queue: Option<String>,
    #[command(flatten)]
    payload: PayloadArgs,
    #[command(flatten)]
    when: WhenArgs,
    #[command(flatten)]
    policy: PolicyArgs,
    #[command(flatten)]
    delivery: DeliveryArgs,
    #[command(flatten)]
    unique: UniqueArgs,
    /// Label, may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = policy::label)]
    label: Vec<(String, String)>,
    #[command(flatten)]
    follow: FollowArgs,
}

pub(super) async fn run(args: SubmitArgs, session: &Session) -> Result<Exit, Failure> {
    let SubmitArgs { job_type, queue, payload, when, policy, delivery, unique, label, follow } = args;
    let payload = payload.payload()?;
    let submission = RunSubmission {
        job_type,
        queue: queue.unwrap_or_default(),
        payload,
        labels: policy::labels(label),
        priority: policy.priority.unwrap_or_default(),
        due_time: when.due_time(),
        retry_policy: policy.retry_policy(),
        timeouts: policy.timeouts(),
        concurrency_rate: policy.concurrency_rate(),
        delivery: delivery.delivery().unwrap_or_default().into(),
        lease_loss_policy: delivery.lease_loss().unwrap_or_default().into(),
        fairness_key: policy.fairness_key.unwrap_or_default(),
        concurrency_key: policy.concurrency_key.unwrap_or_default(),
        concurrency_limit: policy.concurrency_limit.unwrap_or_default(),
        unique: unique.message(),
        request_id: when.request_id.unwrap_or_default(),
        note: when.note.unwrap_or_default(),
        required_labels: policy::required(policy.require_label),
    };
    let submit = async |server: &Server| {
        let request = SubmitRunRequest { namespace: server.namespace(), run: Some(submission) };
        Ok(server.scheduler().submit_run(request).await?.into_inner().run.unwrap_or_default())
    };
    follow::made(session, follow, submit).await
}
