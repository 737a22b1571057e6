//! `dead`: runs that ended FAILED or TIMED_OUT, by what went wrong, and what becomes of them.

use clap::{ArgGroup, Args, Subcommand};
use mainspring_proto::scheduler::v1::{
    DeadLetterGroup, ListDeadLettersRequest, ListDeadLettersResponse, ListRunsRequest, RedriveDeadLettersRequest,
    Resolution, ResolveDeadLettersRequest, Run, RunSelection, RunView,
};

use super::{
    bulk::{BulkArgs, SHOWN, ask, counted, found, these},
    examples,
    passes::PassArgs,
};
use crate::{
    connection::Server,
    exit::Exit,
    failure::Failure,
    named,
    output::Part,
    rate::Rate,
    session::{LimitArgs, Session},
};

/// How many runs belong to a page.
const NEWEST: i32 = 10;
/// Of dead letters, those that nobody has dealt with.
const OPEN: &str = "resolution = OPEN";
/// And those that somebody has, but not by making them again.
const SETTLED: &str = "resolution = RESOLVED OR resolution = IGNORED";

/// See, resolve and redrive runs that failed or took too long
#[derive(Debug, Subcommand)]
#[command(before_help = examples![
    "mainspring dead list",
    "mainspring dead resolve --filter 'job = demo.flaky' --note 'fixed' -y",
    "mainspring dead redrive --filter 'reason = SMTP_BUSY' --rate 10/s -y",
])]
pub(crate) enum DeadCommand {
    /// List what went wrong, with how many runs died of it, the latest first
    #[command(before_help = examples![
        "mainspring dead list",
        "mainspring dead list --filter 'job = demo.flaky AND end_time > now-1d'",
        "mainspring dead list --filter 'resolution = IGNORED' -o json",
    ])]
    List {
        /// As of `run list`; unless it says something of `resolution`, only open ones are found
        #[arg(long, value_name = "FILTER")]
        filter: Option<String>,
        #[command(flatten)]
        limit: LimitArgs,
    },
    /// Show one thing that went wrong, with the newest runs that died of it
    #[command(before_help = examples!["mainspring dead describe $DEAD", "mainspring dead describe $DEAD -o json"])]
    Describe {
        /// What went wrong (`dead list`)
        #[arg(value_parser = named::dead)]
        fingerprint: String,
    },
    /// Say that runs are dealt with: they are kept no longer than others
    #[command(group = which(), group = many(), before_help = examples![
        "mainspring dead resolve $RUN --note 'paid by hand'",
        "mainspring dead resolve --fingerprint $DEAD --ignore -y",
        "mainspring dead resolve --filter 'job = demo.flaky' --since 1d --dry-run",
    ])]
    Resolve {
        #[command(flatten)]
        dead: DeadArgs,
        /// Nothing has to be done
        #[arg(long)]
        ignore: bool,
        /// They are to be dealt with after all
        #[arg(long, conflicts_with = "ignore")]
        reopen: bool,
    },
    /// Make runs again that nobody has dealt with, each once
    #[command(group = which(), group = many(), before_help = examples![
        "mainspring dead redrive $RUN",
        "mainspring dead redrive --fingerprint $DEAD --rate 10/s -y",
        "mainspring dead redrive --filter 'job = demo.flaky' --since 1d --dry-run",
    ])]
    Redrive {
        #[command(flatten)]
        dead: DeadArgs,
        /// So many are due in so long, one after the other: 10/s [default: all at once]
        #[arg(long, value_name = "N/LENGTH")]
        rate: Option<Rate>,
        #[command(flatten)]
        passes: PassArgs,
    },
}

/// Which dead letters.
#[derive(Args, Debug)]
pub(crate) struct DeadArgs {
    /// The runs
    #[arg(value_parser = named::run)]
    run: Vec<String>,
    #[command(flatten)]
    bulk: BulkArgs,
    /// Instead of runs: all that died of this (`dead list`)
    #[arg(long, value_name = "FINGERPRINT", value_parser = named::dead, conflicts_with_all = ["run", "filter", "all"])]
    fingerprint: Option<String>,
    /// Why, for whoever looks at them later
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
}

/// Some runs, or many. As a group, what is missing is told with all of its names.
fn which() -> ArgGroup {
    ArgGroup::new("which").args(["run", "filter", "all", "fingerprint"]).required(true)
}

/// How many are named.
fn many() -> ArgGroup {
    ArgGroup::new("many").args(["filter", "all", "fingerprint"])
}

pub(super) async fn run(command: DeadCommand, session: &Session) -> Result<Exit, Failure> {
    match command {
        DeadCommand::List { filter, limit } => {
            let server = session.server().await?;
            session.out.list(listed(&server, &filter.unwrap_or_default(), limit).await?)?;
        }
        DeadCommand::Describe { fingerprint } => describe(&fingerprint, &session.server().await?, session).await?,
        DeadCommand::Resolve { dead, ignore, reopen } => {
            let only = if reopen { SETTLED } else { OPEN };
            let (verb, resolution) = match (ignore, reopen) {
                (true, _) => ("ignore", Resolution::Ignored),
                (false, true) => ("reopen", Resolution::Open),
                (false, false) => ("resolve", Resolution::Resolved),
            };
            return resolve(&dead, only, verb, resolution, session).await;
        }
        DeadCommand::Redrive { dead, rate, passes } => return redrive(&dead, rate, passes, session).await,
    }
    Ok(Exit::Done)
}

async fn listed(server: &Server, filter: &str, limit: LimitArgs) -> Result<ListDeadLettersResponse, Failure> {
    let mut scheduler = server.scheduler();
    let pages = limit.pages(async |page_size, page_token| {
        let (namespace, filter) = (server.namespace(), filter.to_owned());
        let request = ListDeadLettersRequest { namespace, filter, page_size, page_token };
        Ok(scheduler.list_dead_letters(request).await?.into_inner())
    });
    pages.await
}

async fn describe(fingerprint: &str, server: &Server, session: &Session) -> Result<(), Failure> {
    let look = session.out.look();
    let these = format!("fingerprint = \"{fingerprint}\"");
    // Whatever has become of them.
    let any = format!("{these} AND (resolution = OPEN OR resolution != OPEN)");
    let group: Option<DeadLetterGroup> = listed(server, &any, LimitArgs { limit: 1 }).await?.groups.pop();
    let group = group.ok_or_else(|| {
        Failure::new(Exit::NotFound, "FINGERPRINT_NOT_FOUND", format!("no run died of {fingerprint}"))
            .hint("`mainspring dead list` shows what runs died of")
    })?;
    let request = ListRunsRequest {
        namespace: server.namespace(),
        filter: these,
        page_size: NEWEST,
        view: RunView::Basic.into(),
        ..ListRunsRequest::default()
    };
    let runs = server.scheduler().list_runs(request).await?.into_inner().runs;
    let parts = vec![Part::page("group", &group, look), Part::list("runs", "Newest runs", &runs, look)];
    session.out.describe(&format!("dead/{fingerprint}"), parts)
}

impl DeadArgs {
    /// Which they are, as the server is told, and in words.
    fn selection(&self, only: &str) -> Result<(RunSelection, String), Failure> {
        if !self.run.is_empty() {
            return Ok((RunSelection { filter: String::new(), run_ids: self.run.clone() }, String::new()));
        }
        self.bulk.is_asked()?;
        let only = match &self.fingerprint {
            Some(fingerprint) => format!("({only}) AND fingerprint = \"{fingerprint}\""),
            None => only.to_owned(),
        };
        let filter = self.bulk.whole(&only);
        Ok((RunSelection { filter: filter.clone(), run_ids: Vec::new() }, filter))
    }

    /// Whether somebody is shown first what there is.
    fn looks_first(&self) -> bool {
        self.bulk.dry_run || (!self.bulk.yes && self.run.is_empty())
    }

    /// Shows them and asks; whether to go on.
    async fn agreed(
        &self,
        verb: &str,
        filter: &str,
        count: i64,
        server: &Server,
        session: &Session,
    ) -> Result<bool, Failure> {
        let count = usize::try_from(count).unwrap_or_default();
        if self.bulk.dry_run {
            session.out.remark(format!("would {verb} {}", counted(count)));
            return Ok(false);
        }
        if count > 0 {
            ask(verb, filter, count, &found(server, filter, u32::try_from(SHOWN).unwrap_or(u32::MAX)).await?)?;
        }
        Ok(true)
    }
}

/// Of runs that were named, those that stay as they are, each with why. Looked for before anything is done: afterwards
/// nobody could tell who has done it.
async fn left(dead: &DeadArgs, to: Resolution, server: &Server) -> Result<Vec<String>, Failure> {
    let there = these(server, &dead.run).await?;
    let sentence = |id: &String| {
        let run = there.iter().find(|run| run.run_id == *id);
        let why = why_left(run.map(Run::resolution), to)?;
        let by = run.map_or("", |run| &run.resolve_actor);
        let by = if by.is_empty() { String::new() } else { format!(" (by {by})") };
        Some(format!("run/{id}: {why}{by}"))
    };
    Ok(dead.run.iter().filter_map(sentence).collect())
}

/// Why a run that stands so does not become what somebody wants of it; none where it may.
fn why_left(stands: Option<Resolution>, to: Resolution) -> Option<&'static str> {
    let reopens = to == Resolution::Open;
    Some(match stands {
        None => "there is no such run",
        Some(Resolution::Unspecified) => "it is no dead letter: it has not ended FAILED or TIMED_OUT",
        Some(Resolution::Open) if reopens => "it is open already",
        Some(Resolution::Resolved | Resolution::Ignored) if reopens => return None,
        Some(Resolution::Redriven) if reopens => "it was made again, which cannot be taken back",
        Some(Resolution::Open) => return None,
        Some(Resolution::Redriven) => "it was made again already; `mainspring run replay` makes it once more",
        Some(Resolution::Resolved) => "it is RESOLVED already; `mainspring dead resolve --reopen` opens it",
        Some(Resolution::Ignored) => "it is IGNORED already; `mainspring dead resolve --reopen` opens it",
    })
}

/// What somebody agreed to is done to as many as they were shown, or to none.
async fn resolve(
    dead: &DeadArgs,
    only: &str,
    verb: &str,
    resolution: Resolution,
    session: &Session,
) -> Result<Exit, Failure> {
    let (selection, filter) = dead.selection(only)?;
    let server = session.server().await?;
    let mut scheduler = server.scheduler();
    let mut request = ResolveDeadLettersRequest {
        namespace: server.namespace(),
        selection: Some(selection),
        resolution: resolution.into(),
        note: dead.note.clone().unwrap_or_default(),
        expected_count: None,
        validate_only: dead.looks_first(),
    };
    if request.validate_only {
        let shown = scheduler.resolve_dead_letters(request.clone()).await?.into_inner();
        if !dead.agreed(verb, &filter, shown.count, &server, session).await? {
            session.out.did(&runs(shown.count), &shown)?;
            return Ok(Exit::Done);
        }
        (request.expected_count, request.validate_only) = (Some(shown.count), false);
    }
    let left = left(dead, resolution, &server).await?;
    let done = scheduler.resolve_dead_letters(request).await?.into_inner();
    left.iter().for_each(|sentence| session.out.remark(sentence));
    session.out.did(&format!("{}: {verb} done", runs(done.resolved_count)), &done)?;
    Ok(Exit::Done)
}

async fn redrive(dead: &DeadArgs, rate: Option<Rate>, passes: PassArgs, session: &Session) -> Result<Exit, Failure> {
    let (selection, filter) = dead.selection(OPEN)?;
    let server = session.server().await?;
    let mut scheduler = server.scheduler();
    let mut request = RedriveDeadLettersRequest {
        namespace: server.namespace(),
        selection: Some(selection),
        pace: rate.and_then(Rate::pace),
        note: dead.note.clone().unwrap_or_default(),
        expected_count: None,
        validate_only: dead.looks_first(),
        force: passes.force,
        while_paused: passes.while_paused,
    };
    if request.validate_only {
        let shown = scheduler.redrive_dead_letters(request.clone()).await?.into_inner();
        if !dead.agreed("redrive", &filter, shown.count, &server, session).await? {
            session.out.did(&runs(shown.count), &shown)?;
            return Ok(Exit::Done);
        }
        (request.expected_count, request.validate_only) = (Some(shown.count), false);
    }
    let left = left(dead, Resolution::Redriven, &server).await?;
    let done = scheduler.redrive_dead_letters(request).await?.into_inner();
    left.iter().for_each(|sentence| session.out.remark(sentence));
    for refused in &done.refusals {
        session.out.note(format!("run/{}: {} ({})", refused.run_id, refused.message, refused.reason));
    }
    session.out.did(&format!("{}: redrive done", runs(done.redriven_count)), &done)?;
    Ok(if done.refusals.is_empty() { Exit::Done } else { Exit::Failed })
}

fn runs(count: i64) -> String {
    counted(usize::try_from(count).unwrap_or_default())
}
