//! `job describe` and `job next`: a job with what belongs to it, and when it is due.

use jiff::Timestamp;
use mainspring_proto::scheduler::v1::{
    GetJobRequest, GetRunRequest, JobView, ListRunsRequest, PreviewRange, PreviewScheduleRequest,
    PreviewScheduleResponse, PreviewedInstant, PreviewedSchedule, Run, RunView,
};

use crate::{
    clock,
    connection::Server,
    failure::Failure,
    output::{Cell, Part},
    session::Session,
    times::{self, Moment},
};

/// How many of each belong to a page.
const SHOWN: i32 = 5;

/// Everything about a job on one page.
pub(super) async fn describe(job: String, server: &Server, session: &Session) -> Result<(), Failure> {
    let namespace = server.namespace();
    let request = GetJobRequest { namespace: namespace.clone(), job: job.clone(), ..GetJobRequest::default() };
    let found = server.scheduler().get_job(request).await?.into_inner().job.unwrap_or_default();
    let preview = preview(&job, SHOWN, None, server).await?;
    // Not by its name, which another job may have had before.
    let of_job = format!("job_uid = {}", found.uid);
    let runs = runs(server, of_job.clone(), "", SHOWN).await?;
    let look = session.out.look();
    let mut parts = vec![
        Part::page("job", &found, look),
        Part::text(
            "schedules",
            "Schedules",
            &told(&preview.schedules),
            crate::output::canonical(&preview)["schedules"].clone(),
        ),
        Part::list("runs", "Newest runs", &runs, look),
    ];
    if let Some(sentence) = waiting(&of_job, server).await? {
        parts.push(Part::text("waiting", "Waiting", &format!("{sentence}\n"), &sentence));
    }
    session.out.describe(&format!("job/{job}"), parts)
}

/// Why the run of it that waits longest does.
async fn waiting(of_job: &str, server: &Server) -> Result<Option<String>, Failure> {
    let filter = format!("{of_job} AND state = QUEUED");
    let Some(oldest) = runs(server, filter, "create_time", 1).await?.pop() else { return Ok(None) };
    let request = GetRunRequest { namespace: server.namespace(), run_id: oldest.run_id, view: RunView::Basic.into() };
    let run = server.scheduler().get_run(request).await?.into_inner().run.unwrap_or_default();
    // It may have been taken in between.
    Ok(Some(run.wait_sentence).filter(|sentence| !sentence.is_empty()))
}

/// The first runs that a filter finds.
pub(in crate::commands) async fn runs(
    server: &Server,
    filter: String,
    order_by: &str,
    page_size: i32,
) -> Result<Vec<Run>, Failure> {
    let request = ListRunsRequest {
        namespace: server.namespace(),
        filter,
        page_size,
        page_token: String::new(),
        order_by: order_by.into(),
        view: RunView::Basic.into(),
    };
    Ok(server.scheduler().list_runs(request).await?.into_inner().runs)
}

/// When it is due next, by the server's own reckoning.
pub(super) async fn next(
    job: &str,
    count: i32,
    after: Option<Moment>,
    server: &Server,
    session: &Session,
) -> Result<(), Failure> {
    let now = clock::now();
    let after_time = after.map(|after| after.to_proto(now));
    let preview = preview(job, count, after_time, server).await?;
    let mut rows: Vec<(Option<Timestamp>, Vec<Cell>)> = Vec::new();
    for PreviewedSchedule { schedule, instants, .. } in &preview.schedules {
        for instant in instants {
            let time = instant.time.as_ref().and_then(times::from_proto);
            let cells = vec![
                Cell::text(time.map(|time| time.to_string()).unwrap_or_default()),
                Cell::text(&instant.local_time),
                Cell::text(time.map(|time| times::ahead(time, now)).unwrap_or_default()),
                Cell::text(schedule),
                Cell::text(noted(instant)),
            ];
            rows.push((time, cells));
        }
    }
    rows.sort_by_key(|(time, _)| *time);
    rows.truncate(usize::try_from(count).unwrap_or(usize::MAX));
    if rows.is_empty() {
        let request = GetJobRequest { namespace: server.namespace(), job: job.into(), view: JobView::Basic.into() };
        let error = server.scheduler().get_job(request).await?.into_inner().job.unwrap_or_default().error;
        session.out.remark(match error {
            Some(error) => format!("it is in ERROR: {}", error.sentence),
            None => "it has no schedule, or none with an instant left".to_owned(),
        });
    }
    let rows = rows.into_iter().map(|(_, cells)| cells).collect();
    let text = session.out.table(&["TIME", "LOCAL", "AWAY", "SCHEDULE", "NOTE"], rows);
    session.out.did(text.trim_end(), &preview)
}

async fn preview(
    job: &str,
    count: i32,
    after_time: Option<prost_types::Timestamp>,
    server: &Server,
) -> Result<PreviewScheduleResponse, Failure> {
    let request = PreviewScheduleRequest {
        namespace: server.namespace(),
        job: job.into(),
        schedule: None,
        range: Some(PreviewRange { after_time, count, within: None }),
    };
    Ok(server.scheduler().preview_schedule(request).await?.into_inner())
}

/// What each schedule means and when it is due.
fn told(schedules: &[PreviewedSchedule]) -> String {
    let now = clock::now();
    let mut text = String::new();
    for PreviewedSchedule { schedule, sentence, canonical: _, instants, warnings } in schedules {
        text.push_str(&format!("  {schedule}: {sentence}\n"));
        for instant in instants {
            let away = instant.time.as_ref().and_then(times::from_proto).map(|time| times::ahead(time, now));
            let note = noted(instant);
            let note = if note.is_empty() { String::new() } else { format!("  [{note}]") };
            text.push_str(&format!("    {}  {}{note}\n", instant.local_time, away.unwrap_or_default()));
        }
        warnings.iter().for_each(|warning| text.push_str(&format!("    warning: {warning}\n")));
    }
    text
}

/// What there is to say of an instant beside its time.
fn noted(instant: &PreviewedInstant) -> String {
    let due = instant.due_time.as_ref().and_then(times::from_proto).map(|due| format!("due at {due}"));
    let note = Some(instant.note.clone()).filter(|note| !note.is_empty());
    due.into_iter().chain(note).collect::<Vec<_>>().join("; ")
}
