//! A statement on its way: the text, the values bound to it, and what is wanted back.

use std::fmt;

use drystone_call::Result;

use crate::error::{Fault, StatementError};
use crate::params::Params;
use crate::row::FromRow;
use crate::tx::Tx;

/// What runs statements: a [`Tx`] or a [`crate::ReadTx`].
#[doc(hidden)]
pub trait Run: Send {
    /// The only row, if there is one.
    fn run_optional<T: FromRow>(
        &mut self,
        sql: &str,
        params: &impl Params,
    ) -> impl Future<Output = Result<Option<T>>> + Send;

    /// All rows.
    fn run_all<T: FromRow>(
        &mut self,
        sql: &str,
        params: &impl Params,
    ) -> impl Future<Output = Result<Vec<T>>> + Send;
}

/// A statement on a transaction or a snapshot; nothing happens before one of its ends is awaited.
///
/// ```ignore
/// let order: OrderRow = tx.query("select * from orders where id = $1").bind((id,)).one().await?;
/// ```
#[must_use = "a query runs when one(), optional(), all() or execute() is awaited, or after queue()"]
pub struct Query<'q, R, P = ()> {
    on: &'q mut R,
    sql: &'q str,
    params: P,
}

impl<'q, R> Query<'q, R> {
    pub(crate) fn new(on: &'q mut R, sql: &'q str) -> Self {
        Self { on, sql, params: () }
    }

    /// Binds `$1`, `$2` and so on: a tuple of up to twelve values, by value or by reference.
    pub fn bind<P: Params>(self, params: P) -> Query<'q, R, P> {
        Query { on: self.on, sql: self.sql, params }
    }
}

impl<R: Run, P: Params> Query<'_, R, P> {
    /// Exactly one row.
    ///
    /// # Errors
    /// `NOT_FOUND` if there is none; what the database refuses, by its kind.
    pub async fn one<T: FromRow>(self) -> Result<T> {
        let sql = self.sql;
        let found = self.on.run_optional(sql, &self.params).await?;
        found.ok_or_else(|| StatementError::new(sql, Fault::NoRow).into())
    }

    /// One row or none.
    ///
    /// # Errors
    /// What the database refuses, by its kind.
    pub async fn optional<T: FromRow>(self) -> Result<Option<T>> {
        self.on.run_optional(self.sql, &self.params).await
    }

    /// All rows, in memory.
    ///
    /// # Errors
    /// What the database refuses, by its kind.
    pub async fn all<T: FromRow>(self) -> Result<Vec<T>> {
        self.on.run_all(self.sql, &self.params).await
    }
}

impl<P: Params> Query<'_, Tx<'_>, P> {
    /// Runs the statement and says how many rows it changed.
    ///
    /// # Errors
    /// What the database refuses, by its kind.
    pub async fn execute(self) -> Result<u64> {
        self.on.run_execute(self.sql, &self.params).await
    }
}

impl<P: Params + 'static> Query<'_, Tx<'_>, P> {
    /// Runs the statement with whatever the transaction does next: on PostgreSQL it is sent together with the next statement or with the commit, and
    /// costs no round trip of its own. For statements that nothing more is asked of.
    ///
    /// It runs in the order in which it was queued. If it fails, the next awaited statement or the commit says so and does not happen, on both
    /// databases. The values are bound by value, since the statement outlives this place.
    ///
    /// ```ignore
    /// let order: OrderRow = tx.query("insert into orders (id, sku) values ($1, $2) returning *").bind((id, sku)).one().await?;
    /// tx.query("insert into audit (id, what) values ($1, $2)").bind((tx.new_id(), "placed")).queue();
    /// tx.commit_with(order.into()).await  // the line of the audit, the record of the call and the commit: one round trip
    /// ```
    pub fn queue(self) {
        self.on.run_queue(self.sql, self.params);
    }
}

impl<R, P> fmt::Debug for Query<'_, R, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Query").field("sql", &self.sql).finish_non_exhaustive()
    }
}
