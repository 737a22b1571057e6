//! `job update`: what is named is changed, everything else stays.
//!
//! The job is read first and sent back with its etag, so that a flag can change one field of a policy, and nobody else's
//! change is undone in between.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use mainspring_proto::scheduler::v1::{ComparedInstant, GetJobRequest, Job, PendingStarts, UpdateJobRequest};
use prost_types::FieldMask;

use super::{
    auto_disable::AutoDisableArgs,
    catch_up::CatchUpArgs,
    completed::CompletedArgs,
    overlap::OverlapArgs,
    schedule::{self, ScheduleArgs},
};
use crate::{
    commands::{
        examples,
        policy::{self, PayloadArgs, PolicyArgs},
        retry::DeliveryArgs,
    },
    document,
    exit::Exit,
    failure::Failure,
    named, output,
    session::Session,
    times,
};

/// Change a job; runs that were made already stay as they are
#[derive(Args, Debug)]
#[command(before_help = examples![
    "mainspring job update demo.flaky --max-attempts 7 --backoff 2s",
    "mainspring job update demo.hello --cron '0 9 * * *' --jitter 5m --pending recompute --dry-run",
    "mainspring job update demo.sleep --label team=ops --priority 7 -o json",
])]
pub(crate) struct UpdateArgs {
    /// The job
    #[arg(value_parser = named::job)]
    job: String,
    /// Take the whole definition from a JSON file as `job get -o json` prints it, or from stdin (-)
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// The type that names the worker's handler
    #[arg(long = "type", value_name = "TYPE")]
    job_type: Option<String>,
    /// The queue its runs wait in
    #[arg(long, value_name = "NAME", value_parser = named::queue)]
    queue: Option<String>,
    /// --cron, --every, --fixed-delay and --at replace all schedules it has; one of the same name keeps what is not named
    #[command(flatten)]
    schedule: ScheduleArgs,
    /// Take its schedules away: it runs when it is triggered
    #[arg(long, conflicts_with_all = ["cron", "every", "fixed_delay", "at"])]
    no_schedule: bool,
    #[command(flatten)]
    overlap: OverlapArgs,
    #[command(flatten)]
    catch_up: CatchUpArgs,
    #[command(flatten)]
    auto_disable: AutoDisableArgs,
    #[command(flatten)]
    completed: CompletedArgs,
    #[command(flatten)]
    payload: PayloadArgs,
    #[command(flatten)]
    policy: PolicyArgs,
    #[command(flatten)]
    delivery: DeliveryArgs,
    /// Whether its handlers are told the last instant that had succeeded
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    previous_success: Option<bool>,
    /// Set a label, may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = policy::label)]
    label: Vec<(String, String)>,
    /// Take a label away, may be repeated
    #[arg(long, value_name = "KEY")]
    remove_label: Vec<String>,
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Who answers for it
    #[arg(long, value_name = "TEXT")]
    owner: Option<String>,
    /// Only if it is still this one (`etag` of `job get -o json`)
    #[arg(long, value_name = "ETAG")]
    etag: Option<String>,
    #[command(flatten)]
    edit: EditArgs,
}

/// How a definition is changed, whatever it becomes.
#[derive(Args, Clone, Copy, Debug)]
pub(super) struct EditArgs {
    /// What becomes of starts that are pending: spread, caught up with at a pace, or waiting for another run [default: keep]
    #[arg(long, value_name = "WHAT")]
    pending: Option<PendingArg>,
    /// Check everything, save nothing
    #[arg(long)]
    pub(super) dry_run: bool,
}

impl EditArgs {
    /// What becomes of starts that are pending.
    pub(super) fn pending(self) -> PendingStarts {
        match self.pending {
            None => PendingStarts::Unspecified,
            Some(PendingArg::Keep) => PendingStarts::Keep,
            Some(PendingArg::Cancel) => PendingStarts::Cancel,
            Some(PendingArg::Recompute) => PendingStarts::Recompute,
        }
    }
}

/// [`PendingStarts`] as typed.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum PendingArg {
    /// They stay, under the version that made them.
    Keep,
    /// They are cancelled.
    Cancel,
    /// Those whose instants are still named begin by the new definition; the others are cancelled.
    Recompute,
}

pub(super) async fn run(args: UpdateArgs, session: &Session) -> Result<Exit, Failure> {
    let (name, edit, etag) = (args.job.clone(), args.edit, args.etag.clone());
    let file = args.file.as_deref().map(read).transpose()?;
    let server = session.server().await?;
    let namespace = server.namespace();
    let (mut job, mask) = match file {
        Some(job) => {
            let mut stored = Job { job: name.clone(), etag: job.etag.clone(), ..job };
            // The call says which namespace; the file may say the same in full.
            stored.namespace = String::new();
            (stored, Vec::new())
        }
        None => {
            let request = GetJobRequest { namespace: namespace.clone(), job: name.clone(), ..GetJobRequest::default() };
            let stored = server.scheduler().get_job(request).await?.into_inner().job.unwrap_or_default();
            changed(stored, args)?
        }
    };
    if let Some(etag) = etag {
        job.etag = etag;
    }
    let update_mask = Some(FieldMask { paths: mask.into_iter().map(str::to_owned).collect() });
    let request = UpdateJobRequest {
        namespace,
        job: Some(job),
        update_mask,
        allow_missing: false,
        validate_only: edit.dry_run,
        update_pending: edit.pending().into(),
    };
    let answer = server.scheduler().update_job(request).await?.into_inner();
    if edit.dry_run {
        // Beside the job there is what would change, which a program wants as well.
        let text = format!("{}would update job/{name} (dry run: nothing was saved)", compared(&answer.compared));
        session.out.did(&text, &answer)?;
        return Ok(Exit::Done);
    }
    let job = answer.job.unwrap_or_default();
    let text = format!("job/{name} updated, version {}", job.version);
    session.out.did(&text, &job)?;
    Ok(Exit::Done)
}

/// The next instants that are named before or after the change; nothing where they are the same.
pub(super) fn compared(instants: &[ComparedInstant]) -> String {
    if instants.iter().all(|instant| instant.before && instant.after) {
        return String::new();
    }
    let lines = instants.iter().map(|ComparedInstant { time, before, after }| {
        let sign = match (before, after) {
            (true, false) => '-',
            (false, true) => '+',
            (true, true) | (false, false) => ' ',
        };
        let time = time.as_ref().and_then(times::from_proto).map(|time| time.to_string()).unwrap_or_default();
        format!("{sign} {time}\n")
    });
    format!("next instants:\n{}", lines.collect::<String>())
}

/// A definition as it is printed.
fn read(file: &Path) -> Result<Job, Failure> {
    let text = if file.as_os_str() == "-" { document::of_stdin() } else { document::of_file(file) };
    let json = text.and_then(|text| document::parsed(&text));
    let json = json.map_err(|error| Failure::usage(format!("-f {} {error}", file.display())))?;
    output::read(json).map_err(|error| Failure::usage(format!("-f {}: {error}", file.display())))
}

/// The job with what was named, and the names of those fields.
fn changed(stored: Job, args: UpdateArgs) -> Result<(Job, Vec<&'static str>), Failure> {
    let UpdateArgs {
        job: _,
        file: _,
        job_type,
        queue,
        schedule,
        no_schedule,
        overlap,
        catch_up,
        auto_disable,
        completed,
        payload,
        policy,
        delivery,
        previous_success,
        label,
        remove_label,
        description,
        owner,
        etag: _,
        edit: _,
    } = args;
    let mut job = Job { namespace: String::new(), ..stored };
    let mut mask = Vec::new();
    if let Some(job_type) = job_type {
        job.job_type = job_type;
        mask.push("job_type");
    }
    if let Some(queue) = queue {
        job.queue = queue;
        mask.push("queue");
    }
    if no_schedule || !schedule.is_empty() {
        job.schedules = schedule::schedules(&schedule, &job.schedules)?;
        mask.push("schedules");
    } else if schedule.change(&mut job.schedules)? {
        mask.push("schedules");
    }
    mask.extend(overlap.write(&mut job));
    mask.extend(catch_up.write(&mut job));
    mask.extend(auto_disable.write(&mut job));
    mask.extend(completed.write(&mut job));
    if let Some(payload) = payload.payload()? {
        job.payload = Some(payload);
        mask.push("payload");
    }
    if let Some(changed) = policy.retry.over(job.retry_policy.clone().unwrap_or_default()) {
        job.retry_policy = Some(changed);
        mask.push("retry_policy");
    }
    if let Some(changed) = policy.timeouts.over(job.timeouts.unwrap_or_default()) {
        job.timeouts = Some(changed);
        mask.push("timeouts");
    }
    if let Some(delivery) = delivery.delivery() {
        job.delivery = delivery.into();
        mask.push("delivery");
    }
    if let Some(policy) = delivery.lease_loss() {
        job.lease_loss_policy = policy.into();
        mask.push("lease_loss_policy");
    }
    if let Some(priority) = policy.priority {
        job.priority = priority;
        mask.push("priority");
    }
    if let Some(rate) = policy.concurrency_rate() {
        job.concurrency_rate = Some(rate);
        mask.push("concurrency_rate");
    }
    if let Some(key) = policy.fairness_key {
        job.fairness_key = key;
        mask.push("fairness_key");
    }
    if let Some(key) = policy.concurrency_key {
        // Without a key, there is nothing to limit.
        if key.is_empty() {
            (job.concurrency_limit, job.concurrency_rate) = (0, None);
            mask.extend(["concurrency_limit", "concurrency_rate"]);
        }
        job.concurrency_key = key;
        mask.push("concurrency_key");
    }
    if let Some(limit) = policy.concurrency_limit {
        job.concurrency_limit = limit;
        mask.push("concurrency_limit");
    }
    if let Some(told) = previous_success {
        job.previous_success = told;
        mask.push("previous_success");
    }
    if !policy.require_label.is_empty() {
        job.required_labels.extend(policy.require_label);
        job.required_labels.retain(|_, value| !value.is_empty());
        mask.push("required_labels");
    }
    if !label.is_empty() || !remove_label.is_empty() {
        job.labels.extend(label);
        job.labels.retain(|key, _| !remove_label.contains(key));
        mask.push("labels");
    }
    if let Some(description) = description {
        job.description = description;
        mask.push("description");
    }
    if let Some(owner) = owner {
        job.owner = owner;
        mask.push("owner");
    }
    if mask.is_empty() {
        return Err(
            Failure::usage("nothing is to be changed").hint("name what is, or use -f; `mainspring help job update`")
        );
    }
    Ok((job, mask))
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use mainspring_proto::{
        common::v1::RetryPolicy,
        scheduler::v1::{DayMatch, DstGap, Job, OnCompleted, Schedule, schedule::Rule},
    };

    use super::{UpdateArgs, changed};

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: UpdateArgs,
    }

    fn update(stored: Job, line: &[&str]) -> Result<(Job, Vec<&'static str>), String> {
        let words = ["update", "nightly"].iter().chain(line);
        changed(stored, Line::try_parse_from(words).unwrap().args).map_err(|failure| failure.text())
    }

    #[test]
    fn one_field_of_a_policy_leaves_the_others() {
        let policy = RetryPolicy { max_attempts: Some(3), max_losses: Some(9), ..RetryPolicy::default() };
        let stored = Job { retry_policy: Some(policy), etag: "e".into(), ..Job::default() };
        let (job, mask) = update(stored, &["--backoff", "2s"]).unwrap();
        let policy = job.retry_policy.unwrap();
        assert_eq!(
            (policy.max_attempts, policy.max_losses, policy.initial_backoff.unwrap().seconds),
            (Some(3), Some(9), 2)
        );
        assert_eq!((mask, job.etag.as_str()), (vec!["retry_policy"], "e"));
    }

    #[test]
    fn labels_are_set_and_taken_away_one_by_one() {
        let stored =
            Job { labels: [("a".to_owned(), "1".to_owned()), ("b".into(), "2".into())].into(), ..Job::default() };
        let (job, mask) = update(stored, &["--label", "a=3", "--label", "c=4", "--remove-label", "b"]).unwrap();
        assert_eq!(job.labels.into_iter().collect::<Vec<_>>(), [("a".into(), "3".into()), ("c".into(), "4".into())]);
        assert_eq!(mask, ["labels"]);
    }

    #[test]
    fn what_is_said_of_schedules_without_a_rule_is_said_of_those_there_are() {
        let stored = Job { schedules: vec![Schedule::default(); 2], ..Job::default() };
        let (job, mask) = update(stored, &["--jitter", "5m", "--max-runs", "3"]).unwrap();
        assert!(job.schedules.iter().all(|schedule| schedule.jitter.unwrap().seconds == 300 && schedule.max_runs == 3));
        assert_eq!(mask, ["schedules"]);
        assert!(update(Job::default(), &["--jitter", "5m"]).unwrap_err().contains("--jitter"));
        let (job, mask) = update(Job::default(), &["--on-completed", "delete", "--delete-after", "1h"]).unwrap();
        assert_eq!((job.on_completed(), job.delete_after.unwrap().seconds), (OnCompleted::Delete, 3_600));
        assert_eq!(mask, ["on_completed", "delete_after", "delete_after"]);
    }

    #[test]
    fn a_rule_that_is_replaced_leaves_the_rest_of_its_schedule() {
        let stored = Schedule {
            name: "nightly".into(),
            rule: Some(Rule::Cron("0 9 * * *".into())),
            time_zone: "Europe/Berlin".into(),
            gap: DstGap::Skip.into(),
            day_match: DayMatch::And.into(),
            max_runs: 30,
            exclude_calendars: vec!["holidays".into()],
            end_time: Some(prost_types::Timestamp { seconds: 9, nanos: 0 }),
            ..Schedule::default()
        };
        let of = |schedules: &[Schedule], line: &[&str]| {
            let (job, mask) = update(Job { schedules: schedules.to_vec(), ..Job::default() }, line).unwrap();
            assert_eq!(mask, ["schedules"]);
            job.schedules
        };
        let only = [stored.clone()];
        let rule = Some(Rule::Cron("0 10 * * *".into()));
        assert_eq!(of(&only, &["--cron", "0 10 * * *"]), [Schedule { rule: rule.clone(), ..stored.clone() }]);
        let moved = Schedule { rule, time_zone: "UTC".into(), end_time: None, ..stored.clone() };
        assert_eq!(of(&only, &["--cron", "0 10 * * *", "--tz", "UTC", "--end-at", "none"]), [moved]);
        // What only a wall clock gives a meaning goes with it.
        let every = &of(&only, &["--every", "5m"])[0];
        assert_eq!((every.time_zone.as_str(), every.gap, every.day_match, every.max_runs), ("", 0, 0, 30));
        // Without a rule, it is said of what there is.
        let there = &of(&only, &["--tz", "Asia/Tokyo", "--dst-gap", "next-valid"])[0];
        assert_eq!(
            (there.time_zone.as_str(), there.gap(), &there.rule),
            ("Asia/Tokyo", DstGap::NextValid, &stored.rule)
        );
        // A rule more is like the others.
        let other = Schedule { name: "cron-2".into(), rule: Some(Rule::Cron("0 2 * * *".into())), ..stored.clone() };
        let of_rules = |schedules: &[Schedule], line: &[&str]| -> Vec<_> {
            let told = |schedule: &Schedule| match &schedule.rule {
                Some(Rule::Cron(cron)) => (schedule.name.clone(), cron.clone(), schedule.max_runs, schedule.gap()),
                other => panic!("{other:?}"),
            };
            of(schedules, line).iter().map(told).collect()
        };
        let is = |name: &str, cron: &str| (name.to_owned(), cron.to_owned(), 30, DstGap::Skip);
        let line = ["--cron", "0 10 * * *", "--cron", "0 11 * * *"];
        assert_eq!(of_rules(&only, &line), [is("nightly", "0 10 * * *"), is("cron-1", "0 11 * * *")]);
        // One that has its rule already keeps its name, wherever it stands.
        let two = [stored.clone(), other];
        let line = ["--cron", "0 1 * * *", "--cron", "0 2 * * *", "--cron", "0 3 * * *"];
        let expected = [is("nightly", "0 1 * * *"), is("cron-2", "0 2 * * *"), is("cron-1", "0 3 * * *")];
        assert_eq!(of_rules(&two, &line), expected);
        assert_eq!(of_rules(&two, &["--cron", "0 2 * * *"]), [is("cron-2", "0 2 * * *")]);
        // Nobody knows which of two that differ a third is like.
        let differ = [stored.clone(), Schedule { name: "cron-2".into(), time_zone: "UTC".into(), ..stored }];
        let three = ["--cron", "0 1 * * *", "--cron", "0 2 * * *", "--cron", "0 3 * * *"];
        let refused = update(Job { schedules: differ.to_vec(), ..Job::default() }, &three).unwrap_err();
        assert!(refused.contains("differ in zone"), "{refused}");
    }

    #[test]
    fn nothing_is_a_mistake_and_no_schedule_is_something() {
        assert!(update(Job::default(), &[]).unwrap_err().contains("nothing is to be changed"));
        let (job, mask) = update(Job::default(), &["--no-schedule"]).unwrap();
        assert!(job.schedules.is_empty() && mask == ["schedules"]);
        let (job, _) = update(Job::default(), &["--every", "30s"]).unwrap();
        assert_eq!(job.schedules.len(), 1);
    }
}
