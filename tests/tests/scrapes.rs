//! The page of metrics asks the store once a second at most, whoever scrapes how often.

#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap like the tests themselves")]

use std::time::Duration;

use mainspring_tests::harness::{client::work, timed::TimedServer};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// The depth of the one queue, as the page has it.
async fn depth(server: &TimedServer) -> Option<u64> {
    let mut socket = TcpStream::connect(server.metrics()).await.unwrap();
    socket.write_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut page = String::new();
    socket.read_to_string(&mut page).await.unwrap();
    let depth = page.lines().find_map(|line| line.strip_prefix("mainspring_queue_depth{"))?;
    Some(depth.split_once("} ").unwrap().1.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_is_asked_once_a_second_at_most() {
    let set = |config: &mut mainspring_server::config::Config| {
        config.listen.metrics = vec!["127.0.0.1:0".parse().unwrap()];
    };
    let server = TimedServer::start(set).await.unwrap();
    let client = server.client().unwrap();
    let submit = async || client.submit(work("t.nobody", &json!(null))).await.unwrap();
    submit().await;
    assert_eq!(depth(&server).await, Some(1));
    submit().await;
    assert_eq!(depth(&server).await, Some(1), "no second has passed");
    server.pass(Duration::from_secs(1)).await.unwrap();
    assert_eq!(depth(&server).await, Some(2));
}
