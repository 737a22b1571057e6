//! Any program as a handler: one process a run, JSON in on stdin, JSON out on stdout.
//!
//! What stands on stderr becomes the run's log, the exit code says how it ended ([`ending`]). The process leads a group of
//! its own ([`group`]), so that whatever it started ends with it: when it ends, when it is told to stop, and when nobody
//! waits for it any more. It is given a short list of variables and no credential. `mainspring worker exec` is the command.

mod ending;
mod group;
mod lines;

use std::{
    borrow::Cow,
    ffi::{OsStr, OsString},
    io,
    process::Stdio,
    time::{Duration, SystemTime},
};

use mainspring_worker::{Ctx, JobError, RawPayload};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use serde_json::{Value, value::RawValue};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    process::{ChildStdin, Command},
    select,
    sync::Notify,
};

pub(crate) use self::{ending::REASONS, group::Groups};
use self::{
    ending::{Ending, Tail},
    group::Group,
};
use crate::clock;

/// Exit code of a program that another attempt would not help: `EX_DATAERR` of sysexits.h.
pub(crate) const DO_NOT_RETRY: i32 = 65;
/// What a program may write to stdout: the contract's largest payload.
const LARGEST_OUTPUT: usize = 1 << 20;
/// A process that left the group may hold the pipes for ever; what it has to say after the end is no part of the run.
const LINGER: Duration = Duration::from_secs(1);

/// A program that serves runs.
#[derive(Debug)]
pub(crate) struct Program {
    /// The program, and what follows it.
    pub(crate) line: Vec<OsString>,
    /// Its whole environment, but for what a run adds.
    pub(crate) variables: Vec<(OsString, OsString)>,
    /// stdout is text, not JSON.
    pub(crate) text: bool,
    /// How long a run may take, by this worker's word.
    pub(crate) timeout: Option<Duration>,
    /// Between SIGTERM and SIGKILL.
    pub(crate) grace: Duration,
    /// The groups that are at work.
    pub(crate) groups: Groups,
}

/// What a program printed: JSON, byte for byte.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(crate) struct Printed(Box<RawValue>);

/// It may be anything.
impl JsonSchema for Printed {
    fn schema_name() -> Cow<'static, str> {
        Value::schema_name()
    }

    fn inline_schema() -> bool {
        Value::inline_schema()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Value::json_schema(generator)
    }
}

/// Why a program was told to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    /// The run was cancelled or timed out, or the worker leaves.
    Told,
    /// It took longer than this worker allows.
    TimedOut,
    /// It wrote more than can be kept.
    TooMuch,
}

impl Program {
    /// Runs it once.
    pub(crate) async fn run(&self, ctx: Ctx, input: RawPayload) -> Result<Printed, JobError> {
        let (mut group, pipes) = Group::start(self.command(&ctx), &self.groups).map_err(|error| {
            let program = self.line.first().map(|program| program.to_string_lossy()).unwrap_or_default();
            JobError::retryable(format!("{program} cannot be started: {error}")).reason(ending::START_FAILED)
        })?;
        let too_much = Notify::new();
        let (mut output, mut tail) = (Vec::new(), Tail::default());
        let mut talk = Box::pin(async {
            tokio::join!(
                feed(pipes.stdin, &input.bytes),
                collect(pipes.stdout, &mut output, &too_much),
                lines::log(pipes.stderr, &ctx, &mut tail),
            );
        });
        let life = async {
            let stop = select! {
                biased;
                ended = group.leader_ended() => ended.map(|()| None),
                () = ctx.cancelled() => Ok(Some(Stop::Told)),
                () = too_much.notified() => Ok(Some(Stop::TooMuch)),
                () = after(self.timeout) => Ok(Some(Stop::TimedOut)),
            }?;
            match stop {
                None => {}
                Some(Stop::TooMuch) => group.kill(),
                Some(Stop::Told | Stop::TimedOut) => {
                    group.terminate();
                    if clock::within(self.grace, group.leader_ended()).await.is_none() {
                        group.kill();
                    }
                }
            }
            Ok::<_, io::Error>((stop, group.end().await?))
        };
        let mut life = Box::pin(life);
        let mut has_talked = false;
        let ended = loop {
            select! {
                biased;
                ended = &mut life => break ended,
                () = &mut talk, if !has_talked => has_talked = true,
            }
        };
        if !has_talked {
            clock::within(LINGER, &mut talk).await;
        }
        drop(talk);
        drop(life);
        let (stop, status) = ended.map_err(|error| JobError::retryable(error).reason(ending::START_FAILED))?;
        Ending { stop, status, timeout: self.timeout, text: self.text, output, tail }.told()
    }

    fn command(&self, ctx: &Ctx) -> Command {
        let (program, arguments) = self.line.split_first().map_or((OsStr::new(""), &[][..]), |(p, a)| (p, a));
        let mut command = Command::new(program);
        command.args(arguments).env_clear().envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
            .env("MAINSPRING_RUN_ID", ctx.run_id())
            .env("MAINSPRING_ATTEMPT", ctx.attempt().to_string())
            .env("MAINSPRING_IDEMPOTENCY_KEY", ctx.idempotency_key())
            .env("MAINSPRING_JOB", ctx.job().unwrap_or_default())
            .env("MAINSPRING_JOB_TYPE", ctx.job_type());
        let times = [
            ("MAINSPRING_NOMINAL_TIME", ctx.nominal_time()),
            ("MAINSPRING_DUE_TIME", ctx.due_time()),
            ("MAINSPRING_PREVIOUS_SUCCESS", ctx.previous_success()),
        ];
        command.envs(times.map(|(name, time)| (name, time.map(shown).unwrap_or_default())));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

/// A time as programs read it: RFC 3339 in UTC, letter for letter as the API's JSON has it.
fn shown(time: SystemTime) -> String {
    prost_types::Timestamp::from(time).to_string()
}

/// Nothing is `null`, as for every handler that reads JSON. A program need not read what it is given.
async fn feed(stdin: Option<ChildStdin>, input: &[u8]) {
    let Some(mut stdin) = stdin else { return };
    let input = if input.is_empty() { b"null" } else { input };
    if stdin.write_all(input).await.is_ok() {
        // Its end is what the program waits for.
        drop(stdin.shutdown().await);
    }
}

/// Everything of stdout, up to what can be kept.
async fn collect(stdout: Option<impl AsyncRead + Unpin>, output: &mut Vec<u8>, too_much: &Notify) {
    let Some(stdout) = stdout else { return };
    let limit = u64::try_from(LARGEST_OUTPUT).unwrap_or(u64::MAX);
    // A pipe that breaks has nothing more to say.
    drop(stdout.take(limit + 1).read_to_end(output).await);
    if output.len() > LARGEST_OUTPUT {
        too_much.notify_one();
    }
}

async fn after(limit: Option<Duration>) {
    match limit {
        Some(limit) => clock::pause(limit).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::shown;

    #[test]
    fn times_are_those_of_the_api() {
        let at = |micros| shown(SystemTime::UNIX_EPOCH + Duration::from_micros(micros));
        assert_eq!(at(1_796_096_284_727_170), "2026-12-01T03:38:04.727170Z");
        assert_eq!(at(1_796_096_284_700_000), "2026-12-01T03:38:04.700Z");
        assert_eq!(at(1_796_096_284_000_000), "2026-12-01T03:38:04Z");
    }
}
