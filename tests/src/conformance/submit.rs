//! New runs: stored once, answered after they are durable.

use std::{collections::BTreeMap, sync::Arc};

use mainspring_engine::{
    domain::{
        ids::RunId,
        names::Scope,
        overlap::Overlap,
        payload::Payload,
        run::{Lifecycle, RunOrigin, RunState},
        stop::Running,
    },
    ports::store::{JobChange, JobRef, Made, NewRun, RequestKey, Submitted},
};

use super::world::{World, at_most_once, lane, lane_of, secs, spec};

fn request(call: &'static str, body: u8) -> Option<RequestKey> {
    Some(RequestKey { call, id: "r1".into(), body: [body; 32] })
}

fn stored(answer: &Submitted) -> RunId {
    match answer {
        Submitted::Stored(stored) => stored.run.run,
        other => panic!("{other:?}"),
    }
}

pub async fn a_run_reads_back(w: World) {
    let job = w.create("report", spec(vec![])).await;
    let parent = RunId::new(w.now);
    let run = NewRun {
        priority: 9,
        fairness_key: "tenant".parse().unwrap(),
        labels: BTreeMap::from([("a".into(), "b".into())]),
        payload: Payload { content_type: "text/plain".into(), data: b"hi".to_vec() },
        policy: at_most_once(),
        request: request("SubmitRun", 1),
        note: "by hand".into(),
        parent: Some(parent),
        headers: BTreeMap::from([("traceparent".into(), "00-1".into())]),
        ..w.run_of(&job)
    };
    let moved = w.submit(vec![run.clone()]).await.remove(0);
    assert_eq!((moved.run, moved.from, moved.to, moved.generation), (run.id, None, RunState::Queued, 1));
    assert_eq!((&moved.lane, &moved.job), (&run.lane, &Some(job.name.clone())));
    let view = w.store.run(&w.scope, run.id).await.unwrap().unwrap();
    assert_eq!(view.life, Lifecycle::new(w.now, w.now));
    assert_eq!(view.job, Some(JobRef { uid: job.uid, name: job.name, version: 1 }));
    assert_eq!((view.job_type, view.queue), (lane().job_type, lane().queue));
    assert_eq!((view.origin, view.priority, view.due_time), (RunOrigin::Trigger, 9, w.now));
    assert_eq!((view.fairness_key, view.labels), (run.fairness_key, run.labels));
    assert_eq!((view.parent, view.note, view.request_id), (Some(parent), run.note, "r1".into()));
    let detail = view.detail.unwrap();
    assert_eq!((detail.payload, detail.policy, detail.output), (run.payload, run.policy, None));
}

pub async fn an_answer_is_what_a_look_shows(mut w: World) {
    let job = w.create("report", spec(vec![])).await;
    let due = w.now.plus(secs(60));
    w.pass(secs(1));
    let runs = vec![
        w.new_run(),
        NewRun { due, ..w.new_run() },
        NewRun { lane: lane_of("other", "q", "test.job"), ..w.new_run() },
        NewRun { payload: Payload { content_type: String::new(), data: vec![7; 300_000] }, ..w.new_run() },
        NewRun {
            priority: 9,
            fairness_key: "tenant".parse().unwrap(),
            labels: BTreeMap::from([("a".into(), "b".into())]),
            policy: at_most_once(),
            request: request("TriggerJob", 1),
            note: "by hand".into(),
            parent: Some(RunId::new(w.now)),
            ..w.run_of(&job)
        },
    ];
    for answer in w.store.submit(w.now, runs).await.unwrap() {
        let Submitted::Stored(stored) = answer else { panic!("{answer:?}") };
        let scope = Scope(stored.run.namespace.clone());
        assert_eq!(w.store.run(&scope, stored.run.run).await.unwrap(), Some(stored.run));
    }
}

pub async fn later_runs_are_scheduled(w: World) {
    let due = w.now.plus(secs(60));
    let moved = w.submit(vec![NewRun { due, ..w.new_run() }]).await.remove(0);
    assert_eq!((moved.to, moved.wake_time, moved.generation), (RunState::Scheduled, Some(due), 0));
    assert!(w.queued(&lane()).await.is_empty());
    assert_eq!(w.store.next_due(w.now).await.unwrap().first(), Some(due));
}

pub async fn an_answer_means_committed(w: World) {
    // What was answered is there for whoever looks next, over whatever connection.
    for _ in 0..20 {
        let run = w.submit_one().await.run;
        assert!(w.store.run(&w.scope, run).await.unwrap().is_some());
    }
}

pub async fn repeats_are_replayed(mut w: World) {
    let run = NewRun { request: request("SubmitRun", 1), ..w.new_run() };
    let first = stored(&w.store.submit(w.now, vec![run.clone()]).await.unwrap()[0]);
    w.pass(secs(5));
    let again = NewRun { id: RunId::new(w.now), ..run };
    let answer = w.store.submit(w.now, vec![again]).await.unwrap().remove(0);
    assert!(matches!(answer, Submitted::Replayed(run) if run == first), "{answer:?}");
    assert_eq!(w.queued(&lane()).await.len(), 1);
}

pub async fn other_bodies_are_refused(w: World) {
    let run = |body| NewRun { request: request("SubmitRun", body), ..w.new_run() };
    stored(&w.store.submit(w.now, vec![run(1)]).await.unwrap()[0]);
    let answer = w.store.submit(w.now, vec![run(2)]).await.unwrap().remove(0);
    assert!(matches!(answer, Submitted::RequestReused), "{answer:?}");
    assert_eq!(w.queued(&lane()).await.len(), 1);
}

pub async fn what_a_request_made_is_found_again(w: World) {
    let key = |id: &str, body| RequestKey { call: "SubmitRun", id: id.into(), body: [body; 32] };
    let job = w.create("report", spec(vec![])).await;
    let run = NewRun { request: Some(key("r1", 1)), ..w.run_of(&job) };
    let first = stored(&w.store.submit(w.now, vec![run]).await.unwrap()[0]);
    w.store.delete_job(w.now, &w.scope, &job.name, None, Running::Detach, "ops").await.unwrap();
    let asked = [key("r1", 2), key("nobody", 1), RequestKey { call: "TriggerJob", ..key("r1", 1) }, key("r1", 1)];
    let made = w.store.made(&w.scope, &asked).await.unwrap();
    let found = Some(Made { body: [1; 32], target: first.uuid() });
    assert_eq!(made, [found, None, None, found], "of the call and the id; the body is for the caller to compare");
    let elsewhere = Scope("other".parse().unwrap());
    assert_eq!(w.store.made(&elsewhere, &asked).await.unwrap(), [None; 4]);
}

pub async fn repeats_in_one_batch_meet(w: World) {
    let run = |body| NewRun { request: request("SubmitRun", body), ..w.new_run() };
    let answers = w.store.submit(w.now, vec![run(1), run(1), run(2), w.new_run()]).await.unwrap();
    let first = stored(&answers[0]);
    assert!(matches!(answers[1], Submitted::Replayed(run) if run == first), "{answers:?}");
    assert!(matches!(answers[2], Submitted::RequestReused), "{answers:?}");
    stored(&answers[3]);
    assert_eq!(w.queued(&lane()).await.len(), 2);
}

pub async fn ids_of_calls_and_namespaces_do_not_meet(w: World) {
    let run = |call| NewRun { request: request(call, 1), ..w.new_run() };
    let there = NewRun { lane: lane_of("other", "default", "test.job"), ..run("SubmitRun") };
    let answers = w.store.submit(w.now, vec![run("SubmitRun"), run("TriggerJob"), there]).await.unwrap();
    assert_eq!(answers.iter().map(stored).count(), 3);
}

pub async fn a_batch_tried_again_stores_once(w: World) {
    let large = Payload { content_type: "text/plain".into(), data: vec![b'x'; 9_000] };
    let runs = vec![w.new_run(), NewRun { payload: large, ..w.new_run() }];
    w.submit(runs.clone()).await;
    let again = w.store.submit(w.now, runs.clone()).await.unwrap();
    for (answer, run) in again.iter().zip(&runs) {
        assert!(matches!(answer, Submitted::Replayed(id) if *id == run.id), "{answer:?}");
    }
    // With something new beside it, and with itself in one batch.
    let new = w.new_run();
    let mixed = [runs.clone(), vec![new.clone(), new.clone()]].concat();
    let answers = w.store.submit(w.now, mixed).await.unwrap();
    assert!(matches!(answers[1], Submitted::Replayed(_)), "{answers:?}");
    assert_eq!(stored(&answers[2]), new.id);
    assert!(matches!(answers[3], Submitted::Replayed(id) if id == new.id), "{answers:?}");
    assert_eq!(w.queued(&lane()).await.len(), 3);
}

pub async fn a_deleted_job_makes_no_runs(w: World) {
    let job = w.create("report", spec(vec![])).await;
    let deleted = w.store.delete_job(w.now, &w.scope, &job.name, None, Running::Detach, "ops").await.unwrap();
    assert!(matches!(deleted, JobChange::Done(_)));
    let answers = w.store.submit(w.now, vec![w.run_of(&job), w.new_run()]).await.unwrap();
    assert!(matches!(answers[0], Submitted::JobGone), "{answers:?}");
    stored(&answers[1]);
}

pub async fn only_if_idle_finds_the_run(w: World) {
    let job = w.create("report", spec(vec![])).await;
    let careful = || NewRun { overlap: Some(Overlap::Skip), ..w.run_of(&job) };
    let first = stored(&w.store.submit(w.now, vec![careful()]).await.unwrap()[0]);
    let answer = w.store.submit(w.now, vec![careful()]).await.unwrap().remove(0);
    assert!(matches!(answer, Submitted::NotIdle(run, None) if run == first), "{answer:?}");
    stored(&w.store.submit(w.now, vec![w.run_of(&job)]).await.unwrap()[0]);
    for pointer in w.queued(&lane()).await {
        let owner = w.connect().await;
        let key = w.lease(owner, pointer).await.key;
        w.report(key, mainspring_engine::domain::attempt::Outcome::Succeeded).await;
    }
    stored(&w.store.submit(w.now, vec![careful()]).await.unwrap()[0]);
}

pub async fn only_if_idle_counts_the_same_batch(w: World) {
    let job = w.create("report", spec(vec![])).await;
    let careful = || NewRun { overlap: Some(Overlap::Skip), ..w.run_of(&job) };
    let answers = w.store.submit(w.now, vec![careful(), careful()]).await.unwrap();
    let first = stored(&answers[0]);
    assert!(matches!(answers[1], Submitted::NotIdle(run, None) if run == first), "{answers:?}");
}

pub async fn large_payloads_read_back(w: World) {
    let payload = Payload { content_type: "application/octet-stream".into(), data: vec![7; 300_000] };
    let run = NewRun { payload: payload.clone(), ..w.new_run() };
    let moved = w.submit(vec![run]).await.remove(0);
    let view = w.store.run(&w.scope, moved.run).await.unwrap().unwrap();
    assert_eq!(view.detail.unwrap().payload, payload);
    let owner = w.connect().await;
    assert_eq!(w.lease(owner, super::world::pointer(&moved)).await.payload, payload);
}

pub async fn many_runs_in_one_batch(w: World) {
    let runs: Vec<_> = (0..1_000).map(|_| w.new_run()).collect();
    let moved = w.submit(runs.clone()).await;
    assert!(moved.iter().zip(&runs).all(|(moved, run)| moved.run == run.id));
    assert_eq!(w.queued(&lane()).await.len(), 1_000);
}

pub async fn concurrent_callers_all_get_their_own(w: World) {
    let w = Arc::new(w);
    let calls = (0..200).map(|_| {
        let w = Arc::clone(&w);
        async move {
            let run = w.new_run();
            assert_eq!(w.submit(vec![run.clone()]).await[0].run, run.id);
        }
    });
    futures::future::join_all(calls).await;
    assert_eq!(w.queued(&lane()).await.len(), 200);
}

pub async fn every_request_has_its_own_run(w: World) {
    let of = |call, id: &str, body| Some(RequestKey { call, id: id.into(), body: [body; 32] });
    let there = || NewRun { lane: lane_of("other", "default", "test.job"), ..w.new_run() };
    let runs = || {
        vec![
            NewRun { request: of("SubmitRun", "r1", 1), ..w.new_run() },
            NewRun { request: of("SubmitRun", "r2", 2), ..w.new_run() },
            NewRun { request: of("TriggerJob", "r1", 3), ..w.new_run() },
            NewRun { request: of("SubmitRun", "r1", 4), ..there() },
        ]
    };
    let mut made = Vec::new();
    for run in runs() {
        made.push(stored(&w.store.submit(w.now, vec![run]).await.unwrap()[0]));
    }
    let answers = w.store.submit(w.now, runs()).await.unwrap();
    for (answer, made) in answers.iter().zip(made) {
        assert!(matches!(answer, Submitted::Replayed(run) if *run == made), "{answer:?}");
    }
}
