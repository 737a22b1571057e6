//! `whoami`: as whom the server sees the caller.

use clap::Args;
use mainspring_proto::auth::v1::GetCallerRequest;

use super::examples;
use crate::{exit::Exit, failure::Failure, session::Session};

/// Show who you are to the server, and what you may do
#[derive(Args, Debug)]
#[command(before_help = examples!["mainspring whoami", "mainspring whoami -o json"])]
pub(crate) struct WhoamiArgs {}

pub(super) async fn run(args: WhoamiArgs, session: &Session) -> Result<Exit, Failure> {
    let WhoamiArgs {} = args;
    let server = session.server().await?;
    session.out.show(&server.auth().get_caller(GetCallerRequest {}).await?.into_inner())?;
    Ok(Exit::Done)
}
