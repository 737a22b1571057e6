//! The [`Identity`] role: users, their sessions, API keys.

use async_trait::async_trait;
use mainspring_engine::{
    domain::{filter::Filter, instant::Instant, names::NamespaceName},
    ports::store::{
        ApiKeyRecord, CreateKey, Direction, Identity, NewPassword, NewSession, Page, RefreshAnswer, RefreshUse,
        RequestKey, RootUser, SessionRecord, StoreError, StoreResult, UserRecord,
    },
};
use sea_orm::{Condition, ConnectionTrait, QueryResult, sea_query::Expr};
use uuid::Uuid;

use super::{
    SqliteStore, filter,
    rows::{json, maybe, maybe_time, read_json, time},
    statement::{Cells, exec, failed, insert, query_one},
    submit::{REQUESTS, hash, made, request_cells},
    writer::Tx,
};

/// The first user.
const ROOT: &str = "root";
/// Its role.
const ADMIN: &str = "admin";
/// Uses of a key closer together than this are one: nobody reads it finer, and each would be a write.
const USE_STEP_MICROS: i64 = 60_000_000;

#[async_trait]
impl Identity for SqliteStore {
    async fn claim_root(&self, now: Instant, root: RootUser) -> StoreResult<bool> {
        self.write(move |tx| {
            Box::pin(async move {
                let RootUser { password_hash, must_change_password } = root;
                let roles = json(&[ADMIN])?;
                let sql = "INSERT INTO account (name, password_hash, roles, must_change_password) SELECT ?, ?, ?, ? \
                     WHERE NOT EXISTS (SELECT 1 FROM account WHERE name <> ? OR NOT must_change_password) \
                     ON CONFLICT (name) DO UPDATE SET password_hash = excluded.password_hash, \
                     must_change_password = excluded.must_change_password";
                let values =
                    vec![ROOT.into(), password_hash.into(), roles.into(), must_change_password.into(), ROOT.into()];
                let claimed = exec(tx, sql, values).await? > 0;
                if claimed {
                    let sql = "UPDATE session SET revoke_time = ? WHERE account = ? AND revoke_time IS NULL";
                    exec(tx, sql, vec![time(now), ROOT.into()]).await?;
                }
                Ok(claimed)
            })
        })
        .await
    }

    async fn has_users(&self) -> StoreResult<bool> {
        Ok(query_one(&self.stage_reads, "SELECT 1 FROM account LIMIT 1", Vec::new()).await?.is_some())
    }

    async fn user(&self, name: &str) -> StoreResult<Option<UserRecord>> {
        let sql = "SELECT name, password_hash, roles, must_change_password FROM account WHERE name = ?";
        let row = query_one(&self.stage_reads, sql, vec![name.into()]).await?;
        row.map(|row| {
            let mut cells = Cells::of(&row);
            Ok(UserRecord {
                name: cells.next()?,
                password_hash: cells.next()?,
                roles: read_json(&cells.next::<String>()?)?,
                must_change_password: cells.next()?,
            })
        })
        .transpose()
    }

    async fn set_password(&self, now: Instant, password: NewPassword) -> StoreResult<bool> {
        self.write(move |tx| {
            Box::pin(async move {
                let NewPassword { user, current, next, keep } = password;
                let sql = "UPDATE account SET password_hash = ?, must_change_password = FALSE \
                     WHERE name = ? AND password_hash = ?";
                let values = vec![next.into(), user.clone().into(), current.into()];
                if exec(tx, sql, values).await? == 0 {
                    return Ok(false);
                }
                let sql = "UPDATE session SET revoke_time = ? \
                     WHERE account = ? AND revoke_time IS NULL AND id <> coalesce(?, '')";
                exec(tx, sql, vec![time(now), user.into(), keep.into()]).await?;
                Ok(true)
            })
        })
        .await
    }

    async fn open_session(&self, now: Instant, session: NewSession) -> StoreResult<bool> {
        self.write(move |tx| {
            Box::pin(async move {
                let NewSession { id, user, client, refresh_hash, expire_time, password_hash } = session;
                let sql = "INSERT INTO session (id, account, client, refresh_hash, create_time, expire_time) \
                     SELECT ?, name, ?, ?, ?, ? FROM account WHERE name = ? AND password_hash = ?";
                let refresh = refresh_hash.to_vec().into();
                let mut values = vec![id.into(), client.into(), refresh, time(now), time(expire_time)];
                values.extend([user.into(), password_hash.into()]);
                Ok(exec(tx, sql, values).await? > 0)
            })
        })
        .await
    }

    async fn session(&self, id: &str) -> StoreResult<Option<SessionRecord>> {
        session(&self.stage_reads, id).await
    }

    async fn refresh(&self, now: Instant, token: RefreshUse) -> StoreResult<RefreshAnswer> {
        self.write(move |tx| Box::pin(async move { refresh(tx, now, token).await })).await
    }

    async fn end_session(&self, now: Instant, id: &str) -> StoreResult<()> {
        let id = id.to_owned();
        self.write(move |tx| Box::pin(async move { revoke(tx, now, &id).await })).await
    }

    async fn create_key(&self, key: ApiKeyRecord, request: Option<RequestKey>) -> StoreResult<CreateKey> {
        // Keys belong to no namespace; their requests are kept beside those of `default`, which is always there.
        let home = self.ensure_namespace(&NamespaceName::default()).await?;
        self.write(move |tx| {
            Box::pin(async move {
                if let Some(RequestKey { call, id, body }) = request {
                    let request = (home, call, id);
                    if let Some(made) = made(tx, std::slice::from_ref(&request)).await?.get(&request) {
                        return match (made.body == body, self::key(tx, &key_id(made.target)).await?) {
                            (true, Some(key)) => Ok(CreateKey::Replayed(key)),
                            (true, None) => Err(StoreError::Corrupt("the key of a request is gone".into())),
                            (false, _) => Ok(CreateKey::RequestReused),
                        };
                    }
                    let target = key.id.parse().map_err(|_| StoreError::Corrupt(format!("{} is no id", key.id)))?;
                    insert(tx, REQUESTS, vec![request_cells(key.create_time, &request, body, target)], "").await?;
                }
                let ApiKeyRecord { id, name, role, secret_hash, creator, create_time, .. } = key;
                let ApiKeyRecord { expire_time, revoke_time, last_use_time, .. } = key;
                let values = vec![
                    id.into(),
                    name.into(),
                    role.into(),
                    secret_hash.to_vec().into(),
                    creator.into(),
                    time(create_time),
                    maybe_time(expire_time),
                    maybe_time(revoke_time),
                    maybe_time(last_use_time),
                ];
                let sql = format!("INSERT INTO api_key ({KEY}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)");
                exec(tx, sql, values).await?;
                Ok(CreateKey::Created)
            })
        })
        .await
    }

    async fn key(&self, id: &str) -> StoreResult<Option<ApiKeyRecord>> {
        key(&self.stage_reads, id).await
    }

    async fn keys(&self, filter: &Filter, direction: Direction, page: Page) -> StoreResult<Vec<ApiKeyRecord>> {
        let Page { after, limit, bytes: _ } = page;
        let mut wanted = filter::keys(filter)?;
        if let Some(after) = after {
            let sign = filter::beyond(direction);
            let sql = format!(
                "(create_time, id) {sign} (SELECT last.create_time, last.id FROM api_key AS last WHERE last.id = ?)"
            );
            wanted = Condition::all().add(wanted).add(Expr::cust_with_values(sql, [after]));
        }
        let select = filter::select(KEY, "api_key", wanted, &["create_time", "id"], direction, limit);
        let rows = self.stage_reads.query_all(&select).await.map_err(failed)?;
        rows.iter().map(read_key).collect()
    }

    async fn revoke_key(&self, now: Instant, id: &str) -> StoreResult<Option<ApiKeyRecord>> {
        let id = id.to_owned();
        self.write(move |tx| {
            Box::pin(async move {
                let sql = "UPDATE api_key SET revoke_time = ? WHERE id = ? AND revoke_time IS NULL";
                exec(tx, sql, vec![time(now), id.clone().into()]).await?;
                key(tx, &id).await
            })
        })
        .await
    }

    async fn touch_keys(&self, now: Instant, ids: Vec<String>) -> StoreResult<()> {
        self.write(move |tx| {
            Box::pin(async move {
                let before = now.as_micros() - USE_STEP_MICROS;
                for id in ids {
                    let sql = "UPDATE api_key SET last_use_time = ? \
                         WHERE id = ? AND (last_use_time IS NULL OR last_use_time <= ?)";
                    exec(tx, sql, vec![time(now), id.into(), before.into()]).await?;
                }
                Ok(())
            })
        })
        .await
    }
}

/// The id of a key, as its text has it.
fn key_id(target: Uuid) -> String {
    target.simple().to_string()
}

async fn session<C: ConnectionTrait>(connection: &C, id: &str) -> StoreResult<Option<SessionRecord>> {
    let sql = "SELECT session.id, session.account, session.expire_time, session.revoke_time, account.roles, \
         account.must_change_password FROM session JOIN account ON account.name = session.account WHERE session.id = ?";
    let row = query_one(connection, sql, vec![id.into()]).await?;
    row.map(|row| {
        let mut cells = Cells::of(&row);
        Ok(SessionRecord {
            id: cells.next()?,
            user: cells.next()?,
            expire_time: Instant::from_micros(cells.next()?),
            revoked: cells.next::<Option<i64>>()?.is_some(),
            roles: read_json(&cells.next::<String>()?)?,
            must_change_password: cells.next()?,
        })
    })
    .transpose()
}

async fn revoke(tx: &Tx, now: Instant, id: &str) -> StoreResult<()> {
    let sql = "UPDATE session SET revoke_time = ? WHERE id = ? AND revoke_time IS NULL";
    exec(tx, sql, vec![time(now), id.into()]).await.map(drop)
}

async fn refresh(tx: &Tx, now: Instant, token: RefreshUse) -> StoreResult<RefreshAnswer> {
    let RefreshUse { shown, next } = token;
    let sql = "SELECT id FROM session WHERE refresh_hash = ?";
    if let Some(row) = query_one(tx, sql, vec![shown.to_vec().into()]).await? {
        let id: String = Cells::of(&row).next()?;
        let Some(record) = session(tx, &id).await? else { return Ok(RefreshAnswer::Unknown) };
        if record.revoked {
            return Ok(RefreshAnswer::Revoked);
        }
        if record.expire_time <= now {
            return Ok(RefreshAnswer::Expired(record.expire_time));
        }
        let values = vec![next.to_vec().into(), id.clone().into()];
        exec(tx, "UPDATE session SET refresh_hash = ? WHERE id = ?", values).await?;
        let values = vec![shown.to_vec().into(), id.into()];
        exec(tx, "INSERT INTO used_refresh (refresh_hash, session_id) VALUES (?, ?)", values).await?;
        return Ok(RefreshAnswer::Refreshed(record));
    }
    let sql = "SELECT session_id FROM used_refresh WHERE refresh_hash = ?";
    let Some(row) = query_one(tx, sql, vec![shown.to_vec().into()]).await? else { return Ok(RefreshAnswer::Unknown) };
    let session: String = Cells::of(&row).next()?;
    revoke(tx, now, &session).await?;
    Ok(RefreshAnswer::Reused { session })
}

/// The columns of an API key, in order.
const KEY: &str = "id, name, role, secret_hash, creator, create_time, expire_time, revoke_time, last_use_time";

async fn key<C: ConnectionTrait>(connection: &C, id: &str) -> StoreResult<Option<ApiKeyRecord>> {
    let row = query_one(connection, format!("SELECT {KEY} FROM api_key WHERE id = ?"), vec![id.into()]).await?;
    row.map(|row| read_key(&row)).transpose()
}

fn read_key(row: &QueryResult) -> StoreResult<ApiKeyRecord> {
    let mut cells = Cells::of(row);
    Ok(ApiKeyRecord {
        id: cells.next()?,
        name: cells.next()?,
        role: cells.next()?,
        secret_hash: hash(cells.next()?)?,
        creator: cells.next()?,
        create_time: Instant::from_micros(cells.next()?),
        expire_time: maybe(cells.next()?),
        revoke_time: maybe(cells.next()?),
        last_use_time: maybe(cells.next()?),
    })
}
