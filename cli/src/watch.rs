//! `--watch`: a list or a thing, then a line for every change.
//!
//! Events are hints, the thing itself is read again; so a line shows what the server says now, and two quick changes may
//! be one line. The stream of events is opened before the list is read, and goes on right after the last event where it
//! breaks: nothing is missed in between. Where the server no longer remembers that far, or had not said yet how
//! far it was, the list is shown anew.

use mainspring_proto::scheduler::v1::{EventTopic, WatchEventsRequest, event::Detail};
use tokio::{select, signal};

use crate::{
    clock, connection::Server, exit::Exit, failure::Failure, output::Output, pauses::Pauses, resource::Resource,
};

/// Whether to stay.
#[derive(clap::Args, Clone, Copy, Debug)]
pub(crate) struct WatchArgs {
    /// Stay, and show every change as a line
    #[arg(short, long)]
    pub(crate) watch: bool,
}

/// What is watched.
#[derive(Clone, Debug)]
pub(crate) struct Subject {
    /// What its events are about.
    pub(crate) topics: Vec<EventTopic>,
    /// A filter of events; empty means all of these.
    pub(crate) filter: String,
}

/// Shows what `list` says, then what `read` makes of every event: nothing where it is about something else. It ends with
/// what is the last of its kind, and where somebody ends it.
pub(crate) async fn watch<R: Resource>(
    server: &Server,
    out: &Output,
    subject: Subject,
    list: impl AsyncFnMut() -> Result<Vec<R>, Failure>,
    read: impl AsyncFnMut(&Detail) -> Result<Seen<R>, Failure>,
    is_last: impl Fn(&R) -> bool,
) -> Result<Exit, Failure> {
    select! {
        ended = stay(server, out, subject, list, read, is_last) => ended,
        _ = signal::ctrl_c() => Ok(Exit::Interrupted),
    }
}

/// What an event was about.
#[derive(Debug)]
pub(crate) enum Seen<R> {
    /// This, as it is now.
    Changed(R),
    /// Something that is gone.
    Gone(String),
    /// Something else.
    Other,
}

async fn stay<R: Resource>(
    server: &Server,
    out: &Output,
    subject: Subject,
    mut list: impl AsyncFnMut() -> Result<Vec<R>, Failure>,
    mut read: impl AsyncFnMut(&Detail) -> Result<Seen<R>, Failure>,
    is_last: impl Fn(&R) -> bool,
) -> Result<Exit, Failure> {
    let Subject { topics, filter } = subject;
    let topics = topics.into_iter().map(i32::from).collect();
    let mut sheet = out.sheet();
    let mut request = WatchEventsRequest { namespace: server.namespace(), topics, cursor: String::new(), filter };
    let mut pauses = Pauses::once_answered();
    let mut is_listed = false;
    loop {
        let watched = async {
            let mut events = server.scheduler().watch_events(request.clone()).await?.into_inner();
            pauses.answered();
            if !is_listed {
                let items = list().await?;
                sheet.begin(&items)?;
                is_listed = true;
                if items.iter().any(&is_last) {
                    return Ok(true);
                }
            }
            while let Some(message) = events.message().await? {
                pauses.reset();
                let Some(event) = message.event else { continue };
                let seen = match &event.detail {
                    Some(detail) => read(detail).await?,
                    None => Seen::Other,
                };
                request.cursor = event.cursor;
                match seen {
                    Seen::Changed(item) => {
                        sheet.line(&item)?;
                        if is_last(&item) {
                            return Ok(true);
                        }
                    }
                    Seen::Gone(name) => out.remark(format!("{name} is gone")),
                    Seen::Other => {}
                }
            }
            Ok::<_, Failure>(false)
        };
        match watched.await {
            Ok(true) => return Ok(Exit::Done),
            Err(failure) if failure.reason() == "CURSOR_EXPIRED" => {
                request.cursor.clear();
                is_listed = false;
            }
            Err(failure) if !server.may_go_on(&failure) => return Err(failure),
            ended @ (Ok(false) | Err(_)) if pauses.is_exhausted(clock::tick()) => {
                return Err(ended.err().unwrap_or_else(|| {
                    let message = "the server ended the stream of events";
                    Failure::new(Exit::Unreachable, "SERVER_UNREACHABLE", message)
                }));
            }
            Ok(false) | Err(_) => {
                if pauses.is_first() {
                    out.remark("note: lost the server, trying again");
                }
                // Without a place to go on from, what happened in between is only in the list.
                is_listed &= !request.cursor.is_empty();
                clock::pause(pauses.next(clock::tick())).await;
            }
        }
    }
}
