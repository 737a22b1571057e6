//! What is done to many runs at once: everything a filter finds, shown first and asked about.
//!
//! The server does it to all of them by one call. One that it cannot be done to does not stop the others.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use clap::{ArgGroup, Args};
use mainspring_proto::scheduler::v1::{ListRunsRequest, ListRunsResponse, Run, RunRefusal, RunSelection, RunView};

use crate::{
    connection::Server,
    exit::Exit,
    failure::Failure,
    session::{LimitArgs, Session},
    times::Length,
};

/// So many of them are shown before it is asked.
pub(super) const SHOWN: usize = 5;
/// So many ids have room in a filter.
const NAMED: usize = 80;

/// Which runs, where not one is named.
#[derive(Args, Debug)]
pub(crate) struct BulkArgs {
    /// Instead of one run: all that this finds (`mainspring help filters`)
    #[arg(long, value_name = "FILTER", conflicts_with = "run")]
    filter: Option<String>,
    /// Instead of a filter: all there are in the namespace
    #[arg(long, conflicts_with = "run")]
    all: bool,
    /// Only runs that were made within this
    #[arg(long, value_name = "LENGTH", requires = "many")]
    since: Option<Length>,
    /// Show which they are, change nothing
    #[arg(long, requires = "many")]
    pub(super) dry_run: bool,
    /// Do not ask
    #[arg(short, long, requires = "many")]
    pub(super) yes: bool,
}

/// How many are named. As a group, for what makes sense beside any of its names.
pub(super) fn many() -> ArgGroup {
    ArgGroup::new("many").args(["filter", "all"])
}

/// What is done to all of them.
pub(super) struct Doing {
    /// "cancel".
    pub(super) verb: &'static str,
    /// Which of all runs it can be done to.
    pub(super) only: &'static str,
}

/// What the server is asked to do.
pub(super) struct Asked {
    pub(super) selection: Option<RunSelection>,
    pub(super) expected_count: Option<i64>,
    pub(super) validate_only: bool,
}

/// What it did.
#[derive(Default)]
pub(super) struct Told {
    /// How many runs it found.
    pub(super) count: i64,
    /// The runs that came of it, each with a sentence about it.
    pub(super) done: Vec<(String, Run)>,
    /// Those that it was not done to.
    pub(super) refusals: Vec<RunRefusal>,
}

impl BulkArgs {
    /// Whether many are meant. A filter that says nothing is a slip, mostly a variable that is not set: it finds whatever there
    /// is, and nobody typed that.
    pub(super) fn is_asked(&self) -> Result<bool, Failure> {
        match &self.filter {
            Some(filter) if filter.trim().is_empty() => {
                Err(Failure::usage("--filter: it is empty, and would find everything")
                    .hint("is a variable in it not set? where all there are is meant, --all says so"))
            }
            Some(_) => Ok(true),
            None => Ok(self.all),
        }
    }

    /// The whole filter: what was typed cannot reach beyond its parentheses.
    pub(super) fn whole(&self, only: &str) -> String {
        let typed = self.filter.as_deref().unwrap_or_default().trim();
        let since = self.since.map(|Length(length)| {
            let micros = i64::try_from(length.as_micros()).unwrap_or(i64::MAX);
            format!("create_time >= now-{}", mainspring_cron::format_duration(micros))
        });
        let parts = [Some(typed).filter(|typed| !typed.is_empty()), Some(only), since.as_deref()];
        parts.into_iter().flatten().map(|part| format!("({part})")).collect::<Vec<_>>().join(" AND ")
    }
}

/// Does it to all of them. The end of the process tells whether that worked for every one. Where somebody agreed to so many,
/// it is done to as many or to none.
pub(super) async fn run(
    args: &BulkArgs,
    server: &Server,
    session: &Session,
    doing: Doing,
    ask_server: impl AsyncFn(Asked) -> Result<Told, Failure>,
) -> Result<Exit, Failure> {
    let Doing { verb, only } = doing;
    let filter = args.whole(only);
    if args.dry_run {
        let runs = found(server, &filter, 0).await?;
        session.out.remark(format!("would {verb} {}", counted(runs.len())));
        session.out.list(ListRunsResponse { runs, next_page_token: String::new() })?;
        return Ok(Exit::Done);
    }
    let selection = Some(RunSelection { filter: filter.clone(), run_ids: Vec::new() });
    let mut asked = Asked { selection: selection.clone(), expected_count: None, validate_only: false };
    if !args.yes {
        let first = Asked { selection, expected_count: None, validate_only: true };
        let count = ask_server(first).await?.count;
        if count > 0 {
            let first = found(server, &filter, u32::try_from(SHOWN).unwrap_or(u32::MAX)).await?;
            ask(verb, &filter, usize::try_from(count).unwrap_or_default(), &first)?;
        }
        asked.expected_count = Some(count);
    }
    let Told { count, mut done, refusals } = ask_server(asked).await?;
    // The answer has no more of a run than it takes to tell a person.
    if session.out.is_for_programs() {
        whole(server, &mut done).await?;
    }
    let (total, worked) = (usize::try_from(count).unwrap_or_default(), done.len());
    if session.out.is_one_document() {
        let runs = done.into_iter().map(|(_, run)| run).collect();
        session.out.list(ListRunsResponse { runs, next_page_token: String::new() })?;
    } else {
        for (sentence, run) in &done {
            session.out.did(sentence, run)?;
        }
    }
    for RunRefusal { run_id, message, reason, code: _ } in &refusals {
        session.out.note(format!("run/{run_id}: {message} ({reason})"));
    }
    session.out.remark(format!("{worked} of {}: {verb} done", counted(total)));
    Ok(if refusals.is_empty() { Exit::Done } else { Exit::Failed })
}

/// Puts the runs that are there in the place of those that only their names are known of.
async fn whole(server: &Server, runs: &mut [(String, Run)]) -> Result<(), Failure> {
    let ids: Vec<String> = runs.iter().map(|(_, run)| run.run_id.clone()).collect();
    for there in these(server, &ids).await? {
        if let Some((_, run)) = runs.iter_mut().find(|(_, run)| run.run_id == there.run_id) {
            *run = there;
        }
    }
    Ok(())
}

/// Of runs that are named, those that are there.
pub(super) async fn these(server: &Server, ids: &[String]) -> Result<Vec<Run>, Failure> {
    let mut there = Vec::new();
    for piece in ids.chunks(NAMED) {
        let tests: Vec<_> = piece.iter().map(|id| format!("run_id = {id}")).collect();
        there.extend(found(server, &tests.join(" OR "), 0).await?);
    }
    Ok(there)
}

/// Runs that a filter finds, the oldest first; at most `limit`, where that is not 0.
pub(super) async fn found(server: &Server, filter: &str, limit: u32) -> Result<Vec<Run>, Failure> {
    let mut scheduler = server.scheduler();
    let listed: ListRunsResponse = LimitArgs { limit }
        .pages(async |page_size, page_token| {
            let request = ListRunsRequest {
                namespace: server.namespace(),
                filter: filter.to_owned(),
                page_size,
                page_token,
                order_by: "create_time".into(),
                view: RunView::Basic.into(),
            };
            Ok(scheduler.list_runs(request).await?.into_inner())
        })
        .await?;
    Ok(listed.runs)
}

/// Asks whether it is to be done to so many, and shows the first. Where nobody can answer, nothing is done: a script says `-y`.
pub(super) fn ask(verb: &str, filter: &str, count: usize, first: &[Run]) -> Result<(), Failure> {
    let mut text = format!("{} with {filter}:\n", counted(count));
    for run in first.iter().take(SHOWN) {
        let what = if run.job.is_empty() { &run.job_type } else { &run.job };
        text.push_str(&format!("  run/{}  {what}  {}\n", run.run_id, crate::resource::state_word(run.state())));
    }
    if count > SHOWN {
        text.push_str(&format!("  and {} more\n", count - SHOWN));
    }
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        let message = format!("{verb} {} needs a yes, and nobody is there to be asked", counted(count));
        return Err(Failure::usage(message).hint("-y says it; --dry-run shows which they are"));
    }
    let mut stderr = io::stderr().lock();
    write!(stderr, "{text}{verb} them? [y/N] ")?;
    stderr.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    if matches!(answer.trim().to_lowercase().as_str(), "y" | "yes") {
        return Ok(());
    }
    Err(Failure::new(Exit::Failed, "NOT_CONFIRMED", "nothing was changed"))
}

pub(super) fn counted(runs: usize) -> String {
    if runs == 1 { "1 run".into() } else { format!("{runs} runs") }
}

#[cfg(test)]
mod tests {
    use super::BulkArgs;

    #[test]
    fn what_was_typed_stays_within_its_parentheses() {
        let args = |filter: &str, since: Option<&str>| BulkArgs {
            filter: Some(filter.into()).filter(|filter: &String| !filter.is_empty()),
            all: filter.is_empty(),
            since: since.map(|since| since.parse().unwrap()),
            dry_run: false,
            yes: false,
        };
        assert_eq!(
            args("job = a OR job = b", Some("1h30m")).whole("state = FAILED"),
            "(job = a OR job = b) AND (state = FAILED) AND (create_time >= now-1h30m)"
        );
        assert_eq!(args("", None).whole("state = FAILED"), "(state = FAILED)");
    }
}
