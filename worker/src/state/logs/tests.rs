use std::time::Duration;

use mainspring_proto::worker::v1::{LogBatch, LogEntry};

use super::{DROPPED, Logs, MAX_UNACKED_BATCHES, shorten};
use crate::{clock::Instant, state::attempt::Key};

const LATER: Duration = Duration::from_secs(1);

fn at(millis: u64) -> Instant {
    Instant::at(Duration::from_millis(millis))
}

fn key(run: &str) -> Key {
    Key { run_id: run.into(), attempt: 1 }
}

fn line(message: impl Into<String>) -> LogEntry {
    LogEntry { message: message.into(), ..LogEntry::default() }
}

fn batch(logs: &mut Logs, now: Instant) -> Option<LogBatch> {
    logs.ripen(now);
    logs.next_batch(now).map(|(batch, _)| batch)
}

fn messages(batch: &LogBatch) -> Vec<&str> {
    batch.entries.iter().map(|entry| entry.message.as_str()).collect()
}

#[test]
fn lines_wait_a_moment_for_company_and_go_together() {
    let mut logs = Logs::new();
    let ripe = logs.push(&key("a"), line("1"), at(0)).unwrap();
    assert_eq!(logs.push(&key("a"), line("2"), at(50)), None);
    assert!(batch(&mut logs, at(99)).is_none());
    let first = batch(&mut logs, ripe).unwrap();
    assert_eq!((first.first_offset, first.dropped_count, messages(&first)), (0, 0, vec!["1", "2"]));
    assert!(batch(&mut logs, ripe + LATER).is_none());
    logs.ack(&key("a"), 2);
    assert!(logs.is_empty());
    assert_eq!(logs.next_offset(&key("a")), 2);
}

#[test]
fn the_end_of_an_attempt_and_a_full_batch_do_not_wait() {
    let mut logs = Logs::new();
    logs.push(&key("a"), line("1"), at(0));
    logs.close(&key("a"));
    assert_eq!(messages(&batch(&mut logs, at(0)).unwrap()), ["1"]);
    assert_eq!(logs.push(&key("a"), line("late"), at(1)), None, "nothing comes after the end");
    logs.push(&key("b"), line("x".repeat(16_000)), at(0));
    logs.push(&key("b"), line("y".repeat(1_000)), at(0));
    assert_eq!(batch(&mut logs, at(0)).unwrap().entries.len(), 2);
}

#[test]
fn batches_are_bounded_in_size_and_in_number() {
    let mut logs = Logs::new();
    for _ in 0..100 {
        logs.push(&key("a"), line("x".repeat(10_000)), at(0));
    }
    let mut sent = Vec::new();
    while let Some(batch) = batch(&mut logs, at(0)) {
        assert!(prost::Message::encoded_len(&batch) <= 64 << 10);
        assert_eq!(batch.first_offset, sent.last().map_or(0, |(_, end)| *end));
        sent.push((batch.first_offset, batch.first_offset + batch.entries.len() as i64));
    }
    assert_eq!(sent.len(), MAX_UNACKED_BATCHES);
    logs.ack(&key("a"), sent[0].1);
    assert_eq!(batch(&mut logs, at(0)).unwrap().first_offset, sent[3].1);
    assert!(batch(&mut logs, at(0)).is_none());
}

#[test]
fn attempts_take_turns() {
    let mut logs = Logs::new();
    for run in ["a", "b"] {
        for _ in 0..20 {
            logs.push(&key(run), line("x".repeat(10_000)), at(0));
        }
    }
    let turns: Vec<_> =
        std::iter::from_fn(|| batch(&mut logs, at(0))).map(|batch| batch.attempt.unwrap().run_id).collect();
    assert_eq!(turns, ["a", "b", "a", "b"]);
}

#[test]
fn a_new_stream_goes_on_from_what_was_acknowledged() {
    let mut logs = Logs::new();
    for text in ["1", "2", "3"] {
        logs.push(&key("a"), line(text), at(0));
    }
    batch(&mut logs, at(200)).unwrap();
    logs.ack(&key("a"), 1);
    logs.push(&key("a"), line("4"), at(200));
    logs.start_over();
    let again = batch(&mut logs, at(200)).unwrap();
    assert_eq!((again.first_offset, again.dropped_count, messages(&again)), (1, 0, vec!["2", "3", "4"]));
}

#[test]
fn a_withheld_acknowledgement_makes_it_send_again_ever_more_slowly() {
    let mut logs = Logs::new();
    logs.push(&key("a"), line("1"), at(0));
    logs.ripen(at(100));
    let (_, look) = logs.next_batch(at(100)).unwrap();
    assert_eq!(look, at(10_100));
    assert_eq!(logs.rewind_overdue(at(10_099)), Some(look));
    assert_eq!(logs.rewind_overdue(look), None);
    let (again, look) = logs.next_batch(at(10_100)).unwrap();
    assert_eq!((again.first_offset, look), (0, at(30_100)));
}

#[test]
fn a_full_ring_drops_the_oldest_and_the_gap_is_counted() {
    let mut logs = Logs::bounded(10_000);
    for number in 0..20 {
        logs.push(&key("a"), line(format!("{number:0>1000}")), at(0));
    }
    assert!(logs.bytes <= 10_000);
    let batch = batch(&mut logs, at(200)).unwrap();
    assert_eq!(batch.dropped_count, batch.first_offset);
    assert_eq!(batch.first_offset + batch.entries.len() as i64, 20);
    assert!(batch.first_offset > 10);
    assert!(logs.ages.len() <= 1_024 + 2 * logs.kept);
}

#[test]
fn an_attempts_last_line_is_blanked_not_dropped() {
    let mut logs = Logs::bounded(10_000);
    for number in 0..3 {
        logs.push(&key("quiet"), line(format!("{number:0>1000}")), at(0));
    }
    for _ in 0..20 {
        logs.push(&key("loud"), line("x".repeat(1_000)), at(0));
    }
    assert!(logs.bytes <= 10_000);
    let quiet = batch(&mut logs, at(200)).unwrap();
    assert_eq!((quiet.first_offset, quiet.dropped_count, messages(&quiet)), (2, 2, vec![DROPPED]));
    // A later line still goes after it, and both may be dropped in their turn.
    logs.push(&key("quiet"), line("more"), at(300));
    logs.start_over();
    let quiet = std::iter::from_fn(|| batch(&mut logs, at(500)))
        .find(|batch| batch.attempt.as_ref().unwrap().run_id == "quiet")
        .unwrap();
    assert_eq!(messages(&quiet), [DROPPED, "more"]);
}

#[test]
fn the_memory_of_ages_is_bounded_while_nothing_is_dropped() {
    let mut logs = Logs::new();
    logs.push(&key("never acknowledged"), line("1"), at(0));
    for number in 0..10_000 {
        logs.push(&key("a"), line("2"), at(number));
        logs.ack(&key("a"), number as i64 + 1);
    }
    assert!(logs.ages.len() <= 1_100, "{}", logs.ages.len());
}

#[test]
fn forgetting_gives_the_memory_and_the_window_back() {
    let mut logs = Logs::new();
    for run in ["a", "b", "c", "d", "e"] {
        logs.push(&key(run), line("1"), at(0));
    }
    for _ in 0..4 {
        batch(&mut logs, at(200)).unwrap();
    }
    assert!(batch(&mut logs, at(200)).is_none());
    logs.forget(&key("a"));
    assert!(batch(&mut logs, at(200)).is_some());
    for run in ["b", "c", "d", "e"] {
        logs.forget(&key(run));
    }
    assert!(logs.is_empty());
    assert_eq!(logs.bytes, 0);
}

#[test]
fn a_long_line_is_cut_with_a_marker() {
    let entry = LogEntry {
        message: "ß".repeat(600),
        fields: [("a".into(), "x".repeat(40)), ("b".into(), "y".repeat(500))].into(),
        ..LogEntry::default()
    };
    let cut = shorten(entry, 200);
    assert!(cut.message.ends_with(" … [cut from 1200 bytes]"));
    assert_eq!(cut.fields.keys().collect::<Vec<_>>(), ["a"]);
    assert!(cut.message.len() + 41 <= 200);
    assert_eq!(shorten(line("short"), 200).message, "short");
}
