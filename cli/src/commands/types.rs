//! `type`: what workers say they can do.

use clap::Subcommand;
use mainspring_proto::scheduler::v1::{JobType, ListJobTypesRequest, ListWorkersRequest};
use serde_json::Value as Json;

use super::{examples, job::describe::runs};
use crate::{
    connection::Server,
    exit::Exit,
    failure::Failure,
    named,
    output::Part,
    session::{LimitArgs, Session},
};

/// How many of each belong to a page.
const SHOWN: i32 = 5;

/// See the job types that workers announce
#[derive(Debug, Subcommand)]
#[command(before_help = examples!["mainspring type list", "mainspring type describe demo.hello"])]
pub(crate) enum TypeCommand {
    /// List job types by name
    #[command(before_help = examples![
        "mainspring type list",
        "mainspring type list --filter 'job_type = demo.*' -o jsonl",
    ])]
    List {
        /// FIELD OP VALUE joined by AND, OR, NOT (`mainspring help filters`); fields: job_type, announce_time
        #[arg(long, value_name = "FILTER")]
        filter: Option<String>,
        #[command(flatten)]
        limit: LimitArgs,
    },
    /// Show what a type takes and gives, which workers handle it, and whether they agree
    #[command(before_help = examples!["mainspring type describe demo.hello", "mainspring type describe demo.sleep -o json"])]
    Describe {
        /// The job type
        #[arg(value_name = "TYPE", value_parser = named::type_)]
        job_type: String,
    },
}

pub(super) async fn run(command: TypeCommand, session: &Session) -> Result<Exit, Failure> {
    let server = session.server().await?;
    match command {
        TypeCommand::List { filter, limit } => {
            let mut queues = server.queues();
            let listed = limit
                .pages(async |page_size, page_token| {
                    let request = ListJobTypesRequest {
                        namespace: server.namespace(),
                        filter: filter.clone().unwrap_or_default(),
                        page_size,
                        page_token,
                        ..ListJobTypesRequest::default()
                    };
                    Ok(queues.list_job_types(request).await?.into_inner())
                })
                .await?;
            session.out.list(listed)?;
        }
        TypeCommand::Describe { job_type } => describe(&job_type, &server, session).await?,
    }
    Ok(Exit::Done)
}

async fn describe(job_type: &str, server: &Server, session: &Session) -> Result<(), Failure> {
    let look = session.out.look();
    let filter = format!("job_type = \"{job_type}\"");
    let request =
        ListJobTypesRequest { namespace: server.namespace(), filter: filter.clone(), ..ListJobTypesRequest::default() };
    let mut found = server.queues().list_job_types(request).await?.into_inner().job_types;
    let JobType { input_schema, output_schema, schema_drift, announcements, .. } = match found.first() {
        Some(found) => found.clone(),
        None => {
            let message = format!("no worker has announced the job type `{job_type}`");
            return Err(Failure::new(Exit::NotFound, "JOB_TYPE_NOT_FOUND", message)
                .about("type", job_type)
                .hint("`mainspring type list` shows those there are"));
        }
    };
    let request =
        ListWorkersRequest { namespace: server.namespace(), filter: filter.clone(), ..ListWorkersRequest::default() };
    let workers = server.queues().list_workers(request).await?.into_inner().workers;
    let runs = runs(server, filter, "", SHOWN).await?;
    let mut parts = vec![Part::page("jobType", &found.remove(0), look)];
    if schema_drift {
        let sentence = "workers announce different schemas for it: payloads are taken that match any of them, and below are \
                        those of the last word";
        parts.push(Part::text("drift", "Drift", &format!("{sentence}\n"), sentence));
        parts.push(Part::list("announcements", "Announced", &announcements, look));
    }
    parts.extend([
        schema("input", "Input", &input_schema),
        schema("output", "Output", &output_schema),
        Part::list("workers", "Workers", &workers, look),
        Part::list("runs", "Newest runs", &runs, look),
    ]);
    session.out.describe(&format!("type/{job_type}"), parts)
}

/// A JSON Schema, as it is read; none where none was announced.
fn schema(key: &'static str, title: &'static str, text: &str) -> Part {
    match serde_json::from_str::<Json>(text) {
        Ok(schema) => Part::text(key, title, &format!("{schema:#}\n"), schema),
        Err(_) => Part::text(key, title, "", Json::Null),
    }
}
