//! `admin key`: credentials without a person.

use clap::{Subcommand, ValueEnum};
use mainspring_proto::auth::v1::{CreateApiKeyRequest, ListApiKeysRequest, RevokeApiKeyRequest, RoleBinding};

use crate::{
    clock,
    commands::examples,
    exit::Exit,
    failure::Failure,
    named,
    session::{LimitArgs, Session},
    times::{self, Length},
};

/// The field of the answers that hold what is told only once.
pub(crate) const SECRET: &str = "secret";

/// Make, list and revoke API keys
#[derive(Debug, Subcommand)]
#[command(before_help = examples![
    "mainspring admin key create ci --role operator",
    "mainspring admin key list",
    "mainspring admin key revoke $KEY",
])]
pub(crate) enum KeyCommand {
    /// Make a key; stdout is the key itself, told once and never again
    #[command(before_help = examples![
        "mainspring admin key create ci --role operator",
        "MAINSPRING_API_KEY=$(mainspring admin key create build-1 --role worker --expires-in 90d)",
        "mainspring admin key create reports --role viewer -o json",
    ])]
    Create {
        /// Name for people
        name: String,
        /// What it may do
        #[arg(long, value_name = "ROLE")]
        role: Role,
        /// When it ends [default: never]
        #[arg(long, value_name = "LENGTH", allow_hyphen_values = true)]
        expires_in: Option<Length>,
    },
    /// List keys, newest first, without the keys themselves
    #[command(before_help = examples!["mainspring admin key list", "mainspring admin key list -o jsonl"])]
    List {
        #[command(flatten)]
        limit: LimitArgs,
    },
    /// Revoke a key
    #[command(before_help = examples!["mainspring admin key revoke $KEY", "mainspring admin key revoke $KEY -o json"])]
    Revoke {
        /// The key's id
        #[arg(value_parser = named::key)]
        key: String,
    },
}

/// What a key may do.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Role {
    /// Everything
    Admin,
    /// Jobs, runs and queues
    Operator,
    /// See
    Viewer,
    /// Serve runs
    Worker,
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Operator => "operator",
            Self::Viewer => "viewer",
            Self::Worker => "worker",
        }
    }
}

pub(super) async fn run(command: KeyCommand, session: &Session) -> Result<Exit, Failure> {
    if let KeyCommand::Create { .. } = command {
        session.out.must_show(SECRET, "the key")?;
    }
    let server = session.server().await?;
    let mut users = server.users();
    match command {
        KeyCommand::Create { name, role, expires_in } => {
            let now = clock::now();
            let expire_time =
                expires_in.map(|Length(length)| times::to_proto(now.saturating_add(length).unwrap_or(now)));
            let bindings = vec![RoleBinding { role: role.name().into(), namespace: String::new() }];
            let request = CreateApiKeyRequest { name, bindings, expire_time, request_id: String::new() };
            let answer = users.create_api_key(request).await?.into_inner();
            // The key is the data; what is said about it must not end up in a variable with it.
            let id = answer.api_key.as_ref().map(|key| key.key_id.clone()).unwrap_or_default();
            session.out.note(format!("key/{id} created, role {}; it is shown this once", role.name()));
            session.out.did(&answer.secret.clone(), &answer)?;
        }
        KeyCommand::List { limit } => {
            let listed = limit
                .pages(async |page_size, page_token| {
                    let request = ListApiKeysRequest { page_size, page_token, ..ListApiKeysRequest::default() };
                    Ok(users.list_api_keys(request).await?.into_inner())
                })
                .await?;
            session.out.list(listed)?;
        }
        KeyCommand::Revoke { key } => {
            let answer = users.revoke_api_key(RevokeApiKeyRequest { key_id: key }).await?.into_inner();
            let key = answer.api_key.unwrap_or_default();
            session.out.did(&format!("key/{} revoked", key.key_id), &key)?;
        }
    }
    Ok(Exit::Done)
}
