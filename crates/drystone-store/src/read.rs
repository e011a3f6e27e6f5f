//! `ReadTx`: a snapshot of one tenant's data.

use std::fmt;

use drystone_call::{Caller, Context, Result};

use crate::backend::{Backend, Database};
use crate::dialect::Dialect;
use crate::params::Params;
use crate::postgres::{PostgresTx, Purpose};
use crate::query::{Query, Run};
use crate::row::FromRow;
use crate::sqlite::SqliteRead;

/// A snapshot to read from, as it stood at the first statement. Ends when dropped.
///
/// On SQLite a statement runs in place, on a connection of its own: it keeps no writer waiting, but it keeps its thread until it is done or the
/// deadline interrupts it. Page through what is large.
#[must_use = "a snapshot that is dropped at once has read nothing"]
pub struct ReadTx<'a> {
    cx: &'a mut Context,
    on: Snapshot,
}

enum Snapshot {
    Sqlite(SqliteRead),
    Postgres(Box<PostgresTx>),
}

impl<'a> ReadTx<'a> {
    pub(crate) async fn begin(cx: &'a mut Context, backend: &Backend, shared: bool) -> Result<Self> {
        let deadline = cx.deadline();
        let tenant = if shared { None } else { Some(cx.tenant()) };
        let on = match &backend.database {
            Database::Sqlite(module) => Snapshot::Sqlite(module.read(tenant, deadline).await?),
            Database::Postgres(module) => {
                let begun = Box::pin(module.begin(tenant, deadline, Purpose::Read)).await?;
                Snapshot::Postgres(Box::new(begun))
            }
        };
        Ok(Self { cx, on })
    }

    /// A statement that reads.
    pub fn query<'q>(&'q mut self, sql: &'q str) -> Query<'q, Self> {
        Query::new(self, sql)
    }

    /// Which database it is on.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        match &self.on {
            Snapshot::Sqlite(_) => Dialect::Sqlite,
            Snapshot::Postgres(_) => Dialect::Postgres,
        }
    }

    /// Who is asking and under which limits.
    #[must_use]
    pub fn caller(&self) -> &Caller {
        self.cx
    }
}

impl Run for ReadTx<'_> {
    async fn run_optional<T: FromRow>(&mut self, sql: &str, params: &impl Params) -> Result<Option<T>> {
        let done = match &mut self.on {
            Snapshot::Sqlite(read) => read.optional(sql, params),
            Snapshot::Postgres(read) => Box::pin(read.optional(sql, params)).await,
        };
        self.noting(done)
    }

    async fn run_all<T: FromRow>(&mut self, sql: &str, params: &impl Params) -> Result<Vec<T>> {
        let done = match &mut self.on {
            Snapshot::Sqlite(read) => read.all(sql, params),
            Snapshot::Postgres(read) => Box::pin(read.all(sql, params)).await,
        };
        self.noting(done)
    }
}

impl ReadTx<'_> {
    /// Says to the call that running it again may succeed, if that is why `done` failed.
    fn noting<R>(&self, done: Result<R>) -> Result<R> {
        if let Snapshot::Postgres(read) = &self.on
            && done.is_err()
            && read.conflict
        {
            self.cx.mark_conflict();
        }
        done
    }
}

impl Drop for ReadTx<'_> {
    /// Nothing to undo; that there is a `drop` makes the borrow of the context last, as a [`crate::Tx`]'s does.
    fn drop(&mut self) {}
}

impl fmt::Debug for ReadTx<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadTx").field("caller", self.caller()).finish_non_exhaustive()
    }
}
