//! Heartbeats, and what becomes of workers that are not heard.

use mainspring_engine::{
    domain::{
        policy::RunPolicy,
        run::{RunState, reason},
        transition::Event,
        worker::WorkerStatus,
    },
    ports::store::{Owner, Renewal, RenewalAnswer},
};

use super::world::{World, lane, secs};

async fn renew(w: &World, owner: Owner) -> RenewalAnswer {
    w.store.renew(w.now, vec![Renewal { owner, expire_time: w.lease_end() }]).await.unwrap().remove(0)
}

async fn status(w: &World, owner: Owner) -> WorkerStatus {
    w.store.worker(&w.scope, owner.worker).await.unwrap().unwrap().status
}

pub async fn renewals_answer_by_owner(mut w: World) {
    let (one, other) = (w.connect().await, w.connect().await);
    w.pass(secs(5));
    let old = Owner { epoch: 0, ..other };
    let nobody = Owner { worker: mainspring_engine::domain::ids::WorkerId::new(w.now), epoch: 1 };
    let renewals = [one, old, other, nobody].map(|owner| Renewal { owner, expire_time: w.lease_end() });
    let answers = w.store.renew(w.now, renewals.to_vec()).await.unwrap();
    use RenewalAnswer::{Renewed, Superseded};
    assert_eq!(answers, [Renewed, Superseded, Renewed, Superseded]);
    let view = w.store.worker(&w.scope, one.worker).await.unwrap().unwrap();
    assert_eq!((view.last_heartbeat_time, view.lease_expire_time), (w.now, w.lease_end()));
}

pub async fn a_renewal_after_judgement_is_lapsed(mut w: World) {
    let owner = w.connect().await;
    w.pass(secs(31));
    w.store.expire(w.now, w.now, 10).await.unwrap();
    assert_eq!(status(&w, owner).await, WorkerStatus::Lost);
    assert_eq!(renew(&w, owner).await, RenewalAnswer::Lapsed);
    assert_eq!(status(&w, owner).await, WorkerStatus::Connected);
    assert_eq!(renew(&w, owner).await, RenewalAnswer::Renewed);
}

pub async fn expired_runs_wait_again(mut w: World) {
    let owner = w.connect().await;
    let (leased, running) = (w.leased(owner).await, w.running(owner, RunPolicy::default()).await);
    w.pass(secs(30));
    let (moved, more) = w.store.expire(w.now, w.now, 10).await.unwrap();
    assert!(moved.is_empty() && !more, "a lease lives to its end");
    w.pass(secs(1));
    let (moved, more) = w.store.expire(w.now, w.now, 10).await.unwrap();
    assert!(!more);
    let mut runs: Vec<_> = moved.iter().map(|moved| (moved.run, moved.to)).collect();
    runs.sort_unstable();
    let mut wanted = [(leased.run, RunState::Queued), (running.run, RunState::Queued)];
    wanted.sort_unstable();
    assert_eq!(runs, wanted);
    assert_eq!(w.queued(&lane()).await.len(), 2);
    assert!(w.store.expire(w.now, w.now, 10).await.unwrap().0.is_empty());
}

pub async fn expiry_goes_on_in_steps(mut w: World) {
    let owner = w.connect().await;
    for _ in 0..5 {
        w.leased(owner).await;
    }
    w.pass(secs(60));
    let (first, more) = w.store.expire(w.now, w.now, 2).await.unwrap();
    assert_eq!((first.len(), more), (2, true));
    // A heartbeat in between learns that some of what its session believes has passed.
    assert_eq!(renew(&w, owner).await, RenewalAnswer::Lapsed);
    assert!(w.store.expire(w.now, w.now, 2).await.unwrap().0.is_empty());
    w.pass(secs(60));
    let (second, more) = w.store.expire(w.now, w.now, 2).await.unwrap();
    assert_eq!((second.len(), more), (2, true));
    let (third, more) = w.store.expire(w.now, w.now, 2).await.unwrap();
    assert_eq!((third.len(), more), (1, false));
}

pub async fn a_renewed_worker_is_not_judged(mut w: World) {
    let owner = w.connect().await;
    let key = w.leased(owner).await;
    w.pass(secs(29));
    assert_eq!(renew(&w, owner).await, RenewalAnswer::Renewed);
    w.pass(secs(29));
    assert!(w.store.expire(w.now, w.now, 10).await.unwrap().0.is_empty());
    assert_eq!(w.state(key.run).await, RunState::Leased);
}

pub async fn the_last_loss_decides_at_once(mut w: World) {
    let owner = w.connect().await;
    let mut policy = RunPolicy::default();
    policy.retry.max_losses = 1;
    let key = w.running(owner, policy).await;
    w.pass(secs(60));
    let (moved, _) = w.store.expire(w.now, w.now, 10).await.unwrap();
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
    let (moved, _) = w.store.expire(w.now, w.now, 10).await.unwrap();
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
    w.store.set_status(w.now, owner, WorkerStatus::Gone).await.unwrap();
    w.pass(secs(1));
    let (moved, _) = w.store.expire(w.now, w.now, 10).await.unwrap();
    assert_eq!(moved[0].run, key.run, "what it left behind waits for no lease");
    assert_eq!(status(&w, owner).await, WorkerStatus::Gone);
}

pub async fn stops_name_only_current_owners(w: World) {
    let (one, other) = (w.connect().await, w.connect().await);
    let (stopped, theirs, running) = (w.leased(one).await, w.leased(other).await, w.leased(one).await);
    assert!(w.store.stops(w.now, &[one, other]).await.unwrap().is_empty());
    w.apply(stopped.run, Event::Cancel { reason: "no more".into() }).await;
    w.apply(theirs.run, Event::Cancel { reason: String::new() }).await;
    assert_eq!(w.store.stops(w.now, &[one]).await.unwrap(), [(one, stopped, "no more".to_owned())]);
    let old = Owner { epoch: 0, ..one };
    assert!(w.store.stops(w.now, &[old]).await.unwrap().is_empty());
    assert_eq!(w.store.stops(w.now, &[one, other]).await.unwrap().len(), 2);
    w.report(stopped, mainspring_engine::domain::attempt::Outcome::Cancelled).await;
    assert!(w.store.stops(w.now, &[one]).await.unwrap().is_empty());
    assert_eq!(w.state(running.run).await, RunState::Leased);
}
