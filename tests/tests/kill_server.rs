//! SIGKILL of the server: what it acknowledged is there, what ran goes on, nothing fires twice.

#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap like the tests themselves")]

use std::time::Duration;

use futures::{StreamExt as _, stream};
use mainspring_proto::scheduler::v1::{
    BackfillJobRequest, BackfillState, EventTopic, GetBackfillRequest, Interval, Job, ListRunsRequest, RunState,
    RunSubmission, Schedule, event::Detail, schedule::Rule,
};
use mainspring_tests::harness::{
    client::work,
    host::{self, PATIENCE},
    scene::Scene,
};
use serde_json::json;

const LEASE: Duration = Duration::from_secs(3);
const ALLOWED: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives() {
    let mut scene = Scene::set(LEASE).await.unwrap();
    scene.add_workers(1, 8, false).await.unwrap();
    // Many callers at once, and the server dies while they wait for their answers.
    let submission =
        |number: u32| RunSubmission { request_id: format!("call-{number}"), ..work("t.noop", &json!(null)) };
    let answers: Vec<_> = {
        let scene = &scene;
        let mut calls =
            stream::iter(0..200).map(|n| async move { (n, scene.submit(submission(n)).await.ok()) }).buffered(32);
        let mut answers: Vec<_> = calls.by_ref().take(60).collect().await;
        scene.strike_server().unwrap();
        answers.extend(calls.collect::<Vec<_>>().await);
        answers
    };
    assert!(answers.iter().any(|(_, run)| run.is_none()), "the server died too late to matter");
    scene.revive_server(Duration::ZERO).await.unwrap();
    for place in &mut scene.places {
        place.worker.connected().await.unwrap();
    }
    for (number, before) in answers {
        let run = scene.submit(submission(number)).await.unwrap();
        assert!(before.is_none_or(|before| before == run), "call {number} has another run after the restart");
        scene.client.succeeded(&run, PATIENCE).await.unwrap();
    }
    scene.heal(ALLOWED).await.unwrap();
    scene.acquit(&["jobs", "cancels"]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_under_way_goes_on() {
    let mut scene = Scene::set(LEASE).await.unwrap();
    scene.add_workers(1, 2, false).await.unwrap();
    let mut watch = scene.client.watch(&[EventTopic::Runs], "", "").await.unwrap();
    let run = scene.submit(work("t.sleep", &json!({"ms": 2_500}))).await.unwrap();
    watch.state(&run, RunState::Running).await.unwrap();
    scene.kill_server(Duration::from_millis(300)).await.unwrap();
    let run = scene.client.succeeded(&run, PATIENCE).await.unwrap();
    assert_eq!((run.attempt, run.losses), (1, 0), "{run:?}");
    assert_eq!(scene.evidence.lines_of("START", &run.run_id).unwrap().len(), 1);
    scene.heal(ALLOWED).await.unwrap();
    scene.acquit(&["jobs", "cancels"]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_second_has_one_fate() {
    let mut scene = Scene::set(LEASE).await.unwrap();
    scene.add_workers(1, 8, false).await.unwrap();
    scene.add_jobs(2).await.unwrap();
    for down in [0, 1_500, 400] {
        host::pass_time(Duration::from_millis(1_700), "seconds pass, and each must fire").await;
        scene.kill_server(Duration::from_millis(down)).await.unwrap();
    }
    let healed = scene.heal(ALLOWED).await.unwrap();
    scene.rest(healed["wall"].as_i64().unwrap(), ALLOWED).await.unwrap();
    let counted = scene.acquit(&["submissions", "cancels"]).await.unwrap();
    assert!(counted["facts"]["instants"].as_u64().unwrap() >= 14, "{counted:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_instant_of_a_backfill_has_one_run() {
    const INSTANTS: i64 = 600;
    let mut scene = Scene::set(LEASE).await.unwrap();
    scene.add_workers(1, 8, false).await.unwrap();
    let every = Some(prost_types::Duration { seconds: 86_400, nanos: 0 });
    let rule = Some(Rule::Interval(Interval { every, ..Interval::default() }));
    let schedules = vec![Schedule { rule, ..Schedule::default() }];
    let job = Job { job: "daily".into(), job_type: "t.noop".into(), schedules, ..Job::default() };
    scene.client.create_job(job).await.unwrap();
    let day = |number: i64| Some(prost_types::Timestamp { seconds: number * 86_400, nanos: 0 });
    let request = BackfillJobRequest {
        job: "daily".into(),
        from_time: day(10_000),
        to_time: day(10_000 + INSTANTS),
        concurrency: 4,
        ..BackfillJobRequest::default()
    };
    let begun = scene.client.scheduler().backfill_job(request).await.unwrap().into_inner().backfill.unwrap();
    let get = GetBackfillRequest { backfill_id: begun.backfill_id.clone(), ..GetBackfillRequest::default() };
    let got = async |scene: &Scene| {
        let got = scene.client.scheduler().get_backfill(get.clone()).await.unwrap();
        got.into_inner().backfill.unwrap()
    };
    // It dies in the midst of it, again and again.
    let mut made = 0;
    for _ in 0..4 {
        let mut watch = scene.client.watch(&[EventTopic::Runs], "daily", "").await.unwrap();
        let until = made + 60;
        while made < until {
            watch.next().await.unwrap();
            made = got(&scene).await.made_count;
        }
        assert!(made < INSTANTS, "the server dies too late to matter");
        scene.kill_server(Duration::ZERO).await.unwrap();
    }
    for place in &mut scene.places {
        place.worker.connected().await.unwrap();
    }
    let mut watch = scene.client.watch(&[EventTopic::Jobs], "", "").await.unwrap();
    let over = loop {
        let backfill = got(&scene).await;
        if backfill.end_time.is_some() {
            break backfill;
        }
        while !matches!(watch.next().await.unwrap().detail, Some(Detail::Job(_))) {}
    };
    assert_eq!((over.state(), over.made_count, over.succeeded_count), (BackfillState::Completed, INSTANTS, INSTANTS));
    let mut days = Vec::new();
    let mut list = ListRunsRequest {
        filter: format!("backfill_id = {}", begun.backfill_id),
        page_size: 1_000,
        ..ListRunsRequest::default()
    };
    loop {
        let page = scene.client.scheduler().list_runs(list.clone()).await.unwrap().into_inner();
        days.extend(page.runs.iter().map(|run| run.nominal_time.unwrap().seconds / 86_400));
        list.page_token = page.next_page_token;
        if list.page_token.is_empty() {
            break;
        }
    }
    days.sort_unstable();
    assert_eq!(days, (10_000..10_000 + INSTANTS).collect::<Vec<_>>(), "each once, and none twice");
    scene.heal(ALLOWED).await.unwrap();
}
