use std::collections::{BTreeSet, HashMap};

use proptest::prelude::*;

use super::*;

fn waiting(priority: u8, key: &str, due: i64) -> Waiting {
    let run = RunId::new(Instant::EPOCH);
    let place = Place { priority, key: key.parse().unwrap(), due: Instant::from_micros(due) };
    Waiting { pointer: Pointer { run, generation: 1 }, place }
}

fn filled(runs: &[(u8, &str, i64)]) -> (Ring, HashMap<RunId, usize>) {
    let (mut ring, mut numbers) = (Ring::default(), HashMap::new());
    for (at, (priority, key, due)) in runs.iter().enumerate() {
        let waiting = waiting(*priority, key, *due);
        numbers.insert(waiting.pointer.run, at);
        ring.insert(waiting);
    }
    (ring, numbers)
}

#[test]
fn priority_then_turns_then_age() {
    let (mut ring, numbers) =
        filled(&[(5, "a", 3), (5, "a", 1), (5, "a", 2), (5, "b", 9), (9, "z", 9), (0, "a", 0), (5, "c", 9)]);
    let order: Vec<_> = ring.take(9).iter().map(|pointer| numbers[&pointer.run]).collect();
    assert_eq!(order, [4, 1, 3, 6, 2, 0, 5]);
    assert!(ring.is_empty());
}

#[test]
fn a_round_goes_on_where_it_was_whatever_was_forgotten() {
    let (mut ring, _) = filled(&[(5, "a", 1), (5, "b", 1), (5, "c", 1), (1, "x", 1)]);
    assert_eq!(ring.take(2).len(), 2);
    ring.clear();
    assert_eq!((ring.len(), ring.turns()), (0, vec![Turn { priority: 5, last: "b".parse().unwrap() }]));
    let again = [waiting(5, "a", 2), waiting(5, "c", 2)];
    again.iter().cloned().for_each(|waiting| ring.insert(waiting));
    assert_eq!(ring.take(2), [again[1].pointer, again[0].pointer]);
}

#[test]
fn what_is_there_is_told_from_what_is_not() {
    let mut ring = Ring::default();
    let (first, second) = (waiting(5, "a", 1), waiting(5, "a", 2));
    ring.insert(second.clone());
    assert!(ring.is_followed(&first) && !ring.is_followed(&second));
    assert!(!ring.is_followed(&waiting(5, "b", 1)) && !ring.is_followed(&waiting(6, "a", 1)));
    let later = Pointer { generation: 2, ..second.pointer };
    ring.insert(Waiting { pointer: later, ..second });
    ring.insert(first.clone());
    assert_eq!(ring.len(), 2);
    ring.remove(first.pointer.run);
    assert_eq!((ring.len(), ring.take(2)), (1, vec![later]));
}

#[derive(Clone, Debug)]
enum Act {
    Arrive { priority: u8, key: u8, many: u8 },
    Take(usize),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        (0..3_u8, 0..6_u8, 1..20_u8).prop_map(|(priority, key, many)| Act::Arrive { priority, key, many }),
        (1..8_usize).prop_map(Act::Take),
    ]
}

/// The turns of other keys, and which of them have waited all the while.
type Since = (HashMap<u8, usize>, BTreeSet<u8>);

proptest! {
    /// Whatever comes and however it is taken: nothing goes before a higher priority, and between two turns of a key every
    /// other one that waits all the while has exactly one, and none has two.
    #[test]
    fn no_key_is_more_than_one_run_ahead_in_a_round(acts in proptest::collection::vec(act(), 1..200)) {
        let mut ring = Ring::default();
        let mut waits: HashMap<RunId, (u8, u8)> = HashMap::new();
        // For each key that had a turn and waits for its next: the turns of others since, and who has waited as long.
        let mut since: HashMap<(u8, u8), Since> = HashMap::new();
        for act in acts {
            match act {
                Act::Arrive { priority, key, many } => {
                    for _ in 0..many {
                        let waiting = waiting(priority, &key.to_string(), 0);
                        waits.insert(waiting.pointer.run, (priority, key));
                        ring.insert(waiting);
                    }
                }
                Act::Take(wanted) => {
                    let before = waits.len();
                    let taken = ring.take(wanted);
                    prop_assert_eq!(taken.len(), wanted.min(before));
                    for pointer in taken {
                        let (priority, key) = waits.remove(&pointer.run).unwrap();
                        prop_assert!(waits.values().all(|(other, _)| *other <= priority));
                        let there: BTreeSet<u8> =
                            waits.values().filter(|(other, _)| *other == priority).map(|(_, key)| *key).collect();
                        if let Some((turns, all_the_while)) = since.remove(&(priority, key)) {
                            for other in all_the_while.iter().filter(|other| **other != key) {
                                prop_assert_eq!(turns.get(other), Some(&1));
                            }
                        }
                        for (_, (turns, all_the_while)) in since.iter_mut().filter(|((other, _), _)| *other == priority) {
                            let had = turns.entry(key).or_default();
                            *had += 1;
                            prop_assert_eq!(*had, 1);
                            // Its last run went: it does not wait on.
                            if !there.contains(&key) {
                                all_the_while.remove(&key);
                            }
                        }
                        if there.contains(&key) {
                            since.insert((priority, key), (HashMap::new(), there));
                        }
                    }
                }
            }
            prop_assert_eq!(ring.len(), waits.len());
        }
    }
}
