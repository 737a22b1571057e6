//! The judge as a process: `mainspring-check` over a database and its evidence.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tokio::process::Command;

use super::{journal::Evidence, programs};

/// What the judge said.
#[derive(Clone, Debug)]
pub struct Judgement {
    /// 0 all held, 1 something did not, 2 evidence is missing.
    pub code: i32,
    /// The table, or its JSON.
    pub text: String,
}

/// Adds the judge's triggers to the database of a server that runs.
pub async fn arm(database: &Path) -> Result<()> {
    let output = Command::new(programs::path(programs::CHECK)?).arg("arm").arg(database).output().await?;
    ensure!(output.status.success(), "mainspring-check arm: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// Judges; `without` names what the test did not do on purpose (faults, submissions, jobs, cancels).
pub async fn judge(database: &Path, evidence: &Evidence, without: &[&str], json: bool) -> Result<Judgement> {
    let mut command = Command::new(programs::path(programs::CHECK)?);
    command.arg("judge").arg("--database").arg(database).arg("--evidence").arg(evidence.folder());
    without.iter().for_each(|what| {
        command.args(["--without", what]);
    });
    if json {
        command.arg("--json");
    }
    let output = command.output().await?;
    let code = output.status.code().context("a signal ended mainspring-check")?;
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    Ok(Judgement { code, text })
}

/// Judges, and fails with the table unless everything held. Returns the judgement as JSON.
pub async fn acquit(database: &Path, evidence: &Evidence, without: &[&str]) -> Result<Value> {
    let judgement = judge(database, evidence, without, false).await?;
    ensure!(judgement.code == 0, "mainspring-check says {}:\n{}", judgement.code, judgement.text);
    let judgement = judge(database, evidence, without, true).await?;
    serde_json::from_str(&judgement.text).context("what mainspring-check says as JSON")
}
