//! Runs, their attempts and log lines, for people.

use mainspring_engine::{
    domain::{
        attempt::LossReason,
        dead::DeadLetter,
        event::Progress,
        ids::RunId,
        instant::Instant,
        log::{Level, Stored},
        overlap::Buffer,
        payload::Failure,
        rate::Rate,
        run::{Lifecycle, RunState, reason as why},
    },
    flow::stream::Room,
    ports::store::{AttemptView, DeadGroup, FullKey, JobRef, PacedKey, RunDetail, RunView, StatsView, WaitFacts},
};
use mainspring_proto::{common::v1::LogLevel, scheduler::v1 as wire};

use super::{failure, payload, policy, time};

/// A run, with as much of it as the view carries.
pub(crate) fn run(view: RunView) -> wire::Run {
    let RunView {
        run,
        namespace,
        job,
        schedule,
        job_type,
        queue,
        selector,
        origin,
        life,
        labels,
        priority,
        fairness_key,
        concurrency_key,
        unique_key,
        nominal_time,
        zone_data,
        backfill,
        due_time,
        late,
        parent,
        request_id,
        note,
        dead,
        detail,
    } = view;
    let cancellation = cancellation(&life);
    let Lifecycle {
        state,
        attempt,
        open: _,
        decided: _,
        worker,
        generation: _,
        cancel_requested: _,
        stop_timeout: _,
        stop_deadline: _,
        failures,
        losses,
        returns,
        reason,
        create_time,
        queue_time,
        lease_time: _,
        start_time,
        end_time,
        wake_time,
        buffer,
        cancel_time: _,
        cancel_reason: _,
        log_lines: _,
    } = life;
    let (resolve_time, resolution, fingerprint, resolve_note, resolve_actor) = match dead {
        Some(DeadLetter { fingerprint, resolution, note, actor, time }) => {
            (time.map(time::timestamp), resolution.code(), fingerprint.to_string(), note, actor)
        }
        None => Default::default(),
    };
    let (job, job_version) =
        job.map_or_else(Default::default, |JobRef { uid: _, name, version }| (name.into(), version));
    let count = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
    let mut shown = wire::Run {
        namespace: namespace.into(),
        run_id: run.to_string(),
        job,
        job_version,
        schedule: schedule.map(String::from).unwrap_or_default(),
        job_type: job_type.into(),
        queue: queue.into(),
        origin: origin.code(),
        state: run_state(state),
        reason: reason.unwrap_or_default(),
        payload: None,
        output: None,
        failure: None,
        labels,
        priority: priority.into(),
        nominal_time: nominal_time.map(time::timestamp),
        due_time: Some(time::timestamp(due_time)),
        queue_time: queue_time.map(time::timestamp),
        start_time: start_time.map(time::timestamp),
        end_time: end_time.map(time::timestamp),
        create_time: Some(time::timestamp(create_time)),
        next_attempt_time: wake_time.filter(|_| state == RunState::RetryWait).map(time::timestamp),
        attempt,
        failures: count(failures),
        losses: count(losses),
        returns: count(returns),
        worker_id: worker.map(|worker| worker.to_string()).unwrap_or_default(),
        progress: None,
        cancellation,
        wait_reason: if buffer.is_some() { wire::WaitReason::JobBusy } else { wire::WaitReason::Unspecified }.into(),
        wait_sentence: buffer.map(waits_for).unwrap_or_default().into(),
        idempotency_key: idempotency_key(run),
        parent_run_id: parent.map(|parent| parent.to_string()).unwrap_or_default(),
        request_id,
        retry_policy: None,
        timeouts: None,
        delivery: 0,
        late,
        note,
        fairness_key: fairness_key.into(),
        concurrency_key: concurrency_key.map(String::from).unwrap_or_default(),
        unique_key: unique_key.map(String::from).unwrap_or_default(),
        required_labels: selector.labels(),
        fingerprint,
        resolution,
        resolve_time,
        resolve_note,
        resolve_actor,
        backfill_id: backfill.map(|backfill| backfill.to_string()).unwrap_or_default(),
        zone_data_version: zone_data.as_deref().unwrap_or_default().into(),
    };
    if let Some(detail) = detail {
        let RunDetail { payload, output, failure, policy } = *detail;
        shown.payload = payload::to_caller(payload);
        shown.output = output.and_then(payload::to_caller);
        shown.failure = of_platform(state, &shown.reason, failure).map(failure::to_caller);
        shown.retry_policy = Some(policy::retry(policy.retry));
        shown.timeouts = Some(policy::timeouts(policy.timeouts));
        shown.delivery = policy::delivery(policy.delivery);
    }
    shown
}

/// Dead letters that died alike.
pub(crate) fn dead_group(group: DeadGroup) -> wire::DeadLetterGroup {
    let DeadGroup { fingerprint, count, first, last, example, failure } = group;
    let RunView { run, job, job_type, life: Lifecycle { state, reason, .. }, .. } = example;
    let reason = reason.unwrap_or_default();
    let message = of_platform(state, &reason, failure).map(|failure| failure.message).unwrap_or_default();
    wire::DeadLetterGroup {
        fingerprint: fingerprint.to_string(),
        job: job.map(|job| job.name.into()).unwrap_or_default(),
        job_type: job_type.into(),
        reason,
        message,
        count: i64::try_from(count).unwrap_or(i64::MAX),
        first_time: Some(time::timestamp(first)),
        last_time: Some(time::timestamp(last)),
        example_run_id: run.to_string(),
    }
}

/// A run that the platform ended says so in its failure as well, in a sentence: nobody else would.
fn of_platform(state: RunState, reason: &str, last: Option<Failure>) -> Option<Failure> {
    let is_failure = matches!(state, RunState::Failed | RunState::TimedOut);
    let Some(sentence) = why::sentence(reason).filter(|_| is_failure) else { return last };
    let is_cause = state == RunState::TimedOut || reason == why::NEXT_OCCURRENCE_DUE;
    match last {
        Some(told) if told.reason == reason => Some(told),
        // What a handler came back with when it was stopped for its time belongs to that end; what an earlier attempt
        // failed with says nothing of workers that were lost later. What was not tried again is what the last one failed with.
        last => {
            Some(Failure { cause: last.filter(|_| is_cause).map(Box::new), ..Failure::of_platform(reason, sentence) })
        }
    }
}

/// Stable across attempts.
pub(crate) fn idempotency_key(run: RunId) -> String {
    run.to_string()
}

fn cancellation(life: &Lifecycle) -> Option<wire::Cancellation> {
    let request_time = life.cancel_time?;
    Some(wire::Cancellation {
        request_time: Some(time::timestamp(request_time)),
        note: life.cancel_reason.clone().unwrap_or_default(),
        deadline: life.stop_deadline.map(time::timestamp),
        worker_unresponsive: life.reason.as_deref() == Some(why::WORKER_UNRESPONSIVE),
    })
}

/// What a running attempt last told.
pub(crate) fn progress(progress: Progress) -> wire::Progress {
    let Progress { fraction, message, time } = progress;
    wire::Progress { fraction, message, update_time: Some(time::timestamp(time)) }
}

/// What a run waits for that waits for others of its job.
fn waits_for(buffer: Buffer) -> &'static str {
    match buffer {
        Buffer::Turn => "Waiting: runs of its job that came before it are not over",
        Buffer::Newest => "Waiting: a run of its job is not over; a newer one would take its place",
        Buffer::Cancel | Buffer::Terminate => {
            "Waiting: a run of its job has been cancelled for it, and is not over yet"
        }
    }
}

/// Why a QUEUED run waits, as a name and as one sentence.
pub(crate) fn wait_reason(
    facts: &WaitFacts,
    room: Room,
    paced: Option<(Instant, Rate)>,
    run: &wire::Run,
) -> (wire::WaitReason, String) {
    use wire::WaitReason as Why;
    let WaitFacts { queue_paused, limit_reached, handlers, draining, unlike, key_full, key_paced } = facts;
    let Room { answering, silent, free } = room;
    let wire::Run { queue, job_type, required_labels, .. } = run;
    let (why, sentence) = if *queue_paused {
        (Why::QueuePaused, format!("queue `{queue}` is paused"))
    } else if *handlers == 0 && *unlike > 0 {
        let required: Vec<_> = required_labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let sentence = format!(
            "no connected worker that handles `{job_type}` has the labels that it requires: {} ({unlike} have not)",
            required.join(", ")
        );
        (Why::NoMatchingLabels, sentence)
    } else if *handlers == 0 {
        (Why::NoWorker, format!("no connected worker handles `{job_type}` from queue `{queue}`"))
    } else if handlers <= draining {
        (Why::WorkersDraining, format!("every connected worker that handles `{job_type}` is draining"))
    } else if let Some(FullKey { key, limit, in_flight }) = key_full {
        let sentence = format!(
            "concurrency key `{key}` has reached its limit of {limit} runs at workers ({in_flight} are, or may come back)"
        );
        (Why::KeyLimitReached, sentence)
    } else if let Some(PacedKey { key, rate, next }) = key_paced {
        (Why::RateLimited, format!("concurrency key `{key}` {}", goes(*rate, *next)))
    } else if let Some(limit) = limit_reached {
        (Why::QueueLimitReached, format!("queue `{queue}` has reached its limit of {limit} runs at workers"))
    } else if let Some((next, rate)) = paced.filter(|_| free > 0) {
        (Why::RateLimited, format!("queue `{queue}` {}", goes(rate, next)))
    } else if free > 0 {
        (Why::AboutToBeGivenOut, format!("a worker has a free slot for `{job_type}`, and it is given out in a moment"))
    } else if answering == 0 && silent > 0 && silent >= handlers - draining {
        (
            Why::WorkersNotAnswering,
            format!(
                "no connected worker that handles `{job_type}` answers what it is sent ({silent} connected): look at their logs, or restart them"
            ),
        )
    } else {
        (Why::NoFreeSlot, format!("for a free slot at a worker that handles `{job_type}` ({handlers} connected)"))
    };
    (why, format!("Waiting: {sentence}"))
}

/// How fast runs go of what has gone as fast as it may.
fn goes(Rate { count, per, burst: _ }: Rate, next: Instant) -> String {
    let per = mainspring_cron::format_duration(i64::try_from(per.as_micros()).unwrap_or(i64::MAX));
    format!("gives out at most {count} in {per}, and the next at {next}")
}

/// An attempt.
pub(crate) fn attempt(run: RunId, view: AttemptView) -> wire::Attempt {
    let AttemptView {
        attempt,
        state,
        worker,
        worker_name,
        lease_time,
        start_time,
        end_time,
        failure,
        cause,
        log_lines: _,
    } = view;
    wire::Attempt {
        run_id: run.to_string(),
        attempt,
        state: state.code(),
        worker_id: worker.map(|worker| worker.to_string()).unwrap_or_default(),
        worker_name,
        lease_time: lease_time.map(time::timestamp),
        start_time: start_time.map(time::timestamp),
        end_time: end_time.map(time::timestamp),
        failure: failure.map(failure::to_caller),
        loss_reason: cause.map_or(0, LossReason::code),
    }
}

/// A stored log line.
pub(crate) fn log_entry(stored: Stored) -> wire::StoredLogEntry {
    let Stored { attempt, offset, line, dropped_before } = stored;
    let whole = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    wire::StoredLogEntry {
        attempt,
        offset: whole(offset),
        log_time: Some(time::timestamp(line.time)),
        level: log_level(line.level).into(),
        message: line.message,
        fields: line.fields,
        dropped_before: whole(dropped_before),
    }
}

fn log_level(level: Level) -> LogLevel {
    match level {
        Level::Debug => LogLevel::Debug,
        Level::Info => LogLevel::Info,
        Level::Warning => LogLevel::Warning,
        Level::Error => LogLevel::Error,
    }
}

/// Counts.
pub(crate) fn stats(view: StatsView) -> wire::GetStatsResponse {
    let StatsView { runs, jobs, connected_workers, queued, in_flight } = view;
    let whole = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    wire::GetStatsResponse {
        runs: runs
            .into_iter()
            .map(|(state, count)| wire::StateCount { state: run_state(state), count: whole(count) })
            .collect(),
        jobs: whole(jobs),
        connected_workers: whole(connected_workers),
        queued: whole(queued),
        in_flight: whole(in_flight),
    }
}

/// The codes are those of the contract; a test holds them together.
pub(crate) fn run_state(state: RunState) -> i32 {
    state.code()
}

#[cfg(test)]
mod tests {
    use std::{num::NonZeroU32, time::Duration};

    use mainspring_engine::domain::{attempt::AttemptState, dead::Resolution, run::RunOrigin};

    use super::*;

    #[test]
    fn codes_are_those_of_the_contract() {
        for state in RunState::ALL {
            let name = wire::RunState::try_from(run_state(state)).unwrap().as_str_name();
            assert_eq!(name, format!("RUN_STATE_{}", state.name()));
        }
        let shouted = |debug: String| {
            debug.char_indices().fold(String::new(), |name, (at, c)| match c {
                c if c.is_ascii_uppercase() && at > 0 => name + "_" + &c.to_string(),
                c => name + &c.to_ascii_uppercase().to_string(),
            })
        };
        for origin in RunOrigin::ALL {
            let name = wire::RunOrigin::try_from(origin.code()).unwrap().as_str_name();
            assert_eq!(name, format!("RUN_ORIGIN_{}", shouted(format!("{origin:?}"))));
        }
        for resolution in Resolution::ALL {
            let name = wire::Resolution::try_from(resolution.code()).unwrap().as_str_name();
            assert_eq!(name, format!("RESOLUTION_{}", resolution.name()));
        }
        for state in AttemptState::ALL {
            let name = wire::AttemptState::try_from(state.code()).unwrap().as_str_name();
            assert_eq!(name, format!("ATTEMPT_STATE_{}", shouted(format!("{state:?}"))));
        }
        for reason in LossReason::ALL {
            let name = wire::LossReason::try_from(reason.code()).unwrap().as_str_name();
            assert_eq!(name, format!("LOSS_REASON_{}", reason.name()));
        }
    }

    #[test]
    fn what_the_platform_decided_is_told_in_a_sentence() {
        for (reason, sentence) in why::ALL {
            assert!(sentence.ends_with('.') && sentence.len() > 30, "{reason}");
        }
        let own = |reason: &str| Some(Failure::of_platform(reason, "the handler's own words"));
        let told =
            |state, reason, last| of_platform(state, reason, last).map(|failure| (failure.reason, failure.message));
        let crashed = told(RunState::Failed, why::WORKER_CRASH_SUSPECTED, own("SMTP_BUSY")).unwrap();
        assert_eq!(crashed.0, "WORKER_CRASH_SUSPECTED");
        assert!(crashed.1.contains("`max_losses`"), "{}", crashed.1);
        assert!(of_platform(RunState::Failed, why::LEASE_LOST, own("SMTP_BUSY")).unwrap().cause.is_none());
        let late = of_platform(RunState::TimedOut, why::EXECUTION_TIMEOUT, own("SMTP_BUSY")).unwrap();
        assert_eq!(late.cause.map(|cause| cause.reason), Some("SMTP_BUSY".into()));
        let theirs = told(RunState::TimedOut, why::EXECUTION_TIMEOUT, own("EXECUTION_TIMEOUT")).unwrap();
        assert_eq!(theirs.1, "the handler's own words");
        assert_eq!(told(RunState::Failed, "SMTP_BUSY", own("SMTP_BUSY")).unwrap().1, "the handler's own words");
        assert_eq!(told(RunState::Cancelled, why::CANCELLED, None), None);
        assert_eq!(told(RunState::Queued, "", None), None);
    }

    #[test]
    fn a_waiting_run_says_why() {
        let run = wire::Run { queue: "q".into(), job_type: "t".into(), ..wire::Run::default() };
        let busy = WaitFacts { handlers: 2, ..WaitFacts::default() };
        let key = FullKey { key: "host".parse().unwrap(), limit: 2, in_flight: 2 };
        let rate = Rate { count: NonZeroU32::MIN, per: Duration::from_secs(60), burst: NonZeroU32::MIN };
        let next = Instant::EPOCH;
        let paced = PacedKey { key: "host".parse().unwrap(), rate, next };
        use wire::WaitReason as Why;
        let full = Room { answering: 2, ..Room::default() };
        let (silent, mixed) = (Room { silent: 2, ..Room::default() }, Room { answering: 1, silent: 1, free: 0 });
        for (facts, room, why, part) in [
            (WaitFacts::default(), full, Why::NoWorker, "Waiting: no connected worker handles `t`"),
            (WaitFacts { queue_paused: true, ..busy.clone() }, full, Why::QueuePaused, "is paused"),
            (WaitFacts { draining: 2, ..busy.clone() }, full, Why::WorkersDraining, "is draining"),
            (WaitFacts { limit_reached: Some(5), ..busy.clone() }, full, Why::QueueLimitReached, "limit of 5"),
            (
                WaitFacts { key_full: Some(key), limit_reached: Some(5), ..busy.clone() },
                full,
                Why::KeyLimitReached,
                "concurrency key `host` has reached its limit of 2 runs at workers (2 are",
            ),
            (
                WaitFacts { key_paced: Some(paced), limit_reached: Some(5), ..busy.clone() },
                full,
                Why::RateLimited,
                "concurrency key `host` gives out at most 1 in 1m, and the next at 1970-01-01T00:00:00Z",
            ),
            (busy.clone(), full, Why::NoFreeSlot, "for a free slot"),
            (busy.clone(), Room { free: 1, ..full }, Why::AboutToBeGivenOut, "in a moment"),
            (busy.clone(), silent, Why::WorkersNotAnswering, "answers what it is sent (2 connected)"),
            (busy.clone(), mixed, Why::NoFreeSlot, "for a free slot"),
            // The others have their sessions on another server.
            (WaitFacts { handlers: 3, ..busy.clone() }, silent, Why::NoFreeSlot, "for a free slot"),
            (WaitFacts { handlers: 3, draining: 1, ..busy }, silent, Why::WorkersNotAnswering, "look at their logs"),
        ] {
            let (reason, sentence) = wait_reason(&facts, room, None, &run);
            assert!(reason == why && sentence.contains(part), "{facts:?}: {reason:?}, {sentence}");
        }
    }
}
