//! Dead letters: what the end of a run says of it, and what becomes of that afterwards.

use mainspring_engine::{
    domain::{
        attempt::Outcome,
        dead::{DeadLetter, Resolution, Verdict},
        filter::{Filter, Op, Value},
        ids::RunId,
        names::Scope,
        payload::{Failure, RetryHint},
        policy::RunPolicy,
        run::{RunOrigin, RunState},
        transition::Event,
        unique::{Conflict, Unique},
    },
    ports::store::{DeadGroup, NewRun, RetentionPolicy, Settled, Submitted},
};

use super::world::{World, lane_of, secs, spec};

/// A failure that is the last one.
fn last(reason: &str, message: &str) -> Failure {
    let hint = Some(RetryHint { retry: Some(false), delay: None });
    Failure { reason: reason.into(), message: message.into(), hint, ..Failure::default() }
}

async fn died(w: &World, reason: &str, message: &str) -> RunId {
    let owner = w.connect().await;
    let key = w.leased(owner).await;
    w.report(key, Outcome::Failed(last(reason, message))).await;
    assert_eq!(w.state(key.run).await, RunState::Failed);
    key.run
}

fn is(resolution: Resolution) -> Filter {
    Filter::Test { field: "resolution", op: Op::Equal, value: Value::Number(resolution.code().into()) }
}

async fn groups(w: &World, filter: &Filter) -> Vec<DeadGroup> {
    w.store.dead_groups(&w.scope, filter, None, 10).await.unwrap()
}

async fn dead(w: &World, run: RunId) -> Option<DeadLetter> {
    w.store.run(&w.scope, run).await.unwrap().unwrap().dead
}

fn by(note: &str) -> Settled {
    Settled { note: note.into(), actor: "ada".into() }
}

fn copy(w: &World, dead: RunId) -> NewRun {
    NewRun { origin: RunOrigin::Redrive, parent: Some(dead), ..w.new_run() }
}

async fn redriven(w: &World, runs: Vec<NewRun>) -> Vec<Option<Submitted>> {
    w.store.redrive(w.now, runs, by("again")).await.unwrap()
}

pub async fn what_dies_alike_has_one_fingerprint(w: World) {
    let one = died(&w, "SMTP_BUSY", "busy for 3 s").await;
    let two = died(&w, "SMTP_BUSY", "busy for 12 s").await;
    let other = died(&w, "SMTP_GONE", "busy for 3 s").await;
    let letter = dead(&w, one).await.unwrap();
    assert_eq!((letter.resolution, letter.time), (Resolution::Open, None));
    assert_eq!(dead(&w, two).await.unwrap().fingerprint, letter.fingerprint);
    assert_ne!(dead(&w, other).await.unwrap().fingerprint, letter.fingerprint);
    let same = Filter::Test { field: "fingerprint", op: Op::Equal, value: Value::Text(letter.fingerprint.to_string()) };
    assert_eq!(w.store.run_ids(&w.scope, &same, None, 10).await.unwrap(), [one, two]);
    assert_eq!(w.store.run_ids(&w.scope, &same, Some(one), 10).await.unwrap(), [two]);
}

pub async fn only_what_failed_or_took_too_long_is_dead(mut w: World) {
    let owner = w.connect().await;
    let (good, gone) = (w.leased(owner).await, w.submit_one().await);
    w.report(good, Outcome::Succeeded).await;
    w.apply(gone.run, Event::Cancel { reason: String::new(), grace: None }).await;
    let mut policy = RunPolicy::default();
    policy.timeouts.queue = Some(secs(5));
    let late = w.submit_with(policy).await.run;
    w.pass(secs(5));
    w.apply(late, Event::Deadline).await;
    assert_eq!(w.state(late).await, RunState::TimedOut);
    assert_eq!((dead(&w, good.run).await, dead(&w, gone.run).await), (None, None));
    assert_eq!(dead(&w, late).await.unwrap().resolution, Resolution::Open);
    // One that waits for its next attempt is not dead yet.
    let key = w.leased(owner).await;
    w.report(key, Outcome::Failed(Failure { hint: None, ..last("X", "") })).await;
    assert_eq!((w.state(key.run).await, dead(&w, key.run).await), (RunState::RetryWait, None));
}

pub async fn groups_come_by_their_last_end(mut w: World) {
    let job = w.create("report", spec(Vec::new())).await;
    let begin = w.now;
    let mut ends = Vec::new();
    for (reason, number) in [("A", 1), ("B", 2), ("A", 3), ("C", 4)] {
        w.pass(secs(1));
        ends.push(died(&w, reason, &format!("number {number}")).await);
    }
    let told = |groups: Vec<DeadGroup>| {
        let told = groups.into_iter().map(|group| {
            let message = group.failure.unwrap().message;
            (group.example.life.reason.unwrap(), group.count, group.first, group.last, group.example.run, message)
        });
        told.collect::<Vec<_>>()
    };
    let at = |seconds| begin.plus(secs(seconds));
    let all = [
        ("C".to_owned(), 1, at(4), at(4), ends[3], "number 4".to_owned()),
        ("A".to_owned(), 2, at(1), at(3), ends[2], "number 3".to_owned()),
        ("B".to_owned(), 1, at(2), at(2), ends[1], "number 2".to_owned()),
    ];
    assert_eq!(told(groups(&w, &Filter::All).await), all);
    let first = w.store.dead_groups(&w.scope, &Filter::All, None, 1).await.unwrap();
    let after = Some((first[0].last, first[0].fingerprint));
    assert_eq!(told(w.store.dead_groups(&w.scope, &Filter::All, after, 10).await.unwrap()), all[1..]);
    let of_job = Filter::Test { field: "job", op: Op::Equal, value: Value::Text(job.name.to_string()) };
    assert!(groups(&w, &of_job).await.is_empty());
    let elsewhere = Scope("elsewhere".parse().unwrap());
    assert!(w.store.dead_groups(&elsewhere, &Filter::All, None, 10).await.unwrap().is_empty());
}

/// What went wrong with a run of a job is the job's, and not its type's.
pub async fn jobs_die_apart(w: World) {
    let owner = w.connect().await;
    for name in ["one", "two"] {
        let job = w.create(name, spec(Vec::new())).await;
        let moved = w.submit(vec![w.run_of(&job)]).await;
        let key = w.lease(owner, super::world::pointer(&moved[0])).await.key;
        w.report(key, Outcome::Failed(last("X", ""))).await;
    }
    let found = groups(&w, &Filter::All).await;
    assert_eq!(found.iter().map(|group| group.count).collect::<Vec<_>>(), [1, 1]);
}

pub async fn a_verdict_is_said_of_what_it_can_be_said_of(mut w: World) {
    let (one, two) = (died(&w, "X", "").await, died(&w, "X", "").await);
    let owner = w.connect().await;
    let good = w.leased(owner).await;
    w.report(good, Outcome::Succeeded).await;
    let say = async |w: &World, runs: &[RunId], verdict| {
        w.store.resolve(w.now, &w.scope, runs.to_vec(), verdict, by("fixed")).await.unwrap()
    };
    w.pass(secs(9));
    assert_eq!(say(&w, &[one, good.run, RunId::new(w.now)], Verdict::Resolved).await, 1);
    let letter = dead(&w, one).await.unwrap();
    let told = (letter.resolution, letter.time, letter.note.as_str(), letter.actor.as_str());
    assert_eq!(told, (Resolution::Resolved, Some(w.now), "fixed", "ada"));
    assert_eq!(say(&w, &[one, two], Verdict::Ignored).await, 1, "one is settled");
    assert_eq!(dead(&w, two).await.unwrap().resolution, Resolution::Ignored);
    assert_eq!(groups(&w, &is(Resolution::Ignored)).await[0].count, 1);
    assert!(groups(&w, &is(Resolution::Open)).await.is_empty());
    assert_eq!(say(&w, &[one, two], Verdict::Open).await, 2);
    let letter = dead(&w, one).await.unwrap();
    assert_eq!((letter.resolution, letter.time, letter.note.as_str()), (Resolution::Open, None, ""));
    let elsewhere = Scope("elsewhere".parse().unwrap());
    w.submit(vec![NewRun { lane: lane_of("elsewhere", "default", "test.job"), ..w.new_run() }]).await;
    let none = w.store.resolve(w.now, &elsewhere, vec![one], Verdict::Resolved, by("")).await.unwrap();
    assert_eq!((none, dead(&w, one).await.unwrap().resolution), (0, Resolution::Open));
}

pub async fn a_dead_letter_is_made_again_once(mut w: World) {
    let run = died(&w, "X", "").await;
    w.pass(secs(1));
    // Twice in one step, and once more afterwards.
    let first = copy(&w, run);
    let answers = redriven(&w, vec![first.clone(), copy(&w, run)]).await;
    let [Some(Submitted::Stored(stored)), None] = &answers[..] else { panic!("{answers:?}") };
    assert_eq!((stored.run.run, stored.run.parent, stored.run.origin), (first.id, Some(run), RunOrigin::Redrive));
    let letter = dead(&w, run).await.unwrap();
    let told = (letter.resolution, letter.time, letter.note.as_str(), letter.actor.as_str());
    assert_eq!(told, (Resolution::Redriven, Some(w.now), "again", "ada"));
    assert!(matches!(redriven(&w, vec![copy(&w, run)]).await[..], [None]));
    let made = w.store.run(&w.scope, first.id).await.unwrap().unwrap();
    assert_eq!((made.origin, made.parent, made.life.state), (RunOrigin::Redrive, Some(run), RunState::Queued));
    // Nothing takes that back.
    let reopened = w.store.resolve(w.now, &w.scope, vec![run], Verdict::Open, by("")).await.unwrap();
    assert_eq!((reopened, w.state(run).await), (0, RunState::Failed));
}

pub async fn what_cannot_be_made_again_stays_open(w: World) {
    let run = died(&w, "X", "").await;
    let unique = Unique { key: "one".parse().unwrap(), window: secs(0), on_conflict: Conflict::Reject };
    w.submit(vec![NewRun { unique: Some(unique.clone()), ..w.new_run() }]).await;
    let other = died(&w, "Y", "").await;
    let answers = redriven(&w, vec![NewRun { unique: Some(unique), ..copy(&w, run) }, copy(&w, other)]).await;
    assert!(matches!(answers[..], [Some(Submitted::KeyTaken(..)), Some(Submitted::Stored(_))]), "{answers:?}");
    assert_eq!(dead(&w, run).await.unwrap().resolution, Resolution::Open);
    assert_eq!(dead(&w, other).await.unwrap().resolution, Resolution::Redriven);
}

pub async fn an_open_dead_letter_outlives_a_settled_one(mut w: World) {
    const DAY: u64 = 24 * 3_600;
    let policy = RetentionPolicy { failed: secs(10 * DAY), unresolved: secs(100 * DAY), ..RetentionPolicy::default() };
    let (open, settled) = (died(&w, "X", "").await, died(&w, "X", "").await);
    let gone = async |w: &World, run| w.store.run(&w.scope, run).await.unwrap().is_none();
    w.pass(secs(20 * DAY));
    w.store.sweep(w.now, policy, 100).await.unwrap();
    assert!(!gone(&w, open).await && !gone(&w, settled).await);
    // A round has gone past it.
    w.store.resolve(w.now, &w.scope, vec![settled], Verdict::Resolved, by("")).await.unwrap();
    w.store.sweep(w.now, policy, 100).await.unwrap();
    assert!(!gone(&w, open).await && gone(&w, settled).await);
    w.pass(secs(80 * DAY + 1));
    w.store.sweep(w.now, policy, 100).await.unwrap();
    assert!(gone(&w, open).await);
}
