//! `WatchEvents`: hints from the server's ring, filtered, with a bookmark every 15 s.

use std::{collections::BTreeSet, time::Duration};

use mainspring_engine::{
    domain::{
        event::Event,
        filter::{Field, Filter, Kind},
        names::Scope,
    },
    flow::events::{Cursor, CursorExpired, Watch},
};
use mainspring_proto::scheduler::v1 as wire;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::{STREAM_BUFFER, runs::STATES};
use crate::grpc::{
    Api, Call, convert, draining, filter,
    status::{Reason, Refusal},
};

const BOOKMARK: Duration = Duration::from_secs(15);

/// What a watcher wants to hear.
struct Wanted {
    scope: Scope,
    /// Empty means all.
    topics: BTreeSet<i32>,
    filter: Filter,
}

/// What events may be narrowed by.
const FIELDS: &[Field] = &[
    Field { name: "job", kind: Kind::Text },
    Field { name: "run_id", kind: Kind::Id },
    Field { name: "job_type", kind: Kind::Text },
    Field { name: "queue", kind: Kind::Text },
    Field { name: "worker_id", kind: Kind::Id },
    Field { name: "state", kind: Kind::Enum(STATES) },
];

pub(super) async fn watch(
    api: &Api,
    call: &Call,
    request: wire::WatchEventsRequest,
) -> Result<ReceiverStream<Result<wire::WatchEventsResponse, Status>>, Refusal> {
    if api.draining.is_cancelled() {
        return Err(draining());
    }
    let wire::WatchEventsRequest { namespace, topics, cursor, filter: text } = request;
    let (scope, (topics, cursor)) = api
        .read(&namespace, |check, _| {
            let topics = check.each("topics", topics, |check, topic| {
                let known = check.choice("", topic, |topic: wire::EventTopic| Some(topic))?;
                if known == wire::EventTopic::Unspecified {
                    check.refuse("", "must be a topic");
                }
                Some(i32::from(known))
            });
            Some((topics.into_iter().collect(), check.optional::<Cursor>("cursor", &cursor)))
        })
        .await?;
    let wanted = Wanted { scope, topics, filter: filter(&text, FIELDS, api.now())? };
    let watch = api.engine.events().watch(cursor).map_err(expired)?;
    let (sender, stream) = mpsc::channel(STREAM_BUFFER);
    let mut standing = api.auth.stand(call.caller()?);
    let following = follow(api.clone(), wanted, watch, sender.clone());
    let drain = api.draining.clone();
    api.engine.tasks().spawn("watch-events", async move {
        let end = tokio::select! {
            end = following => end,
            () = sender.closed() => return,
            denied = standing.ended() => denied.into(),
            () = drain.cancelled() => draining(),
        };
        // Nobody is left to tell where this fails.
        let _ = sender.send(Err(end.into())).await;
    });
    Ok(ReceiverStream::new(stream))
}

/// Sends events until something ends it.
async fn follow(
    api: Api,
    wanted: Wanted,
    mut watch: Watch,
    sender: mpsc::Sender<Result<wire::WatchEventsResponse, Status>>,
) -> Refusal {
    let mut timer = api.engine.clock().timer("watch-events");
    let mut bookmark = api.now().plus(BOOKMARK);
    loop {
        let event = tokio::select! {
            next = watch.next() => match next {
                Ok((cursor, event)) => wanted.shown(&event, cursor),
                Err(gone) => return expired(gone),
            },
            () = timer.sleep_until(bookmark) => {
                let now = api.now();
                bookmark = now.plus(BOOKMARK);
                let namespace = wanted.scope.0.to_string();
                Some(convert::event::bookmark(now, namespace, watch.cursor().to_string()))
            }
        };
        if let Some(event) = event
            && sender.send(Ok(wire::WatchEventsResponse { event: Some(event) })).await.is_err()
        {
            // The watcher left; what is returned reaches nobody.
            return draining();
        }
    }
}

impl Wanted {
    /// The event, where the watcher wants it.
    fn shown(&self, event: &Event, cursor: Cursor) -> Option<wire::Event> {
        if event.namespace.as_ref().is_some_and(|namespace| *namespace != self.scope.0) {
            return None;
        }
        if !self.filter.passes(&|field| convert::event::field(&event.detail, field)) {
            return None;
        }
        let shown = convert::event::event(event.clone())?;
        let wants = self.topics.is_empty() || self.topics.contains(&shown.topic);
        wants.then(|| wire::Event { cursor: cursor.to_string(), ..shown })
    }
}

fn expired(_: CursorExpired) -> Refusal {
    Refusal::new(
        Reason::CursorExpired,
        "the server no longer remembers events back to this cursor; list again, then watch from now on",
    )
}
