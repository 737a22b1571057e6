//! The Protobuf contract is linted, and never breaks those who use the last release.

use anyhow::Result;

use crate::{
    report::Verdict,
    shell::{command, expect_success, root},
    tools::Tools,
};

/// The descriptor set of the last release, committed with it.
const RELEASED: &str = "proto/released.binpb";

pub(super) fn lint(tools: &Tools) -> Result<Verdict> {
    let buf = tools.buf()?;
    expect_success(&mut command(buf, &["lint"]), "change the .proto files; the rules are in buf.yaml")
}

pub(super) fn breaking(tools: &Tools) -> Result<Verdict> {
    if !root().join(RELEASED).exists() {
        return Ok(Verdict::Passed(format!("nothing to compare with: no {RELEASED} before the first release")));
    }
    let buf = tools.buf()?;
    expect_success(
        &mut command(buf, &["breaking", "--against", RELEASED]),
        "v1 only grows: keep the old field or rpc and add a new one beside it",
    )
}
