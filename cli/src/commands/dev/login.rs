//! The context that leads to this server, so that what is typed next needs no login.
//!
//! It is called `dev`, and belongs to whichever server of `dev` was started last, with one exception: a `dev` that leads
//! to another server which answers is left alone. Whoever works with that one would otherwise be led here in the middle
//! of it, and nowhere once this server ends. This server is then known as `dev-PORT`.

use std::{fmt, path::PathBuf, time::Duration};

use mainspring_proto::auth::v1::GetCallerRequest;
use secrecy::SecretString;

use crate::{
    address::Address,
    clock,
    connection::Server,
    context::Saved,
    failure::Failure,
    settings::{Environment, GlobalArgs, Settings},
};

/// The usual name.
const CONTEXT: &str = "dev";
/// A server on this machine answers in milliseconds, and one that is away refuses as fast.
const ANSWERS_WITHIN: Duration = Duration::from_millis(300);

/// What became of the context.
#[derive(Debug)]
pub(super) enum Login {
    /// It was written.
    Saved {
        /// Its name.
        name: String,
        /// What changed.
        saved: Saved,
        /// The file with its key, as a person writes it.
        credentials: PathBuf,
        /// Where `dev` leads, where this is not it.
        other: Option<Address>,
    },
    /// It could not be; the server runs all the same.
    NotSaved(String),
}

impl Login {
    /// Writes it, and selects it where none was selected.
    pub(super) async fn save(environment: &Environment, address: &Address, key: &SecretString) -> Self {
        let Some(folder) = environment.folder() else {
            return Self::NotSaved("neither MAINSPRING_CONFIG, XDG_CONFIG_HOME nor HOME is set".into());
        };
        let other = other(environment, address).await;
        let name = match &other {
            None => CONTEXT.into(),
            Some(_) => format!("{CONTEXT}-{}", address.port()),
        };
        match folder.save(&name, &address.to_string(), key) {
            Ok(saved) => Self::Saved { name, saved, credentials: environment.shortened(folder.credentials()), other },
            Err(failure) => Self::NotSaved(failure.message().into()),
        }
    }

    /// The context to name in what is typed next; none where nothing needs to be named.
    pub(super) fn to_be_named(&self) -> Option<&str> {
        match self {
            Self::Saved { name, saved, credentials: _, other: _ } => (saved.current != *name).then_some(name),
            Self::NotSaved(_) => None,
        }
    }
}

/// Where the context `dev` leads, if to another server that answers with the key it was stored with.
async fn other(environment: &Environment, address: &Address) -> Option<Address> {
    // What cannot be read is told by whoever writes it next.
    let args = GlobalArgs { context: Some(CONTEXT.into()), ..GlobalArgs::default() };
    let Settings { address: other, api_key, .. } = Settings::load(&args, environment).ok()?;
    if other.is_same_server(address) {
        return None;
    }
    let answers = async {
        let server = Server::open(&other, api_key.as_ref(), String::new(), ANSWERS_WITHIN).await?;
        server.auth().get_caller(GetCallerRequest {}).await?;
        Ok::<_, Failure>(())
    };
    clock::within(ANSWERS_WITHIN, answers).await?.ok()?;
    Some(other)
}

impl fmt::Display for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Saved { name, saved, credentials, other } => {
                let made = if saved.created { "created" } else { "updated" };
                write!(f, "CLI context \"{name}\" {made} and ")?;
                match (other, self.to_be_named()) {
                    (_, None) => write!(f, "selected")?,
                    (Some(other), Some(_)) => {
                        write!(f, "not selected (\"{CONTEXT}\" stays with the server at {})", other.host_and_port())?;
                    }
                    (None, Some(_)) => write!(f, "not selected ({} is)", saved.current)?,
                }
                write!(f, "; API key in {} (0600)", credentials.display())
            }
            Self::NotSaved(reason) => write!(f, "not saved ({reason}); --print-addr json tells the API key"),
        }
    }
}
