//! Hello and reconciliation: what a worker holds against what the rows say.

use std::collections::BTreeMap;

use mainspring_engine::{
    domain::{
        attempt::{AttemptKey, Outcome},
        filter::Filter,
        ids::{RunId, WorkerId},
        names::Scope,
        policy::RunPolicy,
        run::{RunState, reason},
        transition::Event,
        worker::{AbandonReason, Drain, Handler, Hello, WorkerStatus},
    },
    ports::store::{Direction, HelloAnswer, JobTypeView, LeaseResult, NewRun, Owner, Verdict},
};

use super::world::{World, changed, failure, lane, lane_of, page, pointer, secs};

fn abandoned(verdict: &Verdict) -> AbandonReason {
    match verdict {
        Verdict::Abandon(reason) => *reason,
        other => panic!("{other:?}"),
    }
}

pub async fn an_older_stream_is_superseded(w: World) {
    let worker = WorkerId::new(w.now);
    w.reconnect(worker, 5, &[]).await;
    for epoch in [4, 5] {
        assert!(matches!(w.say_hello(&w.hello(worker, epoch, &[])).await, HelloAnswer::Superseded));
    }
    w.reconnect(worker, 6, &[]).await;
}

pub async fn listed_attempts_are_kept(w: World) {
    let owner = w.connect().await;
    let key = w.leased(owner).await;
    let (verdicts, moved) = w.reconnect(owner.worker, 2, &[key]).await;
    assert!(moved.is_empty());
    let (listed, Verdict::Keep(held)) = &verdicts[0] else { panic!("{verdicts:?}") };
    assert_eq!((*listed, held.key), (key, key));
    assert!(held.payload.data.is_empty(), "the worker has it");
    assert_eq!(w.state(key.run).await, RunState::Leased);
}

pub async fn expired_attempts_are_adopted(mut w: World) {
    let owner = w.connect().await;
    let key = w.leased(owner).await;
    w.pass(secs(60));
    let moved = w.store.expire(w.now, w.now, 10).await.unwrap().moved;
    assert_eq!(moved[0].to, RunState::Queued);
    let (verdicts, adopted) = w.reconnect(owner.worker, 2, &[key]).await;
    assert!(matches!(verdicts[0].1, Verdict::Keep(_)), "{verdicts:?}");
    assert_eq!((adopted[0].from, adopted[0].to), (Some(RunState::Queued), RunState::Running));
    let life = w.store.run(&w.scope, key.run).await.unwrap().unwrap().life;
    assert_eq!((life.losses, life.open), (0, Some(1)), "nothing is charged");
    // The pointer of the stay in the queue it was adopted out of is dead: for another worker, and for the very one that
    // runs it, which would be told to start it again.
    let other = w.connect().await;
    for owner in [other, Owner { epoch: 2, ..owner }] {
        let stale = pointer(&moved[0]);
        assert!(matches!(w.lease_all(owner, vec![stale]).await[0], LeaseResult::Stale));
    }
}

pub async fn moved_on_attempts_are_abandoned(mut w: World) {
    let owner = w.connect().await;
    let (over, returned, failed) = (w.leased(owner).await, w.leased(owner).await, w.leased(owner).await);
    w.report(over, Outcome::Succeeded).await;
    w.apply(returned.run, Event::Rejected { attempt: 1 }).await;
    w.report(failed, Outcome::Failed(failure("X"))).await;
    let mut policy = RunPolicy::default();
    policy.timeouts.execution = Some(secs(10));
    policy.retry.retry_timeouts = false;
    let late = w.running(owner, policy).await;
    w.pass(secs(10));
    w.apply(late.run, Event::Deadline).await;
    w.pass(secs(30));
    w.apply(late.run, Event::Deadline).await;
    let lost = w.leased(owner).await;
    w.pass(secs(60));
    let moved = w.store.expire(w.now, w.now, 10).await.unwrap().moved;
    let next = w.connect().await;
    w.lease(next, pointer(&moved[0])).await;
    let unknown = AttemptKey { run: RunId::new(w.now), attempt: 1 };
    let future = AttemptKey { attempt: 9, ..lost };
    let listed = [over, returned, failed, late, lost, unknown, future];
    let (verdicts, moved) = w.reconnect(owner.worker, 2, &listed).await;
    assert!(moved.is_empty());
    assert_eq!(verdicts.iter().map(|(key, _)| *key).collect::<Vec<_>>(), listed, "in order");
    let reasons: Vec<_> = verdicts.iter().map(|(_, verdict)| abandoned(verdict)).collect();
    assert_eq!(
        reasons,
        [
            AbandonReason::AlreadyTerminal,
            AbandonReason::Returned,
            AbandonReason::LeaseExpired,
            AbandonReason::TimedOut,
            AbandonReason::LeaseExpired,
            AbandonReason::UnknownAttempt,
            AbandonReason::UnknownAttempt,
        ]
    );
}

pub async fn unlisted_leases_are_returned(w: World) {
    let owner = w.connect().await;
    let (kept, gone) = (w.leased(owner).await, w.leased(owner).await);
    let (_, moved) = w.reconnect(owner.worker, 2, &[kept]).await;
    assert_eq!(moved.len(), 1);
    assert_eq!((moved[0].run, moved[0].to), (gone.run, RunState::Queued));
    let life = w.store.run(&w.scope, gone.run).await.unwrap().unwrap().life;
    assert_eq!((life.returns, life.losses, life.open), (1, 0, None));
    assert_eq!(w.state(kept.run).await, RunState::Leased);
}

pub async fn unlisted_running_attempts_are_lost(w: World) {
    let owner = w.connect().await;
    let gone = w.running(owner, RunPolicy::default()).await;
    let (_, moved) = w.reconnect(owner.worker, 2, &[]).await;
    assert_eq!((moved[0].from, moved[0].to), (Some(RunState::Running), RunState::Queued));
    let life = w.store.run(&w.scope, gone.run).await.unwrap().unwrap().life;
    assert_eq!((life.returns, life.losses), (0, 1));
}

pub async fn stops_are_told(mut w: World) {
    let owner = w.connect().await;
    let key = w.leased(owner).await;
    w.apply(key.run, Event::Cancel { reason: "wrong input".into(), grace: None }).await;
    let (verdicts, _) = w.reconnect(owner.worker, 2, &[key]).await;
    assert!(
        matches!(&verdicts[0].1, Verdict::Stop(held, why) if held.key == key && why == "wrong input"),
        "{verdicts:?}"
    );
    let mut policy = RunPolicy::default();
    policy.timeouts.execution = Some(secs(10));
    let late = w.running(Owner { epoch: 2, ..owner }, policy).await;
    w.pass(secs(10));
    w.apply(late.run, Event::Deadline).await;
    let (verdicts, _) = w.reconnect(owner.worker, 3, &[late]).await;
    assert!(
        matches!(&verdicts[0].1, Verdict::Stop(held, why) if held.key == late && why == reason::EXECUTION_TIMEOUT),
        "{verdicts:?}"
    );
}

pub async fn nobody_takes_up_anothers_attempt(mut w: World) {
    let (owner, thief) = (w.connect().await, w.connect().await);
    let key = w.leased(owner).await;
    for waits in [false, true] {
        let (verdicts, moved) = w.store.reconcile(w.now, thief, vec![key]).await.unwrap().unwrap();
        assert_eq!((abandoned(&verdicts[0].1), moved), (AbandonReason::UnknownAttempt, Vec::new()), "waits: {waits}");
        w.pass(secs(60));
        w.store.expire(w.now, w.now, 10).await.unwrap();
    }
    let (verdicts, _) = w.store.reconcile(w.now, owner, vec![key]).await.unwrap().unwrap();
    assert!(matches!(verdicts[0].1, Verdict::Keep(_)), "{verdicts:?}");
    w.apply(key.run, Event::Rejected { attempt: 1 }).await;
    for (asks, reason) in [(thief, AbandonReason::UnknownAttempt), (owner, AbandonReason::Returned)] {
        let (verdicts, _) = w.store.reconcile(w.now, asks, vec![key]).await.unwrap().unwrap();
        assert_eq!(abandoned(&verdicts[0].1), reason, "an attempt that ended is its worker's as well");
    }
}

pub async fn a_drain_survives_a_reconnect(w: World) {
    let owner = w.connect().await;
    assert!(w.store.drain_worker(w.now, &w.scope, owner.worker, Drain::Terminate).await.unwrap());
    assert!(!w.store.drain_worker(w.now, &w.scope, WorkerId::new(w.now), Drain::Quiesce).await.unwrap());
    let answer = w.say_hello(&w.hello(owner.worker, 2, &[])).await;
    assert!(matches!(answer, HelloAnswer::Welcome { drain: Some(Drain::Terminate), .. }), "{answer:?}");
}

pub async fn reconcile_needs_the_owner(w: World) {
    let owner = w.connect().await;
    let key = w.leased(owner).await;
    let old = Owner { epoch: 0, ..owner };
    assert!(w.store.reconcile(w.now, old, vec![key]).await.unwrap().is_none());
    let (verdicts, _) = w.store.reconcile(w.now, owner, vec![key]).await.unwrap().unwrap();
    assert!(matches!(verdicts[0].1, Verdict::Keep(_)));
}

pub async fn reconcile_takes_nothing_back(mut w: World) {
    let owner = w.connect().await;
    let (one, other) = (w.leased(owner).await, w.leased(owner).await);
    let (_, moved) = w.store.reconcile(w.now, owner, vec![one]).await.unwrap().unwrap();
    assert!(moved.is_empty());
    assert_eq!(w.state(other.run).await, RunState::Leased);
    w.pass(secs(60));
    w.store.expire(w.now, w.now, 10).await.unwrap();
    let (verdicts, moved) = w.store.reconcile(w.now, owner, vec![one]).await.unwrap().unwrap();
    assert!(matches!(verdicts[0].1, Verdict::Keep(_)));
    assert_eq!((moved.len(), moved[0].to), (1, RunState::Running));
}

pub async fn another_namespaces_attempts_are_unknown(w: World) {
    let there = NewRun { lane: lane_of("other", "default", "test.job"), ..w.new_run() };
    let moved = w.submit(vec![there]).await.remove(0);
    let owner = w.connect().await;
    let foreign = w.lease_all(owner, vec![pointer(&moved)]).await.remove(0);
    assert!(matches!(foreign, LeaseResult::Stale), "a worker leases nothing of another namespace");
    let theirs = Hello { namespace: "other".parse().unwrap(), ..w.hello(WorkerId::new(w.now), 1, &[]) };
    w.say_hello(&theirs).await;
    let key = w.lease(Owner { worker: theirs.worker, epoch: 1 }, pointer(&moved)).await.key;
    let (verdicts, _) = w.store.reconcile(w.now, owner, vec![key]).await.unwrap().unwrap();
    assert_eq!(abandoned(&verdicts[0].1), AbandonReason::UnknownAttempt);
}

pub async fn a_worker_does_not_move_to_another_namespace(mut w: World) {
    let there = Hello { namespace: "other".parse().unwrap(), ..w.hello(WorkerId::new(w.now), 5, &[]) };
    w.say_hello(&there).await;
    let scope = Scope(there.namespace.clone());
    let before = w.store.worker(&scope, there.worker).await.unwrap().unwrap();
    w.pass(secs(1));
    // However late or early it is: a later one of the same process would fare no better.
    for epoch in [4, 5, 6] {
        let here = Hello { namespace: w.scope.0.clone(), name: "mine".into(), epoch, ..there.clone() };
        assert!(matches!(w.say_hello(&here).await, HelloAnswer::Foreign));
    }
    let after = w.store.worker(&scope, there.worker).await.unwrap().unwrap();
    assert_eq!((after.name, after.connect_time), (before.name, before.connect_time), "it is as it was");
    assert!(w.store.worker(&w.scope, there.worker).await.unwrap().is_none());
}

pub async fn a_later_hello_replaces_what_a_worker_is(mut w: World) {
    let owner = w.connect().await;
    let before = w.store.worker(&w.scope, owner.worker).await.unwrap().unwrap();
    w.store.set_status(w.now, owner, WorkerStatus::Disconnected).await.unwrap();
    w.pass(secs(9));
    let later = Hello {
        name: "other".into(),
        labels: BTreeMap::from([("zone".into(), "b".into())]),
        sdk: "test/2".into(),
        build_id: "b2".into(),
        capacity: BTreeMap::from([(lane().queue, 3)]),
        handlers: vec![Handler {
            job_type: "test.other".parse().unwrap(),
            ..w.hello(owner.worker, 2, &[]).handlers.remove(0)
        }],
        ..w.hello(owner.worker, 2, &[])
    };
    let bystander = w.connect().await;
    w.say_hello(&later).await;
    let view = w.store.worker(&w.scope, owner.worker).await.unwrap().unwrap();
    assert_eq!(
        (&view.name, &view.labels, &view.sdk, &view.build_id),
        (&later.name, &later.labels, &later.sdk, &later.build_id)
    );
    assert_eq!((&view.capacity, view.job_types), (&later.capacity, vec!["test.other".parse().unwrap()]));
    assert_eq!((view.status, view.connect_time, view.last_heartbeat_time), (WorkerStatus::Connected, w.now, w.now));
    assert_eq!(view.lease_expire_time, w.lease_end());
    assert!(view.server.is_some() && view.server != before.server, "each Hello here comes to another server");
    let other = w.store.worker(&w.scope, bystander.worker).await.unwrap().unwrap();
    assert_eq!(other.job_types, [lane().job_type]);
}

pub async fn the_last_word_on_a_job_type_counts(mut w: World) {
    let hello = |w: &World, namespace: &str, job_type: &str, queue: &str, words: &str| {
        let handler = Handler {
            job_type: job_type.parse().unwrap(),
            queue: queue.parse().unwrap(),
            description: words.into(),
            input_schema: format!("{{\"in\":\"{words}\"}}"),
            output_schema: format!("{{\"out\":\"{words}\"}}"),
        };
        let namespace = namespace.parse().unwrap();
        Hello { namespace, handlers: vec![handler], ..w.hello(WorkerId::new(w.now), 1, &[]) }
    };
    w.say_hello(&hello(&w, "other", "test.job", "far", "there")).await;
    w.say_hello(&hello(&w, "default", "test.else", "away", "else")).await;
    w.say_hello(&hello(&w, "default", "test.job", "a", "first")).await;
    w.pass(secs(5));
    w.say_hello(&hello(&w, "default", "test.job", "b", "second")).await;
    let page = page(Some("test.else".into()), 5);
    let types = w.store.job_types(&w.scope, &Filter::All, Direction::Up, page).await.unwrap().entries;
    assert_eq!(types.len(), 1);
    let JobTypeView { description, input_schema, output_schema, queues, announce_time, .. } = &types[0];
    assert_eq!((description.as_str(), *announce_time), ("second", w.now));
    assert_eq!((input_schema.as_str(), output_schema.as_str()), ("{\"in\":\"second\"}", "{\"out\":\"second\"}"));
    assert_eq!(queues.iter().map(|queue| queue.as_str()).collect::<Vec<_>>(), ["a", "b"]);
}

pub async fn payloads_are_held_against_what_is_announced(mut w: World) {
    let hello = |w: &World, worker: WorkerId, epoch: i64, input: &str, output: &str| {
        let mut hello = w.hello(worker, epoch, &[]);
        hello.handlers[0].input_schema = input.into();
        hello.handlers[0].output_schema = output.into();
        hello
    };
    let lane = lane();
    let held = async |w: &World| w.store.input_schemas(&w.scope, &lane.job_type).await.unwrap();
    let announced = async |w: &World| {
        let page = page(None, 5);
        let listed = w.store.job_types(&w.scope, &Filter::All, Direction::Up, page).await.unwrap();
        let pairs = listed.entries[0].announcements.clone();
        pairs.into_iter().map(|pair| (pair.input_schema, pair.announce_time, pair.worker_count)).collect::<Vec<_>>()
    };
    assert!(held(&w).await.is_empty(), "nobody ever announced it");
    let (old, new) = (WorkerId::new(w.now), WorkerId::new(w.now));
    w.say_hello(&hello(&w, old, 1, "{}", "")).await;
    let first = w.now;
    w.pass(secs(1));
    w.say_hello(&hello(&w, new, 1, "true", "")).await;
    let second = w.now;
    assert_eq!(held(&w).await, ["true", "{}"], "the newest first");
    w.pass(secs(1));
    // Said again it is no newer, and another output is no other input.
    w.say_hello(&hello(&w, old, 2, "{}", "")).await;
    w.say_hello(&hello(&w, WorkerId::new(w.now), 1, "true", "{}")).await;
    assert_eq!(held(&w).await, ["true", "{}"]);
    let pair = |input: &str, time, count| (input.to_owned(), time, count);
    assert_eq!(announced(&w).await, [pair("true", w.now, 1), pair("true", second, 1), pair("{}", first, 1)]);
    let elsewhere = Scope("other".parse().unwrap());
    assert!(w.store.input_schemas(&elsewhere, &lane.job_type).await.unwrap().is_empty());

    // Away is not gone; and whoever is there counts before the last word.
    w.store.set_status(w.now, Owner { worker: new, epoch: 1 }, WorkerStatus::Gone).await.unwrap();
    w.store.set_status(w.now, Owner { worker: old, epoch: 2 }, WorkerStatus::Disconnected).await.unwrap();
    assert_eq!(held(&w).await, ["true", "{}"]);
    w.pass(secs(60));
    w.store.expire(w.now, w.now, 10).await.unwrap();
    assert_eq!(held(&w).await, ["true"], "nobody is there: the last word");
    assert!(announced(&w).await.is_empty());

    // What nobody names any more is forgotten, and announced anew when it comes back.
    w.say_hello(&hello(&w, old, 3, "false", "")).await;
    w.pass(secs(1));
    w.say_hello(&hello(&w, old, 4, "{}", "")).await;
    assert_eq!((held(&w).await, announced(&w).await), (vec!["{}".to_owned()], vec![pair("{}", w.now, 1)]));
}

pub async fn only_a_worker_that_is_there_is_drained(w: World) {
    let (here, away, gone) = (w.connect().await, w.connect().await, w.connect().await);
    w.store.set_status(w.now, away, WorkerStatus::Disconnected).await.unwrap();
    w.store.set_status(w.now, gone, WorkerStatus::Gone).await.unwrap();
    let there = Hello { namespace: "other".parse().unwrap(), ..w.hello(WorkerId::new(w.now), 1, &[]) };
    w.say_hello(&there).await;
    assert!(
        !w.store.drain_worker(w.now, &Scope(there.namespace), here.worker, Drain::Quiesce).await.unwrap(),
        "it serves another namespace"
    );
    let status = async |w: &World, owner: Owner| w.store.worker(&w.scope, owner.worker).await.unwrap().unwrap().status;
    assert_eq!(status(&w, here).await, WorkerStatus::Connected);
    let drained =
        async |owner: Owner| w.store.drain_worker(w.now, &w.scope, owner.worker, Drain::Quiesce).await.unwrap();
    assert_eq!((drained(away).await, drained(gone).await), (true, false));
    assert_eq!(status(&w, away).await, WorkerStatus::Disconnected, "and drains once it is back");
    assert_eq!(status(&w, gone).await, WorkerStatus::Gone);
    w.reconnect(away.worker, 2, &[]).await;
    assert_eq!(status(&w, away).await, WorkerStatus::Draining);
}

pub async fn an_attempt_is_abandoned_for_its_own_reason(w: World) {
    let owner = w.connect().await;
    let first = w.leased(owner).await;
    let moved = changed(w.apply(first.run, Event::Rejected { attempt: 1 }).await);
    let second = w.lease(owner, pointer(&moved)).await.key;
    w.report(second, Outcome::Failed(failure("X"))).await;
    let never = AttemptKey { attempt: 0, ..first };
    let (verdicts, _) = w.store.reconcile(w.now, owner, vec![first, second, never]).await.unwrap().unwrap();
    let reasons: Vec<_> = verdicts.iter().map(|(_, verdict)| abandoned(verdict)).collect();
    use AbandonReason::{LeaseExpired, Returned, UnknownAttempt};
    assert_eq!(reasons, [Returned, LeaseExpired, UnknownAttempt]);
}
