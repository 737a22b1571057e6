//! The order in which runs reach workers: priority, then turns of fairness keys, then age; whether they were read from the
//! store or queued under the dispatcher's eyes.

use std::collections::{BTreeMap, HashMap};

use mainspring_engine::{
    domain::{attempt::Outcome, ids::RunId},
    ports::store::{NewRun, Submitted},
};
use mainspring_tests::engine::{Stage, Worker};

type Named = (u8, &'static str);

/// Runs by what they were submitted as.
#[derive(Default)]
struct Runs(HashMap<RunId, Named>);

impl Runs {
    /// Submits so many runs of a priority and key.
    async fn submit(&mut self, stage: &Stage, named: Named, many: usize) {
        let (priority, key) = named;
        let new = || NewRun { priority, fairness_key: key.parse().unwrap(), ..stage.world().new_run() };
        for answer in stage.engine.submit((0..many).map(|_| new()).collect()).await.unwrap() {
            let Submitted::Stored(stored) = answer else { panic!("{answer:?}") };
            self.0.insert(stored.moved.run, named);
        }
    }

    /// What a worker is given next, one run after the other.
    async fn given(&self, worker: &mut Worker, many: usize) -> Vec<Named> {
        let mut given = Vec::new();
        for _ in 0..many {
            let key = worker.dispatch().await.key;
            worker.report(key, Outcome::Succeeded);
            given.push(self.0[&key.run]);
        }
        given
    }
}

/// So many of each key, in rounds.
fn rounds(priority: u8, mut left: BTreeMap<&'static str, usize>) -> Vec<Named> {
    let mut order = Vec::new();
    while !left.is_empty() {
        order.extend(left.keys().map(|key| (priority, *key)));
        left.retain(|_, many| {
            *many -= 1;
            *many > 0
        });
    }
    order
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_take_turns_however_much_of_each_waits() {
    let stage = Stage::judging().await;
    let mut runs = Runs::default();
    let waiting = BTreeMap::from([("a", 40), ("b", 1), ("c", 5), ("d", 2), ("e", 40)]);
    for (key, many) in &waiting {
        runs.submit(&stage, (5, *key), *many).await;
    }
    runs.submit(&stage, (6, "z"), 3).await;
    let mut worker = stage.connect(1).await;
    let given = runs.given(&mut worker, 91).await;
    assert_eq!(given[..3], [(6, "z"); 3]);
    assert_eq!(given[3..], rounds(5, waiting));
}

/// What is out already, two for a free slot, goes first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_comes_has_its_turn_in_the_next_round() {
    let stage = Stage::judging().await;
    let mut runs = Runs::default();
    runs.submit(&stage, (5, "a"), 60).await;
    runs.submit(&stage, (5, "c"), 60).await;
    let mut worker = stage.connect(1).await;
    runs.given(&mut worker, 7).await;
    runs.submit(&stage, (5, "b"), 5).await;
    let given = runs.given(&mut worker, 30).await;
    let turns: Vec<_> = given.iter().enumerate().filter(|(_, named)| named.1 == "b").map(|(at, _)| at).collect();
    assert!(turns[0] <= 2 + 2, "{given:?}");
    assert_eq!(turns.iter().map(|at| at - turns[0]).collect::<Vec<_>>(), [0, 3, 6, 9, 12], "{given:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_higher_priority_overtakes_what_waits() {
    let stage = Stage::judging().await;
    let mut runs = Runs::default();
    runs.submit(&stage, (1, "a"), 300).await;
    let mut worker = stage.connect(1).await;
    runs.given(&mut worker, 5).await;
    runs.submit(&stage, (9, "z"), 2).await;
    let given = runs.given(&mut worker, 10).await;
    let turns: Vec<_> = given.iter().enumerate().filter(|(_, named)| named.0 == 9).map(|(at, _)| at).collect();
    assert!(turns.len() == 2 && turns[1] <= 2 + 1, "{given:?}");
}

/// While every slot is busy, what is queued waits in memory; it is as much in order there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_queued_behind_busy_slots_is_in_order() {
    let stage = Stage::judging().await;
    let mut worker = stage.connect(1).await;
    stage.submit_one().await;
    let busy = worker.dispatch().await.key;
    stage.clock.settled().await;
    let mut runs = Runs::default();
    for (named, many) in [((1, "a"), 3), ((1, "b"), 2), ((9, "b"), 1), ((1, "c"), 1), ((9, "a"), 2)] {
        runs.submit(&stage, named, many).await;
    }
    worker.report(busy, Outcome::Succeeded);
    let given = runs.given(&mut worker, 9).await;
    let order = [(9, "a"), (9, "b"), (9, "a"), (1, "a"), (1, "b"), (1, "c"), (1, "a"), (1, "b"), (1, "a")];
    assert_eq!(given, order);
}

/// A key without runs costs the others nothing, and has its turn when it has some again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_empties_comes_back() {
    let stage = Stage::judging().await;
    let mut runs = Runs::default();
    runs.submit(&stage, (5, "a"), 2).await;
    runs.submit(&stage, (5, "b"), 50).await;
    let mut worker = stage.connect(1).await;
    let given = runs.given(&mut worker, 8).await;
    assert_eq!(given, rounds(5, BTreeMap::from([("a", 2), ("b", 6)])));
    runs.submit(&stage, (5, "a"), 2).await;
    let given = runs.given(&mut worker, 8).await;
    let turns: Vec<_> = given.iter().enumerate().filter(|(_, named)| named.1 == "a").map(|(at, _)| at).collect();
    assert!(turns.len() == 2 && turns[0] <= 2 + 1 && turns[1] == turns[0] + 2, "{given:?}");
}

/// Where the dispatcher forgets whose turn it was, keys are one round apart and no more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn turns_that_are_forgotten_cost_one_round() {
    let stage = Stage::judging().await;
    let mut runs = Runs::default();
    for key in ["a", "b", "c", "d"] {
        runs.submit(&stage, (5, key), 30).await;
    }
    let mut had: BTreeMap<&str, usize> = BTreeMap::new();
    for _ in 0..3 {
        let mut worker = stage.connect(1).await;
        for (_, key) in runs.given(&mut worker, 14).await {
            *had.entry(key).or_default() += 1;
        }
        worker.sever();
        stage.clock.settled().await;
        stage.pass(std::time::Duration::from_secs(1)).await;
    }
    let (most, least) = (had.values().max().unwrap(), had.values().min().unwrap());
    assert!(had.len() == 4 && most - least <= 3, "{had:?}");
}
