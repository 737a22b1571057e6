//! Heartbeats, and what becomes of workers that are not heard.

use std::sync::Arc;

use futures::future::join_all;
use mainspring_engine::{
    domain::{
        ids::WorkerId,
        names::Scope,
        policy::RunPolicy,
        run::{RunState, reason},
        transition::Event,
        worker::{Drain, Hello, WorkerStatus},
    },
    ports::store::{Judged, LostWorker, Owner, Renewal, RenewalAnswer},
};

use super::world::{World, lane, secs};

const RENEWED: RenewalAnswer = RenewalAnswer::Alive { lapsed: false, drain: None };
const LAPSED: RenewalAnswer = RenewalAnswer::Alive { lapsed: true, drain: None };

async fn renew(w: &World, owner: Owner) -> RenewalAnswer {
    w.store.renew(w.now, vec![w.renewal(owner)]).await.unwrap().remove(0)
}

async fn status(w: &World, owner: Owner) -> WorkerStatus {
    w.store.worker(&w.scope, owner.worker).await.unwrap().unwrap().status
}

pub async fn renewals_answer_by_owner(mut w: World) {
    let (one, other) = (w.connect().await, w.connect().await);
    w.pass(secs(5));
    let old = Owner { epoch: 0, ..other };
    let nobody = Owner { worker: WorkerId::new(w.now), epoch: 1 };
    let renewals = [one, old, other, nobody].map(|owner| w.renewal(owner));
    let answers = w.store.renew(w.now, renewals.to_vec()).await.unwrap();
    use RenewalAnswer::Superseded;
    assert_eq!(answers, [RENEWED, Superseded, RENEWED, Superseded]);
    let view = w.store.worker(&w.scope, one.worker).await.unwrap().unwrap();
    assert_eq!((view.last_heartbeat_time, view.lease_expire_time), (w.now, w.lease_end()));
}

pub async fn a_renewal_after_judgement_is_lapsed(mut w: World) {
    let owner = w.connect().await;
    w.pass(secs(31));
    w.store.expire(w.now, w.now, 10).await.unwrap();
    assert_eq!(status(&w, owner).await, WorkerStatus::Lost);
    assert_eq!(renew(&w, owner).await, LAPSED);
    assert_eq!(status(&w, owner).await, WorkerStatus::Connected);
    assert_eq!(renew(&w, owner).await, RENEWED);
}

pub async fn renewals_record_what_workers_say_of_themselves(mut w: World) {
    let owner = w.connect().await;
    let view = w.store.worker(&w.scope, owner.worker).await.unwrap().unwrap();
    assert_eq!((view.status, view.capacity), (WorkerStatus::Connected, [(lane().queue, 10)].into()));
    w.pass(secs(5));
    let capacity = Some([(lane().queue, 3)].into());
    let answers = w.store.renew(w.now, vec![Renewal { draining: true, capacity, ..w.renewal(owner) }]).await.unwrap();
    assert_eq!(answers, [RENEWED], "nobody but the worker itself asked for it");
    let view = w.store.worker(&w.scope, owner.worker).await.unwrap().unwrap();
    assert_eq!((view.status, view.capacity), (WorkerStatus::Draining, [(lane().queue, 3)].into()));
    let old = Owner { epoch: 0, ..owner };
    let capacity = Some([(lane().queue, 9)].into());
    w.store.renew(w.now, vec![Renewal { capacity, ..w.renewal(old) }]).await.unwrap();
    let view = w.store.worker(&w.scope, owner.worker).await.unwrap().unwrap();
    assert_eq!(view.capacity, [(lane().queue, 3)].into(), "an old session has no say");
}

pub async fn renewals_tell_what_an_operator_asked(w: World) {
    let owner = w.connect().await;
    let told = |drain| RenewalAnswer::Alive { lapsed: false, drain };
    assert_eq!(renew(&w, owner).await, told(None));
    for (asked, stays) in
        [(Drain::Quiesce, Drain::Quiesce), (Drain::Terminate, Drain::Terminate), (Drain::Quiesce, Drain::Terminate)]
    {
        assert!(w.store.drain_worker(w.now, &w.scope, owner.worker, asked).await.unwrap());
        assert_eq!(renew(&w, owner).await, told(Some(stays)));
    }
    assert_eq!(status(&w, owner).await, WorkerStatus::Draining);
}

pub async fn expired_runs_wait_again(mut w: World) {
    let owner = w.connect().await;
    let (leased, running) = (w.leased(owner).await, w.running(owner, RunPolicy::default()).await);
    w.pass(secs(30));
    let Judged { moved, more, .. } = w.store.expire(w.now, w.now, 10).await.unwrap();
    assert!(moved.is_empty() && !more, "a lease lives to its end");
    w.pass(secs(1));
    let Judged { moved, more, .. } = w.store.expire(w.now, w.now, 10).await.unwrap();
    assert!(!more);
    let mut runs: Vec<_> = moved.iter().map(|moved| (moved.run, moved.to)).collect();
    runs.sort_unstable();
    let mut wanted = [(leased.run, RunState::Queued), (running.run, RunState::Queued)];
    wanted.sort_unstable();
    assert_eq!(runs, wanted);
    assert_eq!(w.queued(&lane()).await.len(), 2);
    assert!(w.store.expire(w.now, w.now, 10).await.unwrap().moved.is_empty());
}

pub async fn expiry_goes_on_in_steps(mut w: World) {
    let owner = w.connect().await;
    for _ in 0..5 {
        w.leased(owner).await;
    }
    w.pass(secs(60));
    let Judged { moved: first, more, .. } = w.store.expire(w.now, w.now, 2).await.unwrap();
    assert_eq!((first.len(), more), (2, true));
    // A heartbeat in between learns that some of what its session believes has passed.
    assert_eq!(renew(&w, owner).await, LAPSED);
    assert!(w.store.expire(w.now, w.now, 2).await.unwrap().moved.is_empty());
    w.pass(secs(60));
    let Judged { moved: second, more, .. } = w.store.expire(w.now, w.now, 2).await.unwrap();
    assert_eq!((second.len(), more), (2, true));
    let Judged { moved: third, more, .. } = w.store.expire(w.now, w.now, 2).await.unwrap();
    assert_eq!((third.len(), more), (1, false));
}

pub async fn who_becomes_lost_is_told_once(mut w: World) {
    let (silent, left) = (w.connect().await, w.connect().await);
    let elsewhere =
        Hello { namespace: "other".parse().unwrap(), name: "o".into(), ..w.hello(WorkerId::new(w.now), 1, &[]) };
    w.say_hello(&elsewhere).await;
    for _ in 0..2 {
        w.leased(silent).await;
    }
    w.store.set_status(w.now, left, WorkerStatus::Gone).await.unwrap();
    let lost = async |w: &World| {
        let mut all = Vec::new();
        loop {
            let Judged { lost, more, .. } = w.store.expire(w.now, w.now, 1).await.unwrap();
            all.extend(lost);
            if !more {
                all.sort_by_key(|lost| lost.worker);
                return all;
            }
        }
    };
    w.pass(secs(60));
    let mut wanted = [
        LostWorker { worker: silent.worker, scope: w.scope.clone(), name: "w".into() },
        LostWorker { worker: elsewhere.worker, scope: Scope(elsewhere.namespace.clone()), name: "o".into() },
    ];
    wanted.sort_by_key(|lost| lost.worker);
    // In as many steps as it takes, and without whoever left in order.
    assert_eq!(lost(&w).await, wanted);
    assert_eq!(lost(&w).await, []);
    // One that was heard in between may be lost again; one that was only given something more already is.
    w.leased(silent).await;
    assert_eq!(lost(&w).await, []);
    renew(&w, silent).await;
    w.pass(secs(60));
    assert_eq!(lost(&w).await, wanted.iter().filter(|lost| lost.worker == silent.worker).cloned().collect::<Vec<_>>());
}

pub async fn a_renewed_worker_is_not_judged(mut w: World) {
    let owner = w.connect().await;
    let key = w.leased(owner).await;
    w.pass(secs(29));
    assert_eq!(renew(&w, owner).await, RENEWED);
    w.pass(secs(29));
    assert!(w.store.expire(w.now, w.now, 10).await.unwrap().moved.is_empty());
    assert_eq!(w.state(key.run).await, RunState::Leased);
}

pub async fn the_last_loss_decides_at_once(mut w: World) {
    let owner = w.connect().await;
    let mut policy = RunPolicy::default();
    policy.retry.max_losses = 1;
    let key = w.running(owner, policy).await;
    w.pass(secs(60));
    let moved = w.store.expire(w.now, w.now, 10).await.unwrap().moved;
    assert_eq!((moved[0].to, moved[0].reason.as_str()), (RunState::Failed, reason::WORKER_CRASH_SUSPECTED));
    let life = w.store.run(&w.scope, key.run).await.unwrap().unwrap().life;
    assert_eq!((life.losses, life.open), (1, None));
}

pub async fn a_lease_to_a_judged_worker_expires_too(mut w: World) {
    let owner = w.connect().await;
    w.pass(secs(60));
    w.store.expire(w.now, w.now, 10).await.unwrap();
    // Its server believes it alive: expiry is no reason against a lease, the epoch is.
    let key = w.leased(owner).await;
    let moved = w.store.expire(w.now, w.now, 10).await.unwrap().moved;
    assert_eq!((moved.len(), moved[0].run, moved[0].to), (1, key.run, RunState::Queued));
}

pub async fn a_worker_that_left_stays_gone(mut w: World) {
    let owner = w.connect().await;
    let key = w.leased(owner).await;
    let old = Owner { epoch: 0, ..owner };
    w.store.set_status(w.now, old, WorkerStatus::Gone).await.unwrap();
    assert_eq!(status(&w, owner).await, WorkerStatus::Connected, "an old session has no say");
    w.store.set_status(w.now, owner, WorkerStatus::Disconnected).await.unwrap();
    assert_eq!(status(&w, owner).await, WorkerStatus::Disconnected);
    w.pass(secs(1));
    assert!(w.store.expire(w.now, w.now, 10).await.unwrap().moved.is_empty(), "its lease lives on");
    w.store.set_status(w.now, owner, WorkerStatus::Gone).await.unwrap();
    w.pass(secs(1));
    let moved = w.store.expire(w.now, w.now, 10).await.unwrap().moved;
    assert_eq!(moved[0].run, key.run, "what it left behind waits for no lease");
    assert_eq!(status(&w, owner).await, WorkerStatus::Gone);
}

pub async fn stops_name_only_current_owners(w: World) {
    let (one, other) = (w.connect().await, w.connect().await);
    let (stopped, theirs, running) = (w.leased(one).await, w.leased(other).await, w.leased(one).await);
    assert!(w.store.stops(w.now, &[one, other]).await.unwrap().is_empty());
    w.apply(stopped.run, Event::Cancel { reason: "no more".into(), grace: None }).await;
    w.apply(theirs.run, Event::Cancel { reason: String::new(), grace: None }).await;
    assert_eq!(w.store.stops(w.now, &[one]).await.unwrap(), [(one, stopped, "no more".to_owned())]);
    let old = Owner { epoch: 0, ..one };
    assert!(w.store.stops(w.now, &[old]).await.unwrap().is_empty());
    let mut both = w.store.stops(w.now, &[one, other]).await.unwrap();
    both.sort_by_key(|(_, key, _)| key.run);
    let mut wanted = [(one, stopped, "no more".to_owned()), (other, theirs, reason::CANCELLED.to_owned())];
    wanted.sort_by_key(|(_, key, _)| key.run);
    assert_eq!(both, wanted);
    w.report(stopped, mainspring_engine::domain::attempt::Outcome::Cancelled).await;
    assert!(w.store.stops(w.now, &[one]).await.unwrap().is_empty());
    assert_eq!(w.state(running.run).await, RunState::Leased);
}

pub async fn only_the_silent_worker_is_judged(mut w: World) {
    let (silent, heard, left) = (w.connect().await, w.connect().await, w.connect().await);
    let (lost, kept) = (w.leased(silent).await, w.leased(heard).await);
    w.pass(secs(29));
    assert_eq!(renew(&w, heard).await, RENEWED);
    w.store.set_status(w.now, left, WorkerStatus::Gone).await.unwrap();
    let end = w.store.worker(&w.scope, silent.worker).await.unwrap().unwrap().lease_expire_time;
    assert_eq!(end, w.now.plus(secs(1)), "neither moves another's lease");
    w.pass(secs(2));
    let Judged { moved, more, .. } = w.store.expire(w.now, w.now, 10).await.unwrap();
    assert_eq!((moved.len(), moved[0].run, more), (1, lost.run, false));
    assert_eq!(w.state(kept.run).await, RunState::Leased);
    let now = [status(&w, silent).await, status(&w, heard).await, status(&w, left).await];
    assert_eq!(now, [WorkerStatus::Lost, WorkerStatus::Connected, WorkerStatus::Gone]);
}

pub async fn the_longest_silent_are_judged_first(mut w: World) {
    let (late, early) = (w.connect().await, w.connect().await);
    let (second, first) = (w.leased(late).await, w.leased(early).await);
    w.pass(secs(5));
    renew(&w, late).await;
    w.pass(secs(60));
    for run in [first.run, second.run] {
        let moved = w.store.expire(w.now, w.now, 1).await.unwrap().moved;
        assert_eq!(moved.iter().map(|moved| moved.run).collect::<Vec<_>>(), [run]);
    }
}

pub async fn the_dead_do_not_hide_the_dying(mut w: World) {
    // More than are looked at in one step.
    let w = {
        let shared = Arc::new(w);
        join_all((0..1_050).map(|_| {
            let w = Arc::clone(&shared);
            async move { w.connect().await }
        }))
        .await;
        w = Arc::into_inner(shared).unwrap();
        w.pass(secs(60));
        let Judged { moved, more, .. } = w.store.expire(w.now, w.now, 10).await.unwrap();
        assert!(moved.is_empty() && more, "there are more than fit into one step");
        while w.store.expire(w.now, w.now, 10).await.unwrap().more {}
        &mut w
    };
    let owner = w.connect().await;
    let key = w.leased(owner).await;
    w.pass(secs(60));
    let moved = w.store.expire(w.now, w.now, 10).await.unwrap().moved;
    assert_eq!(moved.iter().map(|moved| moved.run).collect::<Vec<_>>(), [key.run]);
}

pub async fn a_lease_that_was_over_is_not_lengthened_by_leaving(mut w: World) {
    let owner = w.connect().await;
    let over = w.lease_end();
    w.pass(secs(60));
    w.store.set_status(w.now, owner, WorkerStatus::Gone).await.unwrap();
    let view = w.store.worker(&w.scope, owner.worker).await.unwrap().unwrap();
    assert_eq!(view.lease_expire_time, over);
}

/// A worker may die right after it took up again what it had lost.
pub async fn what_was_adopted_after_judgement_expires_too(mut w: World) {
    let expire = async |w: &World| {
        let moved = w.store.expire(w.now, w.now, 10).await.unwrap().moved;
        moved.iter().map(|moved| (moved.run, moved.to)).collect::<Vec<_>>()
    };
    let owner = w.connect().await;
    let key = w.leased(owner).await;
    w.pass(secs(60));
    assert_eq!(expire(&w).await, [(key.run, RunState::Queued)]);
    // Its session reconciles what it lists, though no heartbeat has reached the store since.
    let (_, moved) = w.store.reconcile(w.now, owner, vec![key]).await.unwrap().unwrap();
    assert_eq!(moved[0].to, RunState::Running);
    assert_eq!(expire(&w).await, [(key.run, RunState::Queued)]);
    let (_, moved) = w.reconnect(owner.worker, 2, &[key]).await;
    assert_eq!(moved[0].to, RunState::Running);
    w.pass(secs(60));
    assert_eq!(expire(&w).await, [(key.run, RunState::Queued)]);
}

pub async fn a_renewal_changes_no_more_than_it_says(mut w: World) {
    let (judged, draining, left) = (w.connect().await, w.connect().await, w.connect().await);
    w.pass(secs(60));
    w.store.expire(w.now, w.now, 10).await.unwrap();
    let renewal = w.renewal(judged);
    let answers = w.store.renew(w.now, vec![renewal.clone(), renewal]).await.unwrap();
    assert_eq!(answers, [LAPSED, RENEWED], "one comparison is enough");
    renew(&w, draining).await;
    assert!(w.store.drain_worker(w.now, &w.scope, draining.worker, Drain::Quiesce).await.unwrap());
    renew(&w, draining).await;
    w.store.set_status(w.now, left, WorkerStatus::Gone).await.unwrap();
    renew(&w, left).await;
    let now = [status(&w, judged).await, status(&w, draining).await, status(&w, left).await];
    assert_eq!(now, [WorkerStatus::Connected, WorkerStatus::Draining, WorkerStatus::Gone]);
}

pub async fn a_step_is_as_large_as_was_asked(mut w: World) {
    for _ in 0..2 {
        let owner = w.connect().await;
        for _ in 0..2 {
            w.leased(owner).await;
        }
    }
    w.pass(secs(60));
    let Judged { moved: first, more, .. } = w.store.expire(w.now, w.now, 3).await.unwrap();
    assert_eq!((first.len(), more), (3, true));
    let Judged { moved: last, more, .. } = w.store.expire(w.now, w.now, 1).await.unwrap();
    assert_eq!((last.len(), more), (1, false));
}
