//! Plain HTTP/1.1, as a prober or a scraper speaks it.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// The status and the body of a page, which is a text for machines.
pub(crate) async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut socket = TcpStream::connect(address).await.unwrap();
    let typed = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    socket.write_all(typed.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let head = head.to_ascii_lowercase();
    for part in ["content-type: text/plain", "x-content-type-options: nosniff", "cache-control: no-store"] {
        assert!(head.contains(part), "{part:?} is missing in {head}");
    }
    let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()).unwrap();
    assert_eq!(length.parse::<usize>().unwrap(), body.len(), "{head}");
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}
