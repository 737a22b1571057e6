//! Schema of the Mainspring server, one code for both dialects.
//!
//! Two databases, two migrators: [`Migrator`] for the truth, [`LogsMigrator`] for log lines, which live in a file of
//! their own so that they never delay a lease. A migration is SQL text; what the dialects call differently is a word in
//! braces that [`dialect::render`] replaces. The text is the documentation of a table: why a column or an index is there
//! stands beside it.

use sea_orm_migration::prelude::*;

mod dialect;
mod initial;
mod logs;

/// Migrations of the main database.
#[derive(Debug)]
pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![Box::new(initial::Initial)]
    }
}

/// Migrations of the logs' database.
#[derive(Debug)]
pub struct LogsMigrator;

#[async_trait::async_trait]
impl MigratorTrait for LogsMigrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![Box::new(logs::Initial)]
    }
}

/// Names of the migrations a migrator knows, oldest first: a database that has others was written by a newer server.
pub fn known<M: MigratorTrait>() -> Vec<String> {
    M::migrations().iter().map(|migration| migration.name().to_owned()).collect()
}
