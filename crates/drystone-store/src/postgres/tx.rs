//! One transaction on PostgreSQL, or one snapshot: a connection with the wall set up.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::Object;
use drystone_call::{Code, Error, KeyUse, Result};
use tokio::time::Instant;
use tokio::time::error::Elapsed;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Error as PgError, Row, Statement};

use super::keys::{self, PostgresClaim};
use crate::error::{Fault, StatementError, failed_before, held_too_long, too_late};
use crate::guard;
use crate::keys::Record;
use crate::metrics::Counters;
use crate::params::Params;
use crate::row::{FromRow, RowView, View};

/// What a `Tx` or a `ReadTx` is on PostgreSQL.
pub(crate) struct PostgresTx {
    client: Option<Object>,
    begin: String,
    since: Instant,
    deadline: Instant,
    hold_limit: Option<Duration>,
    failed: bool,
    counters: Arc<Counters>,
}

type KeyHold = Option<Arc<dyn Any + Send + Sync>>;

/// A record that outlives its caller.
pub(crate) struct OwnRecord {
    pub(crate) key_use: KeyUse,
    pub(crate) kind: i64,
    pub(crate) body: Vec<u8>,
    pub(crate) created: i64,
}

impl OwnRecord {
    pub(crate) fn of(record: Record<'_>) -> Self {
        let Record { key_use, kind, body, created } = record;
        Self { key_use: key_use.clone(), kind, body, created }
    }
}

impl PostgresTx {
    /// Begins by a batch that sets up the wall, in one round trip.
    pub(crate) async fn begin(
        client: Object,
        begin: String,
        deadline: Instant,
        hold_limit: Option<Duration>,
        counters: Arc<Counters>,
    ) -> Result<Self> {
        if hold_limit.is_some() {
            counters.open_transactions.add(1);
        }
        let since = Instant::now();
        // Stands before the batch is sent: whoever goes away meanwhile leaves no transaction in the pool.
        let tx = Self { client: Some(client), begin, since, deadline, hold_limit, failed: false, counters };
        tx.run_begin().await?;
        Ok(tx)
    }

    async fn run_begin(&self) -> Result<()> {
        let begun = tokio::time::timeout_at(self.deadline, self.client()?.batch_execute(&self.begin)).await;
        Ok(begun.map_err(|_| too_late("the database"))??)
    }

    /// The connection, while the transaction lasts.
    pub(crate) fn client(&self) -> Result<&Object> {
        self.client.as_ref().ok_or_else(|| held_too_long(self.hold_limit.unwrap_or_default()))
    }

    /// Whether the transaction can still do something; gives it up when it was held too long.
    fn check(&mut self) -> Result<()> {
        if let Some(limit) = self.hold_limit
            && self.client.is_some()
            && self.since.elapsed() >= limit
        {
            self.counters.held_too_long.add(1);
            self.roll_back();
        }
        self.client()?;
        if self.failed { Err(failed_before()) } else { Ok(()) }
    }

    pub(crate) async fn optional<T: FromRow>(
        &mut self,
        sql: &str,
        params: &impl Params,
    ) -> Result<Option<T>> {
        let rows = self.rows(sql, params).await?;
        match rows.as_slice() {
            [] => Ok(None),
            [row] => read(sql, row).map(Some),
            _ => Err(StatementError::new(sql, Fault::ManyRows).into()),
        }
    }

    pub(crate) async fn all<T: FromRow>(&mut self, sql: &str, params: &impl Params) -> Result<Vec<T>> {
        self.rows(sql, params).await?.iter().map(|row| read(sql, row)).collect()
    }

    pub(crate) async fn execute<P: Params>(&mut self, sql: &str, params: &P) -> Result<u64> {
        let statement = self.prepare::<P>(sql).await?;
        let values = values(params);
        let done = tokio::time::timeout_at(self.deadline, self.client()?.execute(&statement, &values)).await;
        self.settle(sql, done)
    }

    async fn rows<P: Params>(&mut self, sql: &str, params: &P) -> Result<Vec<Row>> {
        let statement = self.prepare::<P>(sql).await?;
        let values = values(params);
        let done = tokio::time::timeout_at(self.deadline, self.client()?.query(&statement, &values)).await;
        self.settle(sql, done)
    }

    /// The prepared statement, once it is known to be one that a transaction runs and to be bound completely.
    async fn prepare<P: Params>(&mut self, sql: &str) -> Result<Statement> {
        self.check()?;
        guard::check(sql).map_err(|fault| StatementError::new(sql, fault))?;
        let prepared = tokio::time::timeout_at(self.deadline, self.client()?.prepare_cached(sql)).await;
        let statement = self.settle(sql, prepared)?;
        let wanted = statement.params().len();
        if wanted != P::COUNT {
            return Err(StatementError::new(sql, Fault::Parameters { bound: P::COUNT, wanted }).into());
        }
        Ok(statement)
    }

    /// The outcome of a round trip; after one that failed at the server the transaction is over.
    fn settle<R>(&mut self, sql: &str, done: Result<Result<R, PgError>, Elapsed>) -> Result<R> {
        match done {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(cause)) => {
                self.failed |= cause.as_db_error().is_some() || cause.is_closed();
                Err(StatementError::new(sql, cause).into())
            }
            Err(_) => {
                self.failed = true;
                Err(too_late("a statement"))
            }
        }
    }

    /// Commits with the record, in a task of its own: from here on it goes through, whatever becomes of the caller.
    pub(crate) async fn submit(&mut self, record: Option<OwnRecord>, key: KeyHold) -> Result<()> {
        self.check()?;
        let Some(client) = self.client.take() else { return Err(failed_before()) };
        let counters = Arc::clone(&self.counters);
        let task = tokio::spawn(async move {
            let done = commit(&client, record).await;
            if done.is_err() {
                // Whatever the commit left open must not go back to the pool.
                let _ = client.batch_execute("rollback").await;
            } else {
                counters.commits.add(1);
                counters.groups.add(1);
                counters.group_members.add(1);
                counters.largest_group.at_least(1);
            }
            drop(client);
            if let Some(claim) = key.and_then(|key| key.downcast::<PostgresClaim>().ok()) {
                claim.release().await;
            }
            done
        });
        task.await.map_err(|cause| unknown().caused_by(cause))?
    }

    /// Rolls the effect back and commits a record in its place.
    pub(crate) async fn replace(&mut self, record: Option<OwnRecord>, key: KeyHold) -> Result<()> {
        self.failed = false;
        self.check()?;
        self.client()?.batch_execute("rollback").await?;
        self.run_begin().await?;
        self.counters.rollbacks.add(1);
        self.submit(record, key).await
    }

    /// Rolls back without waiting; the connection goes back to the pool when that is done.
    pub(crate) fn roll_back(&mut self) {
        let Some(client) = self.client.take() else { return };
        if self.hold_limit.is_some() {
            self.counters.rollbacks.add(1);
        }
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(async move {
                if client.batch_execute("rollback").await.is_err() {
                    drop(Object::take(client));
                }
            })),
            Err(_) => drop(Object::take(client)),
        }
    }
}

impl Drop for PostgresTx {
    fn drop(&mut self) {
        self.roll_back();
        if self.hold_limit.is_some() {
            self.counters.open_transactions.one_less();
        }
    }
}

async fn commit(client: &Object, record: Option<OwnRecord>) -> Result<()> {
    if let Some(OwnRecord { key_use, kind, body, created }) = record {
        keys::record(client, &Record { key_use: &key_use, kind, body, created }).await?;
    }
    match client.batch_execute("commit").await {
        Ok(()) => Ok(()),
        Err(cause) if cause.as_db_error().is_none() => Err(unknown().caused_by(cause)),
        Err(cause) => Err(cause.into()),
    }
}

/// The reply to a commit was lost.
fn unknown() -> Error {
    Error::new(Code::Unknown, "whether the transaction committed is not known; ask again with the same key")
}

fn values(params: &impl Params) -> Vec<&(dyn ToSql + Sync)> {
    let mut values = Vec::with_capacity(12);
    params.bind_postgres(&mut values);
    values
}

fn read<T: FromRow>(sql: &str, row: &Row) -> Result<T> {
    T::from_row(&RowView(View::Postgres(row))).map_err(|error| StatementError::new(sql, error).into())
}
