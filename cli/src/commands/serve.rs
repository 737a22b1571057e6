//! `serve`.

use clap::Args;

use super::examples;
use crate::{exit::Exit, failure::Failure, session::Session};

/// Serve
#[derive(Args, Debug)]
#[command(before_help = examples!["mainspring serve"])]
pub(crate) struct ServeArgs {}

pub(super) async fn run(args: ServeArgs, _: &Session) -> Result<Exit, Failure> {
    let ServeArgs {} = args;
    Err(Failure::usage("not connected"))
}
