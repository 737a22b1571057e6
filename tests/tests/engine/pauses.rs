//! Pauses that end by themselves while nobody is there to end them.

use std::time::Duration;

use mainspring_engine::{
    domain::{job::Pause, names::Scope, stop::Paused},
    ports::store::JobChange,
};
use mainspring_tests::{
    conformance::world::{every, secs, spec},
    engine::Stage,
};

/// The server that comes back ends the pause and evaluates what was due in it; whichever of the two it does first must not
/// wait for the clock, which stands still here.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_that_was_over_in_an_outage_is_ended_at_once() {
    let mut stage = Stage::set_with(Default::default(), Duration::from_secs(3_600)).await;
    let job = stage.create("report", spec(vec![every("main", 10)])).await;
    let scope = Scope::default();
    for _ in 0..40 {
        let now = stage.engine.now();
        let pause = Pause { note: "quiet".into(), actor: "ops".into(), time: now, until: Some(now.plus(secs(15))) };
        let (paused, _) = stage.engine.jobs().pause(&scope, &job.name, pause, Paused::Keep).await.unwrap();
        assert!(matches!(paused, JobChange::Done(_)), "{paused:?}");
        stage = stage.outage(secs(20)).await;
        let job = stage.world().job("report").await.unwrap();
        assert_eq!(job.pause, None);
    }
}
