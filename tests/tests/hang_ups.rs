//! Callers that die, hang up or reset their call while they still speak: the weather of every network. They are counted as
//! what they are, and raise no alarm.

#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap like the tests themselves")]

use std::time::Duration;

use mainspring_proto::worker::v1::{WorkerStreamRequest, worker_stream_request::Message as Say};
use mainspring_tests::harness::{
    frames::{Bare, END_HEADERS, frame, headers, kind},
    host::{self, PATIENCE},
    server::{Server, Settings},
    session::BareWorker,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

const LOGIN: &str = "/mainspring.auth.v1.AuthService/Login";
const STREAM: &str = "/mainspring.worker.v1.WorkerService/WorkerStream";
/// A message of a hundred bytes, of which three come.
const CUT: [u8; 8] = [0, 0, 0, 0, 100, 1, 2, 3];
/// What HTTP/2 calls errors, those that a client may have for a reset: no error among them, and one that nobody knows.
const RESETS: [u32; 10] = [0, 1, 2, 3, 5, 7, 8, 11, 13, 77];

/// How a caller leaves.
#[derive(Clone, Copy, Debug)]
enum Leave {
    Close,
    Die,
    Reset(u32),
}

/// A server, and where its metrics are.
async fn scraped() -> (Server, String) {
    let more = vec![("MAINSPRING_LISTEN__METRICS".to_owned(), "127.0.0.1:0".to_owned())];
    let mut server = Server::start(Settings { more, ..Settings::with_lease(Duration::from_secs(30)) }).await.unwrap();
    let log = server.process().unwrap().stderr().unwrap();
    let (_, rest) = log.split_once("scrapers address=").unwrap_or_else(|| panic!("no metrics in {log}"));
    let address = rest.lines().next().unwrap().trim();
    (server, address.to_owned())
}

/// How many calls of a method ended, by code.
async fn ended(metrics: &str, path: &str) -> Vec<(String, u64)> {
    let mut socket = TcpStream::connect(metrics).await.unwrap();
    socket.write_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut page = String::new();
    socket.read_to_string(&mut page).await.unwrap();
    let of_path = format!("mainspring_calls_total{{method=\"{}\",code=\"", path.trim_start_matches('/'));
    let lines = page.lines().filter_map(|line| line.strip_prefix(&of_path)?.split_once("\"} "));
    lines.map(|(code, count)| (code.to_owned(), count.parse().unwrap())).collect()
}

/// Waits until so many calls of a method ended, all of them cancelled.
async fn all_cancelled(metrics: &str, path: &str, calls: u64) {
    let counted = async {
        loop {
            let ended = ended(metrics, path).await;
            if ended.iter().map(|(_, count)| count).sum::<u64>() >= calls {
                return ended;
            }
        }
    };
    let counted = host::within(PATIENCE, "the end of every call", counted).await.unwrap();
    assert_eq!(counted, [("CANCELLED".to_owned(), calls)], "{path}");
}

/// Begins a call with some bytes of its body, and leaves.
async fn leave(server: &Server, call: &[u8], body: &[u8], how: Leave) {
    let mut bare = Bare::greet(server.address()).await.unwrap();
    bare.say(&frame(kind::HEADERS, END_HEADERS, 1, call)).await.unwrap();
    bare.say(&frame(kind::DATA, 0, 1, body)).await.unwrap();
    // Its answer tells that what came before was read.
    bare.say(&frame(kind::PING, 0, 0, &[7; 8])).await.unwrap();
    bare.heard(&frame(kind::PING, 1, 0, &[7; 8])).await.unwrap();
    match how {
        Leave::Close => {}
        Leave::Die => bare.reset().unwrap(),
        Leave::Reset(code) => {
            bare.say(&frame(kind::RST_STREAM, 0, 1, &code.to_be_bytes())).await.unwrap();
            bare.say(&frame(kind::PING, 0, 0, &[8; 8])).await.unwrap();
            bare.heard(&frame(kind::PING, 1, 0, &[8; 8])).await.unwrap();
        }
    }
}

/// Every way to leave; how many they are.
async fn all_leave(server: &Server, call: &[u8], mut body: impl FnMut() -> Vec<u8>) -> u64 {
    let ways = [Leave::Close, Leave::Die].into_iter().chain(RESETS.map(Leave::Reset));
    let mut count = 0;
    for how in ways {
        leave(server, call, &body(), how).await;
        count += 1;
    }
    count
}

/// A message as the wire has it.
fn framed(message: &impl prost::Message) -> Vec<u8> {
    let bytes = message.encode_to_vec();
    [vec![0], u32::try_from(bytes.len()).unwrap().to_be_bytes().to_vec(), bytes].concat()
}

fn raised_no_alarm(server: &mut Server) {
    let log = server.process().unwrap().stderr().unwrap();
    assert!(!log.contains("ERROR") && !log.contains("panicked"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_who_leaves_inside_a_message_was_cancelled() {
    let (mut server, metrics) = scraped().await;
    let calls = all_leave(&server, &headers(LOGIN, &[]), || CUT.to_vec()).await;
    all_cancelled(&metrics, LOGIN, calls).await;
    raised_no_alarm(&mut server);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_dies_inside_a_message_was_cancelled() {
    let (mut server, metrics) = scraped().await;
    let bearer = format!("Bearer {}", server.key());
    let call = headers(STREAM, &[("authorization", bearer.as_str())]);
    // Before its Hello was whole, and after.
    let mut calls = all_leave(&server, &call, || CUT.to_vec()).await;
    let greeted = || {
        let hello = BareWorker::new(&["t.hang"], 1).hello(Vec::new());
        [framed(&WorkerStreamRequest { message: Some(Say::Hello(hello)) }), CUT.to_vec()].concat()
    };
    calls += all_leave(&server, &call, greeted).await;
    all_cancelled(&metrics, STREAM, calls).await;
    raised_no_alarm(&mut server);
}
