//! One transaction on SQLite: a hold on the file's writer.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use drystone_call::{Barrier, Code, Error, Result};
use rusqlite::{Connection, ErrorCode};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::keys;
use super::queue::Hold;
use super::statement;
use super::writer::{GroupEnd, Writer};
use crate::error::{Fault, StatementError, failed_before, group_lost, held_too_long, too_late};
use crate::keys::Record;
use crate::metrics::Counters;
use crate::native::SqliteNative;
use crate::params::Params;
use crate::row::FromRow;

/// What a `Tx` is on SQLite.
pub(crate) struct SqliteTx {
    hold: Hold,
    deadline: Instant,
    failed: bool,
    counters: Arc<Counters>,
}

/// A record to write, and before which moment old ones may be forgotten, in milliseconds since 1970.
pub(crate) type Recording<'r> = (Record<'r>, i64);

type KeyHold = Option<Arc<dyn Any + Send + Sync>>;

impl SqliteTx {
    pub(crate) fn start(hold: Hold, deadline: Instant, counters: Arc<Counters>) -> Result<Self> {
        counters.open_transactions.add(1);
        let tx = Self { hold, deadline, failed: false, counters };
        tx.with(|writer| {
            writer.start()?;
            writer.conn.limit.set(deadline.min(tx.hold.since + tx.hold.limit()));
            Ok(())
        })
        .map_err(|error| tx.explain(error))?;
        Ok(tx)
    }

    pub(crate) fn optional<T: FromRow>(&mut self, sql: &str, params: &impl Params) -> Result<Option<T>> {
        self.run(sql, |db| statement::optional(db, sql, params))
    }

    pub(crate) fn all<T: FromRow>(&mut self, sql: &str, params: &impl Params) -> Result<Vec<T>> {
        self.run(sql, |db| statement::all(db, sql, params))
    }

    pub(crate) fn execute(&mut self, sql: &str, params: &impl Params) -> Result<u64> {
        self.run(sql, |db| statement::execute(db, sql, params))
    }

    /// How long the writer has been held.
    pub(crate) fn held_for(&self) -> Duration {
        self.hold.since.elapsed()
    }

    /// The connection, in the transaction.
    pub(crate) fn native(&mut self) -> Result<SqliteNative<'_>> {
        self.check()?;
        let held = self.hold.slot.lock();
        if held.writer.is_none() {
            return Err(held_too_long(self.hold.limit()));
        }
        Ok(SqliteNative::new(held, &mut self.failed))
    }

    /// Keeps anything more from happening but a refusal or a rollback.
    pub(crate) fn fail(&mut self) {
        self.failed = true;
    }

    /// Submits the transaction with its record: from here on it commits, whatever becomes of the caller.
    pub(crate) fn submit(&mut self, record: Option<Recording<'_>>, key: KeyHold) -> Result<Submitted> {
        self.check()?;
        self.submit_now(record, key)
    }

    /// Rolls the effect back and submits a record in its place.
    pub(crate) fn replace(&mut self, record: Option<Recording<'_>>, key: KeyHold) -> Result<Submitted> {
        self.with(|writer| {
            drop(writer.undo());
            writer.start()
        })
        .map_err(|error| self.explain(error))?;
        self.failed = false;
        self.submit_now(record, key)
    }

    fn submit_now(&mut self, record: Option<Recording<'_>>, key: KeyHold) -> Result<Submitted> {
        let submitted = self.with(|writer| {
            if let Some((record, forget_before)) = record {
                keys::record(writer, &record, forget_before)?;
            }
            writer.submit(key)
        });
        let ended = submitted.map_err(|error| self.explain(error))?;
        self.hold.give_up();
        Ok(Submitted(ended))
    }

    /// Rolls the transaction back. What it may have seen of its neighbours is not durable yet: an answer waits for the barrier.
    pub(crate) fn roll_back(&mut self) -> Option<Barrier> {
        let ended = Submitted(self.hold.give_up()?);
        Some(Box::pin(ended.ended()))
    }

    /// Whether the transaction can still do something.
    fn check(&self) -> Result<()> {
        if self.failed { Err(failed_before()) } else { Ok(()) }
    }

    fn run<R>(
        &mut self,
        sql: &str,
        statement: impl FnOnce(&Connection) -> Result<R, StatementError>,
    ) -> Result<R> {
        self.check()?;
        let mut failure = None;
        let done = self.with(|writer| match statement(&writer.conn.db) {
            Ok(done) => Ok(Some(done)),
            Err(error) => match error.fault {
                Fault::Sqlite(cause) => Err(cause),
                _ => {
                    failure = Some(error);
                    Ok(None)
                }
            },
        });
        match done {
            Ok(Some(done)) => Ok(done),
            Ok(None) => Err(failure.map_or_else(failed_before, Error::from)),
            Err(Broken::Db { cause, lost }) => {
                self.failed = true;
                Err(self.explain(Broken::Db { cause: StatementError::new(sql, cause), lost }))
            }
            Err(Broken::Gone) => Err(self.explain(Broken::<StatementError>::Gone)),
        }
    }

    /// Works with the writer, if it is still held and its transaction still there.
    fn with<R>(
        &self,
        work: impl FnOnce(&mut Writer) -> rusqlite::Result<R>,
    ) -> Result<R, Broken<rusqlite::Error>> {
        let mut slot = self.hold.slot.lock();
        let Some(writer) = slot.writer.as_mut() else { return Err(Broken::Gone) };
        work(writer).map_err(|cause| {
            let full = cause.sqlite_error_code() == Some(ErrorCode::DiskFull);
            Broken::Db { lost: !writer.survived(full), cause }
        })
    }

    fn explain<E>(&self, broken: Broken<E>) -> Error
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        match broken {
            Broken::Gone => held_too_long(self.hold.limit()),
            Broken::Db { cause, .. } if is_interrupt(&cause) => {
                if Instant::now() < self.deadline {
                    self.counters.held_too_long.add(1);
                    held_too_long(self.hold.limit()).caused_by(cause)
                } else {
                    too_late("a statement").caused_by(cause)
                }
            }
            Broken::Db { cause, lost } => {
                let error = Error::from(cause);
                if lost && error.code() == Code::Internal {
                    group_lost().caused_by(Lost(error.to_string()))
                } else {
                    error
                }
            }
        }
    }
}

impl Drop for SqliteTx {
    fn drop(&mut self) {
        self.counters.open_transactions.one_less();
    }
}

/// Why the writer could not be used.
enum Broken<E> {
    /// The hold limit has taken it.
    Gone,
    /// The database says so; `lost` if it has rolled back all that was open.
    Db { cause: E, lost: bool },
}

/// The text of what took a group along.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Lost(String);

/// Whether a statement was interrupted at its limit.
pub(crate) fn is_interrupt<E: std::error::Error + 'static>(error: &E) -> bool {
    let error: &(dyn std::error::Error + 'static) = error;
    let cause = match error.downcast_ref::<StatementError>() {
        Some(StatementError { fault: Fault::Sqlite(cause), .. }) => Some(cause),
        Some(_) => None,
        None => error.downcast_ref::<rusqlite::Error>(),
    };
    cause.and_then(rusqlite::Error::sqlite_error_code) == Some(ErrorCode::OperationInterrupted)
}

/// A transaction that commits with its group.
pub(crate) struct Submitted(oneshot::Receiver<GroupEnd>);

impl Submitted {
    /// Waits for the end of the group.
    ///
    /// # Errors
    /// `ABORTED` if the group was rolled back, `UNAVAILABLE` if that was for want of space, `UNKNOWN` if nobody can say.
    pub(crate) async fn ended(self) -> Result<()> {
        match self.0.await {
            Ok(GroupEnd::Committed) => Ok(()),
            Ok(GroupEnd::Lost) => Err(group_lost()),
            Ok(GroupEnd::DiskFull) => {
                Err(Error::unavailable("the database's disk is full; free space on it"))
            }
            Ok(GroupEnd::Unknown) | Err(_) => Err(Error::new(
                Code::Unknown,
                "whether the transaction committed is not known; ask again with the same key",
            )),
        }
    }
}
