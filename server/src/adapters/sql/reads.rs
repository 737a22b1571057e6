//! Connections for reading, which tell [`Room`] what it cannot know by itself: that the file is damaged. A commit may go
//! well for long in a file of which a page cannot be read.

use std::sync::Arc;

use async_trait::async_trait;
use mainspring_engine::ports::store::StoreResult;
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, ExecResult, QueryResult, Statement,
    TransactionTrait as _,
};

use super::{
    room::Room,
    statement::{failed, is_damage},
};

/// A pool of them.
#[derive(Clone, Debug)]
pub(super) struct Reads {
    connection: DatabaseConnection,
    room: Arc<Room>,
}

impl Reads {
    pub(super) fn new(connection: DatabaseConnection, room: Arc<Room>) -> Self {
        Self { connection, room }
    }

    /// Everything that is read by it is of one moment, however many statements it takes. Ends where it is dropped.
    pub(super) async fn snapshot(&self) -> StoreResult<DatabaseTransaction> {
        self.heard(self.connection.begin().await).map_err(failed)
    }

    #[cfg(test)]
    pub(super) fn connection(&self) -> &DatabaseConnection {
        &self.connection
    }

    pub(super) async fn close(&self) {
        let _ = self.connection.clone().close().await;
    }

    fn heard<T>(&self, answer: Result<T, DbErr>) -> Result<T, DbErr> {
        if let Err(error) = &answer
            && is_damage(error)
        {
            self.room.is_damaged(error);
        }
        answer
    }
}

#[async_trait]
impl ConnectionTrait for Reads {
    fn get_database_backend(&self) -> DbBackend {
        self.connection.get_database_backend()
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        self.heard(self.connection.execute_raw(statement).await)
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.heard(self.connection.execute_unprepared(sql).await)
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        self.heard(self.connection.query_one_raw(statement).await)
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        self.heard(self.connection.query_all_raw(statement).await)
    }
}
