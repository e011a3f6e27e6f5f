//! What can go wrong with a statement, and what a caller is told of it.
//!
//! A caller gets a code and a sentence without SQL and without values. The cause has both and goes to telemetry.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::sync::Once;
use std::time::Duration;

use drystone_call::{Code, Error, PlatformReason, register_classifier};
use rusqlite::ErrorCode;
use rusqlite::ffi;
use tokio_postgres::error::SqlState;

use crate::row::RowError;

/// A statement that failed: the SQL and why. The cause of the [`Error`] that a handler sees.
#[derive(Debug, thiserror::Error)]
#[error("the statement failed: {sql}")]
pub struct StatementError {
    sql: String,
    #[source]
    pub(crate) fault: Fault,
}

impl StatementError {
    pub(crate) fn new(sql: &str, fault: impl Into<Fault>) -> Self {
        Self { sql: sql.to_owned(), fault: fault.into() }
    }

    /// The text of the statement.
    #[must_use]
    pub fn sql(&self) -> &str {
        &self.sql
    }
}

/// Why a statement failed.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// SQLite says so.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    /// PostgreSQL says so.
    #[error("{}", describe(.0))]
    Postgres(#[from] tokio_postgres::Error),
    /// A row does not fit the type that it is read into.
    #[error(transparent)]
    Row(#[from] RowError),
    /// `.one()` found no row.
    #[error("no row, where .one() wants one; use .optional() if there may be none")]
    NoRow,
    /// `.one()` or `.optional()` found several rows.
    #[error("several rows, where at most one is wanted; use .all() or narrow the condition")]
    ManyRows,
    /// The number of parameters is wrong.
    #[error("{bound} values are bound and the statement has {wanted} parameters")]
    Parameters {
        /// How many values were bound.
        bound: usize,
        /// How many the statement has.
        wanted: usize,
    },
    /// A transaction does not run such statements.
    #[error("{keyword} is not for a transaction to say: {remedy}")]
    Refused {
        /// The statement's first word.
        keyword: String,
        /// What to do instead.
        remedy: &'static str,
    },
}

fn describe(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(db) => format!("{db} ({})", db.code().code()),
        None => error.to_string(),
    }
}

type Judgement = (Code, Cow<'static, str>);

/// Makes `?` on a database error give the code that callers expect; safe to call again.
pub(crate) fn register() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| register_classifier(classify));
}

fn classify(error: &(dyn StdError + 'static)) -> Option<Judgement> {
    if let Some(error) = error.downcast_ref::<StatementError>() {
        return Some(judge(&error.fault));
    }
    if let Some(error) = error.downcast_ref::<rusqlite::Error>() {
        return Some(judge_sqlite(error));
    }
    error.downcast_ref::<tokio_postgres::Error>().map(judge_postgres)
}

fn judge(fault: &Fault) -> Judgement {
    match fault {
        Fault::Sqlite(error) => judge_sqlite(error),
        Fault::Postgres(error) => judge_postgres(error),
        Fault::NoRow => (Code::NotFound, "there is no such row".into()),
        Fault::Row(_) => internal("a row does not fit its type"),
        Fault::ManyRows => internal("several rows where one was wanted"),
        Fault::Parameters { .. } => internal("a statement was bound wrongly"),
        Fault::Refused { .. } => internal("a statement is not one that a transaction runs"),
    }
}

fn internal(message: &'static str) -> Judgement {
    (Code::Internal, message.into())
}

const EXISTS: &str = "it exists already";
const VIOLATED: &str = "the data does not allow it";
const CONFLICT: &str = "a concurrent transaction got in the way; try again";
const FULL: &str = "the database's disk is full; free space on it";
const UNREACHABLE: &str = "the database cannot be reached";
const TOO_LATE: &str = "the deadline passed while a statement ran";

fn judge_sqlite(error: &rusqlite::Error) -> Judgement {
    let rusqlite::Error::SqliteFailure(failure, _) = error else {
        return match error {
            rusqlite::Error::QueryReturnedNoRows => (Code::NotFound, "there is no such row".into()),
            _ => internal("a database statement failed"),
        };
    };
    match failure.code {
        ErrorCode::ConstraintViolation => match failure.extended_code {
            ffi::SQLITE_CONSTRAINT_UNIQUE
            | ffi::SQLITE_CONSTRAINT_PRIMARYKEY
            | ffi::SQLITE_CONSTRAINT_ROWID => (Code::AlreadyExists, EXISTS.into()),
            _ => (Code::FailedPrecondition, VIOLATED.into()),
        },
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => (Code::Aborted, CONFLICT.into()),
        ErrorCode::DiskFull => (Code::Unavailable, FULL.into()),
        ErrorCode::OperationInterrupted => (Code::DeadlineExceeded, TOO_LATE.into()),
        ErrorCode::SystemIoFailure | ErrorCode::CannotOpen => {
            (Code::Unavailable, "the database's disk failed".into())
        }
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => {
            (Code::DataLoss, "the database is damaged".into())
        }
        _ => internal("a database statement failed"),
    }
}

fn judge_postgres(error: &tokio_postgres::Error) -> Judgement {
    if is_lost(error) {
        return (Code::Unavailable, UNREACHABLE.into());
    }
    if is_outdated(error) {
        return (Code::Aborted, CONFLICT.into());
    }
    let Some(state) = error.code() else { return internal("a database statement failed") };
    match *state {
        SqlState::UNIQUE_VIOLATION | SqlState::EXCLUSION_VIOLATION => (Code::AlreadyExists, EXISTS.into()),
        SqlState::T_R_SERIALIZATION_FAILURE
        | SqlState::T_R_DEADLOCK_DETECTED
        | SqlState::LOCK_NOT_AVAILABLE => (Code::Aborted, CONFLICT.into()),
        SqlState::QUERY_CANCELED => (Code::DeadlineExceeded, TOO_LATE.into()),
        SqlState::DISK_FULL => (Code::Unavailable, FULL.into()),
        ref state => match state.code().get(..2) {
            Some("23") => (Code::FailedPrecondition, VIOLATED.into()),
            Some("53" | "57") => (Code::Unavailable, UNREACHABLE.into()),
            _ => internal("a database statement failed"),
        },
    }
}

/// The hold limit has taken the transaction away.
pub(crate) fn held_too_long(limit: Duration) -> Error {
    PlatformReason::TxHeldTooLong.error(format!(
        "the transaction was held open longer than {limit:?} and was rolled back: do slow work before store.begin"
    ))
}

/// An earlier statement of the transaction failed.
pub(crate) fn failed_before() -> Error {
    Error::internal(
        "an earlier statement of this transaction failed, so it can only be refused or dropped; \
         where a conflict is expected, say `on conflict do nothing`",
    )
}

/// The transaction was lost with the group that it was to commit with.
pub(crate) fn group_lost() -> Error {
    Error::aborted("the transactions that were to commit together were rolled back; try again")
}

/// The database did not answer.
pub(crate) fn unreachable(cause: impl StdError + Send + Sync + 'static) -> Error {
    if cause.to_string().contains("TLS handshake") {
        return Error::failed_precondition(
            "no protected connection to the database: its certificate must be for the host's name and of an authority of the system or of \
             sslrootcert=FILE",
        )
        .caused_by(cause);
    }
    Error::unavailable(UNREACHABLE).caused_by(cause)
}

/// Whether PostgreSQL will say nothing more on this connection: it is closed, or the server is ending it.
pub(crate) fn is_lost(error: &tokio_postgres::Error) -> bool {
    match error.as_db_error() {
        Some(db) => match *db.code() {
            SqlState::ADMIN_SHUTDOWN
            | SqlState::CRASH_SHUTDOWN
            | SqlState::CANNOT_CONNECT_NOW
            | SqlState::DATABASE_DROPPED
            | SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT => true,
            ref state => state.code().starts_with("08") || state.code() == "57P05",
        },
        None => {
            error.is_closed() || StdError::source(error).is_some_and(|cause| cause.is::<std::io::Error>())
        }
    }
}

/// Whether PostgreSQL refused the transaction because of a concurrent one.
pub(crate) fn is_conflict(error: &tokio_postgres::Error) -> bool {
    matches!(error.code(), Some(&(SqlState::T_R_SERIALIZATION_FAILURE | SqlState::T_R_DEADLOCK_DETECTED)))
        || is_outdated(error)
}

/// Whether a migration has changed what a prepared statement gives.
pub(crate) fn is_outdated(error: &tokio_postgres::Error) -> bool {
    error.as_db_error().is_some_and(|db| db.routine() == Some("RevalidateCachedQuery"))
}

/// A wait that ended at the call's deadline.
pub(crate) fn too_late(what: &str) -> Error {
    Error::new(Code::DeadlineExceeded, format!("the deadline passed while waiting for {what}"))
}
