//! What waits is offered best first, and only what waits.

use mainspring_engine::{
    domain::{ids::RunId, names::Lane},
    ports::{
        broker::Pointer,
        store::{Head, Look, NewRun, Turn},
    },
};

use super::world::{World, lane, lane_of, pointer, secs};

fn look(lane: Lane, limit: usize) -> Look {
    Look { lane, limit, turns: Vec::new(), known: Vec::new() }
}

fn run(w: &World, priority: u8, key: &str) -> NewRun {
    NewRun { id: RunId::new(w.now), priority, fairness_key: key.parse().unwrap(), ..w.new_run() }
}

/// Submits runs of these priorities and keys, each due a second after the one before.
async fn submit(w: &mut World, runs: &[(u8, &str)]) -> Vec<Pointer> {
    let mut pointers = Vec::new();
    for (priority, key) in runs {
        pointers.push(pointer(&w.submit(vec![run(w, *priority, key)]).await[0]));
        w.pass(secs(1));
    }
    pointers
}

async fn head_of(w: &World, look: Look) -> Head {
    w.store.queued(&[look]).await.unwrap().remove(0)
}

fn pointers(head: Head) -> Vec<Pointer> {
    head.runs.into_iter().map(|waiting| waiting.pointer).collect()
}

pub async fn the_best_come_first(mut w: World) {
    let runs = [(5, "b"), (1, "a"), (9, "z"), (5, "b"), (5, "a"), (9, "z"), (5, ""), (5, "b")];
    let there = submit(&mut w, &runs).await;
    // Priority; then a turn of every key, again and again; then age.
    let order = [2, 5, 6, 4, 0, 3, 7, 1].map(|at| there[at]);
    assert_eq!(w.queued(&lane()).await, order);
    let head = head_of(&w, look(lane(), 100)).await;
    assert!(!head.more);
    let places: Vec<_> = head.runs.iter().map(|run| (run.place.priority, run.place.key.as_str().to_owned())).collect();
    assert_eq!(places[..4], [(9, "z".into()), (9, "z".into()), (5, String::new()), (5, "a".into())]);
    assert!(head.runs[0].place.due < head.runs[1].place.due);
}

/// Those due at one instant come by id.
pub async fn runs_of_one_instant_come_by_id(w: World) {
    let mut made: Vec<_> = w.submit((0..9).map(|_| run(&w, 5, "a")).collect()).await.iter().map(pointer).collect();
    made.sort_by_key(|pointer| pointer.run);
    assert_eq!(w.queued(&lane()).await, made);
}

/// The round goes on behind the key whose turn was last, whether that key still has runs or not.
pub async fn a_round_goes_on_where_it_was(mut w: World) {
    let there = submit(&mut w, &[(5, "a"), (5, "b"), (5, "c"), (5, "a"), (4, "x"), (4, "y")]).await;
    let turn = |priority, last: &str| Turn { priority, last: last.parse().unwrap() };
    for (turns, order) in [
        (vec![turn(5, "b")], [2, 0, 1, 3, 4, 5]),
        (vec![turn(5, "bb"), turn(4, "x")], [2, 0, 1, 3, 5, 4]),
        (vec![turn(5, "c"), turn(9, "a")], [0, 1, 2, 3, 4, 5]),
        (vec![turn(5, ""), turn(4, "zz")], [0, 1, 2, 3, 4, 5]),
        (vec![turn(4, "")], [0, 1, 2, 3, 4, 5]),
    ] {
        let head = head_of(&w, Look { turns: turns.clone(), ..look(lane(), 100) }).await;
        assert_eq!(pointers(head), order.map(|at: usize| there[at]), "{turns:?}");
    }
}

/// What the caller knows is passed over, however much of a key it is; an earlier stay of a run is not the run.
pub async fn what_is_known_is_passed_over(mut w: World) {
    let there = submit(&mut w, &[(5, "a"), (5, "a"), (5, "a"), (5, "b"), (5, "c")]).await;
    let old = Pointer { generation: there[3].generation - 1, ..there[3] };
    let known = vec![there[0], there[1], there[4], old];
    let head = head_of(&w, Look { known, ..look(lane(), 1) }).await;
    assert_eq!((pointers(head.clone()), head.more), (vec![there[2]], true));
    let known = there[..3].to_vec();
    let rest = head_of(&w, Look { known, ..look(lane(), 9) }).await;
    assert_eq!((pointers(rest.clone()), rest.more), (there[3..].to_vec(), false));
}

/// However it is cut, what is answered is the beginning of the order: so it is read piece by piece to its end.
pub async fn pieces_make_up_the_whole(mut w: World) {
    let mut runs: Vec<(u8, &str)> = vec![(3, "a"); 40];
    runs.extend([(3, "b"), (3, "c"), (3, "c"), (8, "a"), (8, "b"), (0, "z")]);
    submit(&mut w, &runs).await;
    for limit in [1, 2, 5, 17, 100] {
        let (mut known, mut turns): (Vec<Pointer>, Vec<Turn>) = (Vec::new(), Vec::new());
        let mut places = Vec::new();
        loop {
            let asked = Look { known: known.clone(), turns: turns.clone(), ..look(lane(), limit) };
            let Head { runs, more } = head_of(&w, asked).await;
            assert!(runs.len() <= limit && (!more || !runs.is_empty()));
            for run in runs {
                let (priority, key) = (run.place.priority, run.place.key);
                turns.retain(|turn| turn.priority != priority);
                turns.push(Turn { priority, last: key.clone() });
                places.push((priority, key.as_str().to_owned()));
                known.push(run.pointer);
            }
            if !more {
                break;
            }
        }
        assert_eq!((places.len(), known.len()), (46, 46), "{limit}");
        let first = [(8, "a"), (8, "b"), (3, "a"), (3, "b"), (3, "c"), (3, "a"), (3, "c"), (3, "a")];
        assert_eq!(places[..8], first.map(|(priority, key)| (priority, key.to_owned())), "{limit}");
        assert_eq!(places[45], (0, "z".into()), "{limit}");
    }
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
    let mut asked: Vec<_> = lanes.iter().map(|lane| look(lane.clone(), 10)).collect();
    asked.push(look(unknown, 10));
    let answers = w.store.queued(&asked).await.unwrap();
    for (answer, id) in answers.iter().zip(&ids) {
        assert_eq!(answer.runs.iter().map(|waiting| waiting.pointer.run).collect::<Vec<_>>(), [*id]);
    }
    assert_eq!(answers[4], Head::default());
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
    let answer = w.store.queued(&[look(lane(), 3), look(lane(), 0), look(lane(), 11)]).await.unwrap();
    let shown: Vec<_> = answer.iter().map(|head| (head.runs.len(), head.more)).collect();
    assert_eq!(shown, [(3, true), (0, true), (10, false)]);
}
