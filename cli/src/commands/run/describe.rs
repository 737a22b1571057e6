//! `run describe`: a run with its attempts and the end of its log.

use mainspring_proto::scheduler::v1::{ListAttemptsRequest, ListAttemptsResponse, ListLogsRequest, StoredLogEntry};

use crate::{
    connection::Server,
    failure::Failure,
    follow::LogLine,
    output::{self, Part},
    session::{LimitArgs, Session},
};

/// So many lines are the end of a log.
const LINES: usize = 10;
/// The largest page a server gives.
const PAGE: i32 = 1000;

/// Everything about a run on one page.
pub(super) async fn describe(run: &str, server: &Server, session: &Session) -> Result<(), Failure> {
    let look = session.out.look();
    let found = super::got(server, run).await?;
    let mut scheduler = server.scheduler();
    let attempts: ListAttemptsResponse = LimitArgs { limit: 0 }
        .pages(async |page_size, page_token| {
            let request =
                ListAttemptsRequest { namespace: server.namespace(), run_id: run.into(), page_size, page_token };
            Ok(scheduler.list_attempts(request).await?.into_inner())
        })
        .await?;
    let (lines, more) = match log(run, found.attempt, server).await {
        Ok(lines) => lines,
        // Whoever may see a run may still not be allowed to read its log.
        Err(failure) if failure.reason() == "PERMISSION_MISSING" => (Vec::new(), false),
        Err(failure) => return Err(failure),
    };
    let title = if more { "Log (the end; `mainspring logs` has all of it)" } else { "Log" };
    let text: String = lines.iter().map(|line| format!("{}\n", LogLine::new(line, look))).collect();
    let json: serde_json::Value = lines.iter().map(output::canonical).collect();
    // Why it waits, if it does, is on its page.
    let parts = vec![
        Part::page("run", &found, look),
        Part::list("attempts", "Attempts", &attempts.attempts, look),
        Part::log("log", title, text, json),
    ];
    session.out.describe(&format!("run/{run}"), parts)
}

/// The last lines of the last attempt, and whether there are others.
async fn log(run: &str, attempt: i64, server: &Server) -> Result<(Vec<StoredLogEntry>, bool), Failure> {
    let (mut lines, mut page_token, mut more) = (Vec::new(), String::new(), attempt > 1);
    loop {
        let request = ListLogsRequest {
            namespace: server.namespace(),
            run_id: run.into(),
            attempt,
            min_level: 0,
            page_size: PAGE,
            page_token: std::mem::take(&mut page_token),
        };
        let page = server.scheduler().list_logs(request).await?.into_inner();
        lines.extend(page.entries);
        let beyond = lines.len().saturating_sub(LINES);
        more |= beyond > 0;
        lines.drain(..beyond);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok((lines, more));
        }
    }
}
