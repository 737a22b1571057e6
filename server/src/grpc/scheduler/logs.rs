//! Log lines: stored ones as pages, and all of them as a stream that ends with the run.

use mainspring_engine::{
    domain::log::{Level, Position},
    flow::logs::tail::{Tail, Tailed},
};
use mainspring_proto::{common::v1::LogLevel, scheduler::v1 as wire};
use prost::Message as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::runs::{live, look, missing};
use crate::grpc::{
    Api, Call,
    convert::{self, Check},
    draining,
    status::Refusal,
};

/// A message of a tail is about so large at most.
const MAX_BYTES: usize = 1 << 20;
/// Messages of a tail that wait for their reader. They are large, and a reader may never read.
const WAITING: usize = 1;

type Sender = mpsc::Sender<Result<wire::TailLogsResponse, Status>>;

pub(super) async fn list(api: &Api, mut request: wire::ListLogsRequest) -> Result<wire::ListLogsResponse, Refusal> {
    let turn = api.pages.turn(&mut request, api.now())?;
    let wire::ListLogsRequest { namespace, run_id, attempt, min_level, page_size: _, page_token: _ } = request;
    let (scope, (run, attempt, level)) = api
        .read(&namespace, |check, _| {
            let run = check.required("run_id", &run_id);
            if attempt < 0 {
                check.refuse("attempt", "must not be negative");
            }
            let level = check.level(min_level);
            Some((run?, (attempt > 0).then_some(attempt), level?))
        })
        .await?;
    let after = turn.place(place)?;
    look(api, &scope, run).await?;
    let lines = api.store().read(&scope, run, attempt, after, level, turn.page().limit).await?;
    let entries = lines.into_iter().map(|line| (key(line.position()), convert::run::log_entry(line)));
    let (entries, next_page_token) = turn.cut(entries);
    Ok(wire::ListLogsResponse { entries, next_page_token })
}

pub(super) async fn tail(
    api: &Api,
    call: &Call,
    request: wire::TailLogsRequest,
) -> Result<ReceiverStream<Result<wire::TailLogsResponse, Status>>, Refusal> {
    if api.draining.is_cancelled() {
        return Err(draining());
    }
    let wire::TailLogsRequest { namespace, run_id, after, min_level } = request;
    let (scope, (run, after, level)) = api
        .read(&namespace, |check, _| {
            let run = check.required("run_id", &run_id);
            let after = after.map(|wire::LogPosition { attempt, offset }| match (attempt, u64::try_from(offset)) {
                (1.., Ok(offset)) => Some(Position { attempt, offset }),
                _ => {
                    check.refuse("after", "must name an attempt from 1 and an offset from 0");
                    None
                }
            });
            let level = check.level(min_level);
            Some((run?, after.flatten(), level?))
        })
        .await?;
    look(api, &scope, run).await?;
    let (sender, stream) = mpsc::channel(WAITING);
    let mut tail = api.engine.tail(scope.clone(), run, after, level);
    let mut standing = api.auth.stand(call.caller()?);
    let api = api.clone();
    api.engine.tasks().clone().spawn("tail-logs", async move {
        let end = tokio::select! {
            end = send(&api, &mut tail, &sender) => end.and_then(|found| found.ok_or_else(|| missing(run, &scope))),
            () = sender.closed() => Ok(()),
            denied = standing.ended() => Err(denied.into()),
            () = api.draining.cancelled() => Err(draining()),
        };
        if let Err(refusal) = end {
            // Nobody is left to tell where this fails.
            let _ = sender.send(Err(refusal.into())).await;
        }
    });
    Ok(ReceiverStream::new(stream))
}

/// Sends everything, the run as it ended at last; none where there is no such run any more.
async fn send(api: &Api, tail: &mut Tail, sender: &Sender) -> Result<Option<()>, Refusal> {
    loop {
        match tail.next().await? {
            Tailed::Lines(lines) => {
                for entries in parts(lines.into_iter().map(convert::run::log_entry)) {
                    // Who has gone away is noticed by the caller.
                    let _ = sender.send(Ok(wire::TailLogsResponse { entries, run: None })).await;
                }
            }
            Tailed::Over(run) => {
                let last = wire::TailLogsResponse { entries: Vec::new(), run: Some(live(api, *run)) };
                let _ = sender.send(Ok(last)).await;
                return Ok(Some(()));
            }
            Tailed::Gone => return Ok(None),
        }
    }
}

/// Lines in messages of bounded size.
fn parts(lines: impl Iterator<Item = wire::StoredLogEntry>) -> Vec<Vec<wire::StoredLogEntry>> {
    let mut parts: Vec<Vec<_>> = Vec::new();
    let mut room = 0;
    for line in lines {
        let bytes = line.encoded_len();
        match parts.last_mut() {
            Some(part) if bytes <= room => {
                part.push(line);
                room -= bytes;
            }
            _ => {
                parts.push(vec![line]);
                room = MAX_BYTES.saturating_sub(bytes);
            }
        }
    }
    parts
}

fn key(position: Position) -> String {
    format!("{}/{}", position.attempt, position.offset)
}

fn place(key: &str) -> Option<Position> {
    let (attempt, offset) = key.split_once('/')?;
    Some(Position { attempt: attempt.parse().ok()?, offset: offset.parse().ok()? })
}

impl Check {
    /// The least serious level a caller wants.
    fn level(&mut self, level: i32) -> Option<Level> {
        self.choice("min_level", level, |level| {
            Some(match level {
                LogLevel::Unspecified | LogLevel::Debug => Level::Debug,
                LogLevel::Info => Level::Info,
                LogLevel::Warning => Level::Warning,
                LogLevel::Error => Level::Error,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_a_tail_are_bounded() {
        let line = |size: usize| wire::StoredLogEntry { message: "x".repeat(size), ..wire::StoredLogEntry::default() };
        let shape =
            |sizes: &[usize]| parts(sizes.iter().map(|size| line(*size))).iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(shape(&[]), Vec::<usize>::new());
        assert_eq!(shape(&[10, 10, 10]), [3]);
        assert_eq!(shape(&[600_000, 600_000, 10, 2 << 20, 10]), [1, 2, 1, 1]);
    }

    #[test]
    fn places_are_read_back() {
        let at = Position { attempt: 3, offset: 99 };
        assert_eq!(place(&key(at)), Some(at));
        assert_eq!(place("x"), None);
    }
}
