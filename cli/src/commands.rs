//! The tree of commands: one file a noun, verbs inside.
//!
//! The help of every command begins with examples; tests find them there and run them, with `$RUN`, `$WORKER` and `$KEY`
//! set to something that exists. So an example is a line that works, not a sketch.

#![allow(clippy::doc_markdown, reason = "doc comments of arguments are the help a person reads")]

mod admin;
mod api;
mod backfill;
mod bulk;
mod calendar;
mod completion;
mod config;
mod context;
mod cron;
mod dead;
mod dev;
mod help;
mod job;
mod login;
mod logout;
mod logs;
mod namespace;
mod passes;
mod policy;
mod queue;
mod refine;
mod retry;
mod rpc;
mod run;
mod serve;
mod sink;
mod submit;
mod trigger;
mod types;
mod unique;
mod version;
mod whoami;
mod worker;

use clap::{Parser, Subcommand};

use crate::{exit::Exit, failure::Failure, session::Session, settings::GlobalArgs};

/// The block of examples a command's help begins with.
macro_rules! examples {
    ($($line:literal),+ $(,)?) => {
        concat!("Examples:", $("\n  ", $line),+)
    };
}
use examples;

/// Mainspring: job scheduling over gRPC, in one binary
#[derive(Debug, Parser)]
#[command(
    name = "mainspring",
    version,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    subcommand_required = true,
    before_help = examples![
        "mainspring dev",
        "mainspring trigger demo.hello -d name=Ada --follow",
        "mainspring run list --filter 'state = FAILED'",
    ]
)]
pub struct Cli {
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Everything that can be typed.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Dev(dev::DevArgs),
    Serve(serve::ServeArgs),
    #[command(subcommand, alias = "jobs")]
    Job(job::JobCommand),
    Trigger(trigger::TriggerArgs),
    Submit(submit::SubmitArgs),
    #[command(subcommand, alias = "runs")]
    Run(run::RunCommand),
    #[command(subcommand, alias = "backfills")]
    Backfill(backfill::BackfillCommand),
    #[command(subcommand)]
    Dead(dead::DeadCommand),
    Logs(logs::LogsArgs),
    #[command(subcommand, alias = "queues")]
    Queue(queue::QueueCommand),
    #[command(subcommand, alias = "calendars")]
    Calendar(calendar::CalendarCommand),
    #[command(subcommand, alias = "namespaces")]
    Namespace(namespace::NamespaceCommand),
    #[command(subcommand, alias = "sinks")]
    Sink(sink::SinkCommand),
    #[command(subcommand, alias = "workers")]
    Worker(worker::WorkerCommand),
    #[command(subcommand, alias = "types")]
    Type(types::TypeCommand),
    Login(login::LoginArgs),
    Logout(logout::LogoutArgs),
    Whoami(whoami::WhoamiArgs),
    #[command(subcommand, alias = "contexts")]
    Context(context::ContextCommand),
    #[command(subcommand)]
    Config(config::ConfigCommand),
    #[command(subcommand)]
    Cron(cron::CronCommand),
    Rpc(rpc::RpcArgs),
    #[command(subcommand)]
    Api(api::ApiCommand),
    #[command(subcommand)]
    Admin(admin::AdminCommand),
    Completion(completion::CompletionArgs),
    Man(completion::ManArgs),
    Version(version::VersionArgs),
    Help(help::HelpArgs),
}

impl Command {
    pub(crate) async fn run(self, session: &Session) -> Result<Exit, Failure> {
        match self {
            Self::Dev(args) => dev::run(args, session).await,
            Self::Serve(args) => serve::run(args, session).await,
            Self::Job(command) => job::run(command, session).await,
            Self::Trigger(args) => trigger::run(args, session).await,
            Self::Submit(args) => submit::run(args, session).await,
            Self::Run(command) => run::run(command, session).await,
            Self::Backfill(command) => backfill::run(command, session).await,
            Self::Dead(command) => dead::run(command, session).await,
            Self::Logs(args) => logs::run(args, session).await,
            Self::Queue(command) => queue::run(command, session).await,
            Self::Calendar(command) => calendar::run(command, session).await,
            Self::Namespace(command) => namespace::run(command, session).await,
            Self::Sink(command) => sink::run(command, session).await,
            Self::Worker(command) => worker::run(command, session).await,
            Self::Type(command) => types::run(command, session).await,
            Self::Login(args) => login::run(args, session).await,
            Self::Logout(args) => logout::run(args, session).await,
            Self::Whoami(args) => whoami::run(args, session).await,
            Self::Context(command) => context::run(command, session).await,
            Self::Config(command) => config::run(command, session),
            Self::Cron(command) => cron::run(command, session).await,
            Self::Rpc(args) => rpc::run(args, session).await,
            Self::Api(command) => api::run(command, session),
            Self::Admin(command) => admin::run(command, session).await,
            Self::Completion(args) => completion::completion(&args, session),
            Self::Man(args) => completion::man(args, session),
            Self::Version(args) => version::run(args, session).await,
            Self::Help(args) => help::run(args, session),
        }
    }
}
