//! What a field of the API is called at a shell: errors name fields by their path in the request, and nobody typed that.

/// The argument that a field of a request comes from; `None` where no single one does.
pub(crate) fn of(path: &str) -> Option<&'static str> {
    // Which of several does not matter: the description quotes what is wrong.
    let path: String = path.split('.').map(|part| part.split('[').next().unwrap_or(part)).collect::<Vec<_>>().join(".");
    let path = path.as_str();
    let (of_job, of_run) = (path.strip_prefix("job."), path.strip_prefix("run."));
    Some(match of_job.or(of_run).unwrap_or(path) {
        "job" if of_job.is_some() => "NAME",
        "job" => "JOB",
        "job_type" if of_run.is_some() => "TYPE",
        "job_type" => "--type",
        "queue" if of_job.is_some() || of_run.is_some() => "--queue",
        "queue" => "QUEUE",
        "run_id" => "RUN",
        "worker_id" => "WORKER",
        "key_id" => "KEY",
        "name" => "NAME",
        "path" => "FILE",
        "schedules.cron" => "--cron",
        "schedules.time_zone" => "--tz",
        "schedules.interval" | "schedules.interval.every" => "--every",
        "schedules.interval.phase" | "schedules.interval.hashed_phase" => "--phase",
        "schedules.interval.first_time" => "--first",
        "schedules.at" => "--at",
        "schedules.gap" => "--dst-gap",
        "schedules.overlap" => "--dst-overlap",
        "schedules.day_match" => "--day-match",
        "overlap" => "--overlap",
        "overlap_max" => "--overlap-max",
        "catch_up" => "--catch-up",
        "catch_up_max" => "--catch-up-max",
        "catch_up_pace" => "--catch-up-pace",
        "max_lateness" => "--max-lateness",
        "until_time" => "--until",
        "retry_policy.max_attempts" => "--max-attempts",
        "retry_policy.initial_backoff" => "--backoff",
        "timeouts.execution" | "settings.default_timeouts.execution" => "--timeout",
        "timeouts.queue" | "settings.default_timeouts.queue" => "--queue-timeout",
        "timeouts.total" | "settings.default_timeouts.total" => "--total-timeout",
        "timeouts.stop_grace" | "settings.default_timeouts.stop_grace" => "--stop-grace",
        "timeouts.heartbeat" | "settings.default_timeouts.heartbeat" => "--heartbeat-timeout",
        "priority" => "--priority",
        "fairness_key" => "--fairness-key",
        "queue.rate_limit" | "queue.rate_limit.count" | "queue.rate_limit.per" => "--rate",
        "queue.rate_limit.burst" => "--burst",
        "concurrency_key" => "--concurrency-key",
        "concurrency_rate" | "concurrency_rate.count" | "concurrency_rate.per" => "--concurrency-rate",
        "concurrency_rate.burst" => "--concurrency-burst",
        "concurrency_limit" if of_job.is_some() || of_run.is_some() => "--concurrency-limit",
        "unique" | "unique.key" => "--unique-key",
        "unique.window" => "--unique-window",
        "unique.on_conflict" => "--on-conflict",
        "labels" => "--label",
        "description" => "--description",
        "due_time" => "--at or --delay",
        "request_id" => "--request-id",
        "note" => "--note",
        "reason" => "--reason",
        "etag" => "--etag",
        "filter" => "--filter",
        "from_time" => "--from",
        "to_time" => "--to",
        "min_level" => "--level",
        "role" | "bindings" | "bindings.role" => "--role",
        "expire_time" => "--expires-in",
        "namespace" => "--namespace",
        "username" => "--user",
        "password" | "current_password" => "the password",
        "new_password" => "the new password",
        calendar if calendar.starts_with("schedules.calendar_interval") => "--every",
        payload if payload == "payload" || payload.starts_with("payload.") => "-d",
        label if label.starts_with("labels.") => "--label",
        _ => return None,
    })
}

/// What a field is called at a shell; of a payload, with the way to the field inside, which is the caller's own.
pub(crate) fn told(path: &str) -> String {
    let own = path.strip_prefix("job.").or_else(|| path.strip_prefix("run.")).unwrap_or(path);
    match (of(path), own.strip_prefix("payload").and_then(inside)) {
        (Some(argument), Some(way)) => format!("{argument} {way}"),
        (Some(argument), None) => argument.into(),
        (None, _) => path.into(),
    }
}

/// The way inside a payload, below the arm that carries it.
fn inside(below: &str) -> Option<&str> {
    if matches!(below, ".content_type" | ".reference") {
        return None;
    }
    let below = [".json", ".inline"]
        .into_iter()
        .find_map(|arm| below.strip_prefix(arm).filter(|way| way.is_empty() || way.starts_with(['.', '['])))
        .unwrap_or(below);
    Some(below.strip_prefix('.').unwrap_or(below)).filter(|way| !way.is_empty())
}

#[cfg(test)]
mod tests {
    use super::{of, told};

    #[test]
    fn the_way_inside_a_payload_is_the_callers_own() {
        for (path, words) in [
            ("job.payload.json.customer.email", "-d customer.email"),
            ("run.payload.inline[0].to", "-d [0].to"),
            ("payload.customer", "-d customer"),
            ("payload.json.json", "-d json"),
            ("payload.jsonish", "-d jsonish"),
            ("run.payload.content_type", "-d"),
            ("run.payload", "-d"),
            ("job.queue", "--queue"),
            ("page_token", "page_token"),
        ] {
            assert_eq!(told(path), words, "{path}");
        }
    }

    #[test]
    fn a_path_is_told_as_what_was_typed() {
        for (path, argument) in [
            ("job.schedules[1].cron", Some("--cron")),
            ("job.schedules[0].interval.every", Some("--every")),
            ("job.schedules[0].calendar_interval.first_date", Some("--every")),
            ("job.schedules[0].overlap", Some("--dst-overlap")),
            ("job.overlap", Some("--overlap")),
            ("job.job", Some("NAME")),
            ("job", Some("JOB")),
            ("job.queue", Some("--queue")),
            ("run.queue", Some("--queue")),
            ("queue", Some("QUEUE")),
            ("run.job_type", Some("TYPE")),
            ("job.retry_policy.max_attempts", Some("--max-attempts")),
            ("job.labels[team]", Some("--label")),
            ("payload.json", Some("-d")),
            ("run_id", Some("RUN")),
            ("page_token", None),
        ] {
            assert_eq!(of(path), argument, "{path}");
        }
    }
}
