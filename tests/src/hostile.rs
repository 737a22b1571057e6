//! The attack: requests that nobody would send, to every rpc of the contract, at a server process of its own. Reached as
//! `cargo xtask hostile`.
//!
//! ```text
//!  contract (every rpc) ── request (seed, rpc, number → message, frames, headers, caller) ── call ── judge ── tally
//!                              └─ message (byte by byte) · known · nasty                      stage (server) · honest
//! ```
//! Meanwhile an honest client is served. Afterwards the server lives, has logged no panic and no bug of its own, and is
//! no larger than it may be. A request follows from seed, rpc and number: what was found is sent again by these three.

mod call;
mod contract;
mod honest;
mod judge;
mod known;
mod message;
mod nasty;
mod request;
mod stage;
mod tally;

use std::{fmt::Write as _, time::Duration};

use anyhow::{Result, ensure};
use futures::{StreamExt as _, stream};

pub use self::tally::{Line, Tally};
use self::{
    contract::{Contract, Rpc},
    honest::Honest,
    stage::Stage,
};
use crate::harness::host::{self, PATIENCE};

/// Requests under way at a time.
const AT_ONCE: usize = 32;
/// Callers of streams and waits stay for so long.
const SHORT: Duration = Duration::from_millis(100);
/// What the server may take, of which half is its caches' and the largest messages' that can be under way.
const MEMORY: u64 = 400 << 20;
/// Bytes of a request that are shown.
const SHOWN: usize = 4 << 10;

/// How to attack.
#[derive(Clone, Debug)]
pub struct Options {
    /// Requests to each rpc.
    pub requests: u64,
    /// Requests to each rpc that hashes passwords, which is slow on purpose.
    pub hashed: u64,
    /// Decides what is sent.
    pub seed: u64,
    /// Only rpcs whose name has this in it.
    pub only: Option<String>,
    /// Only the request of this number.
    pub number: Option<u64>,
}

/// Attacks a server of its own; what was wrong is in the tally.
pub async fn run(options: &Options) -> Result<Tally> {
    let contract = Contract::read()?;
    let mut stage = Stage::set().await?;
    let honest = Honest::start(&stage.server).await?;
    let mut tally = Tally::default();
    let is_asked = |rpc: &&Rpc| options.only.as_ref().is_none_or(|only| rpc.name.contains(only.as_str()));
    for rpc in contract.rpcs.iter().filter(is_asked) {
        stage.sign_in().await?;
        stage.restock().await?;
        let (line, findings) = attack(&contract, &mut stage, rpc, options).await?;
        println!("{:<36}{line}", rpc.name);
        tally.lines.insert(rpc.name.clone(), line);
        tally.findings.extend(findings);
    }
    ensure!(!tally.lines.is_empty(), "no rpc is named like that");
    match honest.end().await {
        Ok(rounds) => tally.honest = rounds,
        Err(error) => tally.findings.push(format!("{error:#}")),
    }
    tally.findings.extend(aftermath(&mut stage).await?);
    if !tally.findings.is_empty()
        && let Some(folder) = stage.server.keep()
    {
        println!("evidence: {}", folder.display());
    }
    Ok(tally)
}

async fn attack(contract: &Contract, stage: &mut Stage, rpc: &Rpc, options: &Options) -> Result<(Line, Vec<String>)> {
    let begin = host::monotonic();
    let mut line = Line::default();
    let mut findings = Vec::new();
    let numbers = match options.number {
        Some(number) => number..number + 1,
        None => 0..if rpc.hashes() { options.hashed.min(options.requests) } else { options.requests },
    };
    // A password is checked after those that wait already, and not everybody may wait.
    let at_once = if rpc.hashes() { 4 } else { AT_ONCE };
    let sender = &*stage;
    let mut answers =
        stream::iter(numbers).map(|number| one(contract, sender, rpc, options.seed, number)).buffer_unordered(at_once);
    while let Some((judgement, took)) = answers.next().await {
        line.slowest = line.slowest.max(took);
        match judgement {
            Ok(name) => *line.answers.entry(name).or_default() += 1,
            Err(finding) => {
                *line.answers.entry("(found)").or_default() += 1;
                findings.push(finding);
            }
        }
    }
    drop(answers);
    line.took = Duration::from_nanos(host::monotonic() - begin);
    line.resident = stage.server.process()?.resident()?;
    if line.resident > MEMORY {
        findings.push(format!("after {} the server takes {} MiB", rpc.name, line.resident >> 20));
    }
    Ok((line, findings))
}

/// One request, and what is to be said of its answer.
async fn one(
    contract: &Contract,
    stage: &Stage,
    rpc: &Rpc,
    seed: u64,
    number: u64,
) -> (Result<&'static str, String>, Duration) {
    let request = request::draw(contract, &stage.known, rpc, seed, number);
    let sent = request.clone();
    let patience = if rpc.is_long() { SHORT } else { PATIENCE };
    let begin = host::monotonic();
    #[expect(clippy::cast_possible_truncation, reason = "any connection will do")]
    let answer = stage.send(&rpc.path, request, number as usize, patience).await;
    let took = Duration::from_nanos(host::monotonic() - begin);
    let judgement = match answer {
        Ok(answer) => judge::judge(rpc, &answer),
        Err(error) => Err(format!("no answer of the contract: {error:#}")),
    };
    let judgement = judgement.map_err(|what| {
        let (caller, headers, bytes) = (sent.caller, &sent.headers, hex(&sent.body));
        format!(
            "{what}\n  {caller:?}, headers {headers:?}, {} bytes of body: {bytes}\n  again: cargo xtask hostile --seed {seed} \
             --only {} --number {number}",
            sent.body.len(),
            rpc.name,
        )
    });
    (judgement, took)
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes.iter().take(SHOWN) {
        let _ = write!(text, "{byte:02x}");
    }
    if bytes.len() > SHOWN {
        text.push('…');
    }
    text
}

/// What is wrong with a server after all that: it died, it panicked, it found bugs of its own.
async fn aftermath(stage: &mut Stage) -> Result<Vec<String>> {
    let mut findings = Vec::new();
    let client = stage.server.client()?;
    if let Err(status) = client.admin().get_server_info(mainspring_proto::scheduler::v1::GetServerInfoRequest {}).await
    {
        findings.push(format!("the server does not answer any more: {status}"));
    }
    let log = stage.server.process()?.stderr()?;
    let is_bad = |line: &&str| line.contains("panicked at") || line.contains("ERROR");
    findings.extend(log.lines().filter(is_bad).map(|line| format!("the server's log says: {line}")));
    Ok(findings)
}
