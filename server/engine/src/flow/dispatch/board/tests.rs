use super::{super::lane::BELIEVE, *};
use crate::domain::place::Place;

const LOOK: Duration = Duration::from_secs(1);

fn lane() -> Lane {
    Lane {
        namespace: Default::default(),
        queue: Default::default(),
        job_type: "t".parse().unwrap(),
        selector: Default::default(),
    }
}

fn run(priority: u8, key: &str) -> Waiting {
    let place = Place { priority, key: key.parse().unwrap(), due: Instant::EPOCH };
    Waiting { pointer: Pointer { run: RunId::new(Instant::EPOCH), generation: 1 }, place }
}

fn runs(count: usize) -> Vec<Waiting> {
    (0..count).map(|_| run(5, "")).collect()
}

fn pointers(waiting: &[Waiting]) -> Vec<Pointer> {
    waiting.iter().map(|waiting| waiting.pointer).collect()
}

/// What goes out after a look at so many that wait, in this order.
fn read(board: &Board, free: usize, waiting: &[Waiting], now: Instant) -> Vec<Pointer> {
    read_while(board, free, waiting, now, || {})
}

/// The same, while something happens.
fn read_while(board: &Board, free: usize, waiting: &[Waiting], now: Instant, act: impl FnOnce()) -> Vec<Pointer> {
    let Plan::Read(look, reading) = board.plan(&lane(), free, now, LOOK) else { panic!("not read") };
    act();
    let mut runs: Vec<_> =
        waiting.iter().filter(|waiting| !look.known.contains(&waiting.pointer)).take(look.limit + 1).cloned().collect();
    let more = runs.len() > look.limit;
    runs.truncate(look.limit);
    board.take(&lane(), &reading, Head { runs, more }, now)
}

fn released(board: &Board, free: usize, now: Instant) -> Vec<Pointer> {
    match board.plan(&lane(), free, now, LOOK) {
        Plan::Release(pointers, _) => pointers,
        Plan::Nothing | Plan::Read(..) => Vec::new(),
    }
}

#[test]
fn what_was_read_ahead_is_released_without_another_look_for_a_moment() {
    let (board, waiting, mut now) = (Board::default(), runs(100), Instant::EPOCH);
    assert_eq!(read(&board, 5, &waiting, now).len(), 10);
    board.done(&lane(), &pointers(&waiting[..10]));
    // A run that comes meanwhile does not cost a look.
    board.offer(&lane(), run(5, ""));
    assert_eq!(released(&board, 1, now), pointers(&waiting[10..12]));
    now = now.plus(BELIEVE);
    assert_eq!(released(&board, 5, now), []);
    assert_eq!(read(&board, 5, &waiting[12..], now).len(), 8);
}

#[test]
fn what_may_not_be_released_is_not_taken_from_what_was_read() {
    let waiting = runs(100);
    let changes: [fn(&Board, &[Waiting]); 4] = [
        |board, _| board.look_everywhere(),
        |board, waiting| board.no_room(&lane(), &pointers(&waiting[..1])),
        |board, waiting| board.take_back(&[PointerBatch { lane: lane(), pointers: pointers(&waiting[..1]) }]),
        |board, _| board.forget_lane(&lane()),
    ];
    for change in changes {
        let board = Board::default();
        assert_eq!(read(&board, 5, &waiting, Instant::EPOCH).len(), 10);
        board.done(&lane(), &pointers(&waiting[..10]));
        change(&board, &waiting);
        assert_eq!(released(&board, 5, Instant::EPOCH), []);
    }
    let board = Board::default();
    assert_eq!(read(&board, 5, &waiting, Instant::EPOCH).len(), 10);
    board.done(&lane(), &pointers(&waiting[..10]));
    board.hold_off(&lane(), waiting[10].pointer.run, Instant::EPOCH, LOOK);
    assert_eq!(released(&board, 1, Instant::EPOCH), pointers(&waiting[11..13]));
}

#[test]
fn what_is_offered_waits_for_a_look_only_where_none_was_had_for_long() {
    let (board, mut now) = (Board::default(), Instant::EPOCH);
    assert_eq!(read(&board, 5, &[], now), []);
    now = now.plus(LOOK);
    let offered = runs(2);
    board.offer(&lane(), offered[0].clone());
    assert_eq!(released(&board, 5, now), pointers(&offered[..1]));
    assert!(matches!(board.plan(&lane(), 5, now, LOOK), Plan::Read(..)));
    board.offer(&lane(), offered[1].clone());
    assert!(matches!(board.plan(&lane(), 5, now.plus(LOOK), LOOK), Plan::Read(..)));
}

#[test]
fn more_is_read_ahead_the_faster_it_is_wanted() {
    let (board, waiting, now) = (Board::default(), runs(2_000), Instant::EPOCH);
    for ahead in [17, 33, 65] {
        let taken = read(&board, 1, &waiting, now);
        assert_eq!(taken.len(), 2);
        board.done(&lane(), &taken);
        let taken = released(&board, 1_000, now);
        assert_eq!(taken.len(), ahead);
        board.done(&lane(), &taken);
    }
    // What is not wanted for a moment is not worth as much.
    assert_eq!(read(&board, 1, &waiting, now).len(), 2);
    let late = now.plus(BELIEVE);
    assert_eq!(released(&board, 1_000, late), []);
    let Plan::Read(look, _) = board.plan(&lane(), 1_000, late, LOOK) else { panic!("not read") };
    assert_eq!(look.limit - (2_000 - 2), 64 + 1);
}

/// Where all that waits is known, what is offered is released in order, however much waits and for however long.
#[test]
fn what_is_offered_has_the_order_of_what_waits() {
    let (board, now) = (Board::default(), Instant::EPOCH);
    assert_eq!(read(&board, 1, &[], now), []);
    let offered: Vec<_> =
        [(1, "a"), (1, "a"), (1, "b"), (9, "a"), (1, "b")].map(|(priority, key)| run(priority, key)).into();
    offered.iter().for_each(|waiting| board.offer(&lane(), waiting.clone()));
    let order = [3, 0, 2, 1, 4].map(|at: usize| offered[at].pointer);
    assert_eq!(released(&board, 1, now), order[..2]);
    assert_eq!(released(&board, 9, now), order[2..]);
}

/// Where many wait, a better run goes before what was read ahead, and one that nobody knows the place of waits for a look.
#[test]
fn what_is_offered_overtakes_what_was_read() {
    let (board, now) = (Board::default(), Instant::EPOCH);
    let waiting: Vec<_> = (0..60).map(|at| run(5, if at % 2 == 0 { "a" } else { "b" })).collect();
    let taken = read(&board, 1, &waiting, now);
    assert_eq!(taken, pointers(&waiting[..2]));
    board.done(&lane(), &taken);
    let [urgent, new_key, same_key, lower] = [run(9, "z"), run(5, "c"), run(5, "a"), run(4, "a")];
    for waiting in [&lower, &same_key, &new_key, &urgent] {
        board.offer(&lane(), waiting.clone());
    }
    let taken = released(&board, 30, now);
    assert_eq!(taken[0], urgent.pointer);
    // The new key has its turn in the round that is going on.
    assert_eq!(taken[1..5], [new_key.pointer, waiting[2].pointer, waiting[3].pointer, waiting[4].pointer]);
    assert!(!taken.contains(&same_key.pointer) && !taken.contains(&lower.pointer));
}

/// What comes while the store is read may be in the answer or not, and is neither forgotten nor doubled.
#[test]
fn what_is_offered_during_a_look_is_known_after_it() {
    let (board, now) = (Board::default(), Instant::EPOCH);
    let [found, missed] = [run(5, ""), run(5, "")];
    let taken = read_while(&board, 5, std::slice::from_ref(&found), now, || {
        board.offer(&lane(), found.clone());
        board.offer(&lane(), missed.clone());
    });
    assert_eq!(taken, pointers(&[found, missed]));
    let next = run(5, "");
    board.offer(&lane(), next.clone());
    assert_eq!(released(&board, 5, now), [next.pointer]);
}
