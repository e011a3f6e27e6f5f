//! A snapshot: a deferred transaction on a reader's connection.

use drystone_call::{Error, Result};
use tokio::time::Instant;

use super::file::Reader;
use super::statement;
use crate::error::{StatementError, too_late};
use crate::params::Params;
use crate::row::FromRow;

/// What a `ReadTx` is on SQLite. The snapshot is that of the first statement.
pub(crate) struct SqliteRead {
    reader: Reader,
}

impl SqliteRead {
    pub(crate) fn start(reader: Reader, deadline: Instant) -> Result<Self> {
        let conn = reader.conn();
        conn.run("begin deferred")?;
        conn.limit.set(deadline);
        Ok(Self { reader })
    }

    pub(crate) fn optional<T: FromRow>(&mut self, sql: &str, params: &impl Params) -> Result<Option<T>> {
        statement::optional(&self.reader.conn().db, sql, params).map_err(explain)
    }

    pub(crate) fn all<T: FromRow>(&mut self, sql: &str, params: &impl Params) -> Result<Vec<T>> {
        statement::all(&self.reader.conn().db, sql, params).map_err(explain)
    }
}

fn explain(error: StatementError) -> Error {
    if super::tx::is_interrupt(&error) {
        return too_late("a statement").caused_by(error);
    }
    Error::from(error)
}
