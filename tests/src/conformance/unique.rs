//! Unique keys: one run at a time holds one, whoever asks and whatever comes in between.

use mainspring_engine::{
    domain::{
        attempt::Outcome,
        ids::RunId,
        run::{RunState, reason},
        transition::Event,
        unique::{Claim, Conflict, Holder, Unique},
    },
    ports::store::{NewRun, RequestKey, RetentionPolicy, Submitted},
};

use super::world::{World, lane_of, pointer, secs};

fn unique(w: &World, key: &str, window: u64, on_conflict: Conflict) -> NewRun {
    let unique = Unique { key: key.parse().unwrap(), window: secs(window), on_conflict };
    NewRun { id: RunId::new(w.now), unique: Some(unique), ..w.new_run() }
}

async fn one(w: &World, run: NewRun) -> Submitted {
    w.store.submit(w.now, vec![run]).await.unwrap().remove(0)
}

fn claim(answer: Submitted) -> Claim {
    match answer {
        Submitted::KeyTaken(_, claim) => claim,
        other => panic!("{other:?}"),
    }
}

fn is_stored(answer: &Submitted) -> bool {
    matches!(answer, Submitted::Stored(stored) if stored.replaced.is_none())
}

pub async fn a_key_is_held_until_its_run_is_over(w: World) {
    let first = unique(&w, "a", 0, Conflict::Reject);
    let moved = w.submit(vec![first.clone()]).await.remove(0);
    assert_eq!(
        w.store.run(&w.scope, first.id).await.unwrap().unwrap().unique_key,
        first.unique.map(|unique| unique.key)
    );
    let taken = |holder| Claim { run: first.id, until: w.now, holder };
    assert_eq!(claim(one(&w, unique(&w, "a", 0, Conflict::Reject)).await), taken(Holder::Waits));
    assert!(is_stored(&one(&w, unique(&w, "b", 0, Conflict::Reject)).await), "another key");
    assert!(is_stored(&one(&w, w.new_run()).await), "no key");
    let elsewhere = NewRun { lane: lane_of("other", "default", "test.job"), ..unique(&w, "a", 0, Conflict::Reject) };
    assert!(is_stored(&one(&w, elsewhere).await), "another namespace");
    let owner = w.connect().await;
    let key = w.lease(owner, pointer(&moved)).await.key;
    assert_eq!(claim(one(&w, unique(&w, "a", 0, Conflict::Reject)).await), taken(Holder::AtWorker));
    w.report(key, Outcome::Succeeded).await;
    assert!(is_stored(&one(&w, unique(&w, "a", 0, Conflict::Reject)).await));
}

pub async fn a_window_outlives_its_run(mut w: World) {
    let first = unique(&w, "a", 60, Conflict::Reject);
    w.submit(vec![first.clone()]).await;
    let until = w.now.plus(secs(60));
    w.apply(first.id, Event::Cancel { reason: "no".into(), grace: None }).await;
    w.pass(secs(59));
    let over = Claim { run: first.id, until, holder: Holder::Over };
    assert_eq!(claim(one(&w, unique(&w, "a", 60, Conflict::Reject)).await), over);
    assert_eq!(claim(one(&w, unique(&w, "a", 60, Conflict::ReplacePending)).await), over);
    let same = one(&w, unique(&w, "a", 60, Conflict::ReturnExisting)).await;
    assert!(matches!(same, Submitted::Existing(run) if run == first.id), "{same:?}");
    w.pass(secs(1));
    assert!(is_stored(&one(&w, unique(&w, "a", 60, Conflict::Reject)).await));
}

pub async fn what_waits_is_replaced(w: World) {
    let first = unique(&w, "a", 0, Conflict::Reject);
    let waiting = pointer(&w.submit(vec![first.clone()]).await[0]);
    let second = unique(&w, "a", 0, Conflict::ReplacePending);
    let Submitted::Stored(stored) = one(&w, second.clone()).await else { panic!("the second is stored") };
    let ended = stored.replaced.expect("the first makes room");
    assert_eq!((ended.run, ended.to, ended.reason.as_str()), (first.id, RunState::Cancelled, reason::REPLACED));
    assert_eq!(w.state(first.id).await, RunState::Cancelled);
    assert!(!w.queued(&first.lane).await.contains(&waiting));
    // At a worker it is replaced no more, nor while one may come back with it.
    let owner = w.connect().await;
    w.lease(owner, pointer(&stored.moved)).await;
    let third = || unique(&w, "a", 0, Conflict::ReplacePending);
    assert_eq!(claim(one(&w, third()).await).holder, Holder::AtWorker);
    w.apply(second.id, Event::Expire).await;
    assert_eq!(w.state(second.id).await, RunState::Queued);
    assert_eq!(claim(one(&w, third()).await).holder, Holder::AtWorker);
}

pub async fn runs_of_one_batch_meet(w: World) {
    let of = |on_conflict| unique(&w, "a", 0, on_conflict);
    let batch = [
        Conflict::Reject,
        Conflict::Reject,
        Conflict::ReturnExisting,
        Conflict::ReplacePending,
        Conflict::ReplacePending,
    ];
    let runs: Vec<NewRun> = batch.map(of).into();
    let ids: Vec<RunId> = runs.iter().map(|run| run.id).collect();
    let answers = w.store.submit(w.now, runs).await.unwrap();
    assert!(is_stored(&answers[0]));
    assert!(matches!(&answers[1], Submitted::KeyTaken(_, claim) if claim.run == ids[0]), "{:?}", answers[1]);
    assert!(matches!(answers[2], Submitted::Existing(run) if run == ids[0]), "{:?}", answers[2]);
    for (answer, before) in [(&answers[3], ids[0]), (&answers[4], ids[3])] {
        let replaced = match answer {
            Submitted::Stored(stored) => stored.replaced.as_ref().map(|ended| ended.run),
            other => panic!("{other:?}"),
        };
        assert_eq!(replaced, Some(before));
    }
    assert_eq!([w.state(ids[0]).await, w.state(ids[3]).await], [RunState::Cancelled; 2]);
    assert_eq!(w.state(ids[4]).await, RunState::Queued);
    assert_eq!(claim(one(&w, unique(&w, "a", 0, Conflict::Reject)).await).run, ids[4]);
}

pub async fn a_request_is_answered_alike_whatever_becomes_of_the_key(w: World) {
    let first = unique(&w, "a", 0, Conflict::Reject);
    w.submit(vec![first.clone()]).await;
    let request = RequestKey { call: "SubmitRun", id: "r1".into(), body: [1; 32] };
    let asked = || NewRun { request: Some(request.clone()), ..unique(&w, "a", 0, Conflict::ReturnExisting) };
    let answer = one(&w, asked()).await;
    assert!(matches!(answer, Submitted::Existing(run) if run == first.id), "{answer:?}");
    w.apply(first.id, Event::Cancel { reason: String::new(), grace: None }).await;
    let answer = one(&w, asked()).await;
    assert!(matches!(answer, Submitted::Replayed(run) if run == first.id), "{answer:?}");
    // A refusal is none that would be repeated.
    w.submit(vec![unique(&w, "b", 0, Conflict::Reject)]).await;
    let request = RequestKey { call: "SubmitRun", id: "r2".into(), body: [1; 32] };
    let refused = || NewRun { request: Some(request.clone()), ..unique(&w, "b", 0, Conflict::Reject) };
    let holder = claim(one(&w, refused()).await).run;
    w.apply(holder, Event::Cancel { reason: String::new(), grace: None }).await;
    assert!(is_stored(&one(&w, refused()).await));
}

pub async fn a_batch_with_keys_tried_again_stores_once(w: World) {
    let run = unique(&w, "a", 0, Conflict::ReplacePending);
    w.submit(vec![run.clone()]).await;
    let answer = one(&w, run.clone()).await;
    assert!(matches!(answer, Submitted::Replayed(id) if id == run.id), "{answer:?}");
    assert_eq!(w.state(run.id).await, RunState::Queued);
}

pub async fn a_run_that_is_made_again_keeps_the_key(mut w: World) {
    let first = unique(&w, "a", 60, Conflict::Reject);
    w.submit(vec![first.clone()]).await;
    let until = w.now.plus(secs(60));
    w.apply(first.id, Event::Cancel { reason: String::new(), grace: None }).await;
    w.pass(secs(1));
    let again = NewRun { parent: Some(first.id), ..unique(&w, "a", 0, Conflict::Reject) };
    let twice = NewRun { parent: Some(first.id), ..unique(&w, "a", 0, Conflict::Reject) };
    assert!(is_stored(&one(&w, again.clone()).await));
    assert_eq!(claim(one(&w, twice).await), Claim { run: again.id, until, holder: Holder::Waits });
}

pub async fn claims_go_once_they_stand_no_longer(mut w: World) {
    let forever = RetentionPolicy {
        succeeded: secs(1_000_000),
        failed: secs(1_000_000),
        unresolved: secs(1_000_000),
        logs: secs(1_000_000),
        ledger: secs(1_000_000),
        requests: secs(1_000_000),
        jobs: secs(1_000_000),
        workers: secs(1_000_000),
        deliveries: secs(1_000_000),
    };
    let runs: Vec<NewRun> = (0..5).map(|n| unique(&w, &format!("k{n}"), 60 * n, Conflict::Reject)).collect();
    w.submit(runs.clone()).await;
    // What is not over stays, whatever its window; a step looks at so many and comes to an end.
    w.pass(secs(600));
    let mut rows = 0;
    while w.store.sweep(w.now, forever, 2).await.map(|swept| (rows += swept.rows, swept.more).1).unwrap() {}
    assert_eq!(rows, 0);
    for run in &runs {
        assert_eq!(claim(one(&w, NewRun { id: RunId::new(w.now), ..run.clone() }).await).run, run.id);
    }
    for run in &runs[..3] {
        w.apply(run.id, Event::Cancel { reason: String::new(), grace: None }).await;
    }
    w.pass(secs(3_600));
    while w.store.sweep(w.now, forever, 2).await.map(|swept| (rows += swept.rows, swept.more).1).unwrap() {}
    assert_eq!(rows, 3);
    // A window that is not over outlives a run that was deleted.
    let long = unique(&w, "long", 7_200, Conflict::Reject);
    w.submit(vec![long.clone()]).await;
    w.apply(long.id, Event::Cancel { reason: String::new(), grace: None }).await;
    w.pass(secs(3_700));
    let brief = RetentionPolicy { succeeded: secs(1), ..forever };
    while w.store.sweep(w.now, brief, 100).await.unwrap().more {}
    assert!(w.store.run(&w.scope, long.id).await.unwrap().is_none());
    let gone = claim(one(&w, unique(&w, "long", 0, Conflict::ReturnExisting)).await);
    assert_eq!((gone.run, gone.holder), (long.id, Holder::Gone));
    w.pass(secs(3_600));
    assert!(is_stored(&one(&w, unique(&w, "long", 0, Conflict::Reject)).await));
}
