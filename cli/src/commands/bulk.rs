//! What is done to many runs at once: everything a filter finds, shown first and asked about.
//!
//! `run cancel` and `run retry` have no call that does it to all, so the list is read to its end before anything is done,
//! then one by one: what changes in the meantime is told by the server at each run. One that fails does not stop the others.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use clap::{ArgGroup, Args};
use mainspring_proto::scheduler::v1::{ListRunsRequest, ListRunsResponse, Run, RunView};

use crate::{
    connection::Server,
    exit::Exit,
    failure::Failure,
    session::{LimitArgs, Session},
    times::Length,
};

/// So many of them are shown before it is asked.
pub(super) const SHOWN: usize = 5;

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

/// What is done to each of them.
pub(super) struct Doing {
    /// "cancel".
    pub(super) verb: &'static str,
    /// Which of all runs it can be done to.
    pub(super) only: &'static str,
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

/// Does it to all of them. The end of the process tells whether that worked for every one.
pub(super) async fn run(
    args: &BulkArgs,
    server: &Server,
    session: &Session,
    doing: Doing,
    mut one: impl AsyncFnMut(&Run) -> Result<(String, Run), Failure>,
) -> Result<Exit, Failure> {
    let Doing { verb, only } = doing;
    let filter = args.whole(only);
    let found = found(server, &filter, 0).await?;
    if args.dry_run {
        session.out.remark(format!("would {verb} {}", counted(found.len())));
        session.out.list(ListRunsResponse { runs: found, next_page_token: String::new() })?;
        return Ok(Exit::Done);
    }
    if !found.is_empty() && !args.yes {
        ask(verb, &filter, found.len(), &found)?;
    }
    let mut done = ListRunsResponse::default();
    let mut failed = 0;
    for run in &found {
        match one(run).await {
            Ok((sentence, run)) => {
                if session.out.is_one_document() {
                    done.runs.push(run);
                } else {
                    session.out.did(&sentence, &run)?;
                }
            }
            Err(failure) => {
                failed += 1;
                session.out.note(format!("run/{}: {} ({})", run.run_id, failure.message(), failure.reason()));
            }
        }
    }
    if session.out.is_one_document() {
        session.out.list(done)?;
    }
    session.out.remark(format!("{} of {}: {verb} done", found.len() - failed, counted(found.len())));
    Ok(if failed == 0 { Exit::Done } else { Exit::Failed })
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
