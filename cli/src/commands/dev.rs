//! `dev`.

use clap::Args;

use super::examples;
use crate::{exit::Exit, failure::Failure, session::Session};

/// Dev
#[derive(Args, Debug)]
#[command(before_help = examples!["mainspring dev"])]
pub(crate) struct DevArgs {}

pub(super) async fn run(args: DevArgs, _: &Session) -> Result<Exit, Failure> {
    let DevArgs {} = args;
    Err(Failure::usage("not connected"))
}
