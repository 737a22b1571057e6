//! The store's contract on a real SQLite in a directory of its own.

#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap like the tests themselves")]

use async_trait::async_trait;
use mainspring_engine::domain::rules::LeaseRules;
use mainspring_server::adapters::sql::{OpenOptions, open};
use mainspring_tests::conformance::world::{Family, Opened};

/// The embedded family.
#[derive(Debug)]
struct Sqlite;

#[async_trait]
impl Family for Sqlite {
    async fn fresh(&self, rules: LeaseRules) -> Opened {
        let home = tempfile::tempdir().unwrap();
        let options = OpenOptions { rules, ..OpenOptions::new(home.path().join("data")) };
        Opened { store: open(options).await.unwrap(), home: Box::new(home) }
    }
}

mainspring_tests::conformance!(Sqlite);
