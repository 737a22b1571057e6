//! Rates of concurrency keys: no more begin in any time than a burst and what the rate brings, whoever may go does, and what
//! has gone is remembered.

use std::{num::NonZeroU32, time::Duration};

use futures::FutureExt as _;
use mainspring_engine::{
    domain::{
        attempt::{AttemptKey, Outcome},
        ids::RunId,
        instant::Instant,
        limit::{Concurrency, Pace},
        names::Lane,
        rate::Rate,
        run::RunState,
        transition::Event,
    },
    ports::store::{FullKey, LeaseResult, Moved, NewRun, Owner, Paced, PacedKey, RetentionPolicy},
};
use proptest::{
    strategy::{Strategy as _, ValueTree as _},
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};

use super::world::{World, applied, changed, failure, lane, lane_of, secs};

/// A number below a bound; the runner's seed is fixed, so that a failure repeats.
fn below(random: &mut TestRunner, bound: usize) -> usize {
    (0..bound).new_tree(random).unwrap().current()
}

fn rate(count: u32, per: Duration, burst: u32) -> Rate {
    let number = |number| NonZeroU32::new(number).unwrap();
    Rate { count: number(count), per, burst: number(burst) }
}

fn run(w: &World, limit: u32, pace: Pace) -> NewRun {
    let concurrency = Concurrency { key: "k".parse().unwrap(), limit: NonZeroU32::new(limit), pace };
    NewRun { id: RunId::new(w.now), concurrency: Some(concurrency), ..w.new_run() }
}

/// Runs of a key, oldest first.
async fn runs(w: &World, count: usize, limit: u32, pace: Pace) -> Vec<RunId> {
    let new: Vec<_> = (0..count).map(|_| run(w, limit, pace)).collect();
    w.submit(new).await.into_iter().map(|moved| moved.run).collect()
}

async fn waits_in(w: &World, lane: &Lane) -> Vec<RunId> {
    w.queued(lane).await.into_iter().map(|pointer| pointer.run).collect()
}

async fn waits(w: &World) -> Vec<RunId> {
    waits_in(w, &lane()).await
}

async fn take(w: &World, owner: Owner, run: RunId) -> AttemptKey {
    let pointer = w.queued(&lane()).await.into_iter().find(|pointer| pointer.run == run).expect("it waits in its lane");
    w.lease(owner, pointer).await.key
}

fn told(moved: &[Moved]) -> Vec<RunId> {
    moved.iter().filter(|run| run.was_let_go() && run.place.is_some()).map(|run| run.run).collect()
}

/// Who is let go by a look, and when the next is due.
async fn look(w: &World) -> (Vec<RunId>, Option<Instant>) {
    let Paced { moved, next } = w.store.pace(w.now, 100).await.unwrap();
    (told(&moved), next)
}

/// When the next of a run's key may go.
async fn next(w: &World, run: RunId) -> Option<Instant> {
    let facts = w.store.wait_facts(&w.scope, run).await.unwrap();
    facts.key_paced.map(|PacedKey { next, .. }| next).filter(|next| *next > w.now)
}

async fn full(w: &World, run: RunId) -> Option<u32> {
    let facts = w.store.wait_facts(&w.scope, run).await.unwrap();
    facts.key_full.map(|FullKey { limit, .. }| limit)
}

pub async fn a_key_goes_as_fast_as_it_may(mut w: World) {
    let pace = Pace::At(rate(2, secs(10), 3));
    let ids = runs(&w, 6, 0, pace).await;
    assert_eq!(waits(&w).await, ids[..3], "a burst, and no more");
    assert_eq!((look(&w).await, next(&w, ids[3]).await), ((vec![], None), None));
    assert_eq!(w.store.pace_changed().now_or_never(), None, "nobody has to look for whom there is room");
    let owner = w.connect().await;
    for id in &ids[..2] {
        take(&w, owner, *id).await;
        assert_eq!(w.store.pace_changed().now_or_never(), None, "a token that is gone brings nobody anything");
    }
    take(&w, owner, ids[2]).await;
    // Whoever runs holds up nobody: a key that has a rate has no limit that nobody said.
    let (early, due) = (w.now.plus(Duration::from_micros(4_999_999)), w.now.plus(secs(5)));
    assert_eq!((full(&w, ids[3]).await, next(&w, ids[3]).await), (None, Some(due)));
    w.store.pace_changed().now_or_never().expect("the last token was told of");
    assert_eq!(look(&w).await, (vec![], Some(due)));
    w.now = early;
    assert_eq!(look(&w).await, (vec![], Some(due)));
    w.now = due;
    assert_eq!(look(&w).await, (vec![ids[3]], None), "what waits in its lane is not looked for");
    let key = take(&w, owner, ids[3]).await;
    assert_eq!(look(&w).await, (vec![], Some(due.plus(secs(5)))));
    // The end of one makes no room that the rate does not give.
    assert_eq!(told(&applied(w.report(key, Outcome::Succeeded).await).let_go), []);
    w.pass(secs(60));
    assert_eq!(look(&w).await, (ids[4..].to_vec(), None));
}

pub async fn lanes_share_a_rate(w: World) {
    let there = lane_of("default", "default", "other.job");
    let pace = Pace::At(rate(1, secs(60), 2));
    let new = |lane: &Lane| NewRun { lane: lane.clone(), ..run(&w, 0, pace) };
    let here = lane();
    w.submit((0..6).map(|at| new(if at % 2 == 0 { &there } else { &here })).collect()).await;
    let owner = w.connect().await;
    let (mine, theirs) = (w.queued(&lane()).await, w.queued(&there).await);
    assert_eq!((mine.len(), theirs.len()), (2, 2), "whoever is served may take the whole burst");
    let results = w.lease_all(owner, mine.into_iter().take(1).chain(theirs).collect()).await;
    assert!(
        matches!(results[..], [LeaseResult::Leased(_), LeaseResult::Leased(_), LeaseResult::Parked]),
        "{results:?}"
    );
    let ready = (waits(&w).await.len(), waits_in(&w, &there).await.len());
    assert_eq!(ready, (1, 0), "who waited in the lane stays there, and is parked when it is its turn");
    let again = w.queued(&lane()).await;
    assert!(matches!(w.lease_all(owner, again).await[..], [LeaseResult::Parked]));
    assert_eq!(look(&w).await, (vec![], Some(w.now.plus(secs(60)))));
}

pub async fn an_attempt_that_never_began_is_not_counted(mut w: World) {
    let ids = runs(&w, 2, 0, Pace::At(rate(1, secs(60), 1))).await;
    let owner = w.connect().await;
    let key = take(&w, owner, ids[0]).await;
    assert_eq!((waits(&w).await, next(&w, ids[1]).await), (vec![], Some(w.now.plus(secs(60)))));
    let moved = changed(w.apply(key.run, Event::Rejected { attempt: key.attempt }).await);
    assert!(moved.place.is_some(), "{moved:?}");
    assert_eq!(waits(&w).await, ids[..1]);
    let key = take(&w, owner, ids[0]).await;
    // One that did begin is.
    w.pass(secs(1));
    let moved = applied(w.report(key, Outcome::Failed(failure("X"))).await);
    assert_eq!((told(&moved.let_go), waits(&w).await), (vec![], vec![]));
}

pub async fn a_lost_run_goes_on_and_is_made_up_for(mut w: World) {
    let ids = runs(&w, 2, 0, Pace::At(rate(1, secs(60), 1))).await;
    let owner = w.connect().await;
    let key = take(&w, owner, ids[0]).await;
    w.apply(key.run, Event::Start { attempt: key.attempt, start_time: w.now }).await;
    w.pass(secs(40));
    w.store.expire(w.now, w.now, 10).await.unwrap();
    assert_eq!(waits(&w).await, ids[..1], "its place is its own");
    let other = w.connect().await;
    assert_eq!(take(&w, other, ids[0]).await.attempt, 2);
    assert_eq!(look(&w).await, (vec![], Some(w.now.plus(secs(20 + 60)))));
}

pub async fn what_was_said_last_is_the_rate(mut w: World) {
    let ids = runs(&w, 4, 0, Pace::At(rate(1, secs(60), 1))).await;
    let owner = w.connect().await;
    take(&w, owner, ids[0]).await;
    w.pass(secs(30));
    // Nothing said leaves it; another makes nobody go, and keeps the part of a token that is there.
    let silent = w.submit(vec![run(&w, 0, Pace::Kept)]).await.remove(0);
    assert!(silent.place.is_none() && silent.let_go.is_empty());
    assert_eq!(next(&w, ids[1]).await, Some(w.now.plus(secs(30))));
    let faster = w.submit(vec![run(&w, 0, Pace::At(rate(1, secs(10), 5)))]).await.remove(0);
    assert!(faster.place.is_none() && faster.let_go.is_empty());
    assert_eq!((next(&w, ids[1]).await, look(&w).await.1), (Some(w.now.plus(secs(5))), Some(w.now.plus(secs(5)))));
    // With a limit, both hold.
    w.pass(secs(60));
    w.submit(vec![run(&w, 3, Pace::Kept)]).await;
    assert_eq!((waits(&w).await, full(&w, ids[3]).await), (ids[1..3].to_vec(), None));
    take(&w, owner, ids[1]).await;
    take(&w, owner, ids[2]).await;
    assert_eq!((full(&w, ids[3]).await, look(&w).await), (Some(3), (vec![], None)), "only an end makes room");
    // Taken off, only the limit is left; and where nobody said one, it is that of every key.
    w.submit(vec![run(&w, 0, Pace::Free)]).await;
    assert_eq!((full(&w, ids[3]).await, next(&w, ids[3]).await), (Some(3), None));
}

pub async fn a_key_without_its_rate_has_the_limit_of_every_key(w: World) {
    let ids = runs(&w, 3, 0, Pace::At(rate(1, secs(60), 1))).await;
    let owner = w.connect().await;
    take(&w, owner, ids[0]).await;
    assert_eq!((full(&w, ids[1]).await, look(&w).await.1), (None, Some(w.now.plus(secs(60)))));
    let freed = w.submit(vec![run(&w, 0, Pace::Free)]).await.remove(0);
    assert!(freed.let_go.is_empty());
    assert_eq!((full(&w, ids[1]).await, look(&w).await), (Some(1), (vec![], None)));
    // Said in the other order, it comes to the same.
    let new = |pace| {
        let concurrency = Concurrency { key: "other".parse().unwrap(), limit: None, pace };
        NewRun { concurrency: Some(concurrency), ..run(&w, 0, pace) }
    };
    w.submit((0..3).map(|_| new(Pace::Kept)).collect()).await;
    assert_eq!(waits(&w).await.len(), 1);
    w.submit(vec![new(Pace::At(rate(1, secs(60), 4)))]).await;
    assert_eq!(waits(&w).await.len(), 4);
}

pub async fn what_a_key_has_gone_is_not_forgotten(mut w: World) {
    let forever = secs(1_000_000_000);
    let policy = RetentionPolicy {
        succeeded: secs(1),
        failed: forever,
        unresolved: forever,
        logs: forever,
        ledger: forever,
        requests: forever,
        jobs: forever,
        workers: forever,
        deliveries: forever,
    };
    let month = rate(1, secs(31 * 86_400), 1);
    let ids = runs(&w, 1, 0, Pace::At(month)).await;
    let owner = w.connect().await;
    let key = take(&w, owner, ids[0]).await;
    applied(w.report(key, Outcome::Succeeded).await);
    let began = w.now;
    let swept = async |w: &World| {
        while w.store.sweep(w.now, policy, 100).await.unwrap().more {}
        w.store.sweep(w.now, policy, 100).await.unwrap();
        assert!(w.store.run(&w.scope, ids[0]).await.unwrap().is_none());
    };
    w.pass(secs(30 * 86_400));
    swept(&w).await;
    let waiting = runs(&w, 1, 0, Pace::Kept).await;
    assert_eq!((waits(&w).await, next(&w, waiting[0]).await), (vec![], Some(began.plus(month.per))));
    w.apply(waiting[0], Event::Cancel { reason: String::new(), grace: None }).await;
    w.pass(secs(5 * 86_400));
    swept(&w).await;
    // Now it is a key that is new.
    let ids = runs(&w, 2, 0, Pace::Kept).await;
    assert_eq!((waits(&w).await, full(&w, ids[1]).await), (ids[..1].to_vec(), None));
    take(&w, owner, ids[0]).await;
    assert_eq!(full(&w, ids[1]).await, Some(1));
}

/// Whatever happens in whatever order: no window has more than its rate, and whoever may go is in its lane.
pub async fn a_rate_holds_and_tokens_are_used_whatever_happens(mut w: World) {
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut random = TestRunner::new_with_rng(Config::default(), rng);
    let lanes = [lane(), lane_of("default", "default", "other.job")];
    let owner = w.connect().await;
    let of = rate(2, secs(7), 3);
    let mut all: Vec<(RunId, usize)> = Vec::new();
    let mut begun: Vec<Instant> = Vec::new();
    let mut kept_back = 0;
    for _ in 0..300 {
        w.pass(Duration::from_millis(1 + below(&mut random, 3_000) as u64));
        // As the stage does, which sleeps until then.
        look(&w).await;
        match below(&mut random, 6) {
            0 | 1 => {
                let at = below(&mut random, 2);
                let due = if below(&mut random, 3) == 0 { w.now.plus(secs(3)) } else { w.now };
                let new = NewRun { due, lane: lanes[at].clone(), ..run(&w, 0, Pace::At(of)) };
                all.push((new.id, at));
                w.submit(vec![new]).await;
            }
            2 | 3 => {
                let lane = &lanes[below(&mut random, 2)];
                let pointers: Vec<_> = w.queued(lane).await.into_iter().take(1 + below(&mut random, 4)).collect();
                let results = w.lease_all(owner, pointers).await;
                begun.extend(results.iter().filter(|one| matches!(one, LeaseResult::Leased(_))).map(|_| w.now));
            }
            4 => drop(w.store.wake(w.now, 100).await.unwrap()),
            _ if all.is_empty() => {}
            _ => {
                let (id, _) = all[below(&mut random, all.len())];
                let attempt = w.store.run(&w.scope, id).await.unwrap().unwrap().life.attempt;
                match below(&mut random, 3) {
                    0 => drop(w.apply(id, Event::Cancel { reason: String::new(), grace: None }).await),
                    1 => drop(w.report(AttemptKey { run: id, attempt }, Outcome::Failed(failure("X"))).await),
                    _ => drop(w.report(AttemptKey { run: id, attempt }, Outcome::Succeeded).await),
                }
            }
        }
        for (first, from) in begun.iter().enumerate() {
            let many = (begun.len() - first) as u128;
            let brought = w.now.since(*from).as_micros() * u128::from(of.count.get());
            let most = of.per.as_micros() * u128::from(of.burst.get()) + brought + u128::from(of.count.get() - 1);
            assert!(many * of.per.as_micros() <= most, "{many} from {from} to {}", w.now);
        }
        look(&w).await;
        for (at, lane) in lanes.iter().enumerate() {
            let mut waiting = Vec::new();
            for (id, _) in all.iter().filter(|(_, of)| *of == at) {
                let life = w.store.run(&w.scope, *id).await.unwrap().unwrap().life;
                waiting.extend((life.state == RunState::Queued).then_some(*id));
            }
            let Some(one) = waiting.first() else { continue };
            if next(&w, *one).await.is_some() {
                kept_back += 1;
            } else {
                assert!(!waits_in(&w, lane).await.is_empty(), "there is a token, and nobody to take it");
            }
        }
    }
    assert!(kept_back > 50 && begun.len() > 50, "{kept_back}, {}", begun.len());
}
