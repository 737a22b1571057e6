//! Every rpc, spoken to by whoever does not speak gRPC: told in words where they have come to, never cut off.

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tonic::codegen::{Service as _, http};

use super::{
    contract::{path, rpcs, short},
    server::Server,
};

/// What comes back over HTTP/1.1.
async fn answered(server: &Server, head: &str, body: &str) -> String {
    let mut socket = TcpStream::connect(server.running.addresses()[0]).await.unwrap();
    let length = body.len();
    let typed = format!("{head}host: localhost\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
    socket.write_all(typed.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn every_rpc_answers_http_1_in_words() {
    let server = Server::start().await;
    for rpc in rpcs() {
        let (name, path) = (short(&rpc), path(&rpc));
        for (head, status) in [
            (format!("GET {path} HTTP/1.1\r\n"), "404"),
            (format!("POST {path} HTTP/1.1\r\ncontent-type: application/json\r\n"), "415"),
            (format!("POST {path} HTTP/1.1\r\ncontent-type: application/grpc\r\n"), "415"),
            (format!("POST {path} HTTP/1.1\r\n"), "415"),
            (format!("PUT {path} HTTP/1.1\r\ncontent-type: application/grpc\r\n"), "415"),
        ] {
            let answer = answered(&server, &head, "{}").await;
            assert_eq!(answer.split(' ').nth(1), Some(status), "{name}: {head}: {answer}");
            assert!(answer.contains("speaks gRPC here"), "{name}: {head}: {answer}");
        }
    }
}

#[tokio::test]
async fn every_rpc_answers_http_2_without_grpc_in_words() {
    let server = Server::start().await;
    for rpc in rpcs() {
        let (name, path) = (short(&rpc), path(&rpc));
        for (method, content_type, status) in [
            ("GET", "application/grpc", 404),
            ("GET", "", 404),
            ("POST", "application/json", 415),
            ("POST", "application/grpcish", 415),
            ("POST", "", 415),
            ("PUT", "application/grpc", 415),
            ("DELETE", "application/grpc+proto", 415),
        ] {
            let why = format!("{method} of {name} with `{content_type}`");
            let mut request =
                http::Request::builder().method(method).uri(&path).body(tonic::body::Body::empty()).unwrap();
            if !content_type.is_empty() {
                request.headers_mut().insert("content-type", content_type.parse().unwrap());
            }
            let mut channel = server.channel.clone();
            std::future::poll_fn(|cx| channel.poll_ready(cx)).await.unwrap();
            let answer = channel.call(request).await.unwrap_or_else(|error| panic!("{why}: {error}"));
            assert_eq!(answer.status().as_u16(), status, "{why}: {:?}", answer.headers());
            assert_eq!(answer.headers()["content-type"], "text/plain; charset=utf-8", "{why}");
        }
    }
}
