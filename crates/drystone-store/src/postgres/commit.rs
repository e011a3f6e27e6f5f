//! The end of a transaction: what waits, the record of a keyed call and `commit`, in one round trip.
//!
//! `commit` after a failed statement is a rollback that reports success, so the outcome is judged by all replies together. Where the reply to `commit`
//! itself is lost, nobody can say: that is `UNKNOWN`, and a repeat with the same key finds out.

use std::time::Duration;

use drystone_call::Error;
use tokio_postgres::error::SqlState;

use super::keys::RECORD;
use super::open::{Failure, Open, Queued};
use super::tx::{OwnRecord, unknown};
use crate::error::{is_conflict, is_lost, is_outdated};
use crate::keys::in_use;

/// A commit that has no reply by then is given up; its connection is closed.
const COMMIT_LIMIT: Duration = Duration::from_secs(5);

/// Why a transaction did not commit, or may not have.
pub(crate) struct Ended {
    pub(crate) error: Error,
    /// Whether running the handler again may succeed.
    pub(crate) conflict: bool,
}

/// Commits, with the record.
pub(crate) async fn commit(mut open: Open, record: Option<OwnRecord>) -> Result<(), Ended> {
    if record.is_none() && open.is_untouched() {
        return Ok(());
    }
    if open.conn().client().is_closed() {
        open.close();
        let error = Error::unavailable("the database cannot be reached");
        return Err(Ended { error, conflict: true });
    }
    let key_use = record.as_ref().map(|record| record.key_use.clone());
    if let Some(record) = record {
        open.queue.push(Queued { sql: RECORD.into(), values: Box::new(values(record)) });
    }
    let Ok((sent, done)) = tokio::time::timeout(COMMIT_LIMIT, open.commit()).await else {
        open.close();
        return Err(Ended { error: unknown(), conflict: false });
    };
    let Err(failure) = done else { return Ok(()) };
    Err(match key_use {
        Some(key_use) if is_twin(&failure) => {
            Ended { error: in_use(&key_use).caused_by(failure.error), conflict: false }
        }
        _ => judge(&open, sent, failure),
    })
}

fn judge(open: &Open, sent: bool, failure: Failure) -> Ended {
    let Some(cause) = failure.cause() else {
        return Ended { error: failure.error.into(), conflict: false };
    };
    if is_outdated(cause) {
        open.conn().forget_statements();
    }
    let lost = is_lost(cause);
    if lost && sent {
        return Ended { error: unknown().caused_by(failure.error), conflict: false };
    }
    let conflict = lost || is_conflict(cause);
    Ended { error: failure.error.into(), conflict }
}

/// Whether the record was there already: a twin in another process was faster, and its outcome is the call's.
fn is_twin(failure: &Failure) -> bool {
    failure.error.sql() == RECORD
        && failure.cause().and_then(tokio_postgres::Error::code) == Some(&SqlState::UNIQUE_VIOLATION)
}

type Values = (String, String, &'static str, String, Vec<u8>, i64, i64, Vec<u8>, i64);

fn values(record: OwnRecord) -> Values {
    let OwnRecord { key_use, kind, body, created } = record;
    (
        key_use.tenant.as_str().to_owned(),
        key_use.principal.as_str().to_owned(),
        key_use.method,
        key_use.key.as_str().to_owned(),
        key_use.fingerprint.to_vec(),
        key_use.descriptor_hash.cast_signed(),
        kind,
        body,
        created,
    )
}
