//! Log lines: each stored once, in order, and no more than an attempt may have (I10).

use std::collections::BTreeMap;

use mainspring_engine::domain::{
    attempt::AttemptKey,
    log::{Batch, Level, Line, MAX_ATTEMPT_BYTES, MAX_ATTEMPT_LINES, Position, Reach, Stored},
    names::Scope,
};

use super::world::{World, secs};

fn line(w: &World, level: Level, message: &str) -> Line {
    Line { time: w.now, level, message: message.into(), fields: BTreeMap::new() }
}

/// Lines `l<offset>`.
fn batch(w: &World, key: AttemptKey, first: u64, count: u64) -> Batch {
    let lines = (first..first + count).map(|offset| line(w, Level::Info, &format!("l{offset}"))).collect();
    Batch { key, first_offset: first, lines, dropped: 0 }
}

async fn append(w: &World, batch: Batch) -> u64 {
    w.store.append(w.now, vec![batch]).await.unwrap()[0]
}

async fn read(w: &World, key: AttemptKey) -> Vec<Stored> {
    w.store.read(&w.scope, key.run, None, None, Level::Debug, 100_000).await.unwrap()
}

async fn attempt(w: &World) -> AttemptKey {
    let owner = w.connect().await;
    w.leased(owner).await
}

fn offsets(lines: &[Stored]) -> Vec<u64> {
    lines.iter().map(|line| line.offset).collect()
}

pub async fn lines_read_back_in_order(w: World) {
    let key = attempt(&w).await;
    let mut first = batch(&w, key, 0, 3);
    first.lines[1].fields.insert("user".into(), "ä\n\"x\"".into());
    let lines = first.lines.clone();
    assert_eq!(w.store.append(w.now, vec![first, batch(&w, key, 3, 2)]).await.unwrap(), [3, 5]);
    let stored = read(&w, key).await;
    assert_eq!(offsets(&stored), [0, 1, 2, 3, 4]);
    assert!(stored.iter().all(|line| line.attempt == 1 && line.dropped_before == 0));
    assert_eq!(stored[..3].iter().map(|line| line.line.clone()).collect::<Vec<_>>(), lines);
}

pub async fn lines_sent_again_are_stored_once(w: World) {
    let key = attempt(&w).await;
    for _ in 0..3 {
        assert_eq!(append(&w, batch(&w, key, 0, 4)).await, 4);
    }
    let twice = w.store.append(w.now, vec![batch(&w, key, 4, 2), batch(&w, key, 4, 2)]).await.unwrap();
    assert_eq!(twice, [6, 6]);
    assert_eq!(offsets(&read(&w, key).await), [0, 1, 2, 3, 4, 5]);
}

pub async fn overlapping_batches_keep_what_is_new(w: World) {
    let key = attempt(&w).await;
    append(&w, batch(&w, key, 0, 4)).await;
    assert_eq!(append(&w, batch(&w, key, 2, 4)).await, 6);
    let stored = read(&w, key).await;
    assert_eq!(
        stored.iter().map(|line| line.line.message.as_str()).collect::<Vec<_>>(),
        ["l0", "l1", "l2", "l3", "l4", "l5"]
    );
}

pub async fn a_gap_is_refused(w: World) {
    let key = attempt(&w).await;
    append(&w, batch(&w, key, 0, 2)).await;
    assert_eq!(append(&w, batch(&w, key, 5, 2)).await, 2, "lines 2 to 4 are missing");
    let half = Batch { dropped: 2, ..batch(&w, key, 5, 2) };
    assert_eq!(append(&w, half).await, 2, "line 2 is");
    assert_eq!(offsets(&read(&w, key).await), [0, 1]);
}

pub async fn told_drops_are_counted(w: World) {
    let key = attempt(&w).await;
    append(&w, batch(&w, key, 0, 2)).await;
    let after = Batch { dropped: 3, ..batch(&w, key, 5, 2) };
    assert_eq!(append(&w, after.clone()).await, 7);
    assert_eq!(append(&w, after).await, 7);
    let stored = read(&w, key).await;
    let told: Vec<_> = stored.iter().map(|line| (line.offset, line.dropped_before)).collect();
    assert_eq!(told, [(0, 0), (1, 0), (5, 3), (6, 0)]);
}

pub async fn the_reach_of_a_log_counts_what_was_dropped(mut w: World) {
    let key = attempt(&w).await;
    assert_eq!(w.store.reach(&w.scope, key).await.unwrap(), None);
    append(&w, batch(&w, key, 0, 2)).await;
    let first = w.now;
    w.pass(secs(1));
    assert_eq!(append(&w, batch(&w, key, 5, 2)).await, 2, "a gap");
    w.pass(secs(1));
    let told = Batch { dropped: 3, ..batch(&w, key, 5, 2) };
    append(&w, told).await;
    let reach = w.store.reach(&w.scope, key).await.unwrap().unwrap();
    assert_eq!(reach, Reach { next_offset: 7, update_time: w.now });
    assert!(reach.update_time > first);
    assert_eq!(w.store.reach(&w.scope, AttemptKey { attempt: 2, ..key }).await.unwrap(), None);
    assert_eq!(w.store.reach(&Scope("other".parse().unwrap()), key).await.unwrap(), None);
}

pub async fn an_offset_beyond_counting_harms_nobody(w: World) {
    let (wild, tame) = (attempt(&w).await, attempt(&w).await);
    for first_offset in [u64::MAX, u64::try_from(i64::MAX).unwrap()] {
        let endless = Batch { first_offset, dropped: first_offset, ..batch(&w, wild, 0, 1) };
        let ends = w.store.append(w.now, vec![endless, batch(&w, tame, 0, 2)]).await.unwrap();
        assert_eq!(ends, [0, 2], "refused by answering the end, and the other is stored");
    }
    assert_eq!(append(&w, batch(&w, wild, 0, 3)).await, 3);
    assert_eq!((offsets(&read(&w, wild).await), offsets(&read(&w, tame).await)), (vec![0, 1, 2], vec![0, 1]));
}

pub async fn too_many_lines_leave_a_marker(w: World) {
    let key = attempt(&w).await;
    let mut end = 0;
    while end < MAX_ATTEMPT_LINES + 700 {
        assert_eq!(append(&w, batch(&w, key, end, 900)).await, end + 900);
        end += 900;
    }
    let stored = read(&w, key).await;
    assert_eq!(stored.len() as u64, MAX_ATTEMPT_LINES + 1);
    let marker = stored.last().unwrap();
    assert_eq!((marker.offset, marker.line.level), (MAX_ATTEMPT_LINES, Level::Warning));
    assert_eq!(marker.line.fields["suppressed"], (end - MAX_ATTEMPT_LINES).to_string());
    let reach = w.store.reach(&w.scope, key).await.unwrap();
    assert_eq!(
        reach,
        Some(Reach { next_offset: end, update_time: w.now }),
        "lines that are only counted have come too"
    );
    let page = Position { attempt: 1, offset: MAX_ATTEMPT_LINES - 1 };
    let rest = w.store.read(&w.scope, key.run, None, Some(page), Level::Debug, 10).await.unwrap();
    assert_eq!(offsets(&rest), [MAX_ATTEMPT_LINES]);
}

pub async fn too_many_bytes_leave_a_marker(w: World) {
    let key = attempt(&w).await;
    let big = "x".repeat(usize::try_from(MAX_ATTEMPT_BYTES / 4).unwrap());
    let lines = (0..6).map(|_| line(&w, Level::Info, &big)).collect();
    assert_eq!(append(&w, Batch { key, first_offset: 0, lines, dropped: 0 }).await, 6);
    assert_eq!(append(&w, batch(&w, key, 6, 1)).await, 7, "a short line after it is not kept either");
    let stored = read(&w, key).await;
    assert_eq!(offsets(&stored), [0, 1, 2, 3, 4]);
    assert_eq!(stored[4].line.fields["suppressed"], "3");
}

pub async fn levels_and_positions_narrow(w: World) {
    let key = attempt(&w).await;
    for offset in 0..200 {
        let level = if offset % 10 == 0 { Level::Error } else { Level::Debug };
        let lines = vec![line(&w, level, "x")];
        append(&w, Batch { key, first_offset: offset, lines, dropped: 0 }).await;
    }
    let errors = w.store.read(&w.scope, key.run, None, None, Level::Error, 1_000).await.unwrap();
    assert_eq!(errors.len(), 20);
    let after = Position { attempt: 1, offset: 55 };
    let page = w.store.read(&w.scope, key.run, Some(1), Some(after), Level::Error, 2).await.unwrap();
    assert_eq!(offsets(&page), [60, 70]);
    let all = w.store.read(&w.scope, key.run, None, Some(after), Level::Debug, 1_000).await.unwrap();
    assert_eq!(offsets(&all), (56..200).collect::<Vec<_>>());
}

pub async fn reading_goes_on_in_the_midst_of_a_batch(w: World) {
    let key = attempt(&w).await;
    let second = AttemptKey { attempt: 2, ..key };
    // Lines 10 to 12 were dropped, and the second batch says so.
    append(&w, batch(&w, key, 0, 10)).await;
    append(&w, Batch { dropped: 3, ..batch(&w, key, 13, 5) }).await;
    append(&w, batch(&w, second, 0, 4)).await;
    let all: Vec<_> = read(&w, key).await.iter().map(|line| (line.attempt, line.offset)).collect();
    assert_eq!(all.len(), 19);
    for of_attempt in [None, Some(1), Some(2)] {
        for attempt in [1, 2] {
            for offset in 0..20 {
                let after = Some(Position { attempt, offset });
                let read = w.store.read(&w.scope, key.run, of_attempt, after, Level::Debug, 100).await.unwrap();
                let got: Vec<_> = read.iter().map(|line| (line.attempt, line.offset)).collect();
                let mut wanted = all.clone();
                wanted.retain(|line| *line > (attempt, offset) && of_attempt.is_none_or(|one| one == line.0));
                assert_eq!(got, wanted, "{of_attempt:?} after {after:?}");
            }
        }
    }
}

pub async fn other_namespaces_read_nothing(w: World) {
    let key = attempt(&w).await;
    append(&w, batch(&w, key, 0, 2)).await;
    let other = Scope("other".parse().unwrap());
    assert!(w.store.read(&other, key.run, None, None, Level::Debug, 10).await.unwrap().is_empty());
}

pub async fn attempts_are_apart(w: World) {
    let key = attempt(&w).await;
    let second = AttemptKey { attempt: 2, ..key };
    let answers = w.store.append(w.now, vec![batch(&w, second, 0, 2), batch(&w, key, 0, 1)]).await.unwrap();
    assert_eq!(answers, [2, 1]);
    let all = read(&w, key).await;
    assert_eq!(all.iter().map(|line| (line.attempt, line.offset)).collect::<Vec<_>>(), [(1, 0), (2, 0), (2, 1)]);
    let one = w.store.read(&w.scope, key.run, Some(2), None, Level::Debug, 10).await.unwrap();
    assert_eq!(one.len(), 2);
}
