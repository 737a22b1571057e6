//! A whole worker, as docs/quickstart.md shows it: `cargo run -p mainspring-worker --example greet`.

use std::collections::BTreeMap;

use mainspring_worker::{Ctx, JobError, Payload, Worker};

/// Greets whom it is told to.
async fn greet(ctx: Ctx, Payload(input): Payload<BTreeMap<String, String>>) -> Result<String, JobError> {
    // A failure like this one is never retried; any other error is, as the job's policy says.
    let name = input.get("name").ok_or_else(|| JobError::fatal("nobody was named"))?;
    let greeting = format!("hello, {name}");
    ctx.info(greeting.clone());
    Ok(greeting)
}

#[tokio::main]
async fn main() -> Result<(), mainspring_worker::Error> {
    // Where the server is, and who this is to it: from the environment, else from the command line's context.
    Worker::from_env()?.handle("greet", greet).slots(8).run_until_signal().await
}
