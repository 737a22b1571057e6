//! The load of the benchmark: one client process, as many calls in flight as it is told.
//!
//! Its last line on stdout is its report as JSON. Stamps are of this machine's clocks, which all its processes share.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use mainspring_proto::{
    common::v1::{Payload, payload},
    scheduler::v1::{
        BatchSubmitRunsRequest, ListRunsRequest, RunSubmission, SubmitRunRequest, submission_answer::Answer,
    },
};
use mainspring_worker::schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use super::figures::Percentiles;
use crate::harness::{
    client::Client,
    host::{self, Task},
    session::BareWorker,
};

/// A type whose runs do nothing.
pub const NOOP: &str = "bench.noop";
/// A type whose runs tell how long ago they were sent: [`Stamp::at`] is monotonic.
pub const SINCE_SENT: &str = "bench.since-sent";
/// A type whose runs tell how late they are: [`Stamp::at`] is of the wall clock.
pub const BY_THE_CLOCK: &str = "bench.by-the-clock";

/// A type whose runs wait in great numbers; those of them with a stamp tell how long ago they were sent, as above.
pub const BACKLOG: &str = "bench.backlog";
/// Fairness keys of a backlog, and its priorities.
pub const KEYS: u64 = 1_000;
/// See [`KEYS`].
pub const PRIORITIES: u64 = 10;

/// Makes a payload about 100 bytes long.
const PADDING: &str = "a payload of the usual length, which is some hundred bytes in all";
/// Runs in one call.
const BATCH: u64 = 500;
/// Batches under way at a time.
const BATCHES: usize = 4;
/// Far enough that nothing of it comes due meanwhile.
const FAR: i64 = 86_400 * 1_000_000;

/// What a payload carries.
#[derive(Debug, Deserialize, JsonSchema, Serialize)]
#[schemars(crate = "mainspring_worker::schemars")]
pub struct Stamp {
    /// Nanoseconds.
    pub at: u64,
    /// Nothing.
    pub pad: String,
}

/// What a load does.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// Batches of 500, as fast as they are taken.
    Batch,
    /// One run a call, by so many callers.
    Single {
        /// Calls under way at a time.
        callers: usize,
    },
    /// One run a call at a rate, and each tells how long it took to a handler.
    Paced {
        /// Calls a second.
        rate: u64,
    },
    /// Runs that come due at one instant, or one after the other.
    Due {
        /// Between two of them.
        apart: Duration,
    },
    /// Batches of runs that come due much later.
    Far,
    /// Batches of runs of [`KEYS`] keys and [`PRIORITIES`] priorities, as many of each.
    Backlog,
    /// Like `Paced`, each of the highest priority and of a key that the backlog does not have.
    Urgent {
        /// Calls a second.
        rate: u64,
    },
    /// Workers that hold a stream and send nothing but heartbeats; one call is one heartbeat of all.
    Streams {
        /// How many.
        streams: usize,
    },
    /// Pages of the list of runs.
    List,
}

/// What a load says at its end.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub struct Report {
    /// Just before the first call, on the wall clock in µs.
    pub begin: i64,
    /// Just after the last answer.
    pub end: i64,
    /// Runs, or calls, that were answered.
    pub answered: u64,
    /// How long a call took, in ms.
    pub call: Percentiles,
}

/// Sends `count` runs or calls.
pub async fn run(client: &Client, kind: Kind, count: u64) -> Result<Report> {
    // A connection is made at the first call, and is not what is measured.
    client.admin().get_server_info(mainspring_proto::scheduler::v1::GetServerInfoRequest {}).await?;
    let begin = host::wall();
    let calls = match kind {
        Kind::Batch => batches(client, count, &|_| submission(NOOP, 0)).await?,
        Kind::Far => {
            let due = Some(time(begin + FAR));
            batches(client, count, &|_| RunSubmission { due_time: due, ..submission(NOOP, 0) }).await?
        }
        Kind::Backlog => batches(client, count, &of_backlog).await?,
        Kind::Single { callers } => singles(client, count, callers).await?,
        Kind::Paced { rate } => paced(client, count, rate, &|at| submission(SINCE_SENT, at)).await?,
        Kind::Urgent { rate } => paced(client, count, rate, &urgent).await?,
        Kind::Due { apart } => due(client, count, apart).await?,
        Kind::Streams { streams } => heartbeats(client, count, streams).await?,
        Kind::List => pages(client, count).await?,
    };
    Ok(Report { begin, end: host::wall(), answered: count, call: Percentiles::of_nanos(calls) })
}

/// Submits runs, each made of its number.
async fn batches(client: &Client, count: u64, make: &dyn Fn(u64) -> RunSubmission) -> Result<Vec<u64>> {
    let call = |batch: u64| async move {
        let runs: Vec<_> = (batch * BATCH..count.min((batch + 1) * BATCH)).map(make).collect();
        let begin = host::monotonic();
        let request = BatchSubmitRunsRequest { namespace: String::new(), runs };
        let answers = client.scheduler().batch_submit_runs(request).await?.into_inner().answers;
        let took = host::monotonic() - begin;
        let refused = answers.iter().find(|answer| !matches!(answer.answer, Some(Answer::Run(_))));
        ensure!(refused.is_none(), "a run was refused: {refused:?}");
        Ok(took)
    };
    stream::iter(0..count.div_ceil(BATCH)).map(call).buffer_unordered(BATCHES).try_collect().await
}

async fn singles(client: &Client, count: u64, callers: usize) -> Result<Vec<u64>> {
    let call = |_| timed(client, submission(NOOP, 0));
    stream::iter(0..count).map(call).buffer_unordered(callers).try_collect().await
}

async fn timed(client: &Client, run: RunSubmission) -> Result<u64> {
    let begin = host::monotonic();
    let request = SubmitRunRequest { namespace: String::new(), run: Some(run) };
    client.scheduler().submit_run(request).await?;
    Ok(host::monotonic() - begin)
}

/// Submits runs at a rate, each made of the time when it is sent.
async fn paced(client: &Client, count: u64, rate: u64, make: &dyn Fn(u64) -> RunSubmission) -> Result<Vec<u64>> {
    let every = 1_000_000_000 / rate.max(1);
    let begin = host::monotonic();
    let mut calls = Vec::<Task<Result<u64>>>::new();
    for at in 0..count {
        let next = begin + at * every;
        let ahead = Duration::from_nanos(next.saturating_sub(host::monotonic()));
        host::pass_time(ahead, "calls come at a rate").await;
        let client = client.clone();
        let run = make(host::monotonic());
        calls.push(host::spawn(async move { timed(&client, run).await }));
    }
    ended(calls).await
}

async fn due(client: &Client, count: u64, apart: Duration) -> Result<Vec<u64>> {
    let second = 1_000_000;
    let first = (host::wall() / second + 6) * second;
    let mut calls = Vec::new();
    for at in 0..count {
        let due = first + i64::try_from(apart.as_micros())? * i64::try_from(at)?;
        let run = submission(BY_THE_CLOCK, u64::try_from(due)? * 1_000);
        calls.push(timed(client, RunSubmission { due_time: Some(time(due)), ..run }).await?);
    }
    Ok(calls)
}

async fn pages(client: &Client, count: u64) -> Result<Vec<u64>> {
    let mut calls = Vec::new();
    let mut token = String::new();
    for _ in 0..count {
        let request = ListRunsRequest { page_size: 50, page_token: token, ..ListRunsRequest::default() };
        let begin = host::monotonic();
        let answer = client.scheduler().list_runs(request).await?.into_inner();
        calls.push(host::monotonic() - begin);
        ensure!(answer.runs.len() == 50, "a page has {} runs", answer.runs.len());
        token = answer.next_page_token;
    }
    Ok(calls)
}

/// Opens the streams first, each in a connection as workers do, says `up`, and then has each of them say that it lives,
/// `count` times.
async fn heartbeats(client: &Client, count: u64, streams: usize) -> Result<Vec<u64>> {
    // A herd that greets at once measures the greeting.
    let doors = &Semaphore::new(32);
    let open = |_| async move {
        let _door = doors.acquire().await?;
        BareWorker::new(&[NOOP], 1).connect(&client.another()).await
    };
    let mut sessions: Vec<_> =
        stream::iter(0..streams).map(open).buffer_unordered(streams.max(1)).try_collect().await?;
    println!("up");
    let mut samples = Vec::new();
    for _ in 0..count {
        let renewals = sessions.iter_mut().map(|session| async move {
            let begin = host::monotonic();
            session.renew(Vec::new()).await.map(|_| host::monotonic() - begin)
        });
        let beats: Vec<u64> = stream::iter(renewals).buffer_unordered(streams.max(1)).try_collect().await?;
        samples.extend(beats);
    }
    Ok(samples)
}

async fn ended(calls: Vec<Task<Result<u64>>>) -> Result<Vec<u64>> {
    let mut samples = Vec::with_capacity(calls.len());
    for call in calls {
        samples.push(call.ended().await?);
    }
    Ok(samples)
}

fn of_backlog(number: u64) -> RunSubmission {
    let priority = i32::try_from(number / KEYS % PRIORITIES).unwrap_or_default();
    RunSubmission { priority, fairness_key: format!("tenant-{}", number % KEYS), ..submission(BACKLOG, 0) }
}

fn urgent(at: u64) -> RunSubmission {
    RunSubmission { priority: 9, fairness_key: "urgent".into(), ..submission(BACKLOG, at) }
}

fn submission(job_type: &str, at: u64) -> RunSubmission {
    let stamp = Stamp { at, pad: PADDING.into() };
    let json = serde_json::to_vec(&stamp).context("a stamp is JSON").unwrap();
    let payload = Payload { content_type: "application/json".into(), data: Some(payload::Data::Inline(json)) };
    RunSubmission { job_type: job_type.into(), payload: Some(payload), ..RunSubmission::default() }
}

fn time(micros: i64) -> prost_types::Timestamp {
    let nanos = i32::try_from(micros.rem_euclid(1_000_000) * 1_000).unwrap_or_default();
    prost_types::Timestamp { seconds: micros.div_euclid(1_000_000), nanos }
}
