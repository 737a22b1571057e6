//! The first schema of the logs' database.

use sea_orm_migration::prelude::*;

use crate::dialect;

/// Creates everything.
#[derive(Debug)]
pub(crate) struct Initial;

impl MigrationName for Initial {
    fn name(&self) -> &str {
        "m0001_logs"
    }
}

#[expect(elided_lifetimes_in_paths, reason = "the trait is written so, and the attribute below tells the two apart")]
#[async_trait::async_trait]
impl MigrationTrait for Initial {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        dialect::execute(manager, include_str!("logs.sql")).await
    }
}
