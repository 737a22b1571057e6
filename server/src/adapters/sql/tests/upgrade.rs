//! Databases of older and newer servers.

use std::os::unix::fs::PermissionsExt;

use mainspring_migrations::Migrator;
use sea_orm_migration::{DbErr, MigrationName, MigrationTrait, MigratorTrait, SchemaManager, async_trait};

use super::{
    super::open::{Files, OpenError, Synchronous},
    *,
};

/// What a later server knows beyond this one.
struct Later;

#[async_trait::async_trait]
impl MigratorTrait for Later {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        let mut migrations = Migrator::migrations();
        migrations.push(Box::new(Added));
        migrations
    }
}

struct Added;

impl MigrationName for Added {
    fn name(&self) -> &str {
        "m9999_added"
    }
}

#[expect(elided_lifetimes_in_paths, reason = "the trait is written so")]
#[async_trait::async_trait]
impl MigrationTrait for Added {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.get_connection().execute_unprepared("CREATE TABLE added (id INTEGER)").await.map(drop)
    }
}

async fn has_table(connection: &DatabaseConnection, table: &str) -> bool {
    let sql = "SELECT 1 FROM sqlite_master WHERE name = ?";
    !query(connection, sql, vec![table.into()]).await.unwrap().is_empty()
}

#[tokio::test]
async fn an_older_database_is_copied_and_then_upgraded() {
    let home = tempfile::tempdir().unwrap();
    let files = Files { path: home.path().join("mainspring.db"), synchronous: Synchronous::Full };
    files.open::<Migrator>().await.unwrap().0.close().await.unwrap();
    let (upgraded, _) = files.open::<Later>().await.unwrap();
    assert!(has_table(&upgraded, "added").await);
    let copy = home.path().join(concat!("mainspring.db.before-", env!("CARGO_PKG_VERSION")));
    assert_eq!(std::fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
    let old = sea_orm::Database::connect(format!("sqlite:{}", copy.display())).await.unwrap();
    assert!(has_table(&old, "run").await && !has_table(&old, "added").await);
    // Nothing to upgrade, nothing to copy.
    upgraded.close().await.unwrap();
    files.open::<Later>().await.unwrap().0.close().await.unwrap();
    let copies = std::fs::read_dir(home.path()).unwrap();
    let copies = copies.filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().contains("before"));
    assert_eq!(copies.count(), 1);
}

#[tokio::test]
async fn a_newer_database_is_refused_and_left_alone() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    open(OpenOptions::new(&data)).await.unwrap().close().await;
    let files = Files { path: data.join("mainspring.db"), synchronous: Synchronous::Full };
    files.open::<Later>().await.unwrap().0.close().await.unwrap();
    let refused = open(OpenOptions::new(&data)).await.unwrap_err();
    assert!(matches!(&refused, OpenError::Newer { migration, .. } if migration == "m9999_added"), "{refused:?}");
    let told = refused.to_string();
    assert!(told.contains("newer server") && told.contains("restore"), "{told}");
}
