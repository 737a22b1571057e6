//! What a namespace says for all of its jobs and runs.

use mainspring_proto::{common::v1::Timeouts, scheduler::v1 as wire};
use prost_types::{Duration, FieldMask};
use tonic_types::StatusExt as _;

use super::server::{Server, reason};

fn secs(seconds: i64) -> Option<Duration> {
    Some(Duration { seconds, nanos: 0 })
}

fn execution(timeouts: Option<Timeouts>) -> i64 {
    timeouts.unwrap().execution.unwrap().seconds
}

async fn got(server: &Server) -> wire::Namespace {
    let found = server.admin().get_namespace(wire::GetNamespaceRequest::default()).await.unwrap();
    found.into_inner().namespace.unwrap()
}

fn update(settings: wire::NamespaceSettings, paths: &[&str]) -> wire::UpdateNamespaceRequest {
    wire::UpdateNamespaceRequest {
        settings: Some(settings),
        update_mask: Some(FieldMask { paths: paths.iter().map(|path| (*path).into()).collect() }),
        ..wire::UpdateNamespaceRequest::default()
    }
}

async fn set(server: &Server, settings: wire::NamespaceSettings, paths: &[&str]) -> wire::Namespace {
    let changed = server.admin().update_namespace(update(settings, paths)).await.unwrap();
    changed.into_inner().namespace.unwrap()
}

fn with(timeouts: Timeouts) -> wire::NamespaceSettings {
    wire::NamespaceSettings { default_timeouts: Some(timeouts), strict_schedules: false }
}

fn cron(job: &str, expression: &str) -> wire::Job {
    let rule = Some(wire::schedule::Rule::Cron(expression.into()));
    let schedules = vec![wire::Schedule { rule, ..wire::Schedule::default() }];
    wire::Job { job: job.into(), job_type: "echo".into(), schedules, ..wire::Job::default() }
}

async fn create(server: &Server, job: wire::Job) -> Result<wire::Job, tonic::Status> {
    let request = wire::CreateJobRequest { job: Some(job), ..Default::default() };
    Ok(server.scheduler().create_job(request).await?.into_inner().job.unwrap())
}

async fn change(server: &Server, job: wire::Job, paths: &[&str]) -> Result<wire::Job, tonic::Status> {
    let update_mask = Some(FieldMask { paths: paths.iter().map(|path| (*path).into()).collect() });
    let request = wire::UpdateJobRequest { job: Some(job), update_mask, ..Default::default() };
    Ok(server.scheduler().update_job(request).await?.into_inner().job.unwrap())
}

async fn submit(server: &Server, timeouts: Option<Timeouts>) -> wire::Run {
    let run = wire::RunSubmission { job_type: "echo".into(), timeouts, ..Default::default() };
    let request = wire::SubmitRunRequest { run: Some(run), ..Default::default() };
    server.scheduler().submit_run(request).await.unwrap().into_inner().run.unwrap()
}

#[tokio::test]
async fn who_says_no_timeout_has_the_namespaces() {
    let server = Server::start().await;
    let first = got(&server).await;
    assert_eq!((first.namespace.as_str(), execution(first.settings.unwrap().default_timeouts)), ("default", 3_600));
    let before = create(&server, cron("before", "@daily")).await.unwrap();

    let told = Timeouts { execution: secs(300), queue: secs(60), ..Timeouts::default() };
    let changed = set(&server, with(told), &["default_timeouts"]).await;
    assert_eq!(got(&server).await, changed);
    // The same again is no change.
    assert_eq!(set(&server, with(told), &["default_timeouts"]).await.etag, changed.etag);

    for run in
        [submit(&server, None).await, submit(&server, Some(Timeouts { total: secs(9), ..Timeouts::default() })).await]
    {
        let timeouts = run.timeouts.unwrap();
        assert_eq!((timeouts.execution, timeouts.queue), (secs(300), secs(60)));
    }
    let own = submit(&server, Some(Timeouts { execution: secs(0), ..Timeouts::default() })).await;
    assert_eq!((execution(own.timeouts), own.timeouts.unwrap().queue), (0, secs(60)));
    let entry = wire::RunSubmission { job_type: "echo".into(), ..Default::default() };
    let batch = wire::BatchSubmitRunsRequest { runs: vec![entry], ..Default::default() };
    let answer = server.scheduler().batch_submit_runs(batch).await.unwrap().into_inner().answers.pop().unwrap();
    let Some(wire::submission_answer::Answer::Run(run)) = answer.answer else { panic!("{answer:?}") };
    let get = wire::GetRunRequest { run_id: run.run_id, ..Default::default() };
    let run = server.scheduler().get_run(get).await.unwrap().into_inner().run.unwrap();
    assert_eq!(execution(run.timeouts), 300);

    let after = create(&server, cron("after", "@daily")).await.unwrap();
    assert_eq!(execution(after.timeouts), 300);
    // A job that is there keeps what it was defined with, until its timeouts are defined anew.
    let kept =
        change(&server, wire::Job { owner: "ada".into(), ..cron("before", "@daily") }, &["owner"]).await.unwrap();
    assert_eq!((kept.timeouts, execution(kept.timeouts)), (before.timeouts, 3_600));
    let anew = change(&server, cron("before", "@daily"), &["timeouts"]).await.unwrap();
    assert_eq!(execution(anew.timeouts), 300);
    let trigger = |timeouts| wire::TriggerJobRequest { job: "before".into(), timeouts, ..Default::default() };
    let run = server.scheduler().trigger_job(trigger(Some(Timeouts { total: secs(9), ..Timeouts::default() }))).await;
    assert_eq!(run.unwrap().into_inner().run.unwrap().timeouts.unwrap().execution, secs(300));
}

#[tokio::test]
async fn a_namespace_is_changed_by_one_at_a_time() {
    let server = Server::start().await;
    let first = got(&server).await;
    let strict = wire::NamespaceSettings { strict_schedules: true, ..Default::default() };
    let tried = wire::UpdateNamespaceRequest { validate_only: true, ..update(strict, &[]) };
    let would_be = server.admin().update_namespace(tried).await.unwrap().into_inner().namespace.unwrap();
    assert!(would_be.settings.unwrap().strict_schedules && !got(&server).await.settings.unwrap().strict_schedules);

    let guarded = wire::UpdateNamespaceRequest { etag: first.etag, ..update(strict, &["strict_schedules"]) };
    server.admin().update_namespace(guarded.clone()).await.unwrap();
    assert_eq!(reason(&server.admin().update_namespace(guarded).await.unwrap_err()), "ETAG_MISMATCH");
    // What the mask does not name stays.
    let timeouts = with(Timeouts { execution: secs(5), ..Timeouts::default() });
    let both = set(&server, timeouts, &["default_timeouts"]).await.settings.unwrap();
    assert_eq!((both.strict_schedules, execution(both.default_timeouts)), (true, 5));
    // Named and absent is what it was at the start.
    let anew = set(&server, wire::NamespaceSettings::default(), &[]).await.settings.unwrap();
    assert_eq!((anew.strict_schedules, execution(anew.default_timeouts)), (false, 3_600));

    for (settings, paths, field) in [
        (with(Timeouts { heartbeat: secs(-1), ..Timeouts::default() }), &[][..], "settings.default_timeouts.heartbeat"),
        (with(Timeouts { stop_grace: secs(90), ..Timeouts::default() }), &[], "settings.default_timeouts.stop_grace"),
        (with(Timeouts::default()), &["etag"], "update_mask"),
    ] {
        let refused = server.admin().update_namespace(update(settings, paths)).await.unwrap_err();
        assert_eq!(refused.get_error_details().bad_request().unwrap().field_violations[0].field, field);
    }
    let elsewhere = wire::GetNamespaceRequest { namespace: "elsewhere".into() };
    assert_eq!(reason(&server.admin().get_namespace(elsewhere).await.unwrap_err()), "NAMESPACE_NOT_FOUND");
}

#[tokio::test]
async fn a_strict_namespace_wants_to_know_how_days_count_together() {
    let server = Server::start().await;
    create(&server, cron("lax", "0 0 13 * FRI")).await.unwrap();
    let strict = wire::NamespaceSettings { strict_schedules: true, ..Default::default() };
    set(&server, strict, &["strict_schedules"]).await;
    let refused = create(&server, cron("strict", "0 0 13 * FRI")).await.unwrap_err();
    let details = refused.get_error_details();
    assert_eq!(details.error_info().unwrap().reason, "CRON_INVALID");
    assert_eq!(details.error_info().unwrap().metadata["remark"], "AMBIGUOUS_DAY_FIELDS");
    assert_eq!(details.bad_request().unwrap().field_violations[0].field, "job.schedules[0].cron");
    let schedule = cron("x", "0 0 13 * FRI").schedules.pop();
    let preview = wire::PreviewScheduleRequest { schedule, ..Default::default() };
    assert_eq!(reason(&server.scheduler().preview_schedule(preview).await.unwrap_err()), "CRON_INVALID");
    create(&server, cron("strict", "0 0 13 * +FRI")).await.unwrap();
    // What is there goes on, and may be changed in other ways.
    let kept = change(&server, wire::Job { owner: "ada".into(), ..cron("lax", "0 0 13 * FRI") }, &[]).await.unwrap();
    assert_eq!(kept.owner, "ada");
    let moved = change(&server, cron("lax", "0 1 13 * FRI"), &[]).await.unwrap_err();
    assert_eq!(reason(&moved), "CRON_INVALID");
}

#[tokio::test]
async fn a_strict_namespace_takes_no_unclear_rule_back() {
    let server = Server::start().await;
    create(&server, cron("sr", "0 0 13 * FRI")).await.unwrap();
    let clear = wire::Job { owner: "ada".into(), ..cron("sr", "0 0 13 * +FRI") };
    change(&server, clear, &["schedules", "owner"]).await.unwrap();
    let strict = wire::NamespaceSettings { strict_schedules: true, ..Default::default() };
    set(&server, strict, &["strict_schedules"]).await;
    let restore = async |version| {
        let request = wire::RestoreJobVersionRequest { job: "sr".into(), version, ..Default::default() };
        server.scheduler().restore_job_version(request).await
    };
    let refused = restore(1).await.unwrap_err();
    let details = refused.get_error_details();
    assert_eq!(details.error_info().unwrap().reason, "CRON_INVALID");
    assert_eq!(details.error_info().unwrap().metadata["remark"], "AMBIGUOUS_DAY_FIELDS");
    assert_eq!(details.bad_request().unwrap().field_violations[0].field, "version");
    // What is there goes on: a version of it that differs in other ways is restored.
    set(&server, wire::NamespaceSettings::default(), &["strict_schedules"]).await;
    restore(1).await.unwrap();
    change(&server, wire::Job { owner: "bob".into(), ..cron("sr", "") }, &["owner"]).await.unwrap();
    set(&server, strict, &["strict_schedules"]).await;
    assert_eq!(restore(1).await.unwrap().into_inner().job.unwrap().owner, "");
}
