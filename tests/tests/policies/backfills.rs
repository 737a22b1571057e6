//! Backfills: which instants become runs, in which order, and beside what.

use std::time::Duration;

use mainspring_proto::{
    common::v1::RetryPolicy,
    scheduler::v1::{
        Backfill, BackfillInstants, BackfillJobRequest, BackfillOrder, BackfillOverlap, GetBackfillRequest, Job,
        Overlap,
    },
};

use super::scene::{MOMENT, Row, Scene, every};

/// The first of three instants, counted from the first.
const ORDER: [(BackfillOrder, &str, i64); 2] = [
    (BackfillOrder::OldestFirst, "from the first to the last", 0),
    (BackfillOrder::NewestFirst, "from the last to the first", 2),
];

/// Of four instants the first succeeded, the second failed, the third is under way, and the last has no run.
const INSTANTS: [(BackfillInstants, &str, [i64; 4]); 3] = [
    (BackfillInstants::Missing, "those that have no run", [0, 0, 0, 1]),
    (BackfillInstants::Unsucceeded, "those of whose runs none succeeded or is under way", [0, 1, 0, 1]),
    (BackfillInstants::All, "all of them", [1, 1, 1, 1]),
];

/// Whether one is made while another run of the job is under way.
const OVERLAP: [(BackfillOverlap, &str, i64); 2] = [
    (BackfillOverlap::Allow, "it goes beside other runs of the job", 1),
    (BackfillOverlap::Wait, "it waits until they are over", 0),
];

/// So many instants from a second on.
fn range(job: &str, from: i64, count: i64) -> BackfillJobRequest {
    let at = |second: i64| Some(prost_types::Timestamp { seconds: second, nanos: 0 });
    let (from_time, to_time) = (at(from), at(from + 5 * count));
    BackfillJobRequest { job: job.into(), from_time, to_time, concurrency: 10, ..BackfillJobRequest::default() }
}

/// Long before anything of the test.
const LONG_AGO: i64 = 1_700_000_000;

async fn begin(scene: &mut Scene, request: BackfillJobRequest) -> Backfill {
    let begun = scene.client.scheduler().backfill_job(request).await.unwrap().into_inner().backfill.unwrap();
    scene.pass(MOMENT).await;
    let get = GetBackfillRequest { backfill_id: begun.backfill_id, ..GetBackfillRequest::default() };
    scene.client.scheduler().get_backfill(get).await.unwrap().into_inner().backfill.unwrap()
}

/// The instants of its runs, in seconds.
async fn instants(scene: &Scene, backfill: &Backfill) -> Vec<i64> {
    let runs = scene.runs(&format!("backfill_id = {}", backfill.backfill_id)).await;
    runs.iter().map(|run| run.nominal_time.unwrap().seconds).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backfill_says_which_instants_come_first() {
    let mut scene = Scene::bare().await;
    scene.client.create_job(every("report", 5)).await.unwrap();
    for (order, says, first) in ORDER {
        let request = BackfillJobRequest { order: order.into(), concurrency: 1, ..range("report", LONG_AGO, 3) };
        let request = BackfillJobRequest { instants: BackfillInstants::All.into(), ..request };
        let backfill = begin(&mut scene, request).await;
        assert_eq!(instants(&scene, &backfill).await, [LONG_AGO + 5 * first], "{says}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backfill_says_which_instants_become_runs() {
    let mut scene = Scene::with_worker().await;
    let once = Some(RetryPolicy { max_attempts: Some(1), ..RetryPolicy::default() });
    let job = Job { overlap: Overlap::Allow.into(), retry_policy: once, ..every("report", 5) };
    scene.client.create_job(job).await.unwrap();
    let begin_at = scene.server.now().as_micros() / 1_000_000;
    for ends in 0..3 {
        scene.pass(Duration::from_secs(5)).await;
        let run = scene.take().await;
        match ends {
            0 => scene.succeed(&run).await,
            1 => scene.fail(&run).await,
            _ => {}
        }
    }
    // The last one passes in a pause.
    let pause = mainspring_proto::scheduler::v1::PauseJobRequest { job: "report".into(), ..Default::default() };
    scene.client.scheduler().pause_job(pause).await.unwrap();
    scene.pass(Duration::from_secs(11)).await;
    for (only, says, made) in INSTANTS {
        let asked = BackfillJobRequest {
            instants: only.into(),
            validate_only: true,
            while_paused: true,
            ..range("report", begin_at + 5, 4)
        };
        let told = scene.client.scheduler().backfill_job(asked).await.unwrap().into_inner();
        let place = |at: &prost_types::Timestamp| usize::try_from((at.seconds - begin_at) / 5 - 1).unwrap();
        let mut comes = [0; 4];
        told.next_times.iter().for_each(|at| comes[place(at)] = 1);
        assert_eq!(comes, made, "{says}");
    }
    // And so they do.
    let (only, says, made) = INSTANTS[1];
    let asked = range("report", begin_at + 5, 4);
    let asked = BackfillJobRequest { instants: only.into(), while_paused: true, ..asked };
    let backfill = begin(&mut scene, asked).await;
    assert_eq!((backfill.made_count, backfill.skipped_count), (made.iter().sum(), 2), "{says}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backfill_says_how_it_stands_to_other_runs() {
    for (overlap, says, made) in OVERLAP {
        let mut scene = Scene::with_worker().await;
        scene.client.create_job(every("report", 5)).await.unwrap();
        scene.pass(Duration::from_secs(5)).await;
        let live = scene.take().await;
        let request = BackfillJobRequest { overlap: overlap.into(), concurrency: 1, ..range("report", LONG_AGO, 3) };
        let backfill = begin(&mut scene, request).await;
        assert_eq!(backfill.made_count, made, "{says}");
        scene.succeed(&live).await;
        assert_eq!(instants(&scene, &backfill).await, [LONG_AGO], "then it comes in any case");
    }
}

pub(crate) fn rows() -> Vec<Row> {
    let order = ORDER.map(|(value, says, _)| ("BackfillOrder", value.as_str_name(), says));
    let instants = INSTANTS.map(|(value, says, _)| ("BackfillInstants", value.as_str_name(), says));
    let overlap = OVERLAP.map(|(value, says, _)| ("BackfillOverlap", value.as_str_name(), says));
    [&order[..], &instants, &overlap].concat()
}
