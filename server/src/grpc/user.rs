//! `UserService`: the credentials that scripts and workers hold.

use mainspring_engine::{
    domain::filter::{Field, Kind},
    ports::store::{ApiKeyRecord, Direction},
};
use mainspring_proto::auth::v1::{self as wire, user_service_server::UserService};
use tonic::Request;
use uuid::Uuid;

use super::{
    Answer, Api, Call, answer,
    convert::{
        Check, read,
        submission::{CREATE_KEY, request_key},
        time,
    },
    filter,
    replay::request_reused,
    status::{Reason, Refusal},
};
use crate::auth::{KeyError, MadeKey, NewKey, WantedKey, roles};

const MAX_NAME: usize = 128;

#[tonic::async_trait]
impl UserService for Api {
    async fn create_api_key(&self, request: Request<wire::CreateApiKeyRequest>) -> Answer<wire::CreateApiKeyResponse> {
        let (call, request) = Call::split(request);
        answer(create(self, &call, request)).await
    }

    async fn list_api_keys(&self, request: Request<wire::ListApiKeysRequest>) -> Answer<wire::ListApiKeysResponse> {
        answer(list(self, request.into_inner())).await
    }

    async fn revoke_api_key(&self, request: Request<wire::RevokeApiKeyRequest>) -> Answer<wire::RevokeApiKeyResponse> {
        let wire::RevokeApiKeyRequest { key_id } = request.into_inner();
        answer(async {
            if key_id.is_empty() {
                return Err(Refusal::field("key_id", "is required"));
            }
            match self.auth.revoke_key(&key_id).await {
                Ok(record) => Ok(wire::RevokeApiKeyResponse { api_key: Some(key(record)) }),
                Err(KeyError::Missing) => {
                    let shown: String = key_id.chars().take(64).collect();
                    Err(Refusal::new(Reason::KeyNotFound, format!("there is no API key `{shown}`")).about("key", shown))
                }
                Err(KeyError::Store(error)) => Err(error.into()),
            }
        })
        .await
    }
}

async fn create(
    api: &Api,
    call: &Call,
    mut request: wire::CreateApiKeyRequest,
) -> Result<wire::CreateApiKeyResponse, Refusal> {
    let request_key = request_key(CREATE_KEY, &mut request, |request| &mut request.request_id);
    // A repeat meets no judgement of its end, which may have passed. Keys belong to no namespace.
    if let Some(made) = api.made("", request_key.as_ref()).await? {
        return again(api, made).await;
    }
    let wire::CreateApiKeyRequest { name, bindings, expire_time, request_id: _ } = request;
    let now = api.now();
    let (name, role, expire_time) = read(|check| {
        check.request_id(request_key.as_ref());
        let name = check.line("name", name, MAX_NAME);
        if name.trim().is_empty() {
            check.refuse("name", "is required");
        }
        let role = check.one_role(bindings);
        let expire_time = check.instant("expire_time", expire_time);
        if expire_time.is_some_and(|end| end <= now) {
            check.refuse("expire_time", "must be to come");
        }
        Some((name, role?, expire_time))
    })?;
    let wanted = WantedKey { name, role, creator: call.caller()?.subject(), expire_time };
    match api.auth.create_key(wanted, request_key).await.map_err(stored)? {
        MadeKey::New(NewKey { record, text }) => {
            Ok(wire::CreateApiKeyResponse { api_key: Some(key(record)), secret: text })
        }
        MadeKey::Replayed(record) => Ok(replayed(record)),
        MadeKey::RequestReused => Err(request_reused()),
    }
}

/// The key that an earlier call with the same request id made. Its secret was told then, and is not known to the server.
async fn again(api: &Api, made: Uuid) -> Result<wire::CreateApiKeyResponse, Refusal> {
    let id = made.simple().to_string();
    match api.store().key(&id).await? {
        Some(record) => Ok(replayed(record)),
        None => Err(Refusal::new(Reason::KeyNotFound, format!("there is no API key `{id}`")).about("key", id)),
    }
}

fn replayed(record: ApiKeyRecord) -> wire::CreateApiKeyResponse {
    wire::CreateApiKeyResponse { api_key: Some(key(record)), secret: String::new() }
}

impl Check {
    /// The one role that a key of this version holds.
    fn one_role(&mut self, bindings: Vec<wire::RoleBinding>) -> Option<String> {
        if bindings.len() != 1 {
            self.refuse("bindings", "must be exactly one; this version knows keys with one role");
        }
        let roles = self.each("bindings", bindings, |check, binding| {
            let wire::RoleBinding { role, namespace } = binding;
            if !namespace.is_empty() {
                check.refuse("namespace", "must be empty: this version knows roles in every namespace only");
            }
            if !roles::exists(&role) {
                let known = roles::ROLES.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
                check.refuse("role", format!("must be one of {known}"));
            }
            Some(role)
        });
        roles.into_iter().next()
    }
}

/// A role that is held in every namespace.
pub(super) fn binding(role: &str) -> wire::RoleBinding {
    wire::RoleBinding { role: role.into(), namespace: String::new() }
}

/// What a list of keys may be narrowed by.
const FIELDS: &[Field] = &[
    Field { name: "name", kind: Kind::Text },
    Field { name: "role", kind: Kind::Text },
    Field { name: "creator", kind: Kind::Text },
    Field { name: "revoked", kind: Kind::Bool },
    Field { name: "create_time", kind: Kind::Time },
    Field { name: "expire_time", kind: Kind::Time },
    Field { name: "last_use_time", kind: Kind::Time },
];

async fn list(api: &Api, mut request: wire::ListApiKeysRequest) -> Result<wire::ListApiKeysResponse, Refusal> {
    let turn = api.pages.turn(&mut request, api.now())?;
    let wire::ListApiKeysRequest { filter: text, page_size: _, page_token: _, order_by } = request;
    let orders = [("create_time desc", Direction::Down), ("create_time", Direction::Up)];
    let direction = read(|check| Some(check.order(&order_by, &orders)))?;
    let filter = filter(&text, FIELDS, turn.asked)?;
    let found = api.store().keys(&filter, direction, turn.page()).await?;
    let (api_keys, next_page_token) = turn.cut(found.into_iter().map(|record| (record.id.clone(), key(record))));
    Ok(wire::ListApiKeysResponse { api_keys, next_page_token })
}

fn stored(error: KeyError) -> Refusal {
    match error {
        KeyError::Store(error) => error.into(),
        KeyError::Missing => Refusal::bug("a key was missing where none was asked for"),
    }
}

fn key(record: ApiKeyRecord) -> wire::ApiKey {
    let ApiKeyRecord { id, name, role, secret_hash: _, creator, create_time, expire_time, revoke_time, last_use_time } =
        record;
    wire::ApiKey {
        key_id: id,
        name,
        bindings: vec![binding(&role)],
        creator,
        create_time: Some(time::timestamp(create_time)),
        expire_time: expire_time.map(time::timestamp),
        revoke_time: revoke_time.map(time::timestamp),
        last_use_time: last_use_time.map(time::timestamp),
    }
}
