//! Who is refused, and what that costs whoever is there.

use mainspring_engine::{domain::worker::Hello, flow::stream::messages::SessionEnd};
use mainspring_tests::engine::Stage;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_id_serves_one_namespace() {
    let stage = Stage::judging().await;
    let mut worker = stage.connect(1).await;
    let hello = stage.world().hello(worker.id, worker.epoch + 1, &[]);
    let elsewhere = stage.connect_with(Hello { namespace: "other".parse().unwrap(), ..hello }).await;
    assert_eq!(elsewhere.map(drop), Err(SessionEnd::Foreign));
    assert_eq!(worker.renew(&[]).await, [], "whose it is has lost nothing");
}
