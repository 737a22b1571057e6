//! `job versions`, `job restore` and `job undelete`: what a job was, and being that again.

use clap::Args;
use mainspring_proto::scheduler::v1::{ListJobVersionsRequest, RestoreJobVersionRequest, UndeleteJobRequest};

use super::update::{EditArgs, compared};
use crate::{
    commands::examples,
    connection::Server,
    failure::Failure,
    named,
    session::{LimitArgs, Session},
};

/// List the definitions that a job has had, the newest first
#[derive(Args, Debug)]
#[command(before_help = examples!["mainspring job versions demo.hello", "mainspring job versions demo.hello -o json"])]
pub(crate) struct VersionsArgs {
    /// The job
    #[arg(value_parser = named::job)]
    job: String,
    #[command(flatten)]
    limit: LimitArgs,
}

/// Give a job a definition again that it has had; it becomes a new version
#[derive(Args, Debug)]
#[command(before_help = examples!["mainspring job restore demo.hello 1", "mainspring job restore demo.hello 1 --dry-run"])]
pub(crate) struct RestoreArgs {
    /// The job
    #[arg(value_parser = named::job)]
    job: String,
    /// The version, as `job versions` shows them
    #[arg(value_parser = clap::value_parser!(i64).range(1..))]
    version: i64,
    /// Only if the job is still this one (`etag` of `job get -o json`)
    #[arg(long, value_name = "ETAG")]
    etag: Option<String>,
    #[command(flatten)]
    edit: EditArgs,
}

/// Bring back the job of a name that was deleted last; it missed nothing while it was gone
#[derive(Args, Debug)]
#[command(before_help = examples!["mainspring job undelete demo.sleep", "mainspring job undelete demo.flaky -o json"])]
pub(crate) struct UndeleteArgs {
    /// The job
    #[arg(value_parser = named::job)]
    job: String,
}

pub(super) async fn list(args: VersionsArgs, server: &Server, session: &Session) -> Result<(), Failure> {
    let VersionsArgs { job, limit } = args;
    let mut scheduler = server.scheduler();
    let versions = limit.pages(async |page_size, page_token| {
        let request = ListJobVersionsRequest { namespace: server.namespace(), job: job.clone(), page_size, page_token };
        Ok(scheduler.list_job_versions(request).await?.into_inner())
    });
    session.out.list(versions.await?)
}

pub(super) async fn restore(args: RestoreArgs, server: &Server, session: &Session) -> Result<(), Failure> {
    let RestoreArgs { job: name, version, etag, edit } = args;
    let request = RestoreJobVersionRequest {
        namespace: server.namespace(),
        job: name.clone(),
        version,
        etag: etag.unwrap_or_default(),
        validate_only: edit.dry_run,
        update_pending: edit.pending().into(),
    };
    let answer = server.scheduler().restore_job_version(request).await?.into_inner();
    if edit.dry_run {
        let changes = compared(&answer.compared);
        let text = format!("{changes}would make job/{name} as in version {version} (dry run: nothing was saved)");
        return session.out.did(&text, &answer);
    }
    let job = answer.job.unwrap_or_default();
    session.out.did(&format!("job/{name} is as in version {version}, version {}", job.version), &job)
}

pub(super) async fn undelete(args: UndeleteArgs, server: &Server, session: &Session) -> Result<(), Failure> {
    let request = UndeleteJobRequest { namespace: server.namespace(), job: args.job };
    let job = server.scheduler().undelete_job(request).await?.into_inner().job.unwrap_or_default();
    session.out.did(&format!("job/{} is back", job.job), &job)
}
