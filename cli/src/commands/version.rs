//! `version`: this client, and the server where one answers. Never fails because none does.

use std::time::Duration;

use clap::Args;
use mainspring_proto::scheduler::v1::GetServerInfoRequest;
use serde_json::json;

use super::examples;
use crate::{clock, exit::Exit, failure::Failure, output, resource, resource::GetServerInfoResponse, session::Session};

/// A server that is there answers in milliseconds.
const WITHIN: Duration = Duration::from_secs(1);

/// Show the version of this client and of the server
#[derive(Args, Debug)]
#[command(before_help = examples!["mainspring version", "mainspring version -o json"])]
pub(crate) struct VersionArgs {}

pub(super) async fn run(args: VersionArgs, session: &Session) -> Result<Exit, Failure> {
    let VersionArgs {} = args;
    let client = env!("CARGO_PKG_VERSION");
    let settings = session.settings()?;
    let address = settings.address.to_string();
    let ask = async {
        let server = session.connect(&settings, WITHIN).await?;
        Ok::<GetServerInfoResponse, Failure>(
            server.admin().get_server_info(GetServerInfoRequest {}).await?.into_inner(),
        )
    };
    let answer = clock::within(WITHIN, ask)
        .await
        .unwrap_or_else(|| Err(Failure::new(Exit::Unreachable, "SERVER_UNREACHABLE", "no answer within 1 s")));
    let (line, server, error) = match answer {
        Ok(info) => {
            let line = format!("{} {} at {address}", info.version, resource::mode_word(info.mode()));
            (line, output::canonical(&info), json!(null))
        }
        Err(failure) if failure.is_passing() => {
            (format!("none at {address}"), json!(null), failure.json()["error"].clone())
        }
        Err(failure) => {
            let line = format!("at {address} does not tell ({})", failure.reason());
            (line, json!(null), failure.json()["error"].clone())
        }
    };
    let value = json!({"client": {"version": client}, "address": address, "server": server, "serverError": error});
    session.out.value(&format!("client  {client}\nserver  {line}\n"), &value)?;
    Ok(Exit::Done)
}
