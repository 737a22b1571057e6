//! What waits is offered best first, and only what waits.

use mainspring_engine::{domain::ids::RunId, ports::store::NewRun};

use super::world::{World, lane, lane_of, pointer, secs};

pub async fn the_best_come_first(mut w: World) {
    let mut wanted = Vec::new();
    let mut add = |w: &World, priority: u8, key: &str| {
        let run = NewRun { id: RunId::new(w.now), priority, fairness_key: key.parse().unwrap(), ..w.new_run() };
        wanted.push((9 - priority, key.to_owned(), w.now, run.id));
        run
    };
    let mut runs = vec![add(&w, 5, "b"), add(&w, 1, "a"), add(&w, 9, "z")];
    w.submit(std::mem::take(&mut runs)).await;
    w.pass(secs(1));
    runs = vec![add(&w, 5, "a"), add(&w, 9, "z"), add(&w, 5, "b")];
    w.submit(runs).await;
    wanted.sort();
    let got: Vec<_> = w.queued(&lane()).await.into_iter().map(|pointer| pointer.run).collect();
    assert_eq!(got, wanted.into_iter().map(|(.., run)| run).collect::<Vec<_>>());
}

pub async fn lanes_do_not_mix(w: World) {
    let lanes = [
        lane(),
        lane_of("default", "default", "other"),
        lane_of("default", "q", "test.job"),
        lane_of("n", "default", "test.job"),
    ];
    let mut ids = Vec::new();
    for lane in &lanes {
        ids.push(w.submit(vec![NewRun { lane: lane.clone(), ..w.new_run() }]).await[0].run);
    }
    let unknown = lane_of("default", "nobody", "asks");
    let mut asked: Vec<_> = lanes.iter().map(|lane| (lane.clone(), 10)).collect();
    asked.push((unknown, 10));
    let answers = w.store.queued(&asked).await.unwrap();
    for (answer, id) in answers.iter().zip(&ids) {
        assert_eq!(answer.iter().map(|pointer| pointer.run).collect::<Vec<_>>(), [*id]);
    }
    assert!(answers[4].is_empty());
}

pub async fn leased_runs_are_not_offered(w: World) {
    let owner = w.connect().await;
    let runs = w.submit(vec![w.new_run(), w.new_run()]).await;
    w.lease(owner, pointer(&runs[0])).await;
    let left = w.queued(&lane()).await;
    assert_eq!(left, [pointer(&runs[1])]);
}

pub async fn the_limit_holds(w: World) {
    w.submit((0..10).map(|_| w.new_run()).collect()).await;
    let answer = w.store.queued(&[(lane(), 3), (lane(), 0)]).await.unwrap();
    assert_eq!((answer[0].len(), answer[1].len()), (3, 0));
}
