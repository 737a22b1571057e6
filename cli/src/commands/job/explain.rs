//! `job explain`: why a job ran at a time, will, or did not.

use clap::Args;
use mainspring_proto::scheduler::v1::ExplainInstantRequest;

use crate::{clock, commands::examples, connection::Server, failure::Failure, named, session::Session, times::Moment};

/// Tell what became of one instant of a job, or what will: whether it ran, as which run, and why not
#[derive(Args, Debug)]
#[command(before_help = examples![
    "mainspring job explain demo.hello --at now+1h",
    "mainspring job explain demo.hello --at 2026-01-01T00:00:00Z -o json --fields fate,sentence",
])]
pub(crate) struct ExplainArgs {
    /// The job
    #[arg(value_parser = named::job)]
    job: String,
    /// The nominal time: RFC 3339, or now-1h
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    at: Moment,
}

pub(super) async fn run(args: ExplainArgs, server: &Server, session: &Session) -> Result<(), Failure> {
    let ExplainArgs { job, at } = args;
    let time = Some(at.to_proto(clock::now()));
    let request = ExplainInstantRequest { namespace: server.namespace(), job, time };
    let found = server.scheduler().explain_instant(request).await?.into_inner();
    session.out.did(&found.sentence, &found)
}
