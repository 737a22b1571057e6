//! A handler with a typed payload, a state, progress and tests: `cargo run -p mainspring-worker --example email`, and
//! `cargo test -p mainspring-worker --example email`.

#![expect(clippy::disallowed_methods, reason = "stands for a mail server, which takes its time")]

use std::time::Duration;

use mainspring_worker::{Ctx, JobError, OrFatal, Payload, State, Worker};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A letter to everybody on a list. This sentence and the schema are what `mainspring type describe` shows.
#[derive(Debug, Deserialize, JsonSchema)]
struct Letter {
    /// Addresses, one letter each.
    to: Vec<String>,
    text: String,
}

/// What became of it.
#[derive(Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
struct Sent {
    letters: usize,
}

/// Stands for a mail server.
struct Mailer {
    takes: Duration,
}

impl Mailer {
    async fn send(&self, to: &str, text: &str, key: &str) -> Result<(), std::io::Error> {
        tokio::time::sleep(self.takes).await;
        tracing::debug!(to, text, key, "sent");
        Ok(())
    }
}

async fn send(
    ctx: Ctx,
    State(mailer): State<Mailer>,
    Payload(Letter { to, text }): Payload<Letter>,
) -> Result<Sent, JobError> {
    // No other attempt can mend an address, so this ends the run; what `?` passes on alone is tried again.
    to.iter().all(|to| to.contains('@')).then_some(()).ok_or("an address has no @").or_fatal()?;
    for (at, address) in to.iter().enumerate() {
        // Fails once the run is cancelled. What was sent before is not sent again by the next attempt: the key is the same.
        ctx.progress(at as u64, to.len() as u64, "letters")?;
        mailer.send(address, &text, &format!("{}/{address}", ctx.idempotency_key())).await?;
    }
    ctx.info("all of them are sent");
    Ok(Sent { letters: to.len() })
}

#[tokio::main]
async fn main() -> Result<(), mainspring_worker::Error> {
    let mailer = Mailer { takes: Duration::from_millis(200) };
    Worker::from_env()?.state(mailer).handle("email.send", send).slots(4).run_until_signal().await
}

#[cfg(test)]
mod tests {
    use mainspring_worker::TestRun;
    use serde_json::json;

    use super::*;

    fn run(to: &[&str]) -> TestRun {
        TestRun::new(json!({"to": to, "text": "hello"})).state(Mailer { takes: Duration::from_millis(1) })
    }

    #[tokio::test]
    async fn everybody_gets_a_letter() {
        let outcome = run(&["ada@example.org", "grace@example.org"]).call(send).await;
        assert_eq!(outcome.output::<Sent>().unwrap(), Sent { letters: 2 });
        assert_eq!(outcome.messages(), ["all of them are sent"]);
    }

    #[tokio::test]
    async fn a_wrong_address_ends_the_run() {
        let outcome = run(&["ada"]).call(send).await;
        assert!(outcome.progress.is_empty(), "{:?}", outcome.progress);
        let Err(JobError::Failed(failure)) = outcome.result else { panic!("it went well") };
        assert!(failure.is_fatal());
    }

    #[tokio::test]
    async fn a_cancelled_run_stops_between_two_letters() {
        let everybody = vec!["ada@example.org"; 100_000];
        let outcome = run(&everybody).cancel_after(Duration::from_millis(5)).call(send).await;
        assert!(matches!(outcome.result, Err(JobError::Cancelled)));
    }
}
