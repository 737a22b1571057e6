//! Overlap: what becomes of instants and triggers while runs of the job are not over.

use std::num::NonZeroU32;

use mainspring_engine::{
    domain::{
        attempt::Outcome,
        ids::{JobUid, RunId},
        instant::Instant,
        job::{Job, JobSpec},
        ledger::{Fate, FateReason},
        limit::{Concurrency, Pace},
        overlap::{Act, Overlap, OverlapScope, Slot, settle},
        run::{RunState, reason},
        stop::Running,
        transition::{Event, Refusal},
    },
    ports::store::{Applied, Moved, NewRun, ShardLease, Submitted},
};

use super::world::{World, changed, every, fired, pointer, secs, spec};

/// A job that is due every minute, and whoever may fire it.
async fn job(w: &mut World, overlap: Overlap) -> (Job, ShardLease) {
    let job = w.create("report", JobSpec { overlap, ..spec(vec![every("main", 60)]) }).await;
    let shard = w.own().await;
    (job, shard)
}

/// A minute passes; what it made.
async fn minute(w: &mut World, shard: ShardLease) -> Vec<Moved> {
    w.pass(secs(60));
    w.fire_due(shard).await.iter().flat_map(|answer| fired(answer).to_vec()).collect()
}

async fn fates(w: &World, job: JobUid) -> Vec<(Fate, Option<FateReason>, u64)> {
    let ranges = w.ledger(job, Instant::MIN, Instant::MAX).await;
    ranges.into_iter().map(|part| (part.range.fate, part.range.reason, part.range.count)).collect()
}

async fn slot(w: &World) -> Slot {
    let (mut slots, more) = w.store.waited_for(None, 100).await.unwrap();
    assert!(slots.len() <= 1 && !more);
    slots.pop().map(|slot| slot.slot).unwrap_or_default()
}

fn waiting(slot: &Slot) -> Vec<RunId> {
    slot.buffered.iter().map(|waits| waits.run).collect()
}

fn holding(slot: &Slot) -> Vec<RunId> {
    slot.holders.iter().map(|holder| holder.run).collect()
}

/// Does what is to be done about the slot; how often something changed.
async fn settled(w: &World) -> usize {
    let mut done = 0;
    for act in settle(&slot(w).await, w.now, w.rules.lease_ttl) {
        let (run, event) = match act {
            Act::Replace(run) => (run, Event::Replace),
            Act::Cancel(run, grace) => (run, Event::Cancel { reason: "room".into(), grace }),
            Act::Release(waits) => (waits.run, Event::Release { due: waits.due }),
        };
        changed(w.apply(run, event).await);
        done += 1;
    }
    done
}

async fn reason_of(w: &World, run: RunId) -> Option<String> {
    w.store.run(&w.scope, run).await.unwrap().unwrap().life.reason
}

pub async fn the_newest_waits(mut w: World) {
    let (job, shard) = job(&mut w, Overlap::BufferOne).await;
    let owner = w.connect().await;
    let first = minute(&mut w, shard).await.remove(0);
    assert_eq!(first.to, RunState::Queued);
    let key = w.lease(owner, pointer(&first)).await.key;
    let second = minute(&mut w, shard).await.remove(0);
    assert!(second.is_buffered() && second.generation == 0, "{second:?}");
    let third = minute(&mut w, shard).await.remove(0);
    let stands = slot(&w).await;
    assert_eq!((waiting(&stands), holding(&stands)), (vec![second.run, third.run], vec![first.run]));
    assert_eq!(settled(&w).await, 1);
    assert_eq!((w.state(second.run).await, w.state(third.run).await), (RunState::Cancelled, RunState::Scheduled));
    assert_eq!(reason_of(&w, second.run).await.as_deref(), Some(reason::OVERLAPPED));
    assert_eq!(settled(&w).await, 0, "it waits");
    w.report(key, Outcome::Succeeded).await;
    assert_eq!(settled(&w).await, 1);
    assert_eq!(w.state(third.run).await, RunState::Queued);
    assert!(slot(&w).await.buffered.is_empty());
    assert_eq!(fates(&w, job.uid).await, [(Fate::Fired, None, 3)]);
    // What goes on is leased as any other.
    let queued = w.queued(&super::world::lane()).await;
    assert_eq!(w.lease(owner, queued[0]).await.key.run, third.run);
}

pub async fn all_wait_for_their_turn_up_to_the_most(mut w: World) {
    let (job, shard) = job(&mut w, Overlap::BufferAll { max: 2 }).await;
    let owner = w.connect().await;
    let first = minute(&mut w, shard).await.remove(0);
    let key = w.lease(owner, pointer(&first)).await.key;
    let second = minute(&mut w, shard).await.remove(0).run;
    let third = minute(&mut w, shard).await.remove(0).run;
    assert!(minute(&mut w, shard).await.is_empty());
    let full = (Fate::Dropped, Some(FateReason::BufferFull), 1);
    assert_eq!(fates(&w, job.uid).await, [(Fate::Fired, None, 3), full]);
    assert_eq!(settled(&w).await, 0);
    w.report(key, Outcome::Succeeded).await;
    assert_eq!(settled(&w).await, 1);
    assert_eq!((w.state(second).await, w.state(third).await), (RunState::Queued, RunState::Scheduled));
    // One at a time, and whoever is let go holds the slot at once.
    assert_eq!(settled(&w).await, 0);
    let stands = slot(&w).await;
    assert_eq!((waiting(&stands), holding(&stands)), (vec![third], vec![second]));
}

pub async fn others_are_cancelled_for_the_new_one(mut w: World) {
    for overlap in [Overlap::CancelOther, Overlap::TerminateOther] {
        let name = format!("job-{}", u8::from(overlap == Overlap::TerminateOther));
        let job = w.create(&name, JobSpec { overlap, ..spec(vec![every("main", 60)]) }).await;
        let shard = w.own().await;
        let owner = w.connect().await;
        let first = minute(&mut w, shard).await.remove(0);
        let key = w.lease(owner, pointer(&first)).await.key;
        let second = minute(&mut w, shard).await.remove(0).run;
        assert_eq!(settled(&w).await, 1);
        let life = w.store.lifecycle(&w.scope, first.run).await.unwrap().unwrap();
        let policy = &job.spec.policy;
        let grace = match overlap {
            Overlap::TerminateOther => w.rules.lease_ttl,
            _ => policy.timeouts.stop_grace.unwrap_or(w.rules.stop_grace),
        };
        assert_eq!((life.cancel_requested, life.stop_deadline), (true, Some(w.now.plus(grace))));
        assert_eq!(settled(&w).await, 0, "it was asked once");
        assert_eq!(w.state(second).await, RunState::Scheduled);
        w.report(key, Outcome::Cancelled).await;
        assert_eq!(w.state(first.run).await, RunState::Cancelled);
        assert_eq!(settled(&w).await, 1);
        assert_eq!(w.state(second).await, RunState::Queued);
        w.store.delete_job(w.now, &w.scope, &job.name, None, Running::Detach, "ops").await.unwrap();
        while w.store.cancel_waiting(w.now, job.uid, 10).await.unwrap().1 {}
    }
}

pub async fn so_many_run_at_once(mut w: World) {
    let (job, shard) = job(&mut w, Overlap::Allow { max: Some(2) }).await;
    let owner = w.connect().await;
    let first = minute(&mut w, shard).await.remove(0);
    let key = w.lease(owner, pointer(&first)).await.key;
    assert_eq!(minute(&mut w, shard).await.len(), 1);
    assert!(minute(&mut w, shard).await.is_empty());
    assert_eq!(fates(&w, job.uid).await, [(Fate::Fired, None, 2), (Fate::SkippedOverlap, None, 1)]);
    w.report(key, Outcome::Succeeded).await;
    assert_eq!(minute(&mut w, shard).await.len(), 1);
}

pub async fn a_run_that_waits_for_a_retry_holds_the_slot(mut w: World) {
    let (_, shard) = job(&mut w, Overlap::BufferOne).await;
    let owner = w.connect().await;
    let first = minute(&mut w, shard).await.remove(0);
    let key = w.lease(owner, pointer(&first)).await.key;
    w.report(key, Outcome::Failed(super::world::failure("BUSY"))).await;
    assert_eq!(w.state(first.run).await, RunState::RetryWait);
    let second = minute(&mut w, shard).await.remove(0);
    assert!(second.is_buffered());
    assert_eq!(holding(&slot(&w).await), [first.run]);
    assert_eq!(settled(&w).await, 0);
}

pub async fn a_trigger_meets_the_policy_too(mut w: World) {
    let (job, shard) = job(&mut w, Overlap::BufferAll { max: 1 }).await;
    let first = minute(&mut w, shard).await.remove(0);
    let careful = || NewRun { overlap: Some(job.spec.overlap), ..w.run_of(&job) };
    // Both in one batch: the first of them waits, and with it as many as may.
    let answers = w.store.submit(w.now, vec![careful(), careful()]).await.unwrap();
    let Submitted::Stored(stored) = &answers[0] else { panic!("{answers:?}") };
    assert!(stored.moved.is_buffered());
    assert_eq!((stored.run.life.state, stored.run.life.buffer.is_some()), (RunState::Scheduled, true));
    assert!(matches!(answers[1], Submitted::BufferFull(None)), "{answers:?}");
    let forced = w.submit(vec![w.run_of(&job)]).await.remove(0);
    assert_eq!(forced.to, RunState::Queued);
    let stands = slot(&w).await;
    let mut holders = holding(&stands);
    holders.sort_unstable();
    assert_eq!((waiting(&stands), holders), (vec![stored.moved.run], vec![first.run, forced.run]));
}

pub async fn what_is_apart_holds_no_slot(mut w: World) {
    let (job, shard) = job(&mut w, Overlap::BufferOne).await;
    w.submit(vec![NewRun { apart: true, ..w.run_of(&job) }]).await;
    let first = minute(&mut w, shard).await.remove(0);
    assert_eq!(first.to, RunState::Queued);
    let second = minute(&mut w, shard).await.remove(0);
    assert!(second.is_buffered());
    assert_eq!(holding(&slot(&w).await), [first.run]);
}

pub async fn a_run_that_waits_can_be_cancelled(mut w: World) {
    let (job, shard) = job(&mut w, Overlap::BufferAll { max: 9 }).await;
    minute(&mut w, shard).await;
    let waits = minute(&mut w, shard).await.remove(0).run;
    let more = minute(&mut w, shard).await.remove(0).run;
    changed(w.apply(waits, Event::Cancel { reason: "no".into(), grace: None }).await);
    assert_eq!((w.state(waits).await, waiting(&slot(&w).await)), (RunState::Cancelled, vec![more]));
    w.store.delete_job(w.now, &w.scope, &job.name, None, Running::Detach, "ops").await.unwrap();
    while w.store.cancel_waiting(w.now, job.uid, 1).await.unwrap().1 {}
    assert_eq!(w.state(more).await, RunState::Cancelled);
    assert_eq!(reason_of(&w, more).await.as_deref(), Some(reason::JOB_DELETED));
    assert!(slot(&w).await.buffered.is_empty());
}

pub async fn nobody_is_let_go_twice(mut w: World) {
    let (_, shard) = job(&mut w, Overlap::BufferOne).await;
    let first = minute(&mut w, shard).await.remove(0);
    let waits = minute(&mut w, shard).await.remove(0).run;
    // Its time alone does not wake it.
    w.pass(secs(3_600));
    assert_eq!(w.store.wake(w.now, 10).await.unwrap().len(), 0);
    let stale = |applied: Applied| assert!(matches!(applied, Applied::Refused(Refusal::Stale)), "{applied:?}");
    stale(w.apply(first.run, Event::Release { due: w.now }).await);
    stale(w.apply(first.run, Event::Replace).await);
    let let_go = changed(w.apply(waits, Event::Release { due: w.now.plus(secs(60)) }).await);
    assert_eq!((let_go.to, let_go.wake_time), (RunState::Scheduled, Some(w.now.plus(secs(60)))));
    stale(w.apply(waits, Event::Release { due: w.now }).await);
    w.pass(secs(60));
    assert_eq!(w.store.wake(w.now, 10).await.unwrap()[0].run, waits);
}

/// A job whose runs meet those of the key `db`.
fn by_key(overlap: Overlap, seconds: u64) -> JobSpec {
    let concurrency = Some(Concurrency { key: "db".parse().unwrap(), limit: NonZeroU32::new(9), pace: Pace::Kept });
    JobSpec { overlap, overlap_scope: OverlapScope::Key, concurrency, ..spec(vec![every("main", seconds)]) }
}

pub async fn jobs_that_share_a_key_share_a_slot(mut w: World) {
    let first = w.create("first", by_key(Overlap::Skip, 60)).await;
    let second = w.create("second", by_key(Overlap::Skip, 90)).await;
    let apart = w.create("apart", JobSpec { overlap: Overlap::Skip, ..spec(vec![every("main", 90)]) }).await;
    let shard = w.own().await;
    let run = minute(&mut w, shard).await.remove(0);
    w.pass(secs(30));
    let made: Vec<_> = w.fire_due(shard).await.iter().flat_map(|answer| fired(answer).to_vec()).collect();
    // What has another slot takes no notice.
    assert_eq!(made.iter().filter_map(|moved| moved.job.clone()).collect::<Vec<_>>(), [apart.name]);
    assert_eq!(fates(&w, second.uid).await, [(Fate::SkippedOverlap, None, 1)]);
    // A trigger meets it too, by the key that it has.
    let trigger = |job: &Job, key: &str| NewRun {
        overlap: Some(Overlap::Skip),
        by_key: true,
        concurrency: Some(Concurrency { key: key.parse().unwrap(), limit: NonZeroU32::new(9), pace: Pace::Kept }),
        ..w.run_of(job)
    };
    let answers = w.store.submit(w.now, vec![trigger(&second, "db"), trigger(&second, "other")]).await.unwrap();
    assert!(
        matches!(&answers[..], [Submitted::NotIdle(busy, Some(key)), Submitted::Stored(_)] if *busy == run.run && key.as_str() == "db"),
        "{answers:?}"
    );
    // So do two of one batch, of a key that is new.
    let answers = w.store.submit(w.now, vec![trigger(&first, "new"), trigger(&second, "new")]).await.unwrap();
    assert!(matches!(&answers[..], [Submitted::Stored(_), Submitted::NotIdle(..)]), "{answers:?}");
    w.apply(run.run, Event::Cancel { reason: String::new(), grace: None }).await;
    let answers = w.store.submit(w.now, vec![trigger(&second, "db")]).await.unwrap();
    assert!(matches!(&answers[..], [Submitted::Stored(_)]), "{answers:?}");
}

pub async fn keys_that_are_made_alike_share_a_slot(mut w: World) {
    let of = |key: &str, seconds| {
        let concurrency = Concurrency { key: key.parse().unwrap(), limit: NonZeroU32::new(9), pace: Pace::Kept };
        JobSpec { concurrency: Some(concurrency), ..by_key(Overlap::Skip, seconds) }
    };
    w.create("first", of("blue-1", 60)).await;
    let second = w.create("second", of("${labels.team}-${payload.a}", 90)).await;
    let third = w.create("third", of("${labels.team}", 90)).await;
    let shard = w.own().await;
    minute(&mut w, shard).await;
    w.pass(secs(30));
    w.fire_due(shard).await;
    assert_eq!(fates(&w, second.uid).await, [(Fate::SkippedOverlap, None, 1)]);
    assert_eq!(fates(&w, third.uid).await, [(Fate::Fired, None, 1)]);
}

pub async fn who_waits_for_a_key_waits_for_all_of_its_runs(mut w: World) {
    w.create("first", by_key(Overlap::BufferOne, 60)).await;
    let shard = w.own().await;
    // A run of no job has the key.
    let concurrency = Some(Concurrency { key: "db".parse().unwrap(), limit: NonZeroU32::new(9), pace: Pace::Kept });
    let other = w.submit(vec![NewRun { concurrency, ..w.new_run() }]).await.remove(0);
    let waits = minute(&mut w, shard).await.remove(0);
    assert!(waits.is_buffered());
    assert_eq!(slot(&w).await, Slot::default(), "it waits for no job");
    let (slots, more) = w.store.keys_waited_for(None, 10).await.unwrap();
    assert_eq!((slots.len(), more), (1, false));
    assert_eq!((waiting(&slots[0].slot), holding(&slots[0].slot)), (vec![waits.run], vec![other.run]));
    assert!(w.store.keys_waited_for(Some(slots[0].key), 10).await.unwrap().0.is_empty());
    w.apply(other.run, Event::Cancel { reason: String::new(), grace: None }).await;
    let (slots, _) = w.store.keys_waited_for(None, 10).await.unwrap();
    let [Act::Release(next)] = settle(&slots[0].slot, w.now, w.rules.lease_ttl)[..] else { panic!("{slots:?}") };
    assert_eq!(changed(w.apply(next.run, Event::Release { due: next.due }).await).to, RunState::Queued);
    assert!(w.store.keys_waited_for(None, 10).await.unwrap().0.is_empty());
}

pub async fn slots_come_by_job_and_whole(mut w: World) {
    for name in ["a", "b", "c"] {
        let overlap = Overlap::BufferAll { max: 5 };
        w.create(name, JobSpec { overlap, ..spec(vec![every("main", 60)]) }).await;
    }
    let shard = w.own().await;
    for _ in 0..3 {
        minute(&mut w, shard).await;
    }
    let (slots, more) = w.store.waited_for(None, 1).await.unwrap();
    assert!(!more && slots.len() == 3);
    assert!(slots.iter().all(|slot| slot.slot.buffered.len() == 2 && slot.slot.holders.len() == 1));
    let (rest, _) = w.store.waited_for(Some(slots[0].job), 1).await.unwrap();
    assert_eq!(rest.iter().map(|slot| slot.job).collect::<Vec<_>>(), [slots[1].job, slots[2].job]);
    let mut names: Vec<_> = slots.iter().map(|slot| slot.name.to_string()).collect();
    names.sort_unstable();
    assert_eq!(names, ["a", "b", "c"]);
}
