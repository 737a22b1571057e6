//! `job`: named definitions of what runs when.

mod auto_disable;
mod backfill;
mod catch_up;
mod completed;
mod create;
pub(super) mod describe;
mod explain;
mod overlap;
mod schedule;
mod stops;
mod update;
mod versions;

use clap::Subcommand;
use mainspring_proto::scheduler::v1::{
    DeleteJobRequest, EventTopic, GetJobRequest, Job, ListInstantsRequest, ListJobsRequest, ListJobsResponse,
    PauseJobRequest, ResumeJobRequest, event::Detail,
};

use super::examples;
use crate::{
    clock,
    connection::Server,
    exit::Exit,
    failure::Failure,
    named,
    session::{LimitArgs, Session},
    times::Moment,
    watch::{self, Seen, Subject, WatchArgs},
};

/// Create, see, change, pause and delete jobs
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
        #[command(flatten)]
        watch: WatchArgs,
    },
    /// Show the definition of a job
    #[command(before_help = examples![
        "mainspring job get demo.hello",
        "mainspring job get demo.hello -o yaml",
        "mainspring job get demo.hello -o json --fields state,nextFireTime",
    ])]
    Get {
        /// The job
        #[arg(value_parser = named::job)]
        job: String,
        #[command(flatten)]
        watch: WatchArgs,
    },
    /// Show a job with its schedules, its next instants, its newest runs and why they wait
    #[command(before_help = examples!["mainspring job describe demo.hello", "mainspring job describe demo.flaky -o json"])]
    Describe {
        /// The job
        #[arg(value_parser = named::job)]
        job: String,
    },
    /// List the next instants of its schedules
    #[command(before_help = examples![
        "mainspring job next demo.hello",
        "mainspring job next demo.flaky -c 3 --after now+1d -o json",
    ])]
    Next {
        /// The job
        #[arg(value_parser = named::job)]
        job: String,
        /// How many
        #[arg(short, long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(i32).range(1..=100))]
        count: i32,
        /// Instants after this: RFC 3339, or now+1d [default: now]
        #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
        after: Option<Moment>,
    },
    Update(Box<update::UpdateArgs>),
    Versions(versions::VersionsArgs),
    Restore(versions::RestoreArgs),
    Undelete(versions::UndeleteArgs),
    /// Stop a job from firing, for good or until a time; runs in flight go on
    #[command(before_help = examples![
        "mainspring job pause demo.hello --note 'until the mail server is back'",
        "mainspring job pause demo.hello --until now+2h",
        "mainspring job pause demo.hello --cancel-waiting",
    ])]
    Pause {
        /// The job
        #[arg(value_parser = named::job)]
        job: String,
        /// Why
        #[arg(long, value_name = "TEXT")]
        note: Option<String>,
        /// It resumes by itself then: RFC 3339, or now+2h
        #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
        until: Option<Moment>,
        /// Cancel its runs that wait, for a worker, a time or a retry
        #[arg(long)]
        cancel_waiting: bool,
        /// Cancel all of its runs that are not over; those at workers are asked to stop
        #[arg(long, conflicts_with = "cancel_waiting")]
        cancel_all: bool,
    },
    /// Let a paused job fire again, from now on or with what it missed
    #[command(before_help = examples![
        "mainspring job resume demo.hello",
        "mainspring job resume demo.hello --catch-up latest -o json",
    ])]
    Resume {
        /// The job
        #[arg(value_parser = named::job)]
        job: String,
        /// What becomes of instants that passed in the pause [default: none]
        #[arg(long, value_name = "POLICY")]
        catch_up: Option<catch_up::ModeArg>,
    },
    /// Delete a job; its runs at workers finish, unless --running says otherwise, those that wait are cancelled
    #[command(before_help = examples![
        "mainspring job delete demo.sleep --running cancel",
        "mainspring job delete demo.flaky -o json",
    ])]
    Delete {
        /// The job
        #[arg(value_parser = named::job)]
        job: String,
        /// Only if it is still this one (`etag` of `job get -o json`)
        #[arg(long, value_name = "ETAG")]
        etag: Option<String>,
        /// What becomes of its runs at workers [default: detach]
        #[arg(long, value_name = "WHAT")]
        running: Option<stops::RunningArg>,
    },
    Explain(explain::ExplainArgs),
    Backfill(Box<backfill::BackfillArgs>),
    /// Show the ledger, oldest first: every instant of its schedules, and what became of it
    #[command(before_help = examples![
        "mainspring job instants demo.hello",
        "mainspring job instants demo.hello --from now-1h --limit 0",
        "mainspring job instants demo.hello --from 2026-01-01T00:00:00Z -o jsonl",
    ])]
    Instants {
        /// The job
        #[arg(value_parser = named::job)]
        job: String,
        /// First nominal time, for the newest ones: RFC 3339, or now-1h [default: the first]
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
        JobCommand::Update(args) => return update::run(*args, session).await,
        command => command,
    };
    let server = session.server().await?;
    let namespace = server.namespace();
    let mut scheduler = server.scheduler();
    match command {
        JobCommand::Create(_) | JobCommand::Update(_) => {}
        JobCommand::List { filter, limit, watch } => {
            let filter = filter.unwrap_or_default();
            let list = async || listed(&server, &filter, limit).await;
            if watch.watch {
                let jobs = async || Ok(list().await?.jobs);
                return watched(&server, session, jobs, async |job| one(&server, &filter, job).await).await;
            }
            session.out.list(list().await?)?;
        }
        JobCommand::Get { job, watch } => {
            if watch.watch {
                let get = async || got(&server, &job).await;
                let this = async |changed: &str| if changed == job { found(get().await) } else { Ok(Seen::Other) };
                return watched(&server, session, async || Ok(vec![get().await?]), this).await;
            }
            session.out.show(&got(&server, &job).await?)?;
        }
        JobCommand::Describe { job } => describe::describe(job, &server, session).await?,
        JobCommand::Next { job, count, after } => describe::next(&job, count, after, &server, session).await?,
        JobCommand::Versions(args) => versions::list(args, &server, session).await?,
        JobCommand::Restore(args) => versions::restore(args, &server, session).await?,
        JobCommand::Undelete(args) => versions::undelete(args, &server, session).await?,
        JobCommand::Pause { job, note, until, cancel_waiting, cancel_all } => {
            let until_time = until.map(|until| until.to_proto(clock::now()));
            let runs = stops::paused_runs(cancel_waiting, cancel_all).into();
            let request = PauseJobRequest { namespace, job, note: note.unwrap_or_default(), until_time, runs };
            let answer = scheduler.pause_job(request).await?.into_inner();
            let ended = stops::ended(answer.cancelled_runs, answer.stopped_runs);
            let job = answer.job.unwrap_or_default();
            session.out.did(&format!("job/{} paused{ended}", job.job), &job)?;
        }
        JobCommand::Resume { job, catch_up } => {
            let catch_up = catch_up.map(catch_up::ModeArg::wire).unwrap_or_default().into();
            let request = ResumeJobRequest { namespace, job, catch_up };
            let job = scheduler.resume_job(request).await?.into_inner().job.unwrap_or_default();
            session.out.did(&format!("job/{} resumed", job.job), &job)?;
        }
        JobCommand::Delete { job, etag, running } => {
            let running = running.map(stops::RunningArg::wire).unwrap_or_default().into();
            let request = DeleteJobRequest { namespace, job: job.clone(), etag: etag.unwrap_or_default(), running };
            let answer = scheduler.delete_job(request).await?.into_inner();
            let ended = stops::ended(answer.cancelled_runs, answer.stopped_runs);
            session.out.did(&format!("job/{job} deleted{ended}"), &answer)?;
        }
        JobCommand::Backfill(args) => return backfill::run(*args, &server, session).await,
        JobCommand::Explain(args) => explain::run(args, &server, session).await?,
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

async fn listed(server: &Server, filter: &str, limit: LimitArgs) -> Result<ListJobsResponse, Failure> {
    let mut scheduler = server.scheduler();
    let pages = limit.pages(async |page_size, page_token| {
        let request = ListJobsRequest {
            namespace: server.namespace(),
            filter: filter.to_owned(),
            page_size,
            page_token,
            ..ListJobsRequest::default()
        };
        Ok(scheduler.list_jobs(request).await?.into_inner())
    });
    pages.await
}

async fn got(server: &Server, job: &str) -> Result<Job, Failure> {
    let request = GetJobRequest { namespace: server.namespace(), job: job.into(), ..GetJobRequest::default() };
    Ok(server.scheduler().get_job(request).await?.into_inner().job.unwrap_or_default())
}

/// A job that an event named, where the list's filter finds it.
async fn one(server: &Server, filter: &str, job: &str) -> Result<Seen<Job>, Failure> {
    if filter.is_empty() {
        return found(got(server, job).await);
    }
    let filter = format!("({filter}) AND job = \"{job}\"");
    let mut jobs = listed(server, &filter, LimitArgs { limit: 1 }).await?.jobs;
    Ok(jobs.pop().map_or(Seen::Other, Seen::Changed))
}

fn found(job: Result<Job, Failure>) -> Result<Seen<Job>, Failure> {
    match job {
        Ok(job) => Ok(Seen::Changed(job)),
        Err(failure) if failure.reason() == "JOB_NOT_FOUND" => {
            Ok(Seen::Gone(format!("job/{}", failure.named("job").unwrap_or_default())))
        }
        Err(failure) => Err(failure),
    }
}

/// Stays with jobs.
async fn watched(
    server: &Server,
    session: &Session,
    list: impl AsyncFnMut() -> Result<Vec<Job>, Failure>,
    mut read: impl AsyncFnMut(&str) -> Result<Seen<Job>, Failure>,
) -> Result<Exit, Failure> {
    let subject = Subject { topics: vec![EventTopic::Jobs], filter: String::new() };
    let read = async |detail: &Detail| match detail {
        Detail::Job(event) => read(&event.job).await,
        Detail::Run(_)
        | Detail::Progress(_)
        | Detail::Worker(_)
        | Detail::Queue(_)
        | Detail::Schedule(_)
        | Detail::Sink(_)
        | Detail::Server(_)
        | Detail::Bookmark(_) => Ok(Seen::Other),
    };
    watch::watch(server, &session.out, subject, list, read, |_| false).await
}
