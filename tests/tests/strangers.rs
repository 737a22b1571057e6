//! Connections of strangers: silent ones, half ones, floods. They cost the server little, and nobody else anything.

#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap like the tests themselves")]

use std::{fs, time::Duration};

use mainspring_proto::{
    common::v1::RetryPolicy,
    scheduler::v1::{
        BatchSubmitRunsRequest, EventTopic, GetServerInfoRequest, RunSubmission, TailLogsRequest, WatchEventsRequest,
    },
    worker::v1::{
        AttemptRef, LogBatch, LogEntry, worker_stream_request::Message as Say, worker_stream_response::Message as Heard,
    },
};
use mainspring_tests::harness::{
    client::{Client, work},
    disk,
    frames::{Bare, END_HEADERS, PREFACE, frame, headers, kind},
    host::{self, PATIENCE},
    server::{Server, Settings},
    session::{BareWorker, Session},
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tonic::{Code, Status};

const LEASE: Duration = Duration::from_secs(30);
const STREAM: &str = "/mainspring.worker.v1.WorkerService/WorkerStream";
const GET_RUN: &str = "/mainspring.scheduler.v1.SchedulerService/GetRun";
/// Connections at a time.
const MANY: usize = 3_000;
/// More than a server needs for what it does here.
const MEMORY: u64 = 200 << 20;

async fn server(more: &[(&str, &str)]) -> Server {
    let more = more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Server::start(Settings { more, ..Settings::with_lease(LEASE) }).await.unwrap()
}

/// A client on a connection of its own has a run worked off by a worker on another.
async fn is_served(server: &Server) {
    let begin = host::monotonic();
    let client = server.client().unwrap();
    let mut worker = BareWorker::new(&["t.honest"], 1).connect(&server.client().unwrap()).await.unwrap();
    let run = client.submit(work("t.honest", &json!(null))).await.unwrap();
    let attempt = worker.dispatch().await.unwrap().attempt.unwrap();
    worker.accept(&attempt).await.unwrap();
    worker.succeed(&attempt).await.unwrap();
    client.succeeded(&run, PATIENCE).await.unwrap();
    let took = Duration::from_nanos(host::monotonic() - begin);
    assert!(took < Duration::from_secs(20), "an honest client was served after {took:?}");
}

/// It lives, has no bug to tell of, and is as small as before.
async fn is_well(server: &mut Server) {
    is_served(server).await;
    let process = server.process().unwrap();
    let resident = process.resident().unwrap();
    assert!(resident < MEMORY, "{} MiB", resident >> 20);
    let log = process.stderr().unwrap();
    assert!(!log.contains("panicked") && !log.contains("ERROR"), "{log}");
}

/// An address of loopback for a page of metrics that no other process takes, and no other test of this one.
fn metrics(number: u8) -> String {
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    format!("127.{high}.{middle}.{low}:743{number}")
}

/// Calls of a method that were answered, or their answers begun.
async fn answered(metrics: &str, method: &str) -> usize {
    counted(metrics, "mainspring_call_seconds_count{", method).await
}

/// Calls of a method that ended.
async fn ended(metrics: &str, method: &str) -> usize {
    counted(metrics, "mainspring_calls_total{", method).await
}

async fn counted(metrics: &str, metric: &str, method: &str) -> usize {
    let mut socket = TcpStream::connect(metrics).await.unwrap();
    socket.write_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut page = String::new();
    socket.read_to_string(&mut page).await.unwrap();
    let name = format!("/{method}\"");
    let calls = page.lines().filter(|line| line.starts_with(metric) && line.contains(&name));
    calls.map(|line| line.rsplit(' ').next().unwrap().parse::<usize>().unwrap()).sum()
}

/// Connections of a process, and where it listens.
fn sockets(pid: u32) -> usize {
    let files =
        fs::read_dir(format!("/proc/{pid}/fd")).unwrap().filter_map(|file| fs::read_link(file.ok()?.path()).ok());
    files.filter(|file| file.to_string_lossy().starts_with("socket:")).count()
}

/// Waits until so many calls of a method have ended, and a server has as many connections as it had.
async fn is_left_alone(pid: u32, open: usize, metrics: &str, method: &str, calls: usize) {
    let counted = async { while ended(metrics, method).await < calls {} };
    host::within(PATIENCE, "every call to be counted as ended", counted).await.unwrap();
    let closed = async {
        while sockets(pid) > open {
            tokio::task::yield_now().await;
        }
    };
    host::within(PATIENCE, "every connection to be closed", closed).await.unwrap();
    assert_eq!(ended(metrics, method).await, calls);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_thousand_who_never_speak_are_sent_away() {
    let files = disk::raise_files().unwrap();
    assert!(files > 2 * MANY as u64, "this machine allows a process {files} files, too few for {MANY} connections");
    let mut server = server(&[]).await;
    let address = server.address().to_owned();
    let mut silent = Vec::new();
    for number in 0..MANY {
        let mut bare = Bare::connect(&address).await.unwrap();
        // Some begin, and some do not even that.
        if number % 3 == 0 {
            bare.say(&PREFACE[..1 + number % 23]).await.unwrap();
        }
        silent.push(bare);
    }
    is_served(&server).await;
    for bare in &mut silent {
        assert_eq!(bare.closed().await.unwrap(), b"", "whoever has said nothing is told nothing");
    }
    is_well(&mut server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_comes_when_all_places_are_taken_waits_for_one() {
    let mut server = server(&[("MAINSPRING_LIMITS__MAX_CONNECTIONS", "40")]).await;
    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.push(Bare::connect(server.address()).await.unwrap());
    }
    // Behind all of them, in the backlog.
    let client = Client::new(server.address(), server.key()).unwrap();
    host::within(PATIENCE, "a place", client.admin().get_server_info(GetServerInfoRequest {})).await.unwrap().unwrap();
    drop(silent);
    is_well(&mut server).await;
}

/// Nanoseconds of a processor that a process has used.
fn used(pid: u32) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let of_task = |task: fs::DirEntry| {
        let stat = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
        stat.split(' ').next().and_then(|word| word.parse::<u64>().ok()).unwrap_or_default()
    };
    tasks.map(|task| of_task(task.unwrap())).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_files_for_connections_waits_calmly() {
    let mut server = server(&[]).await;
    is_served(&server).await;
    let pid = server.process().unwrap().pid().unwrap();
    let open = u64::try_from(fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()).unwrap();
    disk::limit_files(pid, open).unwrap();
    let mut waiting = Vec::new();
    for _ in 0..20 {
        waiting.push(Bare::greet(server.address()).await.unwrap());
    }
    let (begin, before) = (host::monotonic(), used(pid));
    host::pass_time(Duration::from_secs(3), "what is tried again without a pause shows in processor time").await;
    let share = (used(pid) - before) * 100 / (host::monotonic() - begin);
    assert!(share < 10, "the server used {share} % of a processor to accept nobody");
    let log = server.process().unwrap().stderr().unwrap();
    let told = log.matches("no connection can be accepted").count();
    // Anew where one was accepted in between.
    assert!((1..=4).contains(&told), "told {told} times: {log}");
    disk::limit_files(pid, 4_096).unwrap();
    is_well(&mut server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_of_frames_hurt_nobody_else() {
    let mut server = server(&[]).await;
    let address = server.address().to_owned();
    let bearer = format!("Bearer {}", server.key());
    let signed = [("authorization", bearer.as_str())];
    let get_run = headers(GET_RUN, &signed);

    let mut pings = Bare::greet(&address).await.unwrap();
    pings.flood(20_000, |_| frame(kind::PING, 0, 0, &[7; 8])).await;
    let mut settings = Bare::greet(&address).await.unwrap();
    settings.flood(20_000, |_| frame(kind::SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0])).await;
    let mut resets = Bare::greet(&address).await.unwrap();
    let call_and_reset = |number: u32| {
        let stream = 2 * number + 1;
        let begin = frame(kind::HEADERS, END_HEADERS, stream, &get_run);
        [begin, frame(kind::RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat()
    };
    resets.flood(20_000, call_and_reset).await;
    let mut endless = Bare::greet(&address).await.unwrap();
    endless.say(&frame(kind::HEADERS, 0, 1, &get_run)).await.unwrap();
    let more = headers(GET_RUN, &[("x-more", &"x".repeat(8_000))]);
    let taken = endless.flood(5_000, |_| frame(kind::CONTINUATION, 0, 1, &more)).await;
    assert!(!taken, "headers without an end were read to their end");
    let mut empty = Bare::greet(&address).await.unwrap();
    empty.say(&frame(kind::HEADERS, END_HEADERS, 1, &headers(STREAM, &signed))).await.unwrap();
    empty.flood(20_000, |_| frame(kind::DATA, 0, 1, &[])).await;
    let mut bomb = Bare::greet(&address).await.unwrap();
    let large = "x".repeat(1_000);
    let many: Vec<_> = (0..15).map(|_| ("x-bomb", large.as_str())).collect();
    bomb.flood(200, |number| frame(kind::HEADERS, END_HEADERS, 2 * number + 1, &headers(GET_RUN, &many))).await;

    // All of them are still there, those that were not sent away.
    is_well(&mut server).await;
}

/// Frames of messages that the worker's stream begins with, and that break off or lie.
fn broken_beginnings() -> Vec<(&'static str, Vec<u8>)> {
    let nested = (0..200).fold(Vec::new(), |inner: Vec<u8>, _| {
        let mut outer = vec![0x0a];
        prost::encoding::encode_varint(inner.len() as u64, &mut outer);
        outer.extend(inner);
        outer
    });
    let mut deep = vec![0];
    deep.extend(u32::try_from(nested.len()).unwrap().to_be_bytes());
    deep.extend(nested);
    vec![
        ("nothing", vec![]),
        ("half a length", vec![0, 0, 0]),
        ("4 GiB to come", vec![0, 0xff, 0xff, 0xff, 0xff, 1]),
        ("a message that breaks off", vec![0, 0, 0, 0, 9, 10, 7]),
        ("compression that was not agreed on", vec![1, 0, 0, 0, 2, 10, 0]),
        ("no such flag", vec![77, 0, 0, 0, 0]),
        ("bytes", vec![0, 0, 0, 0, 4, 0xff, 0xff, 0xff, 0xff]),
        ("a nest", deep),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_break_in_the_middle_leave_nothing_behind() {
    let metrics = metrics(1);
    let mut server = server(&[("MAINSPRING_LISTEN__METRICS", &metrics)]).await;
    let pid = server.process().unwrap().pid().unwrap();
    let open = sockets(pid);
    let bearer = format!("Bearer {}", server.key());
    let call = headers(STREAM, &[("authorization", bearer.as_str())]);
    let begin = frame(kind::HEADERS, END_HEADERS, 1, &call);
    let half = &begin[..begin.len() / 2];
    let mut opened = 0;
    for (what, body) in broken_beginnings() {
        for is_reset in [false, true] {
            let mut bare = Bare::greet(server.address()).await.unwrap();
            let data = frame(kind::DATA, 0, 1, &body);
            bare.say(&[begin.clone(), data.clone()].concat()).await.unwrap();
            // What breaks before the server has read it breaks nothing.
            opened += 1;
            let open = async { while answered(&metrics, "WorkerStream").await < opened {} };
            host::within(PATIENCE, &format!("a stream that begins with {what}"), open).await.unwrap();
            // And then a frame that has no end.
            let _ = bare.say(&data[..data.len().min(9) - 1]).await;
            if is_reset {
                bare.reset().unwrap();
            }
        }
        let mut bare = Bare::greet(server.address()).await.unwrap();
        bare.say(half).await.unwrap();
        bare.reset().unwrap();
    }
    is_left_alone(pid, open, &metrics, "WorkerStream", opened).await;
    is_well(&mut server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_who_watch_and_do_not_read_cost_nothing() {
    let mut server = server(&[]).await;
    let watch = || WatchEventsRequest { topics: vec![EventTopic::Runs.into()], ..Default::default() };
    let mut deaf = Vec::new();
    for _ in 0..50 {
        let client = server.client().unwrap();
        deaf.push((client.scheduler().watch_events(watch()).await.unwrap().into_inner(), client));
    }
    let client = server.client().unwrap();
    let mut reader = client.scheduler().watch_events(watch()).await.unwrap().into_inner();
    let before = server.process().unwrap().resident().unwrap();
    // More than the server remembers, after what fits into the windows of those who do not read.
    for _ in 0..36 {
        let runs = vec![work("nobody", &json!(null)); 1_000];
        let batch = BatchSubmitRunsRequest { runs, ..Default::default() };
        client.scheduler().batch_submit_runs(batch).await.unwrap();
        // Whoever reads has all of it, when the others could have been given it long ago.
        for _ in 0..1_000 {
            host::within(PATIENCE, "an event", reader.message()).await.unwrap().unwrap().unwrap();
        }
    }
    let after = server.process().unwrap().resident().unwrap();
    assert!(after < before + (60 << 20), "{} MiB more", (after - before) >> 20);
    for (watch, _) in &mut deaf {
        let end = async {
            while watch.message().await?.is_some() {}
            Ok::<_, Status>(())
        };
        let status = host::within(PATIENCE, "the end of a watch", end).await.unwrap().unwrap_err();
        assert_eq!(status.code(), Code::OutOfRange, "{status}");
    }
    is_well(&mut server).await;
}

/// Attempts of the run whose log nobody reads; the log of each is as long as one may be.
const ATTEMPTS: u32 = 20;
/// Readers that read nothing.
const DEAF: usize = 30;
/// What each of them may cost: a few messages of the log under way, of one megabyte each, and not the log.
const EACH: u64 = 6 << 20;

/// Writes the log of an attempt until no line of it is kept any more.
async fn fill_log(session: &mut Session, attempt: &AttemptRef) {
    for number in 0..24 {
        let line = || LogEntry { message: "x".repeat(15_000), ..LogEntry::default() };
        let (attempt, entries) = (Some(attempt.clone()), vec![line(), line(), line()]);
        let batch = LogBatch { attempt, first_offset: 3 * number, entries, dropped_count: 0 };
        session.say(Say::LogBatch(batch)).await.unwrap();
        session.until("a LogAck", |heard| matches!(heard, Heard::LogAck(_)).then_some(())).await.unwrap();
    }
}

/// A run with a log of many megabytes, and a last attempt that goes on.
async fn loud_run(client: &Client) -> (String, Session) {
    let soon = Some(prost_types::Duration { seconds: 0, nanos: 1_000_000 });
    let max_attempts = Some(ATTEMPTS.cast_signed());
    let retry = RetryPolicy { max_attempts, initial_backoff: soon, max_backoff: soon, ..RetryPolicy::default() };
    let run = RunSubmission { retry_policy: Some(retry), ..work("t.loud", &json!(null)) };
    let run = client.submit(run).await.unwrap();
    let mut session = BareWorker::new(&["t.loud"], 1).connect(client).await.unwrap();
    for number in 1..=ATTEMPTS {
        let attempt = session.dispatch().await.unwrap().attempt.unwrap();
        session.accept(&attempt).await.unwrap();
        fill_log(&mut session, &attempt).await;
        if number < ATTEMPTS {
            session.fail(&attempt, "LOUD").await.unwrap();
        }
    }
    (run, session)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_who_follow_a_log_and_do_not_read_it_cost_little_and_leave_nothing() {
    let metrics = metrics(0);
    let mut server = server(&[("MAINSPRING_LISTEN__METRICS", &metrics)]).await;
    let client = server.client().unwrap();
    let (run, session) = loud_run(&client).await;
    let pid = server.process().unwrap().pid().unwrap();
    let (open, before) = (sockets(pid), server.process().unwrap().resident().unwrap());

    let request = || TailLogsRequest { run_id: run.clone(), ..TailLogsRequest::default() };
    let mut deaf = Vec::new();
    for _ in 0..DEAF {
        let client = server.client().unwrap();
        deaf.push((client.scheduler().tail_logs(request()).await.unwrap(), client));
    }
    // One that reads gets all of it, long after the others could have been given more than they may have.
    let mut reader = client.scheduler().tail_logs(request()).await.unwrap().into_inner();
    let mut read = 0;
    while read < ATTEMPTS as usize * 60 {
        let next = host::within(PATIENCE, "more of the log", reader.message()).await.unwrap().unwrap().unwrap();
        read += next.entries.len();
    }
    is_served(&server).await;
    let after = server.process().unwrap().resident().unwrap();
    let most = before + DEAF as u64 * EACH;
    assert!(after < most, "{} MiB more for {DEAF} readers", after.saturating_sub(before) >> 20);
    assert_eq!(ended(&metrics, "TailLogs").await, 0, "they may stay, as the contract has it");

    drop((deaf, reader));
    is_left_alone(pid, open, &metrics, "TailLogs", DEAF + 1).await;
    drop(session);
    is_well(&mut server).await;
}
