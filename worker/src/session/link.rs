//! One stream: its bytes in and out.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::Stream;
use mainspring_proto::worker::v1::WorkerStreamRequest;
use tokio::{runtime::Handle, sync::watch};
use tokio_util::sync::CancellationToken;

use super::{shared::Shared, transport::Transport};
use crate::{
    clock,
    reconnect::Loss,
    state::{Pull, StreamId},
    tasks,
};

/// A stream that is being opened, or is open. Its end comes to the driver as an order.
pub(super) struct Link {
    /// Why it is to be torn down; empty where it is not.
    close: watch::Sender<&'static str>,
    finish: CancellationToken,
}

impl Link {
    /// Opens a stream on a new connection. Its Hello is composed when the transport asks for its first message.
    pub(super) fn open(shared: &Arc<Shared>, transport: &Transport) -> (StreamId, Self) {
        let stream = shared.consult(|machine, now| machine.open(now));
        let link = Self { close: watch::Sender::new(""), finish: CancellationToken::new() };
        let (close, finish) = (link.close.subscribe(), link.finish.clone());
        let (shared, transport) = (shared.clone(), transport.clone());
        drop(tasks::spawn(&Handle::current(), "link", async move {
            let loss = tokio::select! {
                loss = converse(&shared, &transport, stream) => loss,
                why = closed(close) => Loss::of(why),
                () = overdue(&finish) => Loss::of("replaced"),
            };
            shared.ended(stream, loss);
        }));
        (stream, link)
    }

    /// Tears it down; `why` is what people are told of its end.
    pub(super) fn close(&self, why: &'static str) {
        self.close.send_replace(why);
    }

    /// It was half-closed; the server has a moment to end it.
    pub(super) fn finish(&self) {
        self.finish.cancel();
    }
}

async fn closed(mut why: watch::Receiver<&'static str>) -> &'static str {
    let why = why.wait_for(|why| !why.is_empty()).await.map(|why| *why);
    match why {
        Ok(why) => why,
        // Nobody is left to close it.
        Err(_) => std::future::pending().await,
    }
}

async fn overdue(finish: &CancellationToken) {
    const GRACE: Duration = Duration::from_secs(5);
    finish.cancelled().await;
    clock::sleep_until(clock::now() + GRACE).await;
}

/// Reads until the stream ends. Nothing here waits for anything but the next message.
async fn converse(shared: &Arc<Shared>, transport: &Transport, stream: StreamId) -> Loss {
    let mut client = match transport.connect().await {
        Ok(client) => client,
        Err(loss) => return loss,
    };
    // The call answers only when the server's headers are here, which may be after Welcome; Hello goes before.
    let outgoing = Outgoing { shared: shared.clone(), stream };
    let mut incoming = match client.worker_stream(transport.request(outgoing)).await {
        Ok(response) => response.into_inner(),
        Err(status) => return status.into(),
    };
    loop {
        match incoming.message().await {
            Ok(Some(message)) => shared.apply(|machine, now| machine.read(stream, message, now)),
            Ok(None) => return Loss::of("the server ended the stream"),
            Err(status) => return status.into(),
        }
    }
}

/// What the machine has to say on a stream, composed when the transport can take it.
struct Outgoing {
    shared: Arc<Shared>,
    stream: StreamId,
}

impl Stream for Outgoing {
    type Item = WorkerStreamRequest;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.shared.pull(self.stream, cx.waker()) {
            Pull::Message(message) => Poll::Ready(Some(*message)),
            Pull::Nothing => Poll::Pending,
            Pull::End => Poll::Ready(None),
        }
    }
}
