//! Which crates may be used, by whom and under which licence (`deny.toml`), and which have known holes.

use anyhow::Result;

use crate::{
    report::Verdict,
    shell::{capture, command, expect_success},
    tools::Tools,
};

pub(super) fn rules(tools: &Tools) -> Result<Verdict> {
    let deny = match tools.cargo_deny() {
        Ok(deny) => deny,
        Err(reason) => return Ok(Verdict::Skipped(reason.into())),
    };
    expect_success(
        &mut command(deny, &["--workspace", "check", "--hide-inclusion-graph", "bans", "licenses", "sources"]),
        "take the crate out, or argue for it in deny.toml, with a reason",
    )
}

/// The one rule that needs the network, so the one rule that may be skipped for want of it.
pub(super) fn advisories(tools: &Tools) -> Result<Verdict> {
    let deny = match tools.cargo_deny() {
        Ok(deny) => deny,
        Err(reason) => return Ok(Verdict::Skipped(reason.into())),
    };
    let fetched = capture(&mut command(deny, &["fetch", "db"]))?;
    if !fetched.success {
        return Ok(Verdict::Skipped("the advisory database cannot be reached".into()));
    }
    expect_success(
        &mut command(deny, &["--workspace", "check", "--disable-fetch", "advisories"]),
        "update the crate; where there is no update, ignore the advisory in deny.toml, with a reason",
    )
}
