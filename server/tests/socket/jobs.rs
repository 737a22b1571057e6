//! Jobs and runs, without a worker.

use mainspring_proto::{
    common::v1::{Payload, payload::Data},
    scheduler::v1::{self as wire, RunState},
};
use prost_types::{FieldMask, Struct, Value, value::Kind};
use tonic::Code;
use tonic_types::StatusExt as _;

use super::{
    server::{Server, reason},
    streams::event,
};

fn job(name: &str) -> wire::Job {
    let rule = wire::schedule::Rule::Cron("0 2 * * 1-5".into());
    let time_zone = "Europe/Berlin".into();
    let number = Value { kind: Some(Kind::NumberValue(1.0)) };
    let value = Value { kind: Some(Kind::StructValue(Struct { fields: [("n".to_owned(), number)].into() })) };
    wire::Job {
        job: name.into(),
        job_type: "report.build".into(),
        schedules: vec![wire::Schedule { rule: Some(rule), time_zone, ..wire::Schedule::default() }],
        payload: Some(Payload { content_type: String::new(), data: Some(Data::Json(value)) }),
        ..wire::Job::default()
    }
}

fn create(name: &str) -> wire::CreateJobRequest {
    wire::CreateJobRequest { job: Some(job(name)), ..wire::CreateJobRequest::default() }
}

#[tokio::test]
async fn a_job_lives() {
    let server = Server::start().await;
    let mut client = server.scheduler();
    let tried = wire::CreateJobRequest { validate_only: true, ..create("nightly") };
    assert_eq!(client.create_job(tried).await.unwrap().into_inner().job.unwrap().uid, "");
    let made = client.create_job(create("nightly")).await.unwrap().into_inner().job.unwrap();
    assert_eq!((made.version, made.state()), (1, wire::JobState::Active));
    let payload = made.payload.clone().unwrap();
    assert_eq!((payload.content_type.as_str(), payload.data), ("application/json", job("x").payload.unwrap().data));
    assert!(made.next_fire_time.is_some());
    assert_eq!(reason(&client.create_job(create("nightly")).await.unwrap_err()), "JOB_ALREADY_EXISTS");

    let get = wire::GetJobRequest { job: "nightly".into(), ..wire::GetJobRequest::default() };
    assert_eq!(client.get_job(get.clone()).await.unwrap().into_inner().job.unwrap(), made);
    let update = wire::UpdateJobRequest {
        job: Some(wire::Job { job: "nightly".into(), owner: "ada".into(), etag: made.etag.clone(), ..job("x") }),
        update_mask: Some(FieldMask { paths: vec!["owner".into()] }),
        ..wire::UpdateJobRequest::default()
    };
    let mut update = update;
    update.job.as_mut().unwrap().job = "nightly".into();
    let changed = client.update_job(update.clone()).await.unwrap().into_inner().job.unwrap();
    assert_eq!((changed.version, changed.owner.as_str()), (2, "ada"));
    assert_eq!(reason(&client.update_job(update.clone()).await.unwrap_err()), "ETAG_MISMATCH");
    update.update_mask = Some(FieldMask { paths: vec!["uid".into()] });
    assert_eq!(reason(&client.update_job(update).await.unwrap_err()), "FIELD_INVALID");

    let pause = wire::PauseJobRequest { job: "nightly".into(), note: "holiday".into(), ..Default::default() };
    let paused = client.pause_job(pause).await.unwrap().into_inner().job.unwrap();
    assert_eq!(paused.state(), wire::JobState::Paused);
    assert!(paused.pause.unwrap().actor.starts_with("key:"));
    let resume = wire::ResumeJobRequest { job: "nightly".into(), ..Default::default() };
    assert_eq!(client.resume_job(resume).await.unwrap().into_inner().job.unwrap().state(), wire::JobState::Active);
    let delete = wire::DeleteJobRequest { job: "nightly".into(), ..Default::default() };
    client.delete_job(delete).await.unwrap();
    assert_eq!(reason(&client.get_job(get).await.unwrap_err()), "JOB_NOT_FOUND");
}

#[tokio::test]
async fn a_bad_rule_is_refused_with_its_place() {
    let server = Server::start().await;
    let mut bad = create("nightly");
    bad.job.as_mut().unwrap().schedules[0].rule = Some(wire::schedule::Rule::Cron("0 25 * * *".into()));
    let status = server.scheduler().create_job(bad).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "CRON_INVALID"));
    let details = status.get_error_details();
    assert_eq!(details.error_info().unwrap().metadata["column"], "3");
    assert_eq!(details.bad_request().unwrap().field_violations[0].field, "job.schedules[0].cron");
}

#[tokio::test]
async fn jobs_are_listed_page_by_page() {
    let server = Server::start().await;
    let mut client = server.scheduler();
    for n in 0..5 {
        client.create_job(create(&format!("job-{n}"))).await.unwrap();
    }
    let mut request = wire::ListJobsRequest { page_size: 2, filter: "job:job-*".into(), ..Default::default() };
    let mut seen = Vec::new();
    loop {
        let page = client.list_jobs(request.clone()).await.unwrap().into_inner();
        seen.extend(page.jobs.into_iter().map(|job| (job.job, job.payload)));
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    let expected: Vec<_> = (0..5).map(|n| (format!("job-{n}"), None)).collect();
    assert_eq!(seen, expected);
    request.filter = String::new();
    assert_eq!(reason(&client.list_jobs(request).await.unwrap_err()), "PAGE_TOKEN_INVALID");
}

#[tokio::test]
async fn a_trigger_does_not_overlap_unless_it_may() {
    let server = Server::start().await;
    let mut client = server.scheduler();
    client.create_job(create("nightly")).await.unwrap();
    let overlap = wire::Overlap::Allow.into();
    let beside = wire::CreateJobRequest { job: Some(wire::Job { overlap, ..job("beside") }), ..Default::default() };
    client.create_job(beside).await.unwrap();
    let mut trigger = async |job: &str, force: bool| {
        let request = wire::TriggerJobRequest { job: job.into(), force, ..Default::default() };
        client.trigger_job(request).await.map(|answer| answer.into_inner().run.unwrap().run_id)
    };
    let first = trigger("nightly", false).await.unwrap();
    let refused = trigger("nightly", false).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::FailedPrecondition, "OVERLAP_NOT_ALLOWED"));
    let details = refused.get_error_details();
    assert_eq!(details.error_info().unwrap().metadata["run_id"], first);
    let standing_in_the_way = &details.precondition_failure().unwrap().violations[0];
    assert_eq!(
        (standing_in_the_way.r#type.as_str(), &standing_in_the_way.subject),
        ("OVERLAP", &format!("run/{first}"))
    );
    assert!(refused.message().contains("wait for it, or set `force`"), "{refused:?}");
    let forced = trigger("nightly", true).await.unwrap();
    for _ in 0..2 {
        trigger("beside", false).await.unwrap();
    }
    // What is over is in nobody's way.
    for run_id in [first, forced] {
        let cancel = wire::CancelRunRequest { run_id, ..Default::default() };
        server.scheduler().cancel_run(cancel).await.unwrap();
    }
    trigger("nightly", false).await.unwrap();
}

#[tokio::test]
async fn who_shares_a_key_is_told_whose_run_is_in_the_way() {
    let server = Server::start().await;
    let mut client = server.scheduler();
    for name in ["kb1", "kb2"] {
        let overlap_scope = wire::OverlapScope::ConcurrencyKey.into();
        let shares = wire::Job { overlap_scope, concurrency_key: "db".into(), ..job(name) };
        client.create_job(wire::CreateJobRequest { job: Some(shares), ..Default::default() }).await.unwrap();
    }
    let trigger = |job: &str| wire::TriggerJobRequest { job: job.into(), ..Default::default() };
    let first = client.trigger_job(trigger("kb1")).await.unwrap().into_inner().run.unwrap().run_id;
    let refused = client.trigger_job(trigger("kb2")).await.unwrap_err();
    let told = format!("run {first} of job `kb1` has the concurrency key `db` and is not over");
    assert!(refused.message().starts_with(&told), "{}", refused.message());
    let details = refused.get_error_details();
    let metadata = &details.error_info().unwrap().metadata;
    assert_eq!([&metadata["run_id"], &metadata["job"], &metadata["concurrency_key"]], [&first, "kb1", "db"]);
}

#[tokio::test]
async fn triggers_submissions_and_retries_make_runs() {
    let server = Server::start().await;
    let mut client = server.scheduler();
    client.create_job(create("nightly")).await.unwrap();
    let trigger = wire::TriggerJobRequest { job: "nightly".into(), request_id: "r1".into(), ..Default::default() };
    let run = client.trigger_job(trigger.clone()).await.unwrap().into_inner().run.unwrap();
    assert_eq!((run.state(), run.origin()), (RunState::Queued, wire::RunOrigin::Trigger));
    assert_eq!(client.trigger_job(trigger.clone()).await.unwrap().into_inner().run.unwrap().run_id, run.run_id);
    let other = wire::TriggerJobRequest { note: "other".into(), ..trigger.clone() };
    assert_eq!(reason(&client.trigger_job(other).await.unwrap_err()), "REQUEST_ID_REUSED");
    let again = wire::TriggerJobRequest { request_id: String::new(), ..trigger };
    let status = client.trigger_job(again.clone()).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::FailedPrecondition, "OVERLAP_NOT_ALLOWED"));
    client.trigger_job(wire::TriggerJobRequest { force: true, ..again }).await.unwrap();

    let get = wire::GetRunRequest { run_id: run.run_id.clone(), ..Default::default() };
    let shown = client.get_run(get).await.unwrap().into_inner().run.unwrap();
    assert_eq!(shown.wait_reason(), wire::WaitReason::NoWorker);
    assert!(shown.wait_sentence.contains("no connected worker handles `report.build`"), "{}", shown.wait_sentence);
    let retry = wire::RetryRunRequest { run_id: run.run_id.clone(), ..Default::default() };
    assert_eq!(reason(&client.retry_run(retry.clone()).await.unwrap_err()), "RUN_NOT_RETRYABLE");
    let cancel = wire::CancelRunRequest { run_id: run.run_id.clone(), note: "enough".into(), ..Default::default() };
    let cancelled = client.cancel_run(cancel.clone()).await.unwrap().into_inner().run.unwrap();
    assert_eq!((cancelled.state(), cancelled.cancellation.unwrap().note.as_str()), (RunState::Cancelled, "enough"));
    client.cancel_run(cancel).await.unwrap();
    // The run that was forced is not over.
    assert_eq!(reason(&client.retry_run(retry.clone()).await.unwrap_err()), "OVERLAP_NOT_ALLOWED");
    let retry = wire::RetryRunRequest { force: true, ..retry };
    let made = client.retry_run(retry).await.unwrap().into_inner().run.unwrap();
    assert_eq!((made.origin(), made.parent_run_id), (wire::RunOrigin::Retry, run.run_id));

    let good = wire::RunSubmission { job_type: "a".into(), ..Default::default() };
    let batch = wire::BatchSubmitRunsRequest {
        runs: vec![good.clone(), wire::RunSubmission { priority: 10, ..good.clone() }, good],
        ..Default::default()
    };
    let answers = client.batch_submit_runs(batch).await.unwrap().into_inner().answers;
    use wire::submission_answer::Answer;
    let [Some(Answer::Run(first)), Some(Answer::Error(error)), Some(Answer::Run(_))] =
        [0, 1, 2].map(|at| answers[at].answer.clone())
    else {
        panic!("{answers:?}");
    };
    assert_eq!((first.state(), first.replayed), (RunState::Queued, false));
    assert_eq!((error.code, error.field.as_str(), error.reason.as_str()), (3, "runs[1].priority", "FIELD_INVALID"));
    let one = wire::RunSubmission { job_type: "a".into(), ..Default::default() };
    let many = wire::BatchSubmitRunsRequest { runs: vec![one; 1_001], ..Default::default() };
    let status = client.batch_submit_runs(many).await.unwrap_err();
    let told = "runs: must be at most 1000 in one request: split them into requests of at most 1000 each";
    assert_eq!((reason(&status).as_str(), status.message()), ("FIELD_INVALID", told));
    let list = wire::ListRunsRequest { filter: "state=QUEUED AND job_type=a".into(), ..Default::default() };
    let runs = client.list_runs(list).await.unwrap().into_inner().runs;
    assert!(runs.len() == 2 && runs.iter().all(|run| run.payload.is_none()));
}

#[tokio::test]
async fn whoever_makes_a_run_is_shown_it_whole() {
    let server = Server::start().await;
    let mut client = server.scheduler();
    client.create_job(create("nightly")).await.unwrap();
    let due_time = Some(prost_types::Timestamp { seconds: 4_000_000_000, nanos: 0 });
    let trigger = wire::TriggerJobRequest {
        job: "nightly".into(),
        note: "now".into(),
        request_id: "r1".into(),
        due_time,
        ..Default::default()
    };
    let triggered = client.trigger_job(trigger.clone()).await.unwrap().into_inner().run.unwrap();
    assert_eq!((triggered.state(), triggered.job.as_str()), (RunState::Scheduled, "nightly"));
    let run =
        wire::RunSubmission { job_type: "a".into(), labels: [("k".into(), "v".into())].into(), ..Default::default() };
    let submit = wire::SubmitRunRequest { run: Some(run), ..Default::default() };
    let submitted = client.submit_run(submit).await.unwrap().into_inner().run.unwrap();
    let cancel = wire::CancelRunRequest { run_id: triggered.run_id.clone(), ..Default::default() };
    let get = |run_id: &String| wire::GetRunRequest { run_id: run_id.clone(), ..Default::default() };
    assert_eq!(client.get_run(get(&triggered.run_id)).await.unwrap().into_inner().run.unwrap(), triggered);
    client.cancel_run(cancel).await.unwrap();
    // A repeat shows the run as it stands, not as it was made.
    let again = client.trigger_job(trigger).await.unwrap().into_inner().run.unwrap();
    assert_eq!((again.state(), &again.run_id), (RunState::Cancelled, &triggered.run_id));
    let retry = wire::RetryRunRequest { run_id: triggered.run_id, ..Default::default() };
    let retried = client.retry_run(retry).await.unwrap().into_inner().run.unwrap();
    assert_eq!(retried.payload, triggered.payload);
    for run in [submitted, retried] {
        assert_eq!((run.state(), run.wait_sentence.as_str()), (RunState::Queued, ""));
        let shown = client.get_run(get(&run.run_id)).await.unwrap().into_inner().run.unwrap();
        assert_eq!(wire::Run { wait_reason: 0, wait_sentence: String::new(), ..shown }, run);
    }
}

#[tokio::test]
async fn a_retry_belongs_to_the_job_that_made_the_run_and_to_no_other_of_its_name() {
    let server = Server::start().await;
    let mut client = server.scheduler();
    client.create_job(create("nightly")).await.unwrap();
    let trigger = wire::TriggerJobRequest { job: "nightly".into(), ..Default::default() };
    let run = client.trigger_job(trigger).await.unwrap().into_inner().run.unwrap();
    let cancel = wire::CancelRunRequest { run_id: run.run_id.clone(), ..Default::default() };
    client.cancel_run(cancel).await.unwrap();
    let mut update = wire::UpdateJobRequest { job: Some(job("nightly")), ..Default::default() };
    update.job.as_mut().unwrap().owner = "ada".into();
    client.update_job(update).await.unwrap();
    let retry = wire::RetryRunRequest { run_id: run.run_id, ..Default::default() };
    let made = client.retry_run(retry.clone()).await.unwrap().into_inner().run.unwrap();
    assert_eq!((made.job.as_str(), made.job_version), ("nightly", 1), "the version that made the run");

    let delete = wire::DeleteJobRequest { job: "nightly".into(), ..Default::default() };
    client.delete_job(delete).await.unwrap();
    client.create_job(create("nightly")).await.unwrap();
    let made = client.retry_run(retry).await.unwrap().into_inner().run.unwrap();
    assert_eq!((made.job.as_str(), made.job_version), ("", 0), "another job has the name");
}

#[tokio::test]
async fn a_rule_is_shown_before_it_is_saved() {
    let server = Server::start().await;
    let schedule = job("x").schedules.remove(0);
    let request = wire::PreviewScheduleRequest { schedule: Some(schedule), ..Default::default() };
    let shown = server.scheduler().preview_schedule(request).await.unwrap().into_inner().schedules.remove(0);
    assert_eq!((shown.canonical.as_str(), shown.instants.len()), ("0 2 * * MON-FRI", 5));
    assert!(shown.sentence.starts_with("At 02:00"), "{}", shown.sentence);
}

#[tokio::test]
async fn queues_are_paused_with_a_note() {
    let server = Server::start().await;
    let mut client = server.queues();
    let get = wire::GetQueueRequest { queue: "slow".into(), ..Default::default() };
    assert_eq!(reason(&client.get_queue(get.clone()).await.unwrap_err()), "QUEUE_NOT_FOUND");
    let limit = |limit| wire::Queue { queue: "slow".into(), concurrency_limit: limit, ..Default::default() };
    let update = wire::UpdateQueueRequest { queue: Some(limit(5)), ..Default::default() };
    assert_eq!(reason(&client.update_queue(update.clone()).await.unwrap_err()), "QUEUE_NOT_FOUND");
    let tried = wire::UpdateQueueRequest { allow_missing: true, validate_only: true, ..update.clone() };
    let would_be = client.update_queue(tried).await.unwrap().into_inner().queue.unwrap();
    assert_eq!((would_be.concurrency_limit, would_be.etag.as_str()), (5, ""));
    assert_eq!(reason(&client.get_queue(get).await.unwrap_err()), "QUEUE_NOT_FOUND", "nothing was stored");
    let made = wire::UpdateQueueRequest { allow_missing: true, ..update };
    assert_eq!(client.update_queue(made).await.unwrap().into_inner().queue.unwrap().concurrency_limit, 5);
    let tried = wire::UpdateQueueRequest { queue: Some(limit(9)), validate_only: true, ..Default::default() };
    assert_eq!(client.update_queue(tried).await.unwrap().into_inner().queue.unwrap().concurrency_limit, 9);
    let pause = wire::PauseQueueRequest { queue: "slow".into(), note: "full".into(), ..Default::default() };
    let paused = client.pause_queue(pause).await.unwrap().into_inner().queue.unwrap();
    assert!(paused.paused && paused.pause_note == "full");
    let limited = wire::Queue { queue: "slow".into(), concurrency_limit: 3, etag: paused.etag, ..Default::default() };
    let update = wire::UpdateQueueRequest { queue: Some(limited), ..Default::default() };
    let updated = client.update_queue(update.clone()).await.unwrap().into_inner().queue.unwrap();
    assert!(updated.paused && updated.concurrency_limit == 3);
    assert_eq!(reason(&client.update_queue(update.clone()).await.unwrap_err()), "ETAG_MISMATCH");
    let tried = wire::UpdateQueueRequest { validate_only: true, ..update };
    assert_eq!(reason(&client.update_queue(tried).await.unwrap_err()), "ETAG_MISMATCH");
    let resume = wire::ResumeQueueRequest { queue: "slow".into(), ..Default::default() };
    assert!(!client.resume_queue(resume).await.unwrap().into_inner().queue.unwrap().paused);
}

#[tokio::test]
async fn the_ledger_tells_every_instant() {
    let server = Server::start().await;
    let every =
        wire::Interval { every: Some(prost_types::Duration { seconds: 1, nanos: 0 }), ..wire::Interval::default() };
    let rule = Some(wire::schedule::Rule::Interval(every));
    let ticking = wire::Job {
        schedules: vec![wire::Schedule { rule, ..wire::Schedule::default() }],
        overlap: wire::Overlap::Allow.into(),
        ..job("ticking")
    };
    let create = wire::CreateJobRequest { job: Some(ticking), ..wire::CreateJobRequest::default() };
    let mut client = server.scheduler();
    client.create_job(create).await.unwrap();
    let mut watcher = client
        .watch_events(wire::WatchEventsRequest { filter: "job = ticking".into(), ..Default::default() })
        .await
        .unwrap()
        .into_inner();
    for _ in 0..2 {
        event(&mut watcher, |detail| match detail {
            wire::event::Detail::Run(_) => Some(()),
            other => panic!("{other:?}"),
        })
        .await;
    }
    let mut request = wire::ListInstantsRequest { job: "ticking".into(), page_size: 1, ..Default::default() };
    let mut seen = Vec::new();
    for _ in 0..2 {
        let page = client.list_instants(request.clone()).await.unwrap().into_inner();
        seen.extend(page.instants);
        request.page_token = page.next_page_token;
    }
    assert!(seen.iter().all(|instant| instant.fate() == wire::Fate::Fired && !instant.run_id.is_empty()), "{seen:?}");
    assert_eq!(seen[1].nominal_time.unwrap().seconds - seen[0].nominal_time.unwrap().seconds, 1);
    let explain =
        wire::ExplainInstantRequest { job: "ticking".into(), time: seen[0].nominal_time, ..Default::default() };
    let told = client.explain_instant(explain).await.unwrap().into_inner();
    assert!(told.wait_sentence.contains("no connected worker"), "{told:?}");
    assert!(told.sentence.ends_with(&format!(" {}.", told.wait_sentence)), "{told:?}");
}

#[tokio::test]
async fn a_delay_is_counted_from_the_end_of_a_run() {
    let server = Server::start().await;
    let mut client = server.scheduler();
    let delayed = |seconds| wire::Job {
        schedules: vec![wire::Schedule {
            rule: Some(wire::schedule::Rule::FixedDelay(prost_types::Duration { seconds, nanos: 0 })),
            ..wire::Schedule::default()
        }],
        ..job("delayed")
    };
    let create = |job| wire::CreateJobRequest { job: Some(job), ..wire::CreateJobRequest::default() };
    let refusal = client.create_job(create(delayed(0))).await.unwrap_err();
    assert!(refusal.message().contains("fixed_delay"), "{refusal:?}");
    let mut watcher = client
        .watch_events(wire::WatchEventsRequest { filter: "job = delayed".into(), ..Default::default() })
        .await
        .unwrap()
        .into_inner();
    let made = client.create_job(create(delayed(1))).await.unwrap().into_inner().job.unwrap();
    assert!(made.schedules[0].next_time.is_some());
    // Each run ends only once somebody cancels it, and only then is another due.
    let mut runs = Vec::new();
    while runs.len() < 2 {
        let queued = |detail| match detail {
            wire::event::Detail::Run(run) if run.state() == RunState::Queued => Some(run),
            _ => None,
        };
        let run = event(&mut watcher, queued).await;
        let get = wire::GetJobRequest { job: "delayed".into(), ..Default::default() };
        let job = client.get_job(get).await.unwrap().into_inner().job.unwrap();
        assert_eq!((job.state(), job.schedules[0].next_time), (wire::JobState::Active, None));
        let preview = wire::PreviewScheduleRequest { job: "delayed".into(), ..Default::default() };
        let shown = client.preview_schedule(preview).await.unwrap().into_inner().schedules.remove(0);
        assert_eq!((shown.sentence.as_str(), shown.instants.len()), ("1s after the run before it ends", 0));
        let cancel = wire::CancelRunRequest { run_id: run.run_id.clone(), ..Default::default() };
        client.cancel_run(cancel).await.unwrap();
        runs.push(run.run_id);
    }
    assert_ne!(runs[0], runs[1]);
}

#[tokio::test]
async fn the_server_tells_of_itself() {
    let server = Server::start().await;
    server.scheduler().create_job(create("nightly")).await.unwrap();
    let mut admin = server.admin();
    let info = admin.get_server_info(wire::GetServerInfoRequest {}).await.unwrap().into_inner();
    assert_eq!((info.mode(), info.limits.unwrap().max_page_size), (wire::ServerMode::Embedded, 1_000));
    let stats = admin.get_stats(wire::GetStatsRequest::default()).await.unwrap().into_inner();
    assert_eq!((stats.jobs, stats.queued), (1, 0));
}

#[tokio::test]
async fn what_a_job_was_it_can_be_again() {
    let server = Server::start().await;
    let mut client = server.scheduler();
    let created = client.create_job(create("nightly")).await.unwrap().into_inner().job.unwrap();
    let rule = Some(wire::schedule::Rule::Cron("0 12 * * *".into()));
    let noon = wire::Schedule { rule, ..wire::Schedule::default() };
    let edited = wire::Job { schedules: vec![noon], etag: String::new(), ..created.clone() };
    let mask = FieldMask { paths: vec!["schedules".into()] };
    let mut update = wire::UpdateJobRequest {
        job: Some(edited),
        update_mask: Some(mask),
        validate_only: true,
        ..wire::UpdateJobRequest::default()
    };
    let compared = client.update_job(update.clone()).await.unwrap().into_inner().compared;
    assert!(compared.iter().any(|instant| instant.before && !instant.after), "{compared:?}");
    assert!(compared.iter().any(|instant| instant.after && !instant.before), "{compared:?}");
    update.validate_only = false;
    let updated = client.update_job(update).await.unwrap().into_inner();
    assert!(updated.compared.is_empty());
    let list = wire::ListJobVersionsRequest { job: "nightly".into(), ..Default::default() };
    let versions = client.list_job_versions(list).await.unwrap().into_inner().versions;
    assert_eq!(versions.iter().map(|version| version.version).collect::<Vec<_>>(), [2, 1]);
    let first = versions[1].job.as_ref().unwrap();
    assert_eq!((&first.schedules[0].rule, first.payload.is_none()), (&created.schedules[0].rule, true));
    let restore = |version| wire::RestoreJobVersionRequest { job: "nightly".into(), version, ..Default::default() };
    let would = wire::RestoreJobVersionRequest { validate_only: true, ..restore(1) };
    let would = client.restore_job_version(would).await.unwrap().into_inner();
    // What the change to version 2 took comes back, and what it brought goes.
    let back = |instants: &[wire::ComparedInstant]| -> Vec<_> {
        instants.iter().map(|instant| (instant.time, instant.after, instant.before)).collect()
    };
    let forth: Vec<_> = compared.iter().map(|instant| (instant.time, instant.before, instant.after)).collect();
    assert_eq!(back(&would.compared), forth);
    assert_eq!(would.job.unwrap().schedules[0].rule, created.schedules[0].rule);
    let nowhere = wire::RestoreJobVersionRequest { update_pending: 99, ..restore(1) };
    assert_eq!(client.restore_job_version(nowhere).await.unwrap_err().code(), Code::InvalidArgument);
    let restored = client.restore_job_version(restore(1)).await.unwrap().into_inner().job.unwrap();
    assert_eq!((restored.version, &restored.schedules[0].rule), (3, &created.schedules[0].rule));
    assert_eq!(restored.payload, created.payload);
    assert_eq!(reason(&client.restore_job_version(restore(9)).await.unwrap_err()), "VERSION_NOT_FOUND");
    let undelete = wire::UndeleteJobRequest { job: "nightly".into(), ..Default::default() };
    assert_eq!(reason(&client.undelete_job(undelete.clone()).await.unwrap_err()), "JOB_ALREADY_EXISTS");
    let delete = wire::DeleteJobRequest { job: "nightly".into(), ..Default::default() };
    client.delete_job(delete).await.unwrap();
    let explain = wire::ExplainInstantRequest {
        job: "nightly".into(),
        time: Some(prost_types::Timestamp { seconds: 4_000_000_000, nanos: 0 }),
        ..Default::default()
    };
    let told = client.explain_instant(explain).await.unwrap().into_inner();
    assert_eq!(told.finding(), wire::InstantFinding::AfterJob, "{told:?}");
    let named =
        wire::ExplainInstantRequest { job: "nightly".into(), time: created.next_fire_time, ..Default::default() };
    let told = client.explain_instant(named).await.unwrap().into_inner();
    assert_eq!((told.fate(), told.reason()), (wire::Fate::Superseded, wire::FateReason::JobDeleted), "{told:?}");
    let superseded = told.instants[0].superseded.clone().unwrap();
    assert_eq!((superseded.version, superseded.named_by_version), (0, 3));
    assert!(!superseded.actor.is_empty() && told.sentence.contains(&superseded.actor), "{told:?}");
    let back = client.undelete_job(undelete).await.unwrap().into_inner().job.unwrap();
    assert_eq!((back.uid, back.version), (created.uid, 3));
}

#[tokio::test]
async fn a_calendar_leaves_out_what_it_holds_and_takes_its_jobs_along() {
    let server = Server::start().await;
    let (mut client, mut admin) = (server.scheduler(), server.admin());
    let weekly = |days: std::ops::RangeInclusive<i32>| {
        days.map(|day| wire::WeeklyHours { day, ..wire::WeeklyHours::default() }).collect::<Vec<_>>()
    };
    let calendar = |days| wire::Calendar { calendar: "apart".into(), weekly: weekly(days), ..Default::default() };
    let excluding = |name: &str| {
        let mut create = create("nightly");
        create.job.as_mut().unwrap().schedules[0].exclude_calendars = vec![name.into()];
        create
    };
    assert_eq!(reason(&client.create_job(excluding("apart")).await.unwrap_err()), "CALENDAR_NOT_FOUND");
    let made = wire::CreateCalendarRequest { calendar: Some(calendar(1..=5)), ..Default::default() };
    admin.create_calendar(made.clone()).await.unwrap();
    assert_eq!(reason(&admin.create_calendar(made).await.unwrap_err()), "CALENDAR_ALREADY_EXISTS");
    // The rule names the days that the calendar holds, and no others.
    assert_eq!(reason(&client.create_job(excluding("apart")).await.unwrap_err()), "SCHEDULE_NEVER_FIRES");
    let update = |days| wire::UpdateCalendarRequest { calendar: Some(calendar(days)), ..Default::default() };
    admin.update_calendar(update(1..=4)).await.unwrap();
    let job = client.create_job(excluding("apart")).await.unwrap().into_inner().job.unwrap();
    assert_eq!(job.schedules[0].exclude_calendars, ["apart"]);
    let friday = jiff::Timestamp::from_second(job.next_fire_time.unwrap().seconds).unwrap();
    assert_eq!(friday.in_tz("Europe/Berlin").unwrap().weekday(), jiff::civil::Weekday::Friday);
    let updated = admin.update_calendar(update(2..=5)).await.unwrap().into_inner();
    assert_eq!((updated.updated_jobs, updated.calendar.unwrap().version), (1, 3));
    let get = wire::GetJobRequest { job: "nightly".into(), ..Default::default() };
    let moved = client.get_job(get).await.unwrap().into_inner().job.unwrap();
    let monday = jiff::Timestamp::from_second(moved.next_fire_time.unwrap().seconds).unwrap();
    assert_eq!(monday.in_tz("Europe/Berlin").unwrap().weekday(), jiff::civil::Weekday::Monday);
    assert_eq!(moved.version, 2);
    let tuesday = monday.in_tz("Europe/Berlin").unwrap().tomorrow().unwrap().timestamp().as_second();
    let explain = |job: &str| wire::ExplainInstantRequest {
        job: job.into(),
        time: Some(prost_types::Timestamp { seconds: tuesday, nanos: 0 }),
        ..Default::default()
    };
    let told = client.explain_instant(explain("nightly")).await.unwrap().into_inner();
    assert_eq!((told.fate(), told.instants[0].calendar.as_str()), (wire::Fate::Excluded, "apart"), "{told:?}");
    // What does not become nothing moves to the next day that is free.
    let mut rolling = excluding("apart");
    let job = rolling.job.as_mut().unwrap();
    job.job = "payday".into();
    job.schedules[0].roll = wire::CalendarRoll::Following.into();
    let mut without = rolling.clone();
    without.job.as_mut().unwrap().schedules[0].exclude_calendars.clear();
    let refused = client.create_job(without).await.unwrap_err();
    assert_eq!(refused.get_error_details().bad_request().unwrap().field_violations[0].field, "job.schedules[0].roll");
    let job = client.create_job(rolling).await.unwrap().into_inner().job.unwrap();
    assert_eq!(job.schedules[0].roll(), wire::CalendarRoll::Following);
    let range = Some(wire::PreviewRange { count: 8, ..Default::default() });
    let preview = wire::PreviewScheduleRequest { job: "payday".into(), range, ..Default::default() };
    let shown = client.preview_schedule(preview).await.unwrap().into_inner();
    let days = shown.schedules[0].instants.iter().map(|instant| {
        let at = jiff::Timestamp::from_second(instant.time.unwrap().seconds).unwrap();
        at.in_tz("Europe/Berlin").unwrap().weekday()
    });
    let days: Vec<_> = days.collect();
    assert_eq!(days.len(), 8);
    assert!(
        days.iter().all(|day| matches!(day, jiff::civil::Weekday::Monday | jiff::civil::Weekday::Saturday)),
        "{days:?}"
    );
    assert!(days.windows(2).all(|days| days[0] != days[1]), "{days:?}");
    let told = client.explain_instant(explain("payday")).await.unwrap().into_inner();
    assert!(told.sentence.contains("`apart` holds the day") && told.sentence.contains("it moves to"), "{told:?}");
    let delete = wire::DeleteCalendarRequest { calendar: "apart".into(), ..Default::default() };
    let refused = admin.delete_calendar(delete.clone()).await.unwrap_err();
    assert_eq!(reason(&refused), "CALENDAR_IN_USE");
    assert!(!refused.message().contains("UndeleteJob"), "{refused:?}");
    let gone = wire::DeleteJobRequest { job: "payday".into(), ..Default::default() };
    client.delete_job(gone).await.unwrap();
    let refused = admin.delete_calendar(delete).await.unwrap_err();
    assert!(refused.message().contains("`payday` is deleted, and has to be brought back (UndeleteJob)"), "{refused:?}");
}

#[tokio::test]
async fn what_a_trigger_does_not_say_is_its_jobs() {
    use mainspring_proto::common::v1::{RetryPolicy, RetryUntil, Timeouts};
    let server = Server::start().await;
    let secs = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    let retry = RetryPolicy {
        max_attempts: Some(9),
        initial_backoff: secs(3_600),
        multiplier: 7.0,
        max_elapsed: secs(86_400),
        non_retryable_reasons: vec!["BAD".into()],
        max_losses: Some(8),
        retry_until: RetryUntil::NextOccurrence.into(),
        ..RetryPolicy::default()
    };
    let timeouts = Timeouts { execution: secs(7_200), queue: secs(600), stop_grace: secs(90), ..Timeouts::default() };
    let policied = wire::Job { retry_policy: Some(retry), timeouts: Some(timeouts), ..job("nightly") };
    let create = wire::CreateJobRequest { job: Some(policied), ..Default::default() };
    let job = server.scheduler().create_job(create).await.unwrap().into_inner().job.unwrap();
    let trigger = wire::TriggerJobRequest {
        job: "nightly".into(),
        retry_policy: Some(RetryPolicy { max_attempts: Some(2), ..RetryPolicy::default() }),
        timeouts: Some(Timeouts { execution: secs(30), queue: secs(0), ..Timeouts::default() }),
        ..Default::default()
    };
    let run = server.scheduler().trigger_job(trigger).await.unwrap().into_inner().run.unwrap();
    assert_eq!(run.retry_policy, job.retry_policy.map(|retry| RetryPolicy { max_attempts: Some(2), ..retry }));
    let kept = job.timeouts.map(|timeouts| Timeouts { execution: secs(30), queue: secs(0), ..timeouts });
    assert_eq!(run.timeouts, kept);
}
