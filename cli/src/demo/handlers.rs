//! The handlers of the demo jobs, and the worker that runs them. They are also the shortest examples of the SDK.

use std::time::Duration;

use mainspring_worker::{Ctx, Error, JobError, Payload, Worker};
use schemars::JsonSchema;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use tokio::{select, sync::oneshot};

use crate::{
    address::Address,
    clock,
    tasks::{self, Task},
};

/// Between two steps of a demo: slow enough to be seen.
const STEP: Duration = Duration::from_millis(100);
/// What a demo job may need to stop when `dev` stops.
const DRAIN_WITHIN: Duration = Duration::from_secs(2);

/// The worker `dev` brings along.
#[derive(Debug)]
pub(super) struct BuiltIn {
    leave: oneshot::Sender<()>,
    task: Task<Result<(), Error>>,
}

impl BuiltIn {
    /// Starts it; it connects by itself.
    pub(super) fn start(address: &Address, api_key: &SecretString) -> Self {
        let (leave, left) = oneshot::channel();
        let worker = Worker::connect_to(address.to_string())
            .api_key(api_key.expose_secret())
            .name("built-in")
            .slots(8)
            .drain_within(DRAIN_WITHIN)
            .handle("demo.hello", hello)
            .handle("demo.progress", progress)
            .handle("demo.sleep", sleep)
            .handle("demo.flaky", flaky);
        // A sender that is dropped asks it to leave as well.
        let task = tasks::spawn("built-in worker", worker.run_until(async move { drop(left.await) }));
        Self { leave, task }
    }

    /// Asks it to leave, and waits until it did.
    pub(super) async fn stop(self) {
        // It may have left already.
        let _ = self.leave.send(());
        if let Some(Err(error)) = self.task.end().await {
            tracing::warn!(%error, "the built-in worker did not leave in order");
        }
    }
}

/// Greets somebody, in three steps.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default)]
struct Hello {
    /// Whom; the world if nobody is named.
    name: Option<String>,
}

#[derive(Serialize, JsonSchema)]
struct Greeting {
    greeting: String,
}

async fn hello(ctx: Ctx, Payload(hello): Payload<Option<Hello>>) -> Result<Greeting, JobError> {
    let name = hello.unwrap_or_default().name.unwrap_or_else(|| "world".into());
    let greeting = format!("hello, {name}");
    ctx.info(greeting.clone());
    for step in 1..=3 {
        clock::pause(STEP).await;
        ctx.progress(step, 3, format!("greeting {step} of 3"))?;
    }
    ctx.info(format!("goodbye, {name}"));
    Ok(Greeting { greeting })
}

/// Counts its steps.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default)]
struct Steps {
    /// How many; 20 if nothing is said.
    steps: Option<u64>,
}

#[derive(Serialize, JsonSchema)]
struct Counted {
    steps: u64,
}

async fn progress(ctx: Ctx, Payload(input): Payload<Option<Steps>>) -> Result<Counted, JobError> {
    let steps = input.unwrap_or_default().steps.unwrap_or(20);
    for step in 1..=steps {
        clock::pause(STEP).await;
        ctx.progress(step, steps, format!("step {step} of {steps}"))?;
        if step % 5 == 0 {
            ctx.info(format!("{step} steps done"));
        }
    }
    Ok(Counted { steps })
}

/// Sleeps, and wakes when it is cancelled.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default)]
struct Sleep {
    /// How long; 5 if nothing is said.
    seconds: Option<f64>,
}

async fn sleep(ctx: Ctx, Payload(sleep): Payload<Option<Sleep>>) -> Result<(), JobError> {
    let seconds = sleep.unwrap_or_default().seconds.unwrap_or(5.0);
    let length = Duration::try_from_secs_f64(seconds).map_err(JobError::fatal)?;
    ctx.info(format!("sleeping for {seconds} s"));
    select! {
        () = clock::pause(length) => Ok(()),
        () = ctx.cancelled() => {
            ctx.warn("woken by a cancel");
            Err(JobError::Cancelled)
        }
    }
}

/// Fails until the attempt it is told to succeed on.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default)]
struct Flaky {
    /// That attempt; the third if nothing is said.
    succeed_on: Option<u64>,
}

#[derive(Serialize, JsonSchema)]
struct Recovered {
    attempts: u64,
}

async fn flaky(ctx: Ctx, Payload(flaky): Payload<Option<Flaky>>) -> Result<Recovered, JobError> {
    let succeed_on = flaky.unwrap_or_default().succeed_on.unwrap_or(3);
    // Attempts also count handing back and losing; failures count what this handler did.
    let attempt = u64::from(ctx.failures()) + 1;
    if attempt < succeed_on {
        ctx.warn(format!("no luck at attempt {attempt}"));
        return Err(JobError::retryable(format!("no luck at attempt {attempt} of {succeed_on}")).reason("NO_LUCK"));
    }
    ctx.info(format!("luck at attempt {attempt}"));
    Ok(Recovered { attempts: attempt })
}
