//! `job`: named definitions of what runs when.

mod create;

use clap::Subcommand;
use mainspring_proto::scheduler::v1::{
    DeleteJobRequest, GetJobRequest, ListInstantsRequest, ListJobsRequest, PauseJobRequest, ResumeJobRequest,
};

use super::examples;
use crate::{
    clock,
    exit::Exit,
    failure::Failure,
    named,
    session::{LimitArgs, Session},
    times::Moment,
};

/// Create, see, pause and delete jobs
#[derive(Debug, Subcommand)]
#[command(before_help = examples![
    "mainspring job list",
    "mainspring job create greet --type demo.hello --cron '0 9 * * 1-5' --tz Europe/Berlin --dry-run",
    "mainspring job instants demo.hello --from now-1h",
])]
pub(crate) enum JobCommand {
    Create(Box<create::CreateArgs>),
    /// List jobs by name
    #[command(before_help = examples![
        "mainspring job list",
        "mainspring job list --filter 'state = PAUSED'",
        "mainspring job list -o jsonl",
    ])]
    List {
        /// FIELD OP VALUE joined by AND, OR, NOT (`mainspring help filters`); fields: job, job_type, queue, state, owner, create_time, update_time
        #[arg(long, value_name = "FILTER")]
        filter: Option<String>,
        #[command(flatten)]
        limit: LimitArgs,
    },
    /// Show everything about a job
    #[command(before_help = examples!["mainspring job get demo.hello", "mainspring job get demo.hello -o json"])]
    Get {
        /// The job
        #[arg(value_parser = named::job)]
        job: String,
    },
    /// Stop a job from firing; runs in flight go on
    #[command(before_help = examples![
        "mainspring job pause demo.hello",
        "mainspring job pause demo.hello --note 'until the mail server is back'",
    ])]
    Pause {
        /// The job
        #[arg(value_parser = named::job)]
        job: String,
        /// Why
        #[arg(long, value_name = "TEXT")]
        note: Option<String>,
    },
    /// Let a paused job fire again, from now on
    #[command(before_help = examples!["mainspring job resume demo.hello", "mainspring job resume demo.hello -o json"])]
    Resume {
        /// The job
        #[arg(value_parser = named::job)]
        job: String,
    },
    /// Delete a job; its runs at workers finish, those that wait are cancelled
    #[command(before_help = examples!["mainspring job delete demo.sleep", "mainspring job delete demo.flaky -o json"])]
    Delete {
        /// The job
        #[arg(value_parser = named::job)]
        job: String,
        /// Only if it is still this one (`etag` of `job get -o json`)
        #[arg(long, value_name = "ETAG")]
        etag: Option<String>,
    },
    /// Show the ledger: every instant of its schedules, and what became of it
    #[command(before_help = examples![
        "mainspring job instants demo.hello",
        "mainspring job instants demo.hello --from now-1h --to now --limit 0",
        "mainspring job instants demo.hello --from 2026-01-01T00:00:00Z -o jsonl",
    ])]
    Instants {
        /// The job
        #[arg(value_parser = named::job)]
        job: String,
        /// First nominal time: RFC 3339, or now-1h [default: the job's creation]
        #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
        from: Option<Moment>,
        /// Nominal times before this [default: now]
        #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
        to: Option<Moment>,
        #[command(flatten)]
        limit: LimitArgs,
    },
}

pub(super) async fn run(command: JobCommand, session: &Session) -> Result<Exit, Failure> {
    let command = match command {
        JobCommand::Create(args) => return create::run(*args, session).await,
        command => command,
    };
    let server = session.server().await?;
    let namespace = server.namespace();
    let mut scheduler = server.scheduler();
    match command {
        JobCommand::Create(_) => {}
        JobCommand::List { filter, limit } => {
            let jobs = limit
                .pages(async |page_size, page_token| {
                    let request = ListJobsRequest {
                        namespace: namespace.clone(),
                        filter: filter.clone().unwrap_or_default(),
                        page_size,
                        page_token,
                        ..ListJobsRequest::default()
                    };
                    Ok(scheduler.list_jobs(request).await?.into_inner())
                })
                .await?;
            session.out.list(jobs)?;
        }
        JobCommand::Get { job } => {
            let answer =
                scheduler.get_job(GetJobRequest { namespace, job, ..GetJobRequest::default() }).await?.into_inner();
            session.out.show(&answer.job.unwrap_or_default())?;
        }
        JobCommand::Pause { job, note } => {
            let request = PauseJobRequest { namespace, job, note: note.unwrap_or_default() };
            let job = scheduler.pause_job(request).await?.into_inner().job.unwrap_or_default();
            session.out.did(&format!("job/{} paused", job.job), &job)?;
        }
        JobCommand::Resume { job } => {
            let request = ResumeJobRequest { namespace, job };
            let job = scheduler.resume_job(request).await?.into_inner().job.unwrap_or_default();
            session.out.did(&format!("job/{} resumed", job.job), &job)?;
        }
        JobCommand::Delete { job, etag } => {
            let request = DeleteJobRequest { namespace, job: job.clone(), etag: etag.unwrap_or_default() };
            let answer = scheduler.delete_job(request).await?.into_inner();
            let cancelled = match answer.cancelled_runs {
                0 => String::new(),
                1 => ", 1 waiting run cancelled".into(),
                many => format!(", {many} waiting runs cancelled"),
            };
            session.out.did(&format!("job/{job} deleted{cancelled}"), &answer)?;
        }
        JobCommand::Instants { job, from, to, limit } => {
            let now = clock::now();
            let bound = |moment: Option<Moment>| moment.map(|moment| moment.to_proto(now));
            let (from_time, to_time) = (bound(from), bound(to));
            let instants = limit
                .pages(async |page_size, page_token| {
                    let request = ListInstantsRequest {
                        namespace: namespace.clone(),
                        job: job.clone(),
                        from_time,
                        to_time,
                        page_size,
                        page_token,
                        ..ListInstantsRequest::default()
                    };
                    Ok(scheduler.list_instants(request).await?.into_inner())
                })
                .await?;
            session.out.list(instants)?;
        }
    }
    Ok(Exit::Done)
}
