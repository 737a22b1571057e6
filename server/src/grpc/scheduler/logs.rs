//! Log lines: stored ones as pages, and all of them as a stream that ends with the run.

use std::time::Duration;

use mainspring_engine::{
    domain::{
        event::Detail,
        ids::RunId,
        log::{Level, Position, Stored},
        names::Scope,
    },
    flow::events::Watch,
};
use mainspring_proto::{common::v1::LogLevel, scheduler::v1 as wire};
use prost::Message as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::{
    STREAM_BUFFER,
    runs::{live, look},
};
use crate::grpc::{
    Api, Call,
    convert::{self, Check},
    draining,
    status::Refusal,
};

/// Lines read in one step.
const CHUNK: usize = 500;
/// A message of a tail is about so large at most.
const MAX_BYTES: usize = 1 << 20;
/// A tail looks at least so often, whatever it is told.
const LOOK: Duration = Duration::from_secs(2);
/// Lines travel behind results: after the end of a run a tail goes on until it was quiet for so long.
const LINGER: Duration = Duration::from_millis(500);

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
    let entries = lines.into_iter().map(|line| (key(position(&line)), convert::run::log_entry(line)));
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
    let (sender, stream) = mpsc::channel(STREAM_BUFFER);
    let tail = Tail { api: api.clone(), scope, run, after, level, sender: sender.clone() };
    let mut standing = api.auth.stand(call.caller()?);
    let drain = api.draining.clone();
    api.engine.tasks().spawn("tail-logs", async move {
        let end = tokio::select! {
            end = tail.follow() => end,
            () = sender.closed() => Ok(()),
            denied = standing.ended() => Err(denied.into()),
            () = drain.cancelled() => Err(draining()),
        };
        if let Err(refusal) = end {
            // Nobody is left to tell where this fails.
            let _ = sender.send(Err(refusal.into())).await;
        }
    });
    Ok(ReceiverStream::new(stream))
}

/// One reader of one run's log.
struct Tail {
    api: Api,
    scope: Scope,
    run: RunId,
    after: Option<Position>,
    level: Level,
    sender: Sender,
}

impl Tail {
    /// Sends every line, in order, until the run is over.
    async fn follow(mut self) -> Result<(), Refusal> {
        let mut timer = self.api.engine.clock().timer("tail-logs");
        let mut quiet_since = self.api.now();
        loop {
            // Registered before reading, so that no line comes in between unseen.
            let mut news = self.api.engine.events().watch(None).ok();
            let view = look(&self.api, &self.scope, self.run).await?;
            let over = view.life.state.is_terminal();
            let sent = self.send_stored().await?;
            let now = self.api.now();
            // A run that was over long before the tail began has no line under way.
            let long_over = view.life.end_time.is_some_and(|end| now.since(end) >= LOOK);
            if sent > 0 || !over {
                quiet_since = now;
            }
            if over && (long_over || now.since(quiet_since) >= LINGER) {
                let last = wire::TailLogsResponse { entries: Vec::new(), run: Some(live(&self.api, view)) };
                // Nobody is left to tell where this fails.
                let _ = self.sender.send(Ok(last)).await;
                return Ok(());
            }
            let pause = if over { LINGER } else { LOOK };
            tokio::select! {
                () = news_of(&mut news, self.run) => {}
                () = timer.sleep_until(now.plus(pause)) => {}
            }
        }
    }

    /// Sends what is stored beyond what was sent; how many lines.
    async fn send_stored(&mut self) -> Result<usize, Refusal> {
        let mut sent = 0;
        loop {
            let lines = self.api.store().read(&self.scope, self.run, None, self.after, self.level, CHUNK).await?;
            let full = lines.len() == CHUNK;
            let Some(last) = lines.last() else { return Ok(sent) };
            self.after = Some(position(last));
            sent += lines.len();
            for entries in parts(lines.into_iter().map(convert::run::log_entry)) {
                if self.sender.send(Ok(wire::TailLogsResponse { entries, run: None })).await.is_err() {
                    return Ok(sent);
                }
            }
            if !full {
                return Ok(sent);
            }
        }
    }
}

/// Returns once there may be something new of a run.
async fn news_of(news: &mut Option<Watch>, run: RunId) {
    let Some(watch) = news else { return std::future::pending().await };
    loop {
        match watch.next().await {
            Ok((_, event)) => match &event.detail {
                Detail::Logs { run: of } if *of == run => return,
                Detail::Run { run: of, .. } if *of == run => return,
                Detail::Logs { .. }
                | Detail::Run { .. }
                | Detail::Progress { .. }
                | Detail::Job { .. }
                | Detail::Worker { .. }
                | Detail::Queue { .. } => {}
            },
            // Too much happened to follow: look.
            Err(_) => return,
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

fn position(line: &Stored) -> Position {
    Position { attempt: line.attempt, offset: line.offset }
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
