//! `sink`: whom to tell what goes wrong.

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand, ValueEnum};
use mainspring_proto::scheduler::v1::{
    CreateSinkRequest, DeleteSinkRequest, DeliveryState, GetSinkRequest, ListDeliveriesRequest, ListSinksRequest,
    NoticeKind, RedeliverNoticeRequest, Sink, TestSinkRequest, UpdateSinkRequest,
};

use super::{admin::key::SECRET, examples};
use crate::{
    connection::Server,
    exit::Exit,
    failure::Failure,
    named,
    output::Part,
    session::{LimitArgs, Session},
};

/// Deliveries that `describe` shows.
const SHOWN: i32 = 10;

/// Tell others what goes wrong, by signed webhooks
#[derive(Debug, Subcommand)]
#[command(before_help = examples![
    "mainspring sink create ops --url https://hooks.example.org/mainspring",
    "mainspring sink list",
    "mainspring sink deliveries ops",
])]
pub(crate) enum SinkCommand {
    /// Create a sink; stdout is the secret that it signs with, told once and never again
    #[command(before_help = examples![
        "mainspring sink create ops --url https://hooks.example.org/mainspring",
        "SECRET=$(mainspring sink create pager --url https://hooks.example.org/p --kind run-failed)",
        "mainspring sink create hello --url https://hooks.example.org/hello --job demo.hello",
    ])]
    Create {
        /// Its name, a slug; it is never changed
        #[arg(value_name = "NAME", value_parser = named::sink)]
        sink: String,
        /// Where to send: https, and public, unless the server's settings allow more
        #[arg(long, value_name = "URL")]
        url: String,
        #[command(flatten)]
        set: SetArgs,
        /// Check everything, save nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// List sinks by name
    #[command(before_help = examples!["mainspring sink list", "mainspring sink list -o name"])]
    List {
        #[command(flatten)]
        limit: LimitArgs,
    },
    /// Show a sink and what it was told last
    #[command(before_help = examples!["mainspring sink describe ops", "mainspring sink describe ops -o yaml"])]
    Describe {
        /// The sink
        #[arg(value_parser = named::sink)]
        sink: String,
    },
    /// Change a sink; what is not named stays
    #[command(before_help = examples![
        "mainspring sink update ops --disable",
        "mainspring sink update ops --enable --kind run-dead-lettered",
        "SECRET=$(mainspring sink update ops --rotate-secret)",
    ])]
    Update {
        /// The sink
        #[arg(value_parser = named::sink)]
        sink: String,
        /// Where to send
        #[arg(long, value_name = "URL")]
        url: Option<String>,
        #[command(flatten)]
        set: SetArgs,
        /// Tell it of every job again
        #[arg(long, conflicts_with = "job")]
        every_job: bool,
        /// Keep nothing new for it and send nothing; what is open waits
        #[arg(long)]
        disable: bool,
        /// End that
        #[arg(long, conflicts_with = "disable")]
        enable: bool,
        /// Make a new secret, which becomes the output
        #[arg(long, conflicts_with = "secret_file")]
        rotate_secret: bool,
        /// Only if it is still this one (`etag` of `sink describe -o json`)
        #[arg(long, value_name = "ETAG")]
        etag: Option<String>,
        /// Check everything, save nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Delete a sink, and what is open for it
    #[command(before_help = examples!["mainspring sink delete pager", "mainspring sink delete hello -o json"])]
    Delete {
        /// The sink
        #[arg(value_parser = named::sink)]
        sink: String,
        /// Only if it is still this one (`etag` of `sink describe -o json`)
        #[arg(long, value_name = "ETAG")]
        etag: Option<String>,
    },
    /// Send a sink one signed notice and show what it answers; exit 1 where it does not take it
    #[command(before_help = examples!["mainspring sink test ops", "mainspring sink test ops -o json"])]
    Test {
        /// The sink
        #[arg(value_parser = named::sink)]
        sink: String,
    },
    /// List what a sink was told, and is to be told, newest first
    #[command(before_help = examples![
        "mainspring sink deliveries ops",
        "mainspring sink deliveries ops --state failed -o wide",
    ])]
    Deliveries {
        /// The sink
        #[arg(value_parser = named::sink)]
        sink: String,
        /// Only those in this state
        #[arg(long, value_name = "STATE")]
        state: Option<State>,
        #[command(flatten)]
        limit: LimitArgs,
    },
    /// Send a notice again, whatever became of it
    #[command(before_help = examples![
        "mainspring sink redeliver on-call $DELIVERY",
        "mainspring sink redeliver on-call $DELIVERY -o json",
    ])]
    Redeliver {
        /// The sink
        #[arg(value_parser = named::sink)]
        sink: String,
        /// The delivery
        #[arg(value_parser = named::delivery)]
        delivery: String,
    },
}

/// What is set on a sink.
#[derive(Args, Debug)]
pub(crate) struct SetArgs {
    /// What it is told; may be repeated [default: everything]
    #[arg(long, value_name = "KIND")]
    kind: Vec<Kind>,
    /// Only what this job is about
    #[arg(long, value_name = "JOB", value_parser = named::job)]
    job: Option<String>,
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// A file with what to sign with: whsec_ and base64 [default: one is made]
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
}

/// What a sink is told.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    /// A run ended FAILED or TIMED_OUT
    RunFailed,
    /// The same, with how many dead letters went wrong alike
    RunDeadLettered,
    /// A job was paused by itself
    JobAutoDisabled,
    /// Instants were missed for good
    ScheduleMissed,
    /// A schedule cannot be evaluated
    ScheduleError,
}

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum State {
    /// To be sent
    Pending,
    /// The receiver has it
    Delivered,
    /// Given up
    Failed,
}

impl SetArgs {
    /// Writes what was typed, and names it.
    fn write(self, sink: &mut Sink) -> Result<Vec<&'static str>, Failure> {
        let Self { kind, job, description, secret_file } = self;
        let mut named = Vec::new();
        if !kind.is_empty() {
            let wire = |kind: &Kind| match kind {
                Kind::RunFailed => NoticeKind::RunFailed,
                Kind::RunDeadLettered => NoticeKind::RunDeadLettered,
                Kind::JobAutoDisabled => NoticeKind::JobAutoDisabled,
                Kind::ScheduleMissed => NoticeKind::ScheduleMissed,
                Kind::ScheduleError => NoticeKind::ScheduleError,
            };
            sink.kinds = kind.iter().map(|kind| wire(kind).into()).collect();
            named.push("kinds");
        }
        let wrong = |file: &Path, error| Failure::usage(format!("--secret-file {}: {error}", file.display()));
        let read = |file: PathBuf| fs::read_to_string(&file).map_err(|error| wrong(&file, error));
        let secret = secret_file.map(read).transpose()?.map(|secret| secret.trim().to_owned());
        for (field, text, typed) in [
            ("job", &mut sink.job, job),
            ("description", &mut sink.description, description),
            ("secret", &mut sink.secret, secret),
        ] {
            if let Some(typed) = typed {
                *text = typed;
                named.push(field);
            }
        }
        Ok(named)
    }
}

pub(super) async fn run(command: SinkCommand, session: &Session) -> Result<Exit, Failure> {
    let tells = match &command {
        SinkCommand::Create { set, dry_run, .. } => set.secret_file.is_none() && !dry_run,
        SinkCommand::Update { rotate_secret, dry_run, .. } => *rotate_secret && !dry_run,
        SinkCommand::List { .. }
        | SinkCommand::Describe { .. }
        | SinkCommand::Delete { .. }
        | SinkCommand::Test { .. }
        | SinkCommand::Deliveries { .. }
        | SinkCommand::Redeliver { .. } => false,
    };
    if tells {
        session.out.must_show(SECRET, "the secret")?;
    }
    let server = session.server().await?;
    let namespace = server.namespace();
    let mut admin = server.admin();
    match command {
        SinkCommand::Create { sink, url, set, dry_run } => {
            let mut made = Sink { sink, url, ..Sink::default() };
            set.write(&mut made)?;
            let request =
                CreateSinkRequest { namespace, sink: Some(made), validate_only: dry_run, ..Default::default() };
            let answer = admin.create_sink(request).await?.into_inner();
            let done = if dry_run { "would be created" } else { "created" };
            told(session, &format!("sink/{} {done}", name(answer.sink.as_ref())), answer.secret.clone(), &answer)?;
        }
        SinkCommand::List { limit } => {
            let pages = limit.pages(async |page_size, page_token| {
                let request = ListSinksRequest { namespace: namespace.clone(), page_size, page_token };
                Ok(admin.list_sinks(request).await?.into_inner())
            });
            session.out.list(pages.await?)?;
        }
        SinkCommand::Describe { sink } => describe(&server, session, sink).await?,
        SinkCommand::Update { sink, url, set, every_job, disable, enable, rotate_secret, etag, dry_run } => {
            let mut new = Sink { sink, etag: etag.unwrap_or_default(), disabled: disable, ..Sink::default() };
            let mut paths = set.write(&mut new)?;
            if let Some(url) = url {
                new.url = url;
                paths.push("url");
            }
            if every_job {
                paths.push("job");
            }
            if disable || enable {
                paths.push("disabled");
            }
            if rotate_secret {
                paths.push("secret");
            }
            if paths.is_empty() {
                return Err(
                    Failure::usage("nothing is to be changed").hint("name what is; `mainspring help sink update`")
                );
            }
            let update_mask = Some(prost_types::FieldMask { paths: paths.into_iter().map(Into::into).collect() });
            let request =
                UpdateSinkRequest { namespace, sink: Some(new), update_mask, rotate_secret, validate_only: dry_run };
            let answer = admin.update_sink(request).await?.into_inner();
            let done = if dry_run { "would be updated" } else { "updated" };
            told(session, &format!("sink/{} {done}", name(answer.sink.as_ref())), answer.secret.clone(), &answer)?;
        }
        SinkCommand::Delete { sink, etag } => {
            let request = DeleteSinkRequest { namespace, sink: sink.clone(), etag: etag.unwrap_or_default() };
            let answer = admin.delete_sink(request).await?.into_inner();
            session.out.did(&format!("sink/{sink} deleted"), &answer)?;
        }
        SinkCommand::Test { sink } => {
            let request = TestSinkRequest { namespace, sink: sink.clone() };
            let answer = admin.test_sink(request).await?.into_inner();
            let line = match (answer.delivered, answer.status) {
                (true, status) => format!("sink/{sink} answered {status}"),
                (false, _) => format!("sink/{sink} does not take it: {}", answer.error),
            };
            session.out.did(&line, &answer)?;
            return Ok(if answer.delivered { Exit::Done } else { Exit::Failed });
        }
        SinkCommand::Deliveries { sink, state, limit } => {
            let state = match state {
                None => DeliveryState::Unspecified,
                Some(State::Pending) => DeliveryState::Pending,
                Some(State::Delivered) => DeliveryState::Delivered,
                Some(State::Failed) => DeliveryState::Failed,
            };
            let pages = limit.pages(async |page_size, page_token| {
                let (namespace, sink, state) = (namespace.clone(), sink.clone(), state.into());
                let request = ListDeliveriesRequest { namespace, sink, state, page_size, page_token };
                Ok(admin.list_deliveries(request).await?.into_inner())
            });
            session.out.list(pages.await?)?;
        }
        SinkCommand::Redeliver { sink, delivery } => {
            let request = RedeliverNoticeRequest { namespace, sink, delivery_id: delivery };
            let delivery = admin.redeliver_notice(request).await?.into_inner().delivery.unwrap_or_default();
            session.out.did(&format!("delivery/{} is sent again", delivery.delivery_id), &delivery)?;
        }
    }
    Ok(Exit::Done)
}

/// What was done; where a secret was made, that is the data, and the rest must not end up in a variable with it.
fn told(session: &Session, line: &str, secret: String, answer: &impl crate::resource::Message) -> Result<(), Failure> {
    if secret.is_empty() {
        return session.out.did(line, answer);
    }
    session.out.note(format!("{line}; its secret is shown this once"));
    session.out.did(&secret, answer)
}

fn name(sink: Option<&Sink>) -> &str {
    sink.map_or("", |sink| sink.sink.as_str())
}

async fn got(server: &Server, sink: String) -> Result<Sink, Failure> {
    let request = GetSinkRequest { namespace: server.namespace(), sink };
    Ok(server.admin().get_sink(request).await?.into_inner().sink.unwrap_or_default())
}

async fn describe(server: &Server, session: &Session, sink: String) -> Result<(), Failure> {
    let found = got(server, sink.clone()).await?;
    let request = ListDeliveriesRequest {
        namespace: server.namespace(),
        sink: sink.clone(),
        page_size: SHOWN,
        ..ListDeliveriesRequest::default()
    };
    let listed = server.admin().list_deliveries(request).await?.into_inner();
    let look = session.out.look();
    let parts =
        vec![Part::page("sink", &found, look), Part::list("deliveries", "Newest deliveries", &listed.deliveries, look)];
    session.out.describe(&format!("sink/{sink}"), parts)
}
