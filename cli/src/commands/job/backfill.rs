//! `job backfill`: runs for instants that have passed.

use clap::{Args, ValueEnum};
use mainspring_proto::{
    common::v1::{Payload, payload::Data},
    scheduler::v1::{BackfillInstants, BackfillJobRequest, BackfillOrder, BackfillOverlap},
};

use super::super::{backfill, examples};
use crate::{
    clock,
    connection::Server,
    exit::Exit,
    failure::Failure,
    named,
    session::Session,
    times::{self, Moment},
};

/// Make runs of instants that have passed, a few at a time
#[derive(Args, Debug)]
#[command(before_help = examples![
    "mainspring job backfill demo.hello --from now-1h --to now-30m --dry-run",
    "mainspring job backfill demo.hello --from now-2h --to now-119m --concurrency 2 --watch -o jsonl",
    "mainspring job backfill demo.hello --from now-9m --to now-8m --only all --overlap wait",
])]
pub(crate) struct BackfillArgs {
    /// The job
    #[arg(value_parser = named::job)]
    job: String,
    /// The first instant there may be: RFC 3339, or now-1d
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    from: Moment,
    /// Instants are before this, which must not be to come [default: now]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    to: Option<Moment>,
    /// One of its schedules; may be repeated [default: all]
    #[arg(long, value_name = "NAME")]
    schedule: Vec<String>,
    /// Count, show what would be made first, and make nothing
    #[arg(long)]
    dry_run: bool,
    /// Which instants come first [default: oldest-first]
    #[arg(long, value_name = "ORDER")]
    order: Option<OrderArg>,
    /// How its runs stand to the other runs of the job [default: allow]
    #[arg(long, value_name = "POLICY")]
    overlap: Option<OverlapArg>,
    /// Which instants become runs [default: unsucceeded]
    #[arg(long, value_name = "WHICH")]
    only: Option<OnlyArg>,
    /// How many of its runs are under way at once [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=1000))]
    concurrency: Option<i32>,
    /// Of its runs, 0 to 9, higher first [default: 0]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..=9))]
    priority: Option<i32>,
    /// JSON instead of the job's payload, whose strings may name ${nominal_time}, ${nominal_date}, ${nominal_unix} and
    /// ${backfill_id}
    #[arg(long, value_name = "JSON")]
    template: Option<String>,
    /// Begin, and go on, while the job is paused
    #[arg(long)]
    while_paused: bool,
    /// Makes a repeated call harmless: the same id answers with the same backfill for 24 h
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
    /// Why, for whoever looks at the runs later
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
    /// Stay until it is over; ends with 1 where runs of it failed
    #[arg(short, long, conflicts_with = "dry_run")]
    watch: bool,
}

/// [`BackfillOrder`] as typed.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum OrderArg {
    /// From the first to the last.
    OldestFirst,
    /// From the last to the first.
    NewestFirst,
}

/// [`BackfillOverlap`] as typed.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum OverlapArg {
    /// They go beside each other.
    Allow,
    /// They wait for the others, and hold the slot of the job.
    Wait,
}

/// [`BackfillInstants`] as typed.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum OnlyArg {
    /// Those of whose runs none has succeeded and none is under way.
    Unsucceeded,
    /// Those that have no run.
    Missing,
    /// All of them.
    All,
}

impl BackfillArgs {
    fn request(self, server: &Server) -> BackfillJobRequest {
        let now = clock::now();
        let order = self.order.map_or(BackfillOrder::Unspecified, |order| match order {
            OrderArg::OldestFirst => BackfillOrder::OldestFirst,
            OrderArg::NewestFirst => BackfillOrder::NewestFirst,
        });
        let overlap = self.overlap.map_or(BackfillOverlap::Unspecified, |overlap| match overlap {
            OverlapArg::Allow => BackfillOverlap::Allow,
            OverlapArg::Wait => BackfillOverlap::Wait,
        });
        let instants = self.only.map_or(BackfillInstants::Unspecified, |only| match only {
            OnlyArg::Unsucceeded => BackfillInstants::Unsucceeded,
            OnlyArg::Missing => BackfillInstants::Missing,
            OnlyArg::All => BackfillInstants::All,
        });
        let payload_template = self.template.map(|template| Payload {
            content_type: "application/json".into(),
            data: Some(Data::Inline(template.into_bytes())),
        });
        BackfillJobRequest {
            namespace: server.namespace(),
            job: self.job,
            schedules: self.schedule,
            from_time: Some(self.from.to_proto(now)),
            to_time: Some(self.to.map_or_else(|| times::to_proto(now), |to| to.to_proto(now))),
            order: order.into(),
            overlap: overlap.into(),
            instants: instants.into(),
            concurrency: self.concurrency.unwrap_or_default(),
            priority: self.priority.unwrap_or_default(),
            payload_template,
            while_paused: self.while_paused,
            note: self.note.unwrap_or_default(),
            request_id: self.request_id.unwrap_or_default(),
            validate_only: self.dry_run,
        }
    }
}

pub(super) async fn run(args: BackfillArgs, server: &Server, session: &Session) -> Result<Exit, Failure> {
    let (stays, dry_run) = (args.watch, args.dry_run);
    let answer = server.scheduler().backfill_job(args.request(server)).await?.into_inner();
    let made = answer.backfill.clone().unwrap_or_default();
    let (count, skipped) = (made.instant_count, made.skipped_count);
    if dry_run {
        let instant = |at: Option<&prost_types::Timestamp>| {
            at.and_then(times::from_proto).map_or_else(String::new, |at| at.to_string())
        };
        let (first, last) = (instant(made.first_time.as_ref()), instant(made.last_time.as_ref()));
        session.out.remark(format!("{count} instants from {first} to {last}, {skipped} of them to be skipped"));
        let next: Vec<_> = answer.next_times.iter().map(|at| instant(Some(at))).collect();
        let next = if next.is_empty() { "nothing".to_owned() } else { next.join("\n") };
        session.out.did(&format!("would make runs of\n{next}"), &answer)?;
        return Ok(Exit::Done);
    }
    if stays {
        return backfill::watch(&made.backfill_id, server, session).await;
    }
    session.out.did(&format!("backfill/{} begun, {count} instants", made.backfill_id), &answer)?;
    Ok(Exit::Done)
}
