//! Queues: pauses and limits hold in the transaction of the lease (I8).

use std::num::NonZeroU32;

use mainspring_engine::{
    domain::{
        attempt::Outcome,
        ids::{JobUid, RunId, WorkerId},
        job::JobSpec,
        names::{Lane, QueueName},
        rate::Rate,
        run::RunState,
        supersede::Pending,
        transition::Event,
        worker::AbandonReason,
    },
    ports::store::{
        CreateJob, HelloAnswer, LeaseAnswer, LeaseBatch, LeaseResult, NewJob, NewRun, QueueChange, QueueLevel,
        QueueSettings, Quota, ReportAnswer, Submitted, UpdateJob, Verdict,
    },
};

use super::world::{World, failure, lane, lane_of, pointer, secs, spec};

async fn set(w: &World, settings: QueueSettings) -> QueueChange {
    w.store.update_queue(w.now, &w.scope, &lane().queue, settings).await.unwrap()
}

async fn limit(w: &World, limit: u32) {
    let settings = QueueSettings { concurrency_limit: Some(limit), allow_missing: true, ..QueueSettings::default() };
    assert_eq!(set(w, settings).await, QueueChange::Done);
}

async fn in_flight(w: &World) -> u64 {
    w.store.queue(&w.scope, &lane().queue).await.unwrap().unwrap().in_flight
}

fn granted(results: &[LeaseResult]) -> usize {
    results.iter().filter(|result| matches!(result, LeaseResult::Leased(_))).count()
}

pub async fn a_limit_is_never_exceeded(w: World) {
    limit(&w, 3).await;
    let (one, other) = (w.connect().await, w.connect().await);
    let pointers: Vec<_> = w.submit((0..10).map(|_| w.new_run()).collect()).await.iter().map(pointer).collect();
    let batches = vec![
        LeaseBatch { owner: one, pointers: pointers[..2].to_vec() },
        LeaseBatch { owner: other, pointers: pointers[2..].to_vec() },
    ];
    let answers = w.store.lease(w.now, batches).await.unwrap();
    let results: Vec<_> = answers
        .into_iter()
        .flat_map(|answer| match answer {
            LeaseAnswer::Results(results) => results,
            LeaseAnswer::SessionGone => panic!("gone"),
        })
        .collect();
    assert_eq!(granted(&results), 3);
    assert!(results[3..].iter().all(|result| matches!(result, LeaseResult::NoRoom)), "the others wait on");
    assert_eq!((in_flight(&w).await, w.queued(&lane()).await.len()), (3, 7));
    // A repeat of what is leased is answered, full or not.
    assert_eq!(granted(&w.lease_all(one, vec![pointers[0]]).await), 1);
    // Other queues are open, or have a counter of their own.
    let settings = QueueSettings { concurrency_limit: Some(2), ..QueueSettings::default() };
    w.store.update_queue(w.now, &w.scope, &"q".parse().unwrap(), settings).await.unwrap();
    let there = w.submit(vec![NewRun { lane: lane_of("default", "q", "test.job"), ..w.new_run() }]).await;
    assert_eq!(granted(&w.lease_all(one, vec![pointer(&there[0])]).await), 1);
    let other = w.store.queue(&w.scope, &"q".parse().unwrap()).await.unwrap().unwrap().in_flight;
    assert_eq!((in_flight(&w).await, other), (3, 1));
}

pub async fn nothing_is_adopted_beyond_the_limit(mut w: World) {
    limit(&w, 1).await;
    let (one, other) = (w.connect().await, w.connect().await);
    let first = w.leased(one).await;
    w.apply(first.run, Event::Start { attempt: first.attempt, start_time: w.now }).await;
    w.pass(secs(40));
    w.store.expire(w.now, w.now, 10).await.unwrap();
    let second = w.leased(other).await;
    // Its place is taken.
    let (verdicts, moved) = w.reconnect(one.worker, 2, &[first]).await;
    assert!(
        matches!(verdicts[..], [(key, Verdict::Abandon(AbandonReason::LeaseExpired))] if key == first),
        "{verdicts:?}"
    );
    assert_eq!((moved.len(), in_flight(&w).await, w.state(first.run).await), (0, 1, RunState::Queued));
    // And free again.
    w.report(second, Outcome::Succeeded).await;
    let (verdicts, _) = w.reconnect(one.worker, 3, &[first]).await;
    assert!(matches!(verdicts[..], [(_, Verdict::Keep(_))]), "{verdicts:?}");
    assert_eq!((in_flight(&w).await, w.state(first.run).await), (1, RunState::Running));
    // A queue that is paused lets go on what has begun.
    w.pass(secs(40));
    w.store.expire(w.now, w.now, 10).await.unwrap();
    let paused = Some((true, String::new()));
    assert_eq!(set(&w, QueueSettings { paused, ..QueueSettings::default() }).await, QueueChange::Done);
    let (verdicts, _) = w.reconnect(one.worker, 4, &[first]).await;
    assert!(matches!(verdicts[..], [(_, Verdict::Keep(_))]), "{verdicts:?}");
}

pub async fn a_limit_counts_what_was_there(w: World) {
    let owner = w.connect().await;
    let held = w.leased(owner).await;
    limit(&w, 2).await;
    let (second, third) = (w.submit_one().await, w.submit_one().await);
    assert_eq!(granted(&w.lease_all(owner, vec![second, third]).await), 1);
    w.report(held, Outcome::Succeeded).await;
    assert_eq!(granted(&w.lease_all(owner, vec![third]).await), 1);
}

pub async fn every_end_makes_room(mut w: World) {
    limit(&w, 1).await;
    let owner = w.connect().await;
    for way in 0..6 {
        let key = w.leased(owner).await;
        let blocked = w.submit_one().await;
        assert!(matches!(w.lease_all(owner, vec![blocked]).await[0], LeaseResult::NoRoom), "{way}");
        match way {
            0 => drop(w.report(key, Outcome::Succeeded).await),
            1 => drop(w.report(key, Outcome::Failed(failure("X"))).await),
            2 => drop(w.apply(key.run, Event::Rejected { attempt: 1 }).await),
            3 => {
                w.apply(key.run, Event::Cancel { reason: String::new(), grace: None }).await;
                assert_eq!(in_flight(&w).await, 1, "it still runs");
                w.report(key, Outcome::Cancelled).await;
            }
            4 => {
                w.pass(secs(60));
                w.store.expire(w.now, w.now, 10).await.unwrap();
            }
            _ => drop(w.report(key, Outcome::Interrupted).await),
        }
        assert_eq!(in_flight(&w).await, 0, "{way}");
        let key = w.lease(owner, blocked).await.key;
        w.report(key, Outcome::Succeeded).await;
        for left in w.queued(&lane()).await {
            w.apply(left.run, Event::Cancel { reason: String::new(), grace: None }).await;
        }
    }
    // An adoption takes room again, since the attempt does run.
    let key = w.leased(owner).await;
    w.pass(secs(60));
    w.store.expire(w.now, w.now, 10).await.unwrap();
    w.store.reconcile(w.now, owner, vec![key]).await.unwrap();
    assert_eq!((in_flight(&w).await, w.state(key.run).await), (1, RunState::Running));
}

pub async fn a_paused_queue_leases_nothing(w: World) {
    let owner = w.connect().await;
    let running = [w.leased(owner).await, w.leased(owner).await];
    let pointer = w.submit_one().await;
    set(&w, QueueSettings { paused: Some((true, "deploy".into())), ..QueueSettings::default() }).await;
    assert!(matches!(w.lease_all(owner, vec![pointer]).await[0], LeaseResult::NoRoom));
    let view = w.store.queue(&w.scope, &lane().queue).await.unwrap().unwrap();
    assert_eq!((view.paused, view.pause_note.as_str(), view.depth), (true, "deploy", 1));
    // What runs may end, in whatever way.
    let ended =
        [w.report(running[0], Outcome::Succeeded).await, w.report(running[1], Outcome::Failed(failure("X"))).await];
    assert!(ended.iter().all(|answer| matches!(answer, ReportAnswer::Applied(_))), "{ended:?}");
    set(&w, QueueSettings { paused: Some((false, String::new())), ..QueueSettings::default() }).await;
    w.lease(owner, pointer).await;
}

pub async fn settings_need_the_revision(w: World) {
    let at = |revision| QueueSettings {
        concurrency_limit: Some(5),
        revision,
        allow_missing: true,
        ..QueueSettings::default()
    };
    assert_eq!(set(&w, at(Some(1))).await, QueueChange::RevisionMismatch, "it does not exist");
    assert_eq!(set(&w, at(None)).await, QueueChange::Done);
    let view = w.store.queue(&w.scope, &lane().queue).await.unwrap().unwrap();
    assert_eq!(view.concurrency_limit, 5);
    assert_eq!(set(&w, at(Some(view.revision))).await, QueueChange::Done);
    assert_eq!(set(&w, at(Some(view.revision))).await, QueueChange::RevisionMismatch);
}

pub async fn a_queue_is_known_once_it_was_named(w: World) {
    let limit = |limit| QueueSettings { concurrency_limit: Some(limit), ..QueueSettings::default() };
    let known = async |queue: &str| {
        let queue: QueueName = queue.parse().unwrap();
        let pause = QueueSettings { paused: Some((true, String::new())), ..QueueSettings::default() };
        let changed = w.store.update_queue(w.now, &w.scope, &queue, pause).await.unwrap() == QueueChange::Done;
        assert_eq!(w.store.queue(&w.scope, &queue).await.unwrap().is_some(), changed, "{queue}");
        changed
    };
    for queue in ["by-run", "by-job", "by-edit", "by-worker", "by-hand", "nobody"] {
        assert!(!known(queue).await, "{queue}");
    }
    w.submit(vec![NewRun { lane: lane_of("default", "by-run", "t"), ..w.new_run() }]).await;
    let named = |queue: &str| JobSpec { queue: queue.parse().unwrap(), ..spec(vec![]) };
    let job = w.create("report", named("by-job")).await;
    let update = UpdateJob {
        scope: w.scope.clone(),
        name: job.name,
        revision: job.revision,
        spec: named("by-edit"),
        pending: Pending::Keep,
        actor: "ops".into(),
    };
    w.store.update_job(w.now, update).await.unwrap();
    let mut hello = w.hello(WorkerId::new(w.now), 1, &[]);
    hello.handlers[0].queue = "by-worker".parse().unwrap();
    w.say_hello(&hello).await;
    let hand: QueueName = "by-hand".parse().unwrap();
    let only_asked = QueueSettings { allow_missing: true, validate_only: true, ..limit(1) };
    assert_eq!(w.store.update_queue(w.now, &w.scope, &hand, only_asked).await.unwrap(), QueueChange::Done);
    assert!(!known("by-hand").await, "it was only asked for");
    let made = QueueSettings { allow_missing: true, ..limit(1) };
    assert_eq!(w.store.update_queue(w.now, &w.scope, &hand, made).await.unwrap(), QueueChange::Done);
    for queue in ["by-run", "by-job", "by-edit", "by-worker", "by-hand"] {
        assert!(known(queue).await, "{queue}");
    }
    assert!(!known("nobody").await);
}

/// Runs of lanes that nobody has named before.
fn strangers(w: &World, lanes: std::ops::Range<usize>, lane: impl Fn(usize) -> Lane) -> Vec<NewRun> {
    lanes.map(|number| NewRun { lane: lane(number), ..w.new_run() }).collect()
}

async fn refused(w: &World, runs: Vec<NewRun>) -> Vec<Option<Quota>> {
    let answers = w.store.submit(w.now, runs).await.unwrap().into_iter().map(|answer| match answer {
        Submitted::Stored(_) => None,
        Submitted::Full(quota) => Some(quota),
        other => panic!("{other:?}"),
    });
    answers.collect()
}

pub async fn a_namespace_has_so_many_queues_and_no_more(w: World) {
    let queue = |number| lane_of("default", &format!("q{number}"), "test.job");
    let limit = Quota::Queues.limit();
    // Whoever names what is there already is served beside whoever does not.
    let mut runs = strangers(&w, 0..limit + 2, queue);
    runs.push(NewRun { lane: queue(7), ..w.new_run() });
    let answers = refused(&w, runs).await;
    let full: Vec<_> = (0..).zip(&answers).filter_map(|(place, answer)| answer.map(|quota| (place, quota))).collect();
    assert_eq!(full.len(), 2, "{full:?}");
    assert!(full.iter().all(|(place, quota)| *place < limit + 2 && *quota == Quota::Queues), "{full:?}");
    let new: QueueName = "another".parse().unwrap();
    let settings = QueueSettings { concurrency_limit: Some(1), allow_missing: true, ..QueueSettings::default() };
    let made = w.store.update_queue(w.now, &w.scope, &new, settings.clone()).await.unwrap();
    assert_eq!(made, QueueChange::Full(Quota::Queues));
    let there = w.store.update_queue(w.now, &w.scope, &"q7".parse().unwrap(), settings).await.unwrap();
    assert_eq!(there, QueueChange::Done);
    let (scope, uid, name) = (w.scope.clone(), JobUid::new(w.now), "report".parse().unwrap());
    let spec = JobSpec { queue: new.clone(), ..spec(vec![]) };
    let job = NewJob { scope, uid, name, spec, request: None };
    let created = w.store.create_job(w.now, job).await.unwrap();
    assert!(matches!(created, CreateJob::Full(Quota::Queues)), "{created:?}");
    let mut hello = w.hello(WorkerId::new(w.now), 1, &[]);
    hello.handlers[0].queue = new;
    let answer = w.say_hello(&hello).await;
    assert!(matches!(answer, HelloAnswer::Full(Quota::Queues)), "{answer:?}");
    // Another namespace has its own.
    let elsewhere = NewRun { lane: lane_of("other", "another", "test.job"), ..w.new_run() };
    assert_eq!(refused(&w, vec![elsewhere]).await, [None]);
}

pub async fn a_namespace_has_so_many_lanes_and_no_more(w: World) {
    let of_type = |number| lane_of("default", "default", &format!("t{number}"));
    let limit = Quota::Lanes.limit();
    for begin in (0..limit).step_by(1_000) {
        let answers = refused(&w, strangers(&w, begin..begin + 1_000, of_type)).await;
        assert!(answers.iter().all(Option::is_none));
    }
    let last = [of_type(limit), of_type(limit - 1)].map(|lane| NewRun { lane, ..w.new_run() });
    assert_eq!(refused(&w, last.to_vec()).await, [Some(Quota::Lanes), None]);
}

pub async fn what_is_only_asked_for_changes_nothing(w: World) {
    limit(&w, 2).await;
    let before = w.store.queue(&w.scope, &lane().queue).await.unwrap().unwrap();
    let at = |revision| QueueSettings {
        concurrency_limit: Some(9),
        revision: Some(revision),
        validate_only: true,
        ..QueueSettings::default()
    };
    assert_eq!(set(&w, at(before.revision)).await, QueueChange::Done);
    assert_eq!(set(&w, at(before.revision + 1)).await, QueueChange::RevisionMismatch);
    let after = w.store.queue(&w.scope, &lane().queue).await.unwrap().unwrap();
    assert_eq!((after.concurrency_limit, after.revision), (2, before.revision));
}

pub async fn restricted_queues_are_listed(w: World) {
    w.submit_one().await;
    assert!(w.store.restricted_queues().await.unwrap().is_empty());
    limit(&w, 2).await;
    let owner = w.connect().await;
    w.leased(owner).await;
    let listed = w.store.restricted_queues().await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!((&listed[0].scope, &listed[0].queue), (&w.scope, &lane().queue));
    assert_eq!((listed[0].paused, listed[0].room), (false, Some(1)));
    let settings =
        QueueSettings { paused: Some((true, String::new())), concurrency_limit: Some(0), ..QueueSettings::default() };
    set(&w, settings).await;
    let listed = w.store.restricted_queues().await.unwrap();
    assert_eq!((listed[0].paused, listed[0].room), (true, None));
}

pub async fn lifting_a_limit_opens_the_queue(w: World) {
    limit(&w, 1).await;
    let owner = w.connect().await;
    let first = w.leased(owner).await;
    let second = w.submit_one().await;
    limit(&w, 0).await;
    assert_eq!(granted(&w.lease_all(owner, vec![second]).await), 1);
    w.report(first, Outcome::Succeeded).await;
    limit(&w, 1).await;
    assert_eq!(in_flight(&w).await, 1);
    let third = w.submit_one().await;
    assert!(matches!(w.lease_all(owner, vec![third]).await[0], LeaseResult::NoRoom));
}

pub async fn what_moved_on_is_stale_even_where_there_is_no_room(w: World) {
    let owner = w.connect().await;
    let (cancelled, returned, waiting) = (w.submit_one().await, w.submit_one().await, w.submit_one().await);
    w.apply(cancelled.run, Event::Cancel { reason: String::new(), grace: None }).await;
    w.lease(owner, returned).await;
    w.apply(returned.run, Event::Rejected { attempt: 1 }).await;
    set(&w, QueueSettings { paused: Some((true, String::new())), ..QueueSettings::default() }).await;
    let results = w.lease_all(owner, vec![cancelled, returned, waiting]).await;
    use LeaseResult::{NoRoom, Stale};
    assert!(matches!(results[..], [Stale, Stale, NoRoom]), "{results:?}");
}

pub async fn levels_are_of_every_queue_that_holds_something(mut w: World) {
    assert_eq!(w.store.queue_levels().await.unwrap(), []);
    let aside = NewRun { lane: lane_of("default", "aside", "test.job"), ..w.new_run() };
    let elsewhere = NewRun { lane: lane_of("other", "default", "test.job"), ..w.new_run() };
    w.submit(vec![aside, elsewhere]).await;
    let first = w.now;
    w.pass(secs(5));
    // Of one queue, whatever the types.
    let again = NewRun { lane: lane_of("default", "aside", "test.other"), ..w.new_run() };
    w.submit(vec![again]).await;
    let owner = w.connect().await;
    let held = w.leased(owner).await;
    let level = |namespace: &str, queue: &str, depth, oldest, in_flight| {
        let Lane { namespace, queue, .. } = lane_of(namespace, queue, "test.job");
        QueueLevel { namespace, queue, depth, oldest, in_flight }
    };
    let (waiting, at_worker) = (level("default", "aside", 2, Some(first), 0), level("default", "default", 0, None, 1));
    let other = level("other", "default", 1, Some(first), 0);
    assert_eq!(w.store.queue_levels().await.unwrap(), [waiting.clone(), at_worker, other.clone()]);
    w.report(held, Outcome::Succeeded).await;
    assert_eq!(w.store.queue_levels().await.unwrap(), [waiting, other]);
}

pub async fn a_store_that_is_well_answers_and_nothing_waits(w: World) {
    w.store.answers().await.unwrap();
    assert_eq!(w.store.waiting_batches(), 0);
}

pub async fn a_rate_is_told_and_lifted(mut w: World) {
    let rate = Rate { count: NonZeroU32::new(100).unwrap(), per: secs(60), burst: NonZeroU32::new(5).unwrap() };
    let paced = |rate| QueueSettings { rate: Some(rate), allow_missing: true, ..QueueSettings::default() };
    assert!(w.store.restricted_queues().await.unwrap().is_empty());
    set(&w, paced(Some(rate))).await;
    let view = w.store.queue(&w.scope, &lane().queue).await.unwrap().unwrap();
    assert_eq!((view.rate, view.concurrency_limit), (Some(rate), 0));
    let told = w.store.restricted_queues().await.unwrap();
    assert_eq!(
        told.iter().map(|queue| (queue.rate, queue.room, queue.paused)).collect::<Vec<_>>(),
        [(Some(rate), None, false)]
    );
    // Whatever else is set leaves it, and a lease takes no notice of it.
    set(&w, QueueSettings { concurrency_limit: Some(3), ..QueueSettings::default() }).await;
    let runs = (0..3).map(|_| NewRun { id: RunId::new(w.now), ..w.new_run() }).collect();
    let pointers: Vec<_> = w.submit(runs).await.iter().map(pointer).collect();
    w.pass(secs(1));
    let owner = w.connect().await;
    let leased = w.lease_all(owner, pointers).await;
    assert!(leased.iter().all(|result| matches!(result, LeaseResult::Leased(_))), "{leased:?}");
    let told = w.store.restricted_queues().await.unwrap();
    assert_eq!(told.iter().map(|queue| (queue.rate, queue.room)).collect::<Vec<_>>(), [(Some(rate), Some(0))]);
    set(&w, paced(None)).await;
    assert_eq!(w.store.queue(&w.scope, &lane().queue).await.unwrap().unwrap().rate, None);
}
