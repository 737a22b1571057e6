//! `UserService`: the credentials that scripts and workers hold.

use mainspring_engine::ports::store::ApiKeyRecord;
use mainspring_proto::auth::v1::{self as wire, user_service_server::UserService};
use tonic::Request;

use super::{
    Answer, Api, Call, answer,
    convert::{read, time},
    status::{Reason, Refusal},
};
use crate::auth::{KeyError, NewKey, roles};

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
    request: wire::CreateApiKeyRequest,
) -> Result<wire::CreateApiKeyResponse, Refusal> {
    let wire::CreateApiKeyRequest { name, role, expire_time } = request;
    let now = api.now();
    let (name, role, expire_time) = read(|check| {
        let name = check.text("name", name, MAX_NAME);
        if name.trim().is_empty() {
            check.refuse("name", "is required");
        }
        if !roles::exists(&role) {
            let known = roles::ROLES.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
            check.refuse("role", format!("must be one of {known}"));
        }
        let expire_time = check.instant("expire_time", expire_time);
        if expire_time.is_some_and(|end| end <= now) {
            check.refuse("expire_time", "must be to come");
        }
        Some((name, role, expire_time))
    })?;
    let creator = call.caller()?.subject();
    let NewKey { record, text } = api.auth.create_key(&name, &role, creator, expire_time).await.map_err(stored)?;
    Ok(wire::CreateApiKeyResponse { api_key: Some(key(record)), secret: text })
}

async fn list(api: &Api, mut request: wire::ListApiKeysRequest) -> Result<wire::ListApiKeysResponse, Refusal> {
    let (size, token) = (std::mem::take(&mut request.page_size), std::mem::take(&mut request.page_token));
    let turn = api.pages.turn("ListApiKeys", &request, size, &token, api.now())?;
    let found = api.auth.list_keys(turn.page()).await.map_err(stored)?;
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
        role,
        creator,
        create_time: Some(time::timestamp(create_time)),
        expire_time: expire_time.map(time::timestamp),
        revoke_time: revoke_time.map(time::timestamp),
        last_use_time: last_use_time.map(time::timestamp),
    }
}
