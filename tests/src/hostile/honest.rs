//! Somebody else on the same server, to whom nothing happens: submits a run, works it off, sees it succeed, again and
//! again.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use mainspring_proto::scheduler::v1::RunState;
use serde_json::json;
use tokio::sync::watch;

use crate::harness::{
    client::{Client, work},
    host::{self, PATIENCE, Task},
    server::Server,
    session::{BareWorker, Session},
};

/// Between two runs.
const PAUSE: Duration = Duration::from_millis(50);
/// A step that takes longer is told.
const LONG: Duration = Duration::from_secs(2);
const TYPE: &str = "honest";

/// An honest client and its worker.
#[derive(Debug)]
pub(super) struct Honest {
    stop: watch::Sender<bool>,
    rounds: Task<Result<Vec<Duration>>>,
}

impl Honest {
    pub(super) async fn start(server: &Server) -> Result<Self> {
        let client = server.client()?;
        let session = BareWorker::new(&[TYPE], 1).connect(&server.client()?).await?;
        let (stop, stopped) = watch::channel(false);
        Ok(Self { stop, rounds: host::spawn(live(client, session, stopped)) })
    }

    /// How long each round took, shortest first.
    pub(super) async fn end(self) -> Result<Vec<Duration>> {
        self.stop.send_replace(true);
        let mut rounds = self.rounds.ended().await.context("an honest client was not served")?;
        ensure!(!rounds.is_empty(), "an honest client never had its turn");
        rounds.sort_unstable();
        Ok(rounds)
    }
}

async fn live(client: Client, mut session: Session, mut stopped: watch::Receiver<bool>) -> Result<Vec<Duration>> {
    let mut rounds = Vec::new();
    loop {
        let begin = host::monotonic();
        host::within(PATIENCE, "a round of the honest client", round(&client, &mut session)).await??;
        rounds.push(Duration::from_nanos(host::monotonic() - begin));
        if host::within(PAUSE, "the end", stopped.wait_for(|stop| *stop)).await.is_ok() {
            return Ok(rounds);
        }
    }
}

/// One run from its submission to its end; says which step took long.
async fn round(client: &Client, session: &mut Session) -> Result<()> {
    let mut begin = host::monotonic();
    let mut step = |name: &str| {
        let took = Duration::from_nanos(host::monotonic() - begin);
        if took > LONG {
            println!("an honest client waited {took:?} for: {name}");
        }
        begin = host::monotonic();
    };
    session.renew(Vec::new()).await?;
    step("the answer to a heartbeat");
    let run = client.submit(work(TYPE, &json!(null))).await?;
    step("the answer to a submission");
    let attempt = session.dispatch().await?.attempt.context("a dispatch names its attempt")?;
    step("the run to come to its worker");
    session.accept(&attempt).await?;
    session.succeed(&attempt).await?;
    session.result_ack(&attempt).await?;
    step("the answer to a result");
    let over = client.over(&run, PATIENCE).await?;
    step("the end of the run");
    ensure!(over.state() == RunState::Succeeded, "{over:?}");
    Ok(())
}
