//! `logs`: what a run wrote.

use clap::{Args, ValueEnum};
use mainspring_proto::{
    common::v1::LogLevel,
    scheduler::v1::{ListLogsRequest, ListLogsResponse},
};

use super::examples;
use crate::{
    connection::Server,
    exit::Exit,
    failure::Failure,
    follow::{self, LogLine},
    named,
    session::Session,
};

/// The largest page a server gives.
const PAGE: i32 = 1000;

/// Show the log of a run
#[derive(Args, Debug)]
#[command(before_help = examples![
    "mainspring logs $RUN",
    "mainspring logs $RUN -f",
    "mainspring logs $RUN --level warning -o jsonl",
])]
pub(crate) struct LogsArgs {
    #[command(flatten)]
    log: LogArgs,
}

/// Which lines, and whether to stay.
#[derive(Args, Debug)]
pub(crate) struct LogArgs {
    /// The run
    #[arg(value_parser = named::run)]
    run: String,
    /// Stay until it is over; the exit code tells how it ended
    #[arg(short, long)]
    follow: bool,
    /// Only lines at least so serious
    #[arg(long, value_name = "LEVEL")]
    level: Option<Level>,
}

/// How serious a line is.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Level {
    Debug,
    Info,
    #[value(alias = "warn")]
    Warning,
    Error,
}

impl Level {
    fn wire(self) -> LogLevel {
        match self {
            Self::Debug => LogLevel::Debug,
            Self::Info => LogLevel::Info,
            Self::Warning => LogLevel::Warning,
            Self::Error => LogLevel::Error,
        }
    }
}

pub(super) async fn run(args: LogsArgs, session: &Session) -> Result<Exit, Failure> {
    show(args.log, &session.server().await?, session).await
}

/// The log of a run.
pub(super) async fn show(args: LogArgs, server: &Server, session: &Session) -> Result<Exit, Failure> {
    let LogArgs { run, follow, level } = args;
    let out = &session.out;
    let min_level = level.map(Level::wire).unwrap_or_default();
    if follow {
        return follow::logs(server, out, &run, min_level).await;
    }
    let mut all = ListLogsResponse::default();
    loop {
        let request = ListLogsRequest {
            namespace: server.namespace(),
            run_id: run.clone(),
            attempt: 0,
            min_level: min_level.into(),
            page_size: PAGE,
            page_token: std::mem::take(&mut all.next_page_token),
        };
        let page = server.scheduler().list_logs(request).await?.into_inner();
        all.next_page_token = page.next_page_token;
        // Lines are printed page by page; only one JSON document needs them all.
        if out.is_jsonl() {
            page.entries.iter().try_for_each(|entry| out.line_of(entry))?;
        } else if out.is_one_document() {
            all.entries.extend(page.entries);
        } else {
            let mut lines = page.entries.iter().map(|entry| LogLine::new(entry, out.look()).to_string());
            lines.try_for_each(|line| out.line_for_people(&line))?;
        }
        if all.next_page_token.is_empty() {
            break;
        }
    }
    if out.is_one_document() {
        out.did("", &all)?;
    }
    Ok(Exit::Done)
}
