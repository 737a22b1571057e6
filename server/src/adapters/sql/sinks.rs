//! The [`Sinks`] role. What they are told is written by [`super::told`], and followed up by [`super::deliveries`].

use std::sync::Arc;

use async_trait::async_trait;
use mainspring_engine::{
    domain::{
        ids::SinkUid,
        instant::Instant,
        names::{JobName, Scope, SinkName},
        sink::{Disabled, Sealed, Sink, SinkSpec},
    },
    ports::store::{NewSink, Quota, SinkChange, Sinks, StoreError, StoreResult, UpdateSink},
};
use sea_orm::{ConnectionTrait, QueryResult, Value};

use super::{
    Known, SqliteStore,
    rows::{name, time},
    statement::{Cells, exec, insert, query, query_one, single},
    submit::{REQUESTS, made, request_cells},
    told::{kinds, mask},
    writer::Tx,
};

/// The columns of [`read`], in order.
const COLUMNS: &str = "uid, namespace_id, name, revision, description, url, kinds, job, disabled, secret, dropped, \
     create_time, update_time";

#[async_trait]
impl Sinks for SqliteStore {
    async fn create_sink(&self, now: Instant, sink: NewSink) -> StoreResult<SinkChange> {
        let namespace = self.ensure_namespace(&sink.scope.0).await?;
        let known = Arc::clone(&self.known);
        self.write(move |tx| Box::pin(async move { create(tx, &known, now, namespace, sink).await })).await
    }

    async fn sink_by_uid(&self, scope: &Scope, uid: SinkUid) -> StoreResult<Option<Sink>> {
        let Some(namespace) = self.known.lanes.namespace(&scope.0) else { return Ok(None) };
        Ok(find(&self.reads, &self.known, namespace, "uid = ?", [uid.uuid().into()]).await?.pop())
    }

    async fn sink(&self, scope: &Scope, name: &SinkName) -> StoreResult<Option<Sink>> {
        let Some(namespace) = self.known.lanes.namespace(&scope.0) else { return Ok(None) };
        named(&self.reads, &self.known, namespace, name).await
    }

    async fn sinks(&self, scope: &Scope, after: Option<SinkName>, limit: usize) -> StoreResult<Vec<Sink>> {
        let Some(namespace) = self.known.lanes.namespace(&scope.0) else { return Ok(Vec::new()) };
        let after = after.map_or_else(String::new, String::from);
        let values = [after.into(), i64::try_from(limit).unwrap_or(i64::MAX).into()];
        find(&self.reads, &self.known, namespace, "name > ? ORDER BY name LIMIT ?", values).await
    }

    async fn update_sink(&self, now: Instant, update: UpdateSink) -> StoreResult<SinkChange> {
        let Some(namespace) = self.known.lanes.namespace(&update.scope.0) else { return Ok(SinkChange::Missing) };
        let known = Arc::clone(&self.known);
        self.write(move |tx| Box::pin(async move { change(tx, &known, now, namespace, update).await })).await
    }

    async fn delete_sink(
        &self,
        now: Instant,
        scope: &Scope,
        name: &SinkName,
        revision: Option<i64>,
    ) -> StoreResult<SinkChange> {
        let Some(namespace) = self.known.lanes.namespace(&scope.0) else { return Ok(SinkChange::Missing) };
        let (known, name) = (Arc::clone(&self.known), name.clone());
        self.write(move |tx| Box::pin(async move { delete(tx, &known, now, namespace, (&name, revision)).await })).await
    }
}

fn read(row: &QueryResult, known: &Known) -> StoreResult<Sink> {
    let mut cells = Cells::of(row);
    let (uid, namespace) = (SinkUid::from_uuid(cells.next()?), known.lanes.namespace_name(cells.next()?)?);
    let (name, revision) = (name(cells.next()?)?, cells.next()?);
    let (description, url, kinds) = (cells.next()?, cells.next()?, kinds(cells.next()?));
    let job = cells.next::<Option<String>>()?.map(super::rows::name).transpose()?;
    let disabled = cells.parse("why a sink is disabled", |code: &Option<i32>| match code {
        Some(code) => Disabled::from_code(*code).map(Some),
        None => Some(None),
    })?;
    Ok(Sink {
        uid,
        namespace,
        name,
        revision,
        spec: SinkSpec { description, url, kinds, job, disabled },
        secret: Sealed(cells.next()?),
        dropped: cells.parse("a count", |count: &i64| u64::try_from(*count).ok())?,
        create_time: Instant::from_micros(cells.next()?),
        update_time: Instant::from_micros(cells.next()?),
    })
}

async fn find<C: ConnectionTrait>(
    connection: &C,
    known: &Known,
    namespace: i32,
    rest: &str,
    values: impl IntoIterator<Item = Value>,
) -> StoreResult<Vec<Sink>> {
    let sql = format!("SELECT {COLUMNS} FROM sink WHERE namespace_id = ? AND delete_time IS NULL AND {rest}");
    let values = std::iter::once(namespace.into()).chain(values).collect();
    query(connection, sql, values).await?.iter().map(|row| read(row, known)).collect()
}

async fn named<C: ConnectionTrait>(
    connection: &C,
    known: &Known,
    namespace: i32,
    name: &SinkName,
) -> StoreResult<Option<Sink>> {
    Ok(find(connection, known, namespace, "name = ?", [name.as_str().into()]).await?.pop())
}

/// A sink that this transaction has just written.
async fn written(tx: &Tx, known: &Known, namespace: i32, name: &SinkName) -> StoreResult<SinkChange> {
    let sink = named(tx, known, namespace, name).await?;
    let sink = sink.ok_or_else(|| StoreError::Corrupt(format!("sink {name} is gone")))?;
    Ok(SinkChange::Done(Box::new(sink)))
}

async fn create(tx: &Tx, known: &Known, now: Instant, namespace: i32, sink: NewSink) -> StoreResult<SinkChange> {
    let NewSink { scope: _, uid, name, spec, secret, request } = sink;
    let request = request.map(|request| ((namespace, request.call, request.id), request.body));
    if let Some((key, body)) = &request
        && let Some(made) = made(tx, std::slice::from_ref(key)).await?.get(key)
    {
        if made.body != *body {
            return Ok(SinkChange::RequestReused);
        }
        let there = find(tx, known, namespace, "uid = ?", [made.target.into()]).await?.pop();
        return Ok(there.map_or(SinkChange::Missing, |sink| SinkChange::Replayed(Box::new(sink))));
    }
    if let Some(there) = named(tx, known, namespace, &name).await? {
        // The same uid is the same call, tried again after an unknown commit.
        let again = there.uid == uid;
        return Ok(if again { SinkChange::Replayed(Box::new(there)) } else { SinkChange::NameTaken });
    }
    let sql = "SELECT count(*) FROM sink WHERE namespace_id = ? AND delete_time IS NULL";
    let count = query_one(tx, sql, vec![namespace.into()]).await?.map(|row| single::<i64>(&row)).transpose()?;
    if count.and_then(|count| usize::try_from(count).ok()).is_some_and(|count| count >= Quota::Sinks.limit()) {
        return Ok(SinkChange::Full(Quota::Sinks));
    }
    known.sinks.may_be();
    let SinkSpec { description, url, kinds, job, disabled } = spec;
    let Sealed(secret) = secret;
    let values = [
        uid.uuid().into(),
        namespace.into(),
        name.as_str().into(),
        1_i64.into(),
        description.into(),
        url.into(),
        mask(&kinds).into(),
        job.map(String::from).into(),
        disabled.map(Disabled::code).into(),
        secret.into(),
        time(now),
        time(now),
    ];
    let into = "sink (uid, namespace_id, name, revision, description, url, kinds, job, disabled, secret, create_time, \
         update_time)";
    insert(tx, into, vec![values], "").await?;
    if let Some((key, body)) = request {
        insert(tx, REQUESTS, vec![request_cells(now, &key, body, uid.uuid())], "").await?;
    }
    written(tx, known, namespace, &name).await
}

async fn change(tx: &Tx, known: &Known, now: Instant, namespace: i32, update: UpdateSink) -> StoreResult<SinkChange> {
    let UpdateSink { scope: _, name, revision, spec, secret } = update;
    let Some(there) = named(tx, known, namespace, &name).await? else { return Ok(SinkChange::Missing) };
    if there.revision != revision {
        return Ok(SinkChange::RevisionMismatch);
    }
    if there.spec == spec && secret.is_none() {
        return Ok(SinkChange::Done(Box::new(there)));
    }
    known.sinks.may_be();
    let SinkSpec { description, url, kinds, job, disabled } = spec;
    let Sealed(secret) = secret.unwrap_or(there.secret);
    let values = vec![
        description.into(),
        url.into(),
        mask(&kinds).into(),
        job.as_ref().map(JobName::as_str).into(),
        disabled.map(Disabled::code).into(),
        secret.into(),
        time(now),
        there.uid.uuid().into(),
    ];
    let sql = "UPDATE sink SET revision = revision + 1, description = ?, url = ?, kinds = ?, job = ?, disabled = ?, \
         secret = ?, update_time = ? WHERE uid = ?";
    exec(tx, sql, values).await?;
    written(tx, known, namespace, &name).await
}

async fn delete(
    tx: &Tx,
    known: &Known,
    now: Instant,
    namespace: i32,
    (name, revision): (&SinkName, Option<i64>),
) -> StoreResult<SinkChange> {
    let Some(there) = named(tx, known, namespace, name).await? else { return Ok(SinkChange::Missing) };
    if revision.is_some_and(|revision| revision != there.revision) {
        return Ok(SinkChange::RevisionMismatch);
    }
    exec(tx, "UPDATE sink SET delete_time = ? WHERE uid = ?", vec![time(now), there.uid.uuid().into()]).await?;
    Ok(SinkChange::Done(Box::new(there)))
}
