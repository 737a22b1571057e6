//! Lists and counts.

use std::collections::BTreeMap;

use mainspring_engine::{
    domain::{
        attempt::{AttemptState, LossReason, Outcome},
        filter::{Filter, Op, Value},
        ids::{RunId, WorkerId},
        instant::Instant,
        job::{JobState, Pause},
        names::Scope,
        run::RunState,
        stop::Running,
        transition::Event,
        worker::{Drain, Handler, Hello, WorkerStatus},
    },
    ports::store::{Direction, InstantRange, JobOrder, LedgerPart, NewRun, QueueSettings, Report},
};

use super::world::{World, all, every, failure, fired, job_name, lane, lane_of, page, pointer, secs, spec};

fn test(field: &'static str, op: Op, value: Value) -> Filter {
    Filter::Test { field, op, value }
}

fn text(value: &str) -> Value {
    Value::Text(value.into())
}

async fn runs(w: &World, filter: &Filter) -> Vec<RunId> {
    let views = w.store.runs(&w.scope, filter, Direction::Up, all(), false).await.unwrap().entries;
    views.into_iter().map(|view| view.run).collect()
}

pub async fn runs_page_by_key(mut w: World) {
    let mut made = Vec::new();
    for _ in 0..25 {
        w.pass(secs(1));
        made.push(w.submit_one().await.run);
    }
    for (direction, wanted) in [(Direction::Up, made.clone()), (Direction::Down, made.iter().rev().copied().collect())]
    {
        let mut got: Vec<RunId> = Vec::new();
        loop {
            let page = page(got.last().map(ToString::to_string), 10);
            let views = w.store.runs(&w.scope, &Filter::All, direction, page, false).await.unwrap().entries;
            got.extend(views.iter().map(|view| view.run));
            if views.len() < 10 {
                break;
            }
            if direction == Direction::Down {
                // What is new while somebody pages does not move the pages.
                w.pass(secs(1));
                w.submit_one().await;
            }
        }
        assert_eq!(got, wanted);
    }
}

pub async fn runs_are_found_by_the_worker_they_are_at(mut w: World) {
    let owner = w.connect().await;
    let waits = w.submit_one().await.run;
    let first = w.submit_one().await;
    let second = w.submit_one().await;
    for run in [&first, &second] {
        w.lease(owner, *run).await;
    }
    let worker = owner.worker.to_string();
    let found = async |w: &World, op, value: &str| runs(w, &test("at_worker", op, text(value))).await;
    assert_eq!(found(&w, Op::Equal, &worker).await, [first.run, second.run]);
    assert_eq!(found(&w, Op::NotEqual, &worker).await, [waits]);
    assert_eq!(found(&w, Op::Equal, "").await, [waits]);
    assert_eq!(found(&w, Op::NotEqual, "").await, [first.run, second.run]);
    assert_eq!(found(&w, Op::Equal, "nonsense").await, []);
    // An attempt whose lease is over may come back, and is at nobody until then.
    w.pass(secs(3_600));
    w.store.expire(w.now, w.now, 10).await.unwrap();
    assert_eq!(found(&w, Op::Equal, &worker).await, []);
    assert_eq!(found(&w, Op::Equal, "").await, [waits, first.run, second.run]);
}

pub async fn filters_narrow_runs(mut w: World) {
    let job = w.create("report", spec(vec![every("main", 60)])).await;
    let other = w.create("reports-of-others", spec(vec![])).await;
    let shard = w.own().await;
    let owner = w.connect().await;
    w.pass(secs(60));
    let scheduled = fired(&w.fire_due(shard).await[0])[0].run;
    w.pass(secs(1));
    let by_hand = w.submit(vec![NewRun { priority: 9, ..w.run_of(&other) }]).await[0].run;
    w.pass(secs(1));
    let there = NewRun { lane: lane_of("default", "q", "Mail.Send"), ..w.new_run() };
    let mail = w.submit(vec![there]).await.remove(0);
    let key = w.lease(owner, pointer(&mail)).await.key;
    w.report(
        key,
        Outcome::Failed(mainspring_engine::domain::payload::Failure {
            hint: Some(mainspring_engine::domain::payload::RetryHint { retry: Some(false), delay: None }),
            ..failure("SMTP_DOWN")
        }),
    )
    .await;
    w.submit(vec![NewRun { lane: lane_of("other", "q", "Mail.Send"), ..w.new_run() }]).await;
    assert_eq!(runs(&w, &Filter::All).await, [scheduled, by_hand, mail.run]);
    let state = |state: RunState| test("state", Op::Equal, Value::Number(state.code().into()));
    let cases: Vec<(Filter, Vec<RunId>)> = vec![
        (state(RunState::Failed), vec![mail.run]),
        (state(RunState::Queued), vec![scheduled, by_hand]),
        (Filter::Not(Box::new(state(RunState::Queued))), vec![mail.run]),
        (test("job", Op::Equal, text("report")), vec![scheduled]),
        (test("job", Op::Prefix, text("report")), vec![scheduled, by_hand]),
        (test("job", Op::Equal, text("nobody")), vec![]),
        (test("job", Op::Equal, text("")), vec![mail.run]),
        (test("job", Op::NotEqual, text("")), vec![scheduled, by_hand]),
        (test("job", Op::NotEqual, text("report")), vec![by_hand, mail.run]),
        (Filter::Not(Box::new(test("job", Op::Equal, text("report")))), vec![by_hand, mail.run]),
        (test("job", Op::NotEqual, text("nobody")), vec![scheduled, by_hand, mail.run]),
        (test("job", Op::Prefix, text("")), vec![scheduled, by_hand, mail.run]),
        (test("job_uid", Op::Equal, text(&job.uid.to_string())), vec![scheduled]),
        (test("job_uid", Op::NotEqual, text(&job.uid.to_string())), vec![by_hand, mail.run]),
        (test("job_uid", Op::Equal, text("")), vec![mail.run]),
        (test("job_uid", Op::NotEqual, text("")), vec![scheduled, by_hand]),
        (test("reason", Op::Equal, text("")), vec![scheduled, by_hand]),
        (test("reason", Op::NotEqual, text("")), vec![mail.run]),
        (test("reason", Op::NotEqual, text("SMTP_DOWN")), vec![scheduled, by_hand]),
        (test("reason", Op::Equal, text("SMTP_DOWN")), vec![mail.run]),
        (test("reason", Op::Prefix, text("")), vec![scheduled, by_hand, mail.run]),
        (Filter::Not(Box::new(test("reason", Op::Equal, text("SMTP_DOWN")))), vec![scheduled, by_hand]),
        (test("job_type", Op::Equal, text("Mail.Send")), vec![mail.run]),
        (test("queue", Op::NotEqual, text("q")), vec![scheduled, by_hand]),
        (test("origin", Op::Equal, Value::Number(1)), vec![scheduled]),
        (test("reason", Op::Prefix, text("SMTP_")), vec![mail.run]),
        (test("reason", Op::Prefix, text("SMTP%")), vec![]),
        (test("priority", Op::Greater, Value::Number(5)), vec![by_hand]),
        (test("create_time", Op::Less, Value::Time(w.now)), vec![scheduled, by_hand]),
        (test("nominal_time", Op::GreaterEqual, Value::Time(Instant::EPOCH)), vec![scheduled]),
        (test("end_time", Op::Equal, Value::Time(w.now)), vec![mail.run]),
        (Filter::And(vec![state(RunState::Queued), test("priority", Op::Equal, Value::Number(9))]), vec![by_hand]),
        (Filter::Or(vec![state(RunState::Failed), test("job", Op::Equal, text("report"))]), vec![scheduled, mail.run]),
        (Filter::And(vec![]), vec![scheduled, by_hand, mail.run]),
        (Filter::Or(vec![]), vec![]),
        (Filter::Not(Box::new(Filter::All)), vec![]),
    ];
    for (filter, wanted) in cases {
        assert_eq!(runs(&w, &filter).await, wanted, "{filter:?}");
    }
    let unknown = test("payload", Op::Equal, text("x"));
    assert!(w.store.runs(&w.scope, &unknown, Direction::Up, all(), false).await.is_err());
}

pub async fn a_name_finds_the_runs_of_every_job_that_had_it(w: World) {
    let first = w.create("report", spec(vec![])).await;
    let old = w.submit(vec![w.run_of(&first)]).await[0].run;
    w.store.delete_job(w.now, &w.scope, &first.name, None, Running::Detach, "ops").await.unwrap();
    let second = w.create("report", spec(vec![])).await;
    let new = w.submit(vec![w.run_of(&second)]).await[0].run;
    assert_eq!(runs(&w, &test("job", Op::Equal, text("report"))).await, [old, new]);
    for (job, run) in [(&first, old), (&second, new)] {
        assert_eq!(runs(&w, &test("job_uid", Op::Equal, text(&job.uid.to_string()))).await, [run]);
    }
}

pub async fn absent_fields_compare_as_false(w: World) {
    let run = w.submit_one().await.run;
    let at = || Value::Time(w.now);
    for op in [Op::Less, Op::LessEqual, Op::Greater, Op::GreaterEqual, Op::Equal] {
        assert!(runs(&w, &test("end_time", op, at())).await.is_empty());
        let opposite = Filter::Not(Box::new(test("end_time", op, at())));
        assert_eq!(runs(&w, &opposite).await, [run]);
    }
    assert_eq!(runs(&w, &test("end_time", Op::NotEqual, at())).await, [run]);
    assert_eq!(runs(&w, &test("reason", Op::NotEqual, text("X"))).await, [run]);
    assert_eq!(runs(&w, &test("job", Op::Equal, text("x"))).await, []);
    let not_of_job = Filter::Not(Box::new(test("job", Op::Equal, text("x"))));
    assert_eq!(runs(&w, &not_of_job).await, [run]);
}

pub async fn filters_narrow_jobs(mut w: World) {
    w.create("a-report", spec(vec![])).await;
    w.pass(secs(1));
    w.create("b-report", spec(vec![])).await;
    w.create("c-mail", mainspring_engine::domain::job::JobSpec { owner: "mailers".into(), ..spec(vec![]) }).await;
    let pause = Pause { note: "x".into(), actor: "ops".into(), time: w.now, until: None };
    w.store.pause_job(w.now, &w.scope, &job_name("b-report"), pause).await.unwrap();
    let state = |state: JobState| test("state", Op::Equal, Value::Number(state.code().into()));
    let by_name = JobOrder::Name(Direction::Up);
    let cases: Vec<(Filter, &[&str])> = vec![
        (Filter::All, &["a-report", "b-report", "c-mail"]),
        (state(JobState::Paused), &["b-report"]),
        (state(JobState::Active), &["a-report", "c-mail"]),
        (test("job", Op::Prefix, text("a-")), &["a-report"]),
        (test("owner", Op::Equal, text("mailers")), &["c-mail"]),
        (test("queue", Op::Equal, text("default")), &["a-report", "b-report", "c-mail"]),
        (test("job_type", Op::NotEqual, text("test.job")), &[]),
        (test("create_time", Op::Less, Value::Time(w.now)), &["a-report"]),
    ];
    for (filter, wanted) in cases {
        let jobs = w.store.jobs(&w.scope, &filter, by_name, all(), false).await.unwrap().entries;
        assert_eq!(jobs.iter().map(|job| job.name.as_str()).collect::<Vec<_>>(), wanted, "{filter:?}");
    }
    let page = page(Some("a-report".into()), 1);
    let jobs = w.store.jobs(&w.scope, &Filter::All, by_name, page, false).await.unwrap().entries;
    assert_eq!(jobs.iter().map(|job| job.name.as_str()).collect::<Vec<_>>(), ["b-report"]);
}

pub async fn details_only_where_asked(w: World) {
    w.submit_one().await;
    let list =
        async |detail| w.store.runs(&w.scope, &Filter::All, Direction::Down, all(), detail).await.unwrap().entries;
    assert!(list(false).await[0].detail.is_none());
    assert_eq!(list(true).await[0].detail.as_ref().unwrap().payload.data, b"{}");
    let job = w.create("report", spec(vec![])).await;
    let order = JobOrder::Age(Direction::Up);
    let list =
        async |detail| w.store.jobs(&w.scope, &Filter::All, order, all(), detail).await.unwrap().entries.remove(0);
    assert!(list(false).await.spec.payload.data.is_empty());
    assert_eq!(list(true).await, job);
}

pub async fn attempts_tell_the_whole_story(mut w: World) {
    let owner = w.connect().await;
    let key = w.leased(owner).await;
    let leased = w.now;
    w.pass(secs(1));
    // It never said that it started, but its report does.
    let failed = Report { start_time: Some(leased), ..w.report_of(key, Outcome::Failed(failure("X"))) };
    w.store.report(w.now, vec![failed]).await.unwrap();
    w.pass(secs(60));
    let woken = w.store.wake(w.now, 10).await.unwrap();
    let second = w.lease(owner, pointer(&woken[0])).await.key;
    w.apply(key.run, Event::Rejected { attempt: 2 }).await;
    let third = w.queued(&lane()).await.remove(0);
    let third = w.lease(owner, third).await.key;
    w.pass(secs(1));
    w.report(third, Outcome::Succeeded).await;
    let attempts = w.store.attempts(&w.scope, key.run, all()).await.unwrap().unwrap().entries;
    let told: Vec<_> = attempts.iter().map(|attempt| (attempt.attempt, attempt.state, attempt.cause)).collect();
    let rejected = Some(LossReason::Rejected);
    assert_eq!(
        told,
        [(1, AttemptState::Failed, None), (2, AttemptState::Returned, rejected), (3, AttemptState::Succeeded, None)]
    );
    for (after, wanted) in [("1", [2_i64, 3].as_slice()), ("2", &[3]), ("3", &[])] {
        let rest = w.store.attempts(&w.scope, key.run, page(Some(after.into()), 5)).await.unwrap().unwrap().entries;
        assert_eq!(rest.iter().map(|attempt| attempt.attempt).collect::<Vec<_>>(), wanted);
    }
    let first = w.store.attempts(&w.scope, key.run, page(None, 2)).await.unwrap().unwrap().entries;
    assert_eq!(first.iter().map(|attempt| attempt.attempt).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(attempts[0].failure, Some(failure("X")));
    assert_eq!((attempts[0].start_time, attempts[1].start_time), (Some(leased), None));
    assert_eq!((attempts[0].lease_time, attempts[0].end_time), (Some(leased), Some(leased.plus(secs(1)))));
    assert_eq!((attempts[2].end_time, attempts[2].worker), (Some(w.now), Some(owner.worker)));
    assert!(attempts.iter().all(|attempt| attempt.worker_name == "w"));
    assert_eq!(second.attempt, 2);
    let other = Scope("other".parse().unwrap());
    assert!(w.store.attempts(&other, key.run, all()).await.unwrap().is_none());
    assert!(w.store.run(&other, key.run).await.unwrap().is_none());
    assert!(w.store.lifecycle(&other, key.run).await.unwrap().is_none());
    let view = w.store.run(&w.scope, key.run).await.unwrap().unwrap();
    assert_eq!(w.store.lifecycle(&w.scope, key.run).await.unwrap(), Some(view.life));
    assert!(w.store.attempts(&w.scope, RunId::new(w.now), all()).await.unwrap().is_none());
}

pub async fn workers_are_listed(mut w: World) {
    let one = w.connect().await;
    w.pass(secs(1));
    let other = w.connect().await;
    w.leased(other).await;
    let listed = w.store.workers(&w.scope, false, &Filter::All, Direction::Down, all()).await.unwrap();
    assert_eq!(listed.iter().map(|view| view.worker).collect::<Vec<_>>(), [other.worker, one.worker]);
    let view = &listed[0];
    assert_eq!((view.name.as_str(), view.sdk.as_str(), view.build_id.as_str()), ("w", "test/1", "b1"));
    assert_eq!((view.status, view.server.is_some(), view.connect_time), (WorkerStatus::Connected, true, w.now));
    assert_eq!(view.job_types, [lane().job_type]);
    assert_eq!(
        (view.capacity.clone(), view.in_flight.clone()),
        (BTreeMap::from([(lane().queue, 10)]), BTreeMap::from([(lane().queue, 1)]))
    );
    let page = page(Some(other.worker.to_string()), 5);
    let older = w.store.workers(&w.scope, false, &Filter::All, Direction::Down, page).await.unwrap();
    assert_eq!(older[0].worker, one.worker);
    w.store.set_status(w.now, one, WorkerStatus::Gone).await.unwrap();
    assert_eq!(w.store.workers(&w.scope, false, &Filter::All, Direction::Down, all()).await.unwrap().len(), 1);
    assert_eq!(w.store.workers(&w.scope, true, &Filter::All, Direction::Down, all()).await.unwrap().len(), 2);
    let there = Scope("other".parse().unwrap());
    assert!(w.store.worker(&there, one.worker).await.unwrap().is_none());
}

pub async fn job_types_show_drift(w: World) {
    let hello = |schema: &str| {
        let mut hello: Hello = w.hello(WorkerId::new(w.now), 1, &[]);
        hello.handlers[0].input_schema = schema.into();
        let elsewhere = Handler { queue: "q".parse().unwrap(), ..hello.handlers[0].clone() };
        hello.handlers.push(elsewhere);
        hello
    };
    w.say_hello(&hello("{}")).await;
    let types = w.store.job_types(&w.scope, &Filter::All, Direction::Up, all()).await.unwrap().entries;
    assert_eq!(types.len(), 1);
    assert_eq!((types[0].connected_workers, types[0].announcements.len()), (1, 1));
    assert_eq!(types[0].queues.iter().map(|queue| queue.as_str()).collect::<Vec<_>>(), ["default", "q"]);
    assert_eq!((types[0].description.as_str(), types[0].announce_time), ("tests", w.now));
    w.say_hello(&hello("{\"type\":\"object\"}")).await;
    let types = w.store.job_types(&w.scope, &Filter::All, Direction::Up, all()).await.unwrap().entries;
    assert_eq!((types[0].connected_workers, types[0].announcements.len()), (2, 2));
    assert_eq!(types[0].input_schema, "{\"type\":\"object\"}");
}

pub async fn queues_are_counted(mut w: World) {
    let owner = w.connect().await;
    w.leased(owner).await;
    w.submit_one().await;
    let oldest = w.now;
    w.pass(secs(5));
    w.submit_one().await;
    w.submit(vec![NewRun { lane: lane_of("default", "a", "test.job"), ..w.new_run() }]).await;
    let settings = QueueSettings { paused: Some((true, "x".into())), allow_missing: true, ..QueueSettings::default() };
    w.store.update_queue(w.now, &w.scope, &"z".parse().unwrap(), settings).await.unwrap();
    let queues = w.store.queues(&w.scope, &Filter::All, Direction::Up, all()).await.unwrap();
    assert_eq!(queues.iter().map(|view| view.queue.as_str()).collect::<Vec<_>>(), ["a", "default", "z"]);
    let view = &queues[1];
    assert_eq!((view.depth, view.in_flight, view.oldest_queue_time), (2, 1, Some(oldest)));
    assert_eq!((queues[2].depth, queues[2].paused), (0, true));
    let page = page(Some("a".into()), 1);
    let next = w.store.queues(&w.scope, &Filter::All, Direction::Up, page).await.unwrap();
    assert_eq!(next[0].queue.as_str(), "default");
    assert!(w.store.queue(&w.scope, &"nobody".parse().unwrap()).await.unwrap().is_none());
}

pub async fn stats_count(mut w: World) {
    let owner = w.connect().await;
    w.create("report", spec(vec![])).await;
    let from = w.now;
    let done = w.leased(owner).await;
    w.report(done, Outcome::Succeeded).await;
    w.leased(owner).await;
    w.submit_one().await;
    w.submit(vec![NewRun { lane: lane_of("other", "q", "t"), ..w.new_run() }]).await;
    w.pass(secs(10));
    w.submit_one().await;
    let stats = w.store.stats(&w.scope, from, w.now).await.unwrap();
    assert_eq!(stats.runs, [(RunState::Queued, 1), (RunState::Leased, 1), (RunState::Succeeded, 1)]);
    assert_eq!((stats.jobs, stats.connected_workers, stats.queued, stats.in_flight), (1, 1, 2, 1));
}

pub async fn wait_facts_tell_why(w: World) {
    let pointer = w.submit_one().await;
    let facts = w.store.wait_facts(&w.scope, pointer.run).await.unwrap();
    assert_eq!((facts.queue_paused, facts.limit_reached, facts.handlers, facts.draining), (false, None, 0, 0));
    let (_, draining) = (w.connect().await, w.connect().await);
    w.store.drain_worker(w.now, &w.scope, draining.worker, Drain::Quiesce).await.unwrap();
    let settings =
        QueueSettings { paused: Some((true, "x".into())), concurrency_limit: Some(1), ..QueueSettings::default() };
    w.store.update_queue(w.now, &w.scope, &lane().queue, settings).await.unwrap();
    let facts = w.store.wait_facts(&w.scope, pointer.run).await.unwrap();
    assert_eq!((facts.queue_paused, facts.limit_reached, facts.handlers, facts.draining), (true, None, 2, 1));
}

pub async fn ledger_ranges_carry_their_rule(mut w: World) {
    let job = w.create("report", spec(vec![every("main", 60)])).await;
    let shard = w.own().await;
    w.pass(secs(60));
    w.fire_due(shard).await;
    let ranges = w.ledger(job.uid, Instant::MIN, Instant::MAX).await;
    assert_eq!(ranges[0].schedule.as_str(), "main");
    assert_eq!(*ranges[0].spec, job.spec);
    assert!(w.ledger(job.uid, w.now.plus(secs(1)), Instant::MAX).await.is_empty());
    assert!(w.ledger(job.uid, Instant::MIN, w.now).await.is_empty(), "the end is not in it");
}

pub async fn a_long_ledger_is_read_in_parts(mut w: World) {
    let job = w.create("report", spec(vec![every("main", 60), every("other", 90)])).await;
    for _ in 0..6 {
        // Each outage closes two ranges of each schedule.
        w.pass(secs(720));
        let shard = w.own().await;
        w.fire_due(shard).await;
    }
    let key = |range: &InstantRange| (range.range.first, range.schedule.clone());
    let whole: Vec<_> = w.ledger(job.uid, Instant::MIN, Instant::MAX).await.iter().map(key).collect();
    assert!(whole.len() > 20 && whole.is_sorted(), "{whole:?}");
    let mut parts = Vec::new();
    let mut from = Instant::MIN;
    while from < Instant::MAX {
        let LedgerPart { ranges, skipped: _, lapsed: _, until } =
            w.store.ledger(job.uid, from, Instant::MAX, 2).await.unwrap();
        assert!(until > from && ranges.len() <= 6, "two of each that are closed, and what is open: {ranges:?}");
        let complete = ranges.into_iter().filter(|range| range.range.last < until);
        parts.extend(complete.map(|range| key(&range)));
        from = until;
    }
    parts.dedup();
    assert_eq!(parts, whole);
}

pub async fn last_success_is_the_newest(mut w: World) {
    let job = w.create("report", spec(vec![every("main", 60)])).await;
    let shard = w.own().await;
    let owner = w.connect().await;
    assert_eq!(w.store.last_success(job.uid).await.unwrap(), None);
    let mut keys = Vec::new();
    for _ in 0..3 {
        w.pass(secs(60));
        let run = fired(&w.fire_due(shard).await[0])[0].clone();
        keys.push((w.lease(owner, pointer(&run)).await.key, w.now));
    }
    for place in [1, 0] {
        w.report(keys[place].0, Outcome::Succeeded).await;
    }
    assert_eq!(w.store.last_success(job.uid).await.unwrap(), Some(keys[1].1));
}
