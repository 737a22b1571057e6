//! The [`Namespaces`] role: a few rows, all of them remembered beside the lanes ([`super::lanes`]).

use std::sync::Arc;

use async_trait::async_trait;
use mainspring_engine::{
    domain::{
        names::NamespaceName,
        namespace::{Namespace, NamespaceSettings},
    },
    ports::store::{NamespaceChange, Namespaces, StoreResult},
};

use super::{
    SqliteStore,
    rows::json,
    statement::{Cells, query_one},
    writer::Tx,
};

#[async_trait]
impl Namespaces for SqliteStore {
    async fn namespace(&self, name: &NamespaceName) -> StoreResult<Option<Arc<Namespace>>> {
        Ok(self.known.lanes.standing(name))
    }

    async fn update_namespace(
        &self,
        name: &NamespaceName,
        revision: i64,
        settings: NamespaceSettings,
    ) -> StoreResult<NamespaceChange> {
        let Some(there) = self.known.lanes.standing(name) else { return Ok(NamespaceChange::Missing) };
        if there.revision != revision {
            return Ok(NamespaceChange::RevisionMismatch);
        }
        if *there.settings == settings {
            return Ok(NamespaceChange::Done(there));
        }
        let changed = Arc::new(Namespace { name: name.clone(), revision: revision + 1, settings: Arc::new(settings) });
        let wanted = Arc::clone(&changed);
        let stored = self.write(move |tx| Box::pin(async move { update(tx, &wanted).await })).await?;
        if !stored {
            return Ok(NamespaceChange::RevisionMismatch);
        }
        self.known.lanes.stands(Arc::clone(&changed));
        Ok(NamespaceChange::Done(changed))
    }
}

/// Whether it was still the revision before, or is this one already: the same call, tried again after an unknown commit.
async fn update(tx: &Tx, wanted: &Namespace) -> StoreResult<bool> {
    let settings = json(&*wanted.settings)?;
    let name = wanted.name.as_str();
    let sql = "UPDATE namespace SET revision = ?, settings = ? WHERE name = ? AND (revision = ? OR revision = ? AND \
         settings = ?) RETURNING id";
    let values = vec![
        wanted.revision.into(),
        settings.clone().into(),
        name.into(),
        (wanted.revision - 1).into(),
        wanted.revision.into(),
        settings.into(),
    ];
    match query_one(tx, sql, values).await? {
        Some(row) => Cells::of(&row).next::<i32>().map(|_| true),
        None => Ok(false),
    }
}
