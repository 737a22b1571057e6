//! What becomes of instants: missed, paused, overlapping, edited; and of a job that has none left.

use std::time::Duration;

use mainspring_proto::scheduler::v1::{
    CatchUp, Fate, GetJobRequest, Job, JobState, OnCompleted, Overlap, OverlapScope, PauseJobRequest, PendingStarts,
    ResumeJobRequest, RunState, Schedule, TriggerJobRequest, UpdateJobRequest, schedule::Rule,
};

use super::scene::{MOMENT, Row, Scene, every};

use Fate::{Coalesced, Fired, Missed, Paused, SkippedOverlap, Superseded};
use RunState::{Cancelled, Running, Scheduled};

/// What becomes of six instants of which five were missed; and of three that passed in a pause, if a resume says so.
const CATCH_UP: [(CatchUp, &str, [Fate; 6], [Fate; 3]); 3] = [
    (
        CatchUp::Latest,
        "one late run for the newest; the others are coalesced into it",
        [Coalesced, Coalesced, Coalesced, Coalesced, Fired, Fired],
        [Coalesced, Coalesced, Fired],
    ),
    (
        CatchUp::None,
        "what was missed is missed",
        [Missed, Missed, Missed, Missed, Missed, Fired],
        [Paused, Paused, Paused],
    ),
    (CatchUp::All, "each becomes a late run", [Fired; 6], [Fired; 3]),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn catch_up_says_what_becomes_of_missed_instants() {
    let mut scene = Scene::bare().await;
    for (catch_up, says, _, _) in CATCH_UP {
        let job = catch_up.as_str_name().to_ascii_lowercase();
        let job = Job { catch_up: catch_up.into(), overlap: Overlap::Allow.into(), ..every(&job, 60) };
        scene.client.create_job(job).await.expect(says);
    }
    // Nobody looked at the fifth in time, though it was a moment ago; the sixth finds the server awake.
    scene.server.sleep(Duration::from_secs(310)).await.unwrap();
    scene.pass(Duration::from_secs(50) + MOMENT).await;
    for (catch_up, says, fates, _) in CATCH_UP {
        let job = catch_up.as_str_name().to_ascii_lowercase();
        assert_eq!(scene.fates(&job).await, fates, "{says}");
        let late = scene.runs(&format!("job = {job}")).await.iter().filter(|run| run.late).count();
        assert_eq!(late, fates[..5].iter().filter(|fate| **fate == Fired).count(), "{says}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_one_shot_of_the_past_fires_late_if_it_may_and_is_in_the_ledger() {
    let mut scene = Scene::bare().await;
    let passed = scene.server.now().minus(Duration::from_secs(60)).as_micros();
    let at = Some(Rule::At(prost_types::Timestamp { seconds: passed / 1_000_000, nanos: 0 }));
    let max_lateness = Some(prost_types::Duration { seconds: 3_600, nanos: 0 });
    let schedules = vec![Schedule { rule: at, ..Schedule::default() }];
    scene.client.create_job(Job { max_lateness, schedules, ..every("once", 5) }).await.unwrap();
    scene.pass(MOMENT).await;
    assert_eq!(scene.fates("once").await, [Fired], "though it was before there was a job");
    assert!(scene.runs("job = once").await[0].late);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resume_says_what_becomes_of_paused_instants() {
    let mut scene = Scene::bare().await;
    let jobs = CATCH_UP.map(|(catch_up, ..)| catch_up.as_str_name().to_ascii_lowercase());
    for job in &jobs {
        scene.client.create_job(Job { overlap: Overlap::Allow.into(), ..every(job, 5) }).await.unwrap();
        let pause = PauseJobRequest { job: job.clone(), ..PauseJobRequest::default() };
        scene.client.scheduler().pause_job(pause).await.unwrap();
    }
    scene.pass(Duration::from_secs(15) + MOMENT).await;
    for ((catch_up, says, _, fates), job) in CATCH_UP.into_iter().zip(jobs) {
        assert_eq!(scene.fates(&job).await, [Paused; 3]);
        let resume = ResumeJobRequest { job: job.clone(), catch_up: catch_up.into(), ..ResumeJobRequest::default() };
        scene.client.scheduler().resume_job(resume).await.unwrap();
        scene.pass(MOMENT).await;
        assert_eq!(scene.fates(&job).await, fates, "{says}");
    }
}

/// What becomes of three instants whose first run is not over: how many begin, the fates, the runs, and how long the first
/// may take to stop.
struct Overlaps {
    overlap: Overlap,
    says: &'static str,
    begin: [usize; 3],
    fates: [Fate; 3],
    runs: &'static [RunState],
    grace: Option<i64>,
}

const OVERLAP: [Overlaps; 6] = [
    Overlaps {
        overlap: Overlap::Skip,
        says: "the instant is skipped",
        begin: [1, 0, 0],
        fates: [Fired, SkippedOverlap, SkippedOverlap],
        runs: &[Running],
        grace: None,
    },
    Overlaps {
        overlap: Overlap::Allow,
        says: "all run beside each other",
        begin: [1, 1, 1],
        fates: [Fired; 3],
        runs: &[Running, Running, Running],
        grace: None,
    },
    Overlaps {
        overlap: Overlap::BufferOne,
        says: "the newest waits, and takes the place of one that waits",
        begin: [1, 0, 0],
        fates: [Fired; 3],
        runs: &[Running, Cancelled, Scheduled],
        grace: None,
    },
    Overlaps {
        overlap: Overlap::BufferAll,
        says: "all wait for their turn",
        begin: [1, 0, 0],
        fates: [Fired; 3],
        runs: &[Running, Scheduled, Scheduled],
        grace: None,
    },
    Overlaps {
        overlap: Overlap::CancelOther,
        says: "the run is cancelled, in its own time, for the newest",
        begin: [1, 0, 0],
        fates: [Fired; 3],
        runs: &[Running, Cancelled, Scheduled],
        grace: Some(600),
    },
    Overlaps {
        overlap: Overlap::TerminateOther,
        says: "the same, with a grace of one lease",
        begin: [1, 0, 0],
        fates: [Fired; 3],
        runs: &[Running, Cancelled, Scheduled],
        grace: Some(30),
    },
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn overlap_says_what_becomes_of_an_instant_whose_job_is_busy() {
    for Overlaps { overlap, says, begin, fates, runs, grace } in OVERLAP {
        let mut scene = Scene::with_worker().await;
        scene.client.create_job(Job { overlap: overlap.into(), ..every("busy", 5) }).await.unwrap();
        for count in begin {
            scene.pass(Duration::from_secs(5)).await;
            for _ in 0..count {
                scene.take().await;
            }
        }
        // A start is kept once it is no run of a moment.
        scene.pass(Duration::from_secs(1)).await;
        assert_eq!(scene.fates("busy").await, fates, "{overlap:?}: {says}");
        let all = scene.runs("job = busy").await;
        let states: Vec<_> = all.iter().map(|run| run.state()).collect();
        assert_eq!(states, runs, "{overlap:?}: {says}");
        assert_eq!(scene.grace(&all[0].run_id).await, grace, "{overlap:?}: {says}");
    }
}

/// What becomes of an instant of a job while a run of another job with its concurrency key is not over.
const SCOPE: [(OverlapScope, &str, Fate); 2] = [
    (OverlapScope::Job, "runs of other jobs are not looked at", Fired),
    (OverlapScope::ConcurrencyKey, "jobs of one key share a slot", SkippedOverlap),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_overlap_has_a_scope() {
    for (scope, says, fate) in SCOPE {
        let mut scene = Scene::with_worker().await;
        let keyed = |job: Job| Job {
            concurrency_key: "mailbox".into(),
            concurrency_limit: 5,
            overlap_scope: scope.into(),
            ..job
        };
        scene.client.create_job(keyed(Job { schedules: Vec::new(), ..every("other", 5) })).await.unwrap();
        scene.client.create_job(keyed(every("ticking", 5))).await.unwrap();
        let trigger = TriggerJobRequest { job: "other".into(), ..TriggerJobRequest::default() };
        scene.client.scheduler().trigger_job(trigger).await.unwrap();
        scene.take().await;
        scene.pass(Duration::from_secs(5) + MOMENT).await;
        assert_eq!(scene.fates("ticking").await, [fate], "{says}");
    }
}

/// What an edit makes of a start that is pending: the run, its version, and the fate of its instant.
const PENDING: [(PendingStarts, &str, RunState, i64, Fate); 3] = [
    (PendingStarts::Keep, "it stays, under the version that made it", Scheduled, 1, Fired),
    (PendingStarts::Cancel, "it is dropped, and its instant superseded", Cancelled, 1, Superseded),
    (PendingStarts::Recompute, "it begins by the new definition", Scheduled, 2, Fired),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edit_says_what_becomes_of_pending_starts() {
    for (pending, says, state, version, fate) in PENDING {
        let mut scene = Scene::with_worker().await;
        let job = Job { overlap: Overlap::BufferAll.into(), ..every("waits", 5) };
        scene.client.create_job(job).await.unwrap();
        scene.pass(Duration::from_secs(5)).await;
        scene.take().await;
        scene.pass(Duration::from_secs(5) + MOMENT).await;
        assert_eq!(scene.states("waits").await, [Running, Scheduled]);
        let update = UpdateJobRequest {
            job: Some(Job { job: "waits".into(), owner: "ada".into(), ..Job::default() }),
            update_mask: Some(prost_types::FieldMask { paths: vec!["owner".into()] }),
            update_pending: pending.into(),
            ..UpdateJobRequest::default()
        };
        scene.client.scheduler().update_job(update).await.unwrap();
        let runs = scene.runs("job = waits").await;
        assert_eq!((runs[1].state(), runs[1].job_version), (state, version), "{says}");
        assert_eq!(scene.fates("waits").await[1], fate, "{says}");
        assert_eq!(runs[0].state(), Running, "what has begun goes on");
    }
}

/// What becomes of a job that has had its last instant.
const COMPLETED: [(OnCompleted, &str, Option<JobState>); 2] = [
    (OnCompleted::Keep, "it stays", Some(JobState::Completed)),
    (OnCompleted::Delete, "it is deleted once its runs are over", None),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_says_what_becomes_of_it_after_its_last_instant() {
    for (on_completed, says, state) in COMPLETED {
        let mut scene = Scene::with_worker().await;
        let at = prost_types::Timestamp { seconds: scene.server.now().as_micros() / 1_000_000 + 5, nanos: 0 };
        let once = vec![Schedule { rule: Some(Rule::At(at)), ..Schedule::default() }];
        let job = Job { schedules: once, on_completed: on_completed.into(), ..every("once", 60) };
        scene.client.create_job(job).await.unwrap();
        scene.pass(Duration::from_secs(5)).await;
        let run = scene.take().await;
        scene.pass(Duration::from_secs(5)).await;
        let get = GetJobRequest { job: "once".into(), ..GetJobRequest::default() };
        let there = async || scene.client.scheduler().get_job(get.clone()).await;
        assert!(there().await.is_ok(), "its run is not over");
        scene.succeed(&run).await;
        scene.pass(Duration::from_secs(5)).await;
        let there = scene.client.scheduler().get_job(get.clone()).await;
        assert_eq!(there.ok().map(|job| job.into_inner().job.unwrap().state()), state, "{says}");
    }
}

pub(crate) fn rows() -> Vec<Row> {
    let catch_up = CATCH_UP.map(|(value, says, ..)| ("CatchUp", value.as_str_name(), says));
    let overlap = OVERLAP.map(|row| ("Overlap", row.overlap.as_str_name(), row.says));
    let pending = PENDING.map(|(value, says, ..)| ("PendingStarts", value.as_str_name(), says));
    let completed = COMPLETED.map(|(value, says, _)| ("OnCompleted", value.as_str_name(), says));
    let scope = SCOPE.map(|(value, says, _)| ("OverlapScope", value.as_str_name(), says));
    [&catch_up[..], &overlap, &scope, &pending, &completed].concat()
}
