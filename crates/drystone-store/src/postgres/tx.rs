//! One transaction on PostgreSQL, or one snapshot.
//!
//! `begin` goes with the first statement and the record of a keyed call with `commit`, so that an insert with its record costs two round trips.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use drystone_call::{Code, Error, KeyUse, Result};
use tokio::time::Instant;
use tokio_postgres::{Client, Row};

use super::batch::Answer;
use super::commit::{self, Ended};
use super::open::{Failure, Open, Purpose, Queued, Scope};
use super::pool::Pool;
use crate::error::{
    Fault, StatementError, failed_before, held_too_long, is_conflict, is_lost, is_outdated, too_late,
};
use crate::keys::Record;
use crate::metrics::Counters;
use crate::params::{Bound, Params};
use crate::row::{FromRow, RowView, View};

/// How often a first batch is sent again on another connection: the pool may hold several that a restart of the server has cut.
const RESENDS: u32 = 3;

/// What a `Tx` or a `ReadTx` is on PostgreSQL.
pub(crate) struct PostgresTx {
    open: Option<Open>,
    pool: Pool,
    scope: Scope,
    since: Instant,
    hold_limit: Option<Duration>,
    failed: bool,
    held_too_long: bool,
    /// Whether running the handler again may succeed.
    pub(crate) conflict: bool,
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
    /// Takes a connection; the first statement begins.
    pub(crate) async fn begin(
        pool: &Pool,
        scope: Scope,
        hold_limit: Duration,
        counters: &Arc<Counters>,
    ) -> Result<Self> {
        let open = Open::take(pool, scope.clone()).await?;
        let hold_limit = if scope.purpose == Purpose::Read { None } else { Some(hold_limit) };
        if hold_limit.is_some() {
            counters.open_transactions.add(1);
        } else {
            counters.reads.add(1);
        }
        Ok(Self {
            open: Some(open),
            pool: pool.clone(),
            scope,
            since: Instant::now(),
            hold_limit,
            failed: false,
            held_too_long: false,
            conflict: false,
            counters: Arc::clone(counters),
        })
    }

    /// Whether the transaction can still do something; gives it up when it was held too long.
    fn check(&mut self) -> Result<()> {
        let limit = self.hold_limit.unwrap_or(Duration::MAX);
        if self.open.is_some() && self.since.elapsed() >= limit {
            self.held_too_long = true;
            self.counters.held_too_long.add(1);
            self.roll_back();
        }
        if self.held_too_long {
            return Err(held_too_long(limit));
        }
        // A statement whose future was dropped may have run or not.
        self.failed |= self.open.as_ref().is_none_or(|open| open.busy);
        if self.failed { Err(failed_before()) } else { Ok(()) }
    }

    fn open(&mut self) -> Result<&mut Open> {
        self.open.as_mut().ok_or_else(failed_before)
    }

    pub(crate) async fn optional<T: FromRow>(
        &mut self,
        sql: &str,
        params: &impl Params,
    ) -> Result<Option<T>> {
        let rows = self.run(sql, params).await?.rows;
        match rows.as_slice() {
            [] => Ok(None),
            [row] => read(sql, row).map(Some),
            _ => Err(StatementError::new(sql, Fault::ManyRows).into()),
        }
    }

    pub(crate) async fn all<T: FromRow>(&mut self, sql: &str, params: &impl Params) -> Result<Vec<T>> {
        self.run(sql, params).await?.rows.iter().map(|row| read(sql, row)).collect()
    }

    pub(crate) async fn execute(&mut self, sql: &str, params: &impl Params) -> Result<u64> {
        self.run(sql, params).await.map(|answer| answer.count)
    }

    /// How long the transaction has been open.
    pub(crate) fn held_for(&self) -> Duration {
        self.since.elapsed()
    }

    /// Sends the statement with the next batch.
    pub(crate) fn queue(&mut self, sql: &str, values: Box<dyn Bound>) -> Result<()> {
        self.check()?;
        self.open()?.queue.push(Queued { sql: sql.into(), values });
        Ok(())
    }

    /// Keeps anything more from happening but a refusal or a rollback.
    pub(crate) fn fail(&mut self) {
        self.failed = true;
    }

    /// The connection, once [`PostgresTx::flush`] has sent what waits.
    pub(crate) fn client(&mut self) -> Result<&Client> {
        Ok(self.open()?.conn().client())
    }

    /// Sends what waits, so that the connection can be handed out.
    pub(crate) async fn flush(&mut self) -> Result<()> {
        self.check()?;
        let deadline = self.scope.deadline;
        let flushed = tokio::time::timeout_at(deadline, self.open()?.flush()).await;
        match flushed {
            Ok(Ok(())) => Ok(()),
            Ok(Err(failure)) => Err(self.note(failure)),
            Err(_) => {
                self.failed = true;
                Err(too_late("the database"))
            }
        }
    }

    async fn run(&mut self, sql: &str, params: &impl Params) -> Result<Answer> {
        self.check()?;
        let deadline = self.scope.deadline;
        match tokio::time::timeout_at(deadline, self.send(sql, params)).await {
            Ok(done) => done,
            Err(_) => {
                self.failed = true;
                Err(too_late("a statement"))
            }
        }
    }

    /// Sends the statement, again where that cannot be seen: nothing has happened in this transaction yet.
    async fn send(&mut self, sql: &str, params: &impl Params) -> Result<Answer> {
        let mut resends = RESENDS;
        loop {
            let open = self.open()?;
            let failure = match open.ask(sql, params).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            if open.touched || resends == 0 || !Box::pin(self.start_over(&failure)).await? {
                return Err(self.note(failure));
            }
            resends -= 1;
        }
    }

    /// Makes ready to send a first batch again, if that may help.
    async fn start_over(&mut self, failure: &Failure) -> Result<bool> {
        let Some(cause) = failure.cause() else { return Ok(false) };
        let open = self.open()?;
        if is_outdated(cause) {
            open.conn().forget_statements();
            let queue = std::mem::take(&mut open.queue);
            open.undo();
            open.queue = queue;
            return Ok(true);
        }
        if !is_lost(cause) {
            return Ok(false);
        }
        let queue = std::mem::take(&mut open.queue);
        open.close();
        self.open = None;
        let mut another = Open::take(&self.pool, self.scope.clone()).await?;
        another.queue = queue;
        self.open = Some(another);
        Ok(true)
    }

    /// What a failure makes of the transaction, and the error to give for it.
    fn note(&mut self, failure: Failure) -> Error {
        self.failed |= failure.fatal;
        if let Some(cause) = failure.cause() {
            self.conflict |= is_conflict(cause) || is_lost(cause);
            if is_outdated(cause)
                && let Some(open) = &self.open
            {
                open.conn().forget_statements();
            }
        }
        failure.error.into()
    }

    /// Commits with the record, in a task of its own: from here on it goes through, whatever becomes of the caller.
    pub(crate) async fn submit(&mut self, record: Option<OwnRecord>, key: KeyHold) -> Result<()> {
        self.check()?;
        let Some(open) = self.open.take() else { return Err(failed_before()) };
        let counters = Arc::clone(&self.counters);
        let task = tokio::spawn(async move {
            let done = commit::commit(open, record).await;
            if done.is_ok() {
                counters.commits.add(1);
                counters.groups.add(1);
                counters.group_members.add(1);
                counters.largest_group.at_least(1);
            }
            // The key is free before the caller knows, so that an immediate repeat is not told that the call still runs.
            drop(key);
            done
        });
        match task.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(Ended { error, conflict })) => {
                self.failed = true;
                self.conflict |= conflict;
                Err(error)
            }
            Err(cause) => Err(unknown().caused_by(cause)),
        }
    }

    /// Rolls the effect back and commits a record in its place.
    pub(crate) async fn replace(&mut self, record: Option<OwnRecord>, key: KeyHold) -> Result<()> {
        if !self.failed {
            self.check()?;
        }
        self.failed = false;
        match &mut self.open {
            Some(open) if !open.busy && !open.conn().client().is_closed() => open.undo(),
            _ => {
                self.open = None;
                self.open = Some(Box::pin(Open::take(&self.pool, self.scope.clone())).await?);
            }
        }
        self.counters.rollbacks.add(1);
        self.submit(record, key).await
    }

    /// Rolls back without waiting.
    pub(crate) fn roll_back(&mut self) {
        if self.open.take().is_some() && self.hold_limit.is_some() {
            self.counters.rollbacks.add(1);
        }
    }
}

impl Drop for PostgresTx {
    fn drop(&mut self) {
        self.roll_back();
        if self.conflict {
            self.counters.conflicts.add(1);
        }
        if self.hold_limit.is_some() {
            self.counters.open_transactions.one_less();
        }
    }
}

/// The reply to a commit was lost.
pub(crate) fn unknown() -> Error {
    Error::new(Code::Unknown, "whether the transaction committed is not known; ask again with the same key")
}

fn read<T: FromRow>(sql: &str, row: &Row) -> Result<T> {
    T::from_row(&RowView(View::Postgres(row))).map_err(|error| StatementError::new(sql, error).into())
}
