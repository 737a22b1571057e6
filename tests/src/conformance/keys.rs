//! Concurrency keys: a limit is never exceeded, whoever has room goes, and the best of a key goes first.

use std::num::NonZeroU32;

use mainspring_engine::{
    domain::{
        attempt::{AttemptKey, Outcome},
        ids::RunId,
        job::JobSpec,
        limit::{Concurrency, Pace},
        names::Lane,
        policy::RunPolicy,
        run::RunState,
        transition::Event,
    },
    ports::{
        broker::Pointer,
        store::{FullKey, LeaseResult, Moved, NewRun, Owner, RetentionPolicy},
    },
};
use proptest::{
    strategy::{Strategy as _, ValueTree as _},
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};

use super::world::{World, applied, changed, every, failure, fired, lane, lane_of, secs, spec};

/// A number below a bound; the runner's seed is fixed, so that a failure repeats.
fn below(random: &mut TestRunner, bound: usize) -> usize {
    (0..bound).new_tree(random).unwrap().current()
}

fn of(key: &str, limit: u32) -> Option<Concurrency> {
    Some(Concurrency { key: key.parse().unwrap(), limit: NonZeroU32::new(limit), pace: Pace::Kept })
}

fn run(w: &World, key: &str, limit: u32) -> NewRun {
    NewRun { id: RunId::new(w.now), concurrency: of(key, limit), ..w.new_run() }
}

/// Runs of a key, oldest first.
async fn runs(w: &World, count: usize, limit: u32) -> Vec<RunId> {
    let new: Vec<_> = (0..count).map(|_| run(w, "k", limit)).collect();
    w.submit(new).await.into_iter().map(|moved| moved.run).collect()
}

async fn waits(w: &World) -> Vec<RunId> {
    w.queued(&lane()).await.into_iter().map(|pointer| pointer.run).collect()
}

async fn take(w: &World, owner: Owner, run: RunId) -> AttemptKey {
    let pointer = w.queued(&lane()).await.into_iter().find(|pointer| pointer.run == run).expect("it waits in its lane");
    w.lease(owner, pointer).await.key
}

/// What was told to be let go.
fn told(moved: &Moved) -> Vec<RunId> {
    moved.let_go.iter().filter(|run| run.was_let_go() && run.place.is_some()).map(|run| run.run).collect()
}

async fn full(w: &World, run: RunId) -> Option<(u32, u32)> {
    let facts = w.store.wait_facts(&w.scope, run).await.unwrap();
    facts.key_full.map(|FullKey { limit, in_flight, .. }| (limit, in_flight))
}

pub async fn a_key_lets_so_many_go(w: World) {
    let ids = runs(&w, 4, 2).await;
    assert_eq!(waits(&w).await, ids[..2], "no more of a key is in a lane than has room");
    let view = w.store.run(&w.scope, ids[3]).await.unwrap().unwrap();
    assert_eq!((view.life.state, view.concurrency_key.unwrap().as_str()), (RunState::Queued, "k"));
    let owner = w.connect().await;
    let (first, second) = (take(&w, owner, ids[0]).await, take(&w, owner, ids[1]).await);
    assert_eq!((waits(&w).await, full(&w, ids[3]).await), (vec![], Some((2, 2))));
    let moved = applied(w.report(first, Outcome::Succeeded).await);
    assert_eq!((told(&moved), waits(&w).await), (vec![ids[2]], vec![ids[2]]));
    assert_eq!(full(&w, ids[3]).await, None);
    let moved = applied(w.report(second, Outcome::Failed(failure("X"))).await);
    assert_eq!((told(&moved), waits(&w).await), (vec![ids[3]], ids[2..].to_vec()));
}

pub async fn a_full_key_holds_up_nobody_else(w: World) {
    let ids = runs(&w, 100, 1).await;
    let other = run(&w, "other", 1);
    let plain = w.new_run();
    let (other_id, plain_id) = (other.id, plain.id);
    w.submit(vec![other, plain]).await;
    assert_eq!(waits(&w).await, [ids[0], other_id, plain_id]);
    let owner = w.connect().await;
    take(&w, owner, ids[0]).await;
    assert_eq!(waits(&w).await, [other_id, plain_id]);
    let elsewhere = NewRun { lane: lane_of("other", "default", "test.job"), ..run(&w, "k", 1) };
    let (there, id) = (elsewhere.lane.clone(), elsewhere.id);
    w.submit(vec![elsewhere]).await;
    assert_eq!(w.queued(&there).await.len(), 1, "keys of namespaces do not meet");
    assert!(w.store.run(&w.scope, id).await.unwrap().is_none());
}

pub async fn the_best_of_a_key_goes_first(mut w: World) {
    let ids = runs(&w, 3, 1).await;
    w.pass(secs(1));
    let urgent = NewRun { priority: 9, ..run(&w, "k", 1) };
    let low = NewRun { priority: 0, ..run(&w, "k", 1) };
    let (urgent_id, low_id) = (urgent.id, low.id);
    w.submit(vec![low, urgent]).await;
    // It does not wait for what was let go before it.
    assert_eq!(waits(&w).await, [urgent_id, ids[0]]);
    let owner = w.connect().await;
    let first = take(&w, owner, urgent_id).await;
    let late = w.queued(&lane()).await;
    let parked = w.lease_all(owner, late.clone()).await;
    assert!(matches!(parked[..], [LeaseResult::Parked]), "{parked:?}");
    assert!(waits(&w).await.is_empty());
    let again = w.lease_all(owner, late).await;
    assert!(matches!(again[..], [LeaseResult::Parked]), "{again:?}");
    let mut attempt = first;
    for next in [ids[0], ids[1], ids[2], low_id] {
        let moved = applied(w.report(attempt, Outcome::Succeeded).await);
        assert_eq!((told(&moved), waits(&w).await), (vec![next], vec![next]));
        attempt = take(&w, owner, next).await;
    }
}

pub async fn every_end_makes_room_under_a_key(mut w: World) {
    let mut policy = RunPolicy::default();
    policy.retry.max_losses = 1;
    policy.timeouts.execution = Some(secs(5));
    policy.timeouts.stop_grace = Some(secs(30));
    let new: Vec<_> = (0..7).map(|_| NewRun { policy: policy.clone(), ..run(&w, "k", 1) }).collect();
    let ids: Vec<RunId> = w.submit(new).await.into_iter().map(|moved| moved.run).collect();
    let owner = w.connect().await;
    let mut next = ids.iter();
    let mut begin = async |w: &World| take(w, owner, *next.next().unwrap()).await;
    let free = |moved: Moved, w: &World| (told(&moved), w.now);
    // Handed back, it waits for room like the others, and is the oldest.
    let key = begin(&w).await;
    let moved = changed(w.apply(key.run, Event::Rejected { attempt: key.attempt }).await);
    assert!(moved.place.is_some() && moved.let_go.is_empty(), "{moved:?}");
    assert_eq!(waits(&w).await, ids[..1]);
    let key = take(&w, owner, ids[0]).await;
    let moved = applied(w.report(key, Outcome::Failed(failure("X"))).await);
    assert_eq!(free(moved, &w).0, ids[1..2]);
    let key = begin(&w).await;
    let moved = changed(w.apply(key.run, Event::Absent { attempt: key.attempt }).await);
    assert_eq!(free(moved, &w).0, ids[2..3]);
    let key = begin(&w).await;
    w.apply(key.run, Event::Cancel { reason: String::new(), grace: None }).await;
    assert!(waits(&w).await.is_empty(), "it is at its worker until it is over");
    let moved = applied(w.report(key, Outcome::Cancelled).await);
    assert_eq!(free(moved, &w).0, ids[3..4]);
    let key = begin(&w).await;
    w.apply(key.run, Event::Start { attempt: key.attempt, start_time: w.now }).await;
    w.pass(secs(6));
    w.apply(key.run, Event::Deadline).await;
    w.pass(secs(31));
    let moved = changed(w.apply(key.run, Event::Deadline).await);
    assert_eq!(free(moved, &w).0, ids[4..5]);
    let key = begin(&w).await;
    let expired = w.store.expire(w.now.plus(secs(60)), w.now.plus(secs(60)), 10).await.unwrap();
    let [moved] = &expired.moved[..] else { panic!("{expired:?}") };
    assert_eq!((moved.run, told(moved)), (key.run, ids[5..6].to_vec()));
    // What waits in its lane and goes by another way makes way for the next.
    let moved = changed(w.apply(ids[5], Event::Cancel { reason: String::new(), grace: None }).await);
    assert_eq!((told(&moved), waits(&w).await), (ids[6..].to_vec(), ids[6..].to_vec()));
}

pub async fn an_expired_attempt_holds_its_place(mut w: World) {
    let ids = runs(&w, 2, 1).await;
    let owner = w.connect().await;
    let key = take(&w, owner, ids[0]).await;
    w.apply(key.run, Event::Start { attempt: key.attempt, start_time: w.now }).await;
    w.pass(secs(40));
    w.store.expire(w.now, w.now, 10).await.unwrap();
    assert_eq!((w.state(ids[0]).await, waits(&w).await), (RunState::Queued, vec![ids[0]]));
    assert_eq!(full(&w, ids[1]).await, Some((1, 1)));
    // Its worker comes back with it, and nothing was exceeded.
    w.reconnect(owner.worker, 2, &[key]).await;
    assert_eq!((w.state(ids[0]).await, waits(&w).await), (RunState::Running, vec![]));
    w.pass(secs(40));
    w.store.expire(w.now, w.now, 10).await.unwrap();
    // Or another takes it up in its own place.
    let other = w.connect().await;
    let again = take(&w, other, ids[0]).await;
    assert_eq!((again.attempt, waits(&w).await), (2, vec![]));
    let moved = applied(w.report(again, Outcome::Succeeded).await);
    assert_eq!(told(&moved), ids[1..]);
}

pub async fn parked_runs_live_like_others(mut w: World) {
    let mut policy = RunPolicy::default();
    policy.timeouts.queue = Some(secs(10));
    let owner = w.connect().await;
    let first = runs(&w, 1, 1).await[0];
    take(&w, owner, first).await;
    let new = vec![NewRun { policy: policy.clone(), ..run(&w, "k", 0) }, run(&w, "k", 0), run(&w, "k", 0)];
    let ids: Vec<RunId> = w.submit(new).await.into_iter().map(|moved| moved.run).collect();
    assert!(waits(&w).await.is_empty());
    let queue = w.store.queue(&w.scope, &lane().queue).await.unwrap().unwrap();
    assert_eq!((queue.depth, queue.oldest_queue_time, queue.in_flight), (3, Some(w.now), 1));
    assert_eq!(w.store.queue_levels().await.unwrap().iter().map(|level| level.depth).sum::<u64>(), 3);
    w.pass(secs(10));
    assert_eq!(w.store.past_deadline(w.now, 10).await.unwrap(), ids[..1]);
    assert_eq!(changed(w.apply(ids[0], Event::Deadline).await).to, RunState::TimedOut);
    let moved = changed(w.apply(ids[1], Event::Cancel { reason: String::new(), grace: None }).await);
    assert_eq!((moved.to, moved.let_go.len()), (RunState::Cancelled, 0));
    assert_eq!(w.state(ids[2]).await, RunState::Queued);
}

pub async fn later_runs_wait_for_room_when_their_time_comes(mut w: World) {
    let due = w.now.plus(secs(5));
    let later: Vec<_> = (0..3).map(|_| NewRun { due, ..run(&w, "k", 2) }).collect();
    let ids: Vec<RunId> = w.submit(later).await.into_iter().map(|moved| moved.run).collect();
    w.pass(secs(5));
    let woken = w.store.wake(w.now, 10).await.unwrap();
    let places: Vec<_> = woken.iter().map(|moved| (moved.run, moved.place.is_some())).collect();
    assert_eq!(places, [(ids[0], true), (ids[1], true), (ids[2], false)]);
    assert_eq!(waits(&w).await, ids[..2]);
}

pub async fn what_was_said_last_is_the_limit(w: World) {
    let ids = runs(&w, 5, 1).await;
    assert_eq!(waits(&w).await.len(), 1);
    // Nothing said leaves it; more lets more go at once.
    let silent = w.submit(vec![run(&w, "k", 0)]).await.remove(0);
    assert!(silent.place.is_none() && silent.let_go.is_empty());
    let raised = w.submit(vec![run(&w, "k", 3)]).await.remove(0);
    assert_eq!((told(&raised).len(), waits(&w).await), (2, ids[..3].to_vec()));
    let owner = w.connect().await;
    for id in &ids[..3] {
        take(&w, owner, *id).await;
    }
    w.submit(vec![run(&w, "k", 1)]).await;
    assert_eq!(full(&w, ids[3]).await, Some((1, 3)));
}

pub async fn runs_of_a_schedule_have_the_key_of_their_job(mut w: World) {
    let shard = w.own().await;
    for name in ["one", "two"] {
        let mut spec = spec(vec![every("often", 10)]);
        let of = Concurrency { key: "k".parse().unwrap(), limit: NonZeroU32::new(1), pace: Pace::Kept };
        spec.concurrency = Some(of);
        w.create(name, spec).await;
    }
    w.pass(secs(10));
    let made: Vec<Moved> = w.fire_due(shard).await.iter().flat_map(|answer| fired(answer).to_vec()).collect();
    assert_eq!(made.iter().filter(|moved| moved.place.is_some()).count(), 1, "{made:?}");
    assert_eq!(waits(&w).await.len(), 1);
}

pub async fn keys_of_schedules_are_made_of_their_jobs(mut w: World) {
    let shard = w.own().await;
    for (name, key) in [("one", "blue-1"), ("two", "${labels.team}-${payload.a}"), ("three", "${labels.team}")] {
        let concurrency = Concurrency { key: key.parse().unwrap(), limit: NonZeroU32::new(1), pace: Pace::Kept };
        let fairness_key = "of ${labels.team}".parse().unwrap();
        w.create(name, JobSpec { concurrency: Some(concurrency), fairness_key, ..spec(vec![every("often", 10)]) })
            .await;
    }
    w.pass(secs(10));
    let made: Vec<Moved> = w.fire_due(shard).await.iter().flat_map(|answer| fired(answer).to_vec()).collect();
    let mut keys = Vec::new();
    for run in &made {
        let view = w.store.run(&w.scope, run.run).await.unwrap().unwrap();
        assert_eq!(view.fairness_key.as_str(), "of blue");
        keys.push(view.concurrency_key.unwrap().as_str().to_owned());
    }
    keys.sort();
    assert_eq!(keys, ["blue", "blue-1", "blue-1"]);
    assert_eq!(waits(&w).await.len(), 2, "whoever wrote the key in whatever way");
}

/// The rim lets nobody define it; a row that says so all the same costs its job, and no other.
pub async fn a_job_whose_key_has_nothing_to_be_made_of_is_not_fired(mut w: World) {
    w.own().await;
    for (name, key) in [("whole", "k"), ("broken", "${labels.none}")] {
        let concurrency = Concurrency { key: key.parse().unwrap(), limit: None, pace: Pace::Kept };
        w.create(name, JobSpec { concurrency: Some(concurrency), ..spec(vec![every("often", 10)]) }).await;
    }
    w.pass(secs(10));
    let due = w.store.due(w.now, None, 10).await.unwrap();
    assert_eq!(due.ready.iter().map(|due| due.job_name.as_str()).collect::<Vec<_>>(), ["whole"]);
    let [broken] = &due.unreadable[..] else { panic!("{due:?}") };
    assert!(broken.job_name.as_str() == "broken" && broken.why.contains("no such label"), "{broken:?}");
}

pub async fn keys_that_no_run_names_go(mut w: World) {
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
    let ids = runs(&w, 1, 7).await;
    w.apply(ids[0], Event::Cancel { reason: String::new(), grace: None }).await;
    let stays = run(&w, "stays", 7);
    let stays_id = stays.id;
    w.submit(vec![stays]).await;
    w.pass(secs(3 * 86_400));
    while w.store.sweep(w.now, policy, 100).await.unwrap().more {}
    w.store.sweep(w.now, policy, 100).await.unwrap();
    assert!(w.store.run(&w.scope, ids[0]).await.unwrap().is_none());
    // A key that was forgotten is new, one that a run still names is not.
    w.submit((0..3).map(|_| run(&w, "k", 0)).collect()).await;
    assert_eq!(waits(&w).await.len(), 2);
    w.submit((0..3).map(|_| run(&w, "stays", 0)).collect()).await;
    assert_eq!(waits(&w).await.len(), 5);
    assert_eq!(w.state(stays_id).await, RunState::Queued);
}

pub async fn lanes_share_a_key(w: World) {
    let there = lane_of("default", "default", "other.job");
    let new = |lane: &Lane| NewRun { lane: lane.clone(), ..run(&w, "k", 1) };
    let moved = w.submit(vec![new(&lane()), new(&there), new(&lane()), new(&there)]).await;
    let ids: Vec<RunId> = moved.iter().map(|moved| moved.run).collect();
    // Nobody may serve the one: the other goes all the same.
    let heads = async || (waits(&w).await, w.queued(&there).await.into_iter().map(|at| at.run).collect::<Vec<_>>());
    assert_eq!(heads().await, (vec![ids[0]], vec![ids[1]]));
    let owner = w.connect().await;
    let key = take(&w, owner, ids[0]).await;
    let late: Vec<Pointer> = w.queued(&there).await;
    assert!(matches!(w.lease_all(owner, late).await[..], [LeaseResult::Parked]));
    assert_eq!(heads().await, (vec![], vec![]));
    let moved = applied(w.report(key, Outcome::Succeeded).await);
    assert_eq!(told(&moved).len(), 2);
    assert_eq!(heads().await, (vec![ids[2]], vec![ids[1]]));
}

/// Whatever happens in whatever order: no limit is exceeded, and while there is room the best of each lane can be taken.
pub async fn a_limit_holds_and_room_is_used_whatever_happens(mut w: World) {
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut random = TestRunner::new_with_rng(Config::default(), rng);
    let lanes = [lane(), lane_of("default", "default", "other.job")];
    let owner = w.connect().await;
    let mut all: Vec<(RunId, u8, usize)> = Vec::new();
    let mut limit = 2;
    let mut reached = 0;
    for _ in 0..250 {
        w.pass(secs(1));
        match below(&mut random, 8) {
            0 | 1 => {
                limit = if below(&mut random, 6) == 0 { 1 + below(&mut random, 3) as u32 } else { limit };
                let due = if below(&mut random, 3) == 0 { w.now.plus(secs(3)) } else { w.now };
                let (priority, at) = (below(&mut random, 3) as u8, below(&mut random, 2));
                let new = NewRun { priority, due, lane: lanes[at].clone(), ..run(&w, "k", limit) };
                all.push((new.id, priority, at));
                w.submit(vec![new]).await;
            }
            2 | 3 => {
                let lane = &lanes[below(&mut random, 2)];
                let pointers: Vec<_> = w.queued(lane).await.into_iter().take(1 + below(&mut random, 3)).collect();
                w.lease_all(owner, pointers).await;
            }
            4 => drop(w.store.wake(w.now, 100).await.unwrap()),
            _ if all.is_empty() => {}
            what => {
                let (id, ..) = all[below(&mut random, all.len())];
                let life = w.store.run(&w.scope, id).await.unwrap().unwrap().life;
                let attempt = life.attempt;
                match (what, below(&mut random, 5)) {
                    (5, 0) => drop(w.apply(id, Event::Cancel { reason: String::new(), grace: None }).await),
                    (5, 1) => drop(w.apply(id, Event::Expire).await),
                    (5, 2) => drop(w.apply(id, Event::Rejected { attempt }).await),
                    (5, _) => drop(w.apply(id, Event::Adopt { attempt, worker: owner.worker }).await),
                    (6, 0) => drop(w.report(AttemptKey { run: id, attempt }, Outcome::Failed(failure("X"))).await),
                    _ => drop(w.report(AttemptKey { run: id, attempt }, Outcome::Succeeded).await),
                }
            }
        }
        let mut open = 0;
        let mut waiting = [Vec::new(), Vec::new()];
        for (id, priority, at) in &all {
            let life = w.store.run(&w.scope, *id).await.unwrap().unwrap().life;
            open += u32::from(life.open.is_some());
            if life.state == RunState::Queued && life.open.is_none() {
                waiting[*at].push((*priority, *id));
            }
        }
        // A limit that was lowered ends nothing that runs.
        let counted = full(&w, all.first().map_or_else(|| RunId::new(w.now), |(id, ..)| *id)).await;
        match counted {
            Some((told, in_flight)) => {
                assert_eq!((told, in_flight), (limit, open));
                reached += 1;
            }
            None => assert!(open < limit || all.is_empty(), "{open} of {limit}"),
        }
        if open < limit {
            for (at, waiting) in waiting.iter().enumerate() {
                let ready: Vec<RunId> = w.queued(&lanes[at]).await.into_iter().map(|pointer| pointer.run).collect();
                let there = waiting.iter().filter(|(_, id)| ready.contains(id)).count();
                let room = usize::try_from(limit - open).unwrap().min(waiting.len());
                assert!(there >= room, "{there} of {room} in {ready:?}");
                let best = waiting.iter().map(|(priority, _)| *priority).max();
                let first = waiting.iter().filter(|(_, id)| ready.contains(id)).map(|(priority, _)| *priority).max();
                assert_eq!(first, best, "the best of the key is in the lane");
            }
        }
    }
    assert!(reached > 50, "the key was full {reached} times");
}
