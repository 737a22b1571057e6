//! The schemas as they come out of all migrations: what a change of a migration changes is seen in review.
//!
//! A migration that was released is never edited; after adding one, look at the difference and accept it with
//! `INSTA_UPDATE=always cargo test -p mainspring-migrations`.

#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap like the tests themselves")]

use mainspring_migrations::{LogsMigrator, Migrator, known};
use sea_orm_migration::{
    MigratorTrait,
    sea_orm::{ConnectionTrait, Database, DatabaseConnection, Statement},
};

async fn fresh<M: MigratorTrait>() -> DatabaseConnection {
    let connection = Database::connect("sqlite::memory:").await.unwrap();
    M::up(&connection, None).await.unwrap();
    connection
}

/// Everything in `sqlite_master`, by kind and name.
async fn dump<M: MigratorTrait>() -> String {
    let connection = fresh::<M>().await;
    let sql = "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'seaql%' ORDER BY type DESC, name";
    let rows = connection.query_all_raw(Statement::from_string(connection.get_database_backend(), sql)).await.unwrap();
    rows.iter().map(|row| row.try_get_by_index::<String>(0).unwrap()).collect::<Vec<_>>().join(";\n")
}

#[tokio::test]
async fn the_main_schema_is_the_committed_one() {
    insta::assert_snapshot!("main", dump::<Migrator>().await);
}

#[tokio::test]
async fn the_logs_schema_is_the_committed_one() {
    insta::assert_snapshot!("logs", dump::<LogsMigrator>().await);
}

#[tokio::test]
async fn migrations_are_known_by_their_names() {
    assert_eq!(known::<Migrator>(), ["m0001_initial"]);
    assert_eq!(known::<LogsMigrator>(), ["m0001_logs"]);
    assert_ne!(Migrator::migration_table_name().to_string(), "");
}

/// Nonsense is refused by the schema itself, whoever writes it.
#[tokio::test]
async fn checks_refuse_runs_that_cannot_be() {
    let connection = fresh::<Migrator>().await;
    let run = |values: &str| {
        let columns =
            "id, lane_id, state, generation, create_time, priority, fairness_key, due_time, origin, payload_type";
        format!("INSERT INTO run ({columns}, {values}")
    };
    for sql in [
        "INSERT INTO namespace (id, name) VALUES (1, 'default')",
        "INSERT INTO queue (id, namespace_id, name) VALUES (1, 1, 'default')",
        "INSERT INTO lane (id, namespace_id, queue_id, job_type, use_time) VALUES (1, 1, 1, 't', 0)",
    ] {
        connection.execute_unprepared(sql).await.unwrap();
    }
    let cases = [
        // (columns and values beyond the common ones, state, whether it can be)
        ("ready_lane) VALUES (x'01', 1, 2, 1, 0, 5, '', 0, 3, '', 1)", true),
        ("ready_lane) VALUES (x'02', 1, 2, 1, 0, 5, '', 0, 3, '', NULL)", false),
        ("cancel_requested, ready_lane) VALUES (x'03', 1, 2, 1, 0, 5, '', 0, 3, '', TRUE, 1)", false),
        ("worker_id) VALUES (x'04', 1, 3, 1, 0, 5, '', 0, 3, '', x'00')", false),
        ("worker_id, attempt, open_token) VALUES (x'05', 1, 3, 1, 0, 5, '', 0, 3, '', x'00', 1, 1)", true),
        ("worker_id, attempt, open_token) VALUES (x'06', 1, 3, 1, 0, 5, '', 0, 3, '', x'00', 2, 1)", false),
        ("end_time) VALUES (x'07', 1, 6, 1, 0, 5, '', 0, 3, '', NULL)", false),
        ("end_time) VALUES (x'08', 1, 6, 1, 0, 5, '', 0, 3, '', 9)", true),
        ("end_time, log_lines) VALUES (x'10', 1, 6, 1, 0, 5, '', 0, 3, '', 9, 3)", true),
        ("end_time, log_lines) VALUES (x'11', 1, 6, 1, 0, 5, '', 0, 3, '', 9, -1)", false),
        ("ready_lane, log_lines) VALUES (x'12', 1, 2, 1, 0, 5, '', 0, 3, '', 1, 3)", false),
        ("end_time, attempt, open_token) VALUES (x'09', 1, 6, 1, 0, 5, '', 0, 3, '', 9, 1, 1)", false),
        ("end_time) VALUES (x'0a', 1, 7, 1, 0, 5, '', 0, 3, '', 9)", false),
        ("wake_time) VALUES (x'0b', 1, 5, 1, 0, 5, '', 0, 3, '', NULL)", false),
        ("wake_time) VALUES (x'0c', 1, 1, 0, 0, 10, '', 0, 3, '', 9)", false),
        ("wake_time) VALUES (x'0d', 1, 1, 0, 0, 5, '', 0, 1, '', 9)", false),
        ("key_id, parked_key) VALUES (x'13', 1, 2, 1, 0, 5, '', 0, 3, '', 7, 7)", true),
        ("key_id, parked_key) VALUES (x'14', 1, 2, 1, 0, 5, '', 0, 3, '', 7, 8)", false),
        ("key_id, parked_key, ready_lane) VALUES (x'15', 1, 2, 1, 0, 5, '', 0, 3, '', 7, 7, 1)", false),
        ("key_id, parked_key, attempt, open_token) VALUES (x'16', 1, 2, 1, 0, 5, '', 0, 3, '', 7, 7, 1, 1)", false),
        ("key_id, parked_key, wake_time) VALUES (x'17', 1, 1, 1, 0, 5, '', 0, 3, '', 7, 7, 9)", false),
        (
            "end_time, dead_time, fingerprint, resolution) VALUES (x'18', 1, 7, 1, 0, 5, '', 0, 3, '', 9, 9, 'f', 1)",
            true,
        ),
        ("end_time, dead_time, fingerprint) VALUES (x'19', 1, 7, 1, 0, 5, '', 0, 3, '', 9, 9, 'f')", false),
        ("end_time, fingerprint, resolution) VALUES (x'1a', 1, 6, 1, 0, 5, '', 0, 3, '', 9, 'f', 1)", false),
        (
            "end_time, dead_time, fingerprint, resolution) VALUES (x'1b', 1, 9, 1, 0, 5, '', 0, 3, '', 9, 9, 'f', 2)",
            false,
        ),
        ("wake_time) VALUES (x'0f', 1, 1, 0, 0, 5, '', 0, 3, '', 9)", true),
    ];
    for (values, can_be) in cases {
        let done = connection.execute_unprepared(&run(values)).await;
        assert_eq!(done.is_ok(), can_be, "{values}: {done:?}");
    }
}
