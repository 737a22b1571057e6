//! `logout`: the end of a sign-in, at the server and here.

use clap::Args;
use mainspring_proto::auth::v1::LogoutRequest;
use serde_json::json;

use super::examples;
use crate::{
    connection::CONNECT_WITHIN,
    exit::Exit,
    failure::Failure,
    session::Session,
    sign_in::{Forgotten, Kept},
};

/// Sign out of the context's server, and forget its credential
#[derive(Args, Debug)]
#[command(before_help = examples!["mainspring logout", "mainspring logout --context dev"])]
pub(crate) struct LogoutArgs {}

pub(super) async fn run(args: LogoutArgs, session: &Session) -> Result<Exit, Failure> {
    let LogoutArgs {} = args;
    let settings = session.settings()?;
    let (Some(context), Some(folder)) = (settings.context.clone(), session.environment.folder()) else {
        return Err(Failure::usage("no context is in use, so there is nothing to sign out of"));
    };
    let kept = Kept::new(folder, context.clone());
    // A session that cannot be ended now ends by itself; here it is forgotten in any case.
    let told = match kept.read()? {
        None => Ok(()),
        Some(_) => {
            let end = async {
                let server = session.connect(&settings, CONNECT_WITHIN).await?;
                server.auth().logout(LogoutRequest {}).await?;
                Ok::<_, Failure>(())
            };
            end.await
        }
    };
    let text = match (kept.forget()?, told) {
        (Forgotten::SignIn, Ok(())) => format!("signed out of context {context}"),
        (Forgotten::SignIn, Err(failure)) => {
            format!("forgot the sign-in of context {context}; its server was not told ({})", failure.reason())
        }
        (Forgotten::Key, _) => format!(
            "forgot the API key of context {context}; it stays good until it is revoked (`mainspring admin key revoke`)"
        ),
        (Forgotten::Nothing, _) => format!("context {context} holds no credential"),
    };
    session.out.value(&format!("{text}\n"), &json!({"context": context, "message": text}))?;
    Ok(Exit::Done)
}
