//! `job create`: from flags to a definition, and what its schedules will do.

use clap::Args;
use mainspring_proto::scheduler::v1::{
    CreateJobRequest, Job, PreviewRange, PreviewScheduleRequest, PreviewedSchedule, Schedule, schedule::Rule,
};

use super::{
    auto_disable::AutoDisableArgs,
    catch_up::CatchUpArgs,
    completed::CompletedArgs,
    overlap::OverlapArgs,
    schedule::{self, ScheduleArgs},
};
use crate::{
    clock,
    commands::{
        examples,
        policy::{self, PayloadArgs, PolicyArgs},
        retry::DeliveryArgs,
    },
    connection::Server,
    exit::Exit,
    failure::Failure,
    named, resource,
    session::Session,
    times,
};

/// How many instants a dry run shows of each schedule.
const PREVIEWED: i32 = 3;

/// Create a job
#[derive(Args, Debug)]
#[command(before_help = examples![
    "mainspring job create greet --type demo.hello --cron '0 9 * * 1-5' --tz Europe/Berlin --dry-run",
    "mainspring job create thrice --type demo.hello --every 1h --jitter 5m --max-runs 3",
    "mainspring job create quarter --type demo.hello --every '3 months from 2026-01-31 at 09:00'",
])]
pub(crate) struct CreateArgs {
    /// Its name: lower case letters, digits, `.`, `_`, `-`; it is never changed
    #[arg(value_name = "NAME", value_parser = named::job)]
    job: String,
    /// The type that names the worker's handler
    #[arg(long = "type", value_name = "TYPE")]
    job_type: String,
    /// The queue its runs wait in [default: "default"]
    #[arg(long, value_name = "NAME", value_parser = named::queue)]
    queue: Option<String>,
    #[command(flatten)]
    schedule: ScheduleArgs,
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
    /// Tell its handlers the last instant that had succeeded
    #[arg(long)]
    previous_success: bool,
    /// Label, may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = policy::label)]
    label: Vec<(String, String)>,
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Check everything, show when it would fire, save nothing
    #[arg(long)]
    dry_run: bool,
}

pub(super) async fn run(args: CreateArgs, session: &Session) -> Result<Exit, Failure> {
    let dry_run = args.dry_run;
    let job = definition(args)?;
    let server = session.server().await?;
    let request = CreateJobRequest {
        namespace: server.namespace(),
        job: Some(job),
        request_id: String::new(),
        validate_only: dry_run,
    };
    let job = server.scheduler().create_job(request).await?.into_inner().job.unwrap_or_default();
    if !dry_run {
        session.out.did(&format!("job/{} created", job.job), &job)?;
        return Ok(Exit::Done);
    }
    let mut text = String::new();
    if !session.out.is_for_programs() {
        for schedule in &job.schedules {
            if let Some(Rule::At(_)) = &schedule.rule {
                // It says itself when it is, and how late it may be is for the job to say.
                text.push_str(&format!("{}\n", resource::schedule_words(schedule)));
                continue;
            }
            for preview in preview(&server, schedule).await? {
                text.push_str(&told(&preview, schedule));
            }
        }
    }
    text.push_str(&format!("would create job/{} (dry run: nothing was saved)", job.job));
    session.out.did(&text, &job)?;
    Ok(Exit::Done)
}

fn definition(args: CreateArgs) -> Result<Job, Failure> {
    let CreateArgs {
        job,
        job_type,
        queue,
        schedule,
        overlap,
        catch_up,
        auto_disable,
        completed,
        payload,
        policy,
        delivery,
        previous_success,
        label,
        description,
        dry_run: _,
    } = args;
    let mut made = Job {
        job,
        job_type,
        queue: queue.unwrap_or_default(),
        schedules: schedule::schedules(&schedule, &[])?,
        payload: payload.payload()?,
        retry_policy: policy.retry_policy(),
        timeouts: policy.timeouts(),
        concurrency_rate: policy.concurrency_rate(),
        delivery: delivery.delivery().unwrap_or_default().into(),
        lease_loss_policy: delivery.lease_loss().unwrap_or_default().into(),
        priority: policy.priority.unwrap_or_default(),
        fairness_key: policy.fairness_key.unwrap_or_default(),
        concurrency_key: policy.concurrency_key.unwrap_or_default(),
        concurrency_limit: policy.concurrency_limit.unwrap_or_default(),
        labels: policy::labels(label),
        previous_success,
        required_labels: policy::required(policy.require_label),
        description: description.unwrap_or_default(),
        ..Job::default()
    };
    overlap.write(&mut made);
    catch_up.write(&mut made);
    auto_disable.write(&mut made);
    completed.write(&mut made);
    Ok(made)
}

async fn preview(server: &Server, schedule: &Schedule) -> Result<Vec<PreviewedSchedule>, Failure> {
    let request = PreviewScheduleRequest {
        namespace: server.namespace(),
        job: String::new(),
        schedule: Some(schedule.clone()),
        range: Some(PreviewRange { count: PREVIEWED, ..PreviewRange::default() }),
    };
    Ok(server.scheduler().preview_schedule(request).await?.into_inner().schedules)
}

fn told(preview: &PreviewedSchedule, schedule: &Schedule) -> String {
    let now = clock::now();
    let PreviewedSchedule { schedule: _, sentence, canonical: _, instants, warnings } = preview;
    let mut text = format!("{}  \"{sentence}\"\n", resource::schedule_words(schedule));
    let next = instants.iter().map(|instant| {
        let away = instant.time.as_ref().and_then(times::from_proto).map(|time| times::ahead(time, now));
        let away = away.map(|away| format!(" ({away})")).unwrap_or_default();
        let note = if instant.note.is_empty() { String::new() } else { format!(" [{}]", instant.note) };
        format!("{}{away}{note}", instant.local_time)
    });
    text.push_str(&format!("next: {}\n", next.collect::<Vec<_>>().join(" · ")));
    for warning in warnings {
        text.push_str(&format!("warning: {warning}\n"));
    }
    if is_hashed(schedule) {
        text.push_str(
            "note: what H stands for is the job's own, and decided when it is created; these times are examples\n",
        );
    }
    text
}

/// Whether a rule has a value that follows from what the job is.
fn is_hashed(schedule: &Schedule) -> bool {
    match &schedule.rule {
        Some(Rule::Cron(expression)) => {
            expression.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| word.eq_ignore_ascii_case("H"))
        }
        Some(Rule::Interval(interval)) => interval.hashed_phase,
        Some(Rule::CalendarInterval(_) | Rule::FixedDelay(_) | Rule::At(_)) | None => false,
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use mainspring_proto::scheduler::v1::{
        CalendarUnit, CatchUp, DayMatch, DstGap, DstOverlap, Job, Overlap, schedule::Rule,
    };

    use super::{CreateArgs, definition};

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: CreateArgs,
    }

    fn job(line: &[&str]) -> Job {
        let words = ["create", "nightly", "--type", "report.build"].iter().chain(line);
        definition(Line::try_parse_from(words).unwrap().args).unwrap()
    }

    #[test]
    fn flags_become_a_definition() {
        let made = job(&[
            "--cron",
            "0 2 * * 1-5",
            "--tz",
            "Europe/Berlin",
            "--overlap",
            "allow",
            "--catch-up",
            "none",
            "-d",
            "a=b",
            "--max-attempts",
            "4",
            "--backoff",
            "5s",
            "--timeout",
            "1h",
            "--priority",
            "7",
            "--fairness-key",
            "tenant-1",
            "--label",
            "team=ops",
        ]);
        let [schedule] = made.schedules.as_slice() else { panic!("{:?}", made.schedules) };
        assert_eq!((schedule.name.as_str(), schedule.time_zone.as_str()), ("", "Europe/Berlin"));
        assert_eq!(schedule.rule, Some(Rule::Cron("0 2 * * 1-5".into())));
        assert_eq!((made.overlap(), made.catch_up(), made.priority), (Overlap::Allow, CatchUp::None, 7));
        assert_eq!(made.retry_policy.as_ref().and_then(|policy| policy.max_attempts), Some(4));
        assert_eq!(made.timeouts.unwrap().execution.unwrap().seconds, 3600);
        assert_eq!((made.fairness_key.as_str(), made.labels["team"].as_str()), ("tenant-1", "ops"));
        assert!(made.payload.is_some());
    }

    #[test]
    fn what_was_not_said_is_left_to_the_server() {
        let made = job(&[]);
        assert_eq!((made.overlap(), made.catch_up()), (Overlap::Unspecified, CatchUp::Unspecified));
        assert!(made.schedules.is_empty() && made.retry_policy.is_none() && made.timeouts.is_none());
    }

    #[test]
    fn several_schedules_are_named_after_their_kind() {
        let made = job(&[
            "--cron",
            "@daily",
            "--cron",
            "@every 90s",
            "--cron",
            "0 0 1 1 *",
            "--every",
            "1h",
            "--tz",
            "Asia/Tokyo",
        ]);
        let names: Vec<_> = made.schedules.iter().map(|s| (s.name.as_str(), s.time_zone.as_str())).collect();
        assert_eq!(names, [("cron-1", "Asia/Tokyo"), ("every-1", ""), ("cron-2", "Asia/Tokyo"), ("every-2", "")]);
    }

    #[test]
    fn a_zone_without_a_cron_expression_is_a_mistake() {
        let refused = |line: &[&str]| {
            let words = ["create", "n", "--type", "t"].iter().chain(line);
            definition(Line::try_parse_from(words).unwrap().args).unwrap_err().text()
        };
        assert!(refused(&["--every", "1h", "--tz", "UTC"]).contains("--tz is about times of a wall clock"));
        assert!(refused(&["--cron", "@every 1h", "--dst-gap", "skip"]).contains("--dst-gap is about"));
        let calendar = ["--every", "1 day from 2026-01-31", "--phase", "5m"];
        assert!(refused(&calendar).contains("not of the calendar"));
    }

    #[test]
    fn a_rhythm_is_of_elapsed_time_or_of_the_calendar() {
        let rule = |line: &[&str]| job(line).schedules.remove(0).rule.unwrap();
        let Rule::CalendarInterval(interval) = rule(&["--every", "3 months from 2026-01-31 at 09:00", "--tz", "UTC"])
        else {
            panic!("no calendar interval")
        };
        assert_eq!((interval.every, interval.unit()), (3, CalendarUnit::Month));
        assert_eq!((interval.first_date.as_str(), interval.time_of_day.as_str()), ("2026-01-31", "09:00"));
        let Rule::Interval(interval) = rule(&["--every", "1h", "--phase", "5m"]) else { panic!("no interval") };
        assert_eq!((interval.phase.unwrap().seconds, interval.hashed_phase), (300, false));
        let Rule::Interval(interval) = rule(&["--every", "1h", "--phase", "H"]) else { panic!("no interval") };
        assert_eq!((interval.phase, interval.hashed_phase), (None, true));
        let first = ["--every", "1h", "--first", "2026-01-31T09:00:00Z"];
        let Rule::Interval(interval) = rule(&first) else { panic!("no interval") };
        assert_eq!(interval.first_time.unwrap().seconds, 1_769_850_000);
        for wrong in [&["--every", "3 moths from 2026-01-31"][..], &["--phase", "5m"]] {
            let words = ["create", "n", "--type", "t"].iter().chain(wrong);
            assert!(Line::try_parse_from(words).is_err(), "{wrong:?}");
        }
        for rhythm in ["5m", "3 months from 2026-01-31 at 09:00"] {
            let words = ["create", "n", "--type", "t", "--every", rhythm, "--day-match", "and"];
            assert!(definition(Line::try_parse_from(words).unwrap().args).is_err(), "{rhythm}");
        }
    }

    #[test]
    fn clock_changes_and_days_are_refined_where_a_rule_has_them() {
        let made = job(&[
            "--cron",
            "30 2 13 * FRI",
            "--every",
            "1h",
            "--dst-gap",
            "shift",
            "--dst-overlap",
            "both",
            "--day-match",
            "and",
        ]);
        let refined = |at: usize| {
            let schedule = &made.schedules[at];
            (schedule.gap(), schedule.overlap(), schedule.day_match())
        };
        assert_eq!(refined(0), (DstGap::Shift, DstOverlap::Both, DayMatch::And));
        assert_eq!(refined(1), (DstGap::Unspecified, DstOverlap::Unspecified, DayMatch::Unspecified));
    }
}
