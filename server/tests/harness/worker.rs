//! A worker on bare stubs.

#![expect(clippy::disallowed_methods, reason = "what a test waits for is bounded")]

use std::time::Duration;

use mainspring_proto::worker::v1 as wire;
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};
use wire::{worker_stream_request::Message as Say, worker_stream_response::Message as Hear};

use super::server::Server;

/// Whatever is waited for comes long before.
pub(crate) const SOON: Duration = Duration::from_secs(10);

/// A worker that does by hand what an SDK does.
pub(crate) struct Worker {
    pub(crate) say: mpsc::Sender<wire::WorkerStreamRequest>,
    hear: Streaming<wire::WorkerStreamResponse>,
}

impl Worker {
    pub(crate) async fn connect(server: &Server, token: Option<String>) -> Result<Self, Status> {
        let (say, requests) = mpsc::channel(64);
        let hear = server.worker(token).worker_stream(ReceiverStream::new(requests)).await?.into_inner();
        Ok(Self { say, hear })
    }

    pub(crate) async fn say(&self, message: Say) {
        self.say.send(wire::WorkerStreamRequest { message: Some(message) }).await.unwrap();
    }

    pub(crate) async fn hear(&mut self) -> Result<Option<Hear>, Status> {
        timeout(SOON, self.hear.message())
            .await
            .expect("heard nothing")
            .map(|heard| heard.and_then(|heard| heard.message))
    }

    pub(crate) async fn heard(&mut self) -> Hear {
        self.hear().await.unwrap().expect("the stream ended")
    }

    /// The status that ends the stream.
    pub(crate) async fn end(&mut self) -> Option<Status> {
        loop {
            match self.hear().await {
                Ok(Some(_)) => {}
                Ok(None) => return None,
                Err(status) => return Some(status),
            }
        }
    }
}

/// A Hello that is welcome.
pub(crate) fn hello() -> wire::Hello {
    wire::Hello {
        worker_instance_id: uuid::Uuid::now_v7().to_string(),
        worker_name: "by hand".into(),
        min_protocol_version: 1,
        max_protocol_version: 1,
        connect_sequence: 1,
        capabilities: vec![1, 2, 5],
        handlers: vec![wire::HandlerSpec { job_type: "echo".into(), ..wire::HandlerSpec::default() }],
        capacity: vec![wire::QueueCapacity { queue: "default".into(), max_in_flight: 4 }],
        ..wire::Hello::default()
    }
}
