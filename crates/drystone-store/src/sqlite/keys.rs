//! The record of keyed calls in a file.

use bytes::Bytes;
use drystone_call::{KeyUse, Recorded};
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::writer::Writer;
use crate::keys::{Found, Record};

const INSERT: &str = "insert into drystone_idempotency \
    (tenant, principal, method, key, fingerprint, descriptor_hash, kind, body, created) values (?, ?, ?, ?, ?, ?, ?, ?, ?)";
const FIND: &str = "select fingerprint, descriptor_hash, kind, body from drystone_idempotency \
    where tenant = ? and principal = ? and method = ? and key = ?";
const FORGET: &str = "delete from drystone_idempotency where created < ? and id in \
    (select id from drystone_idempotency order by id limit 1000)";
/// Every so many records, a thousand of those that are past their time are deleted along the way.
const RECORDS_PER_SWEEP: u32 = 512;

/// Writes the outcome of a call, in the transaction of its effect.
pub(crate) fn record(writer: &mut Writer, record: &Record<'_>, forget_before: i64) -> rusqlite::Result<()> {
    let key_use = record.key_use;
    writer.conn.own(|db| {
        db.prepare_cached(INSERT)?.execute(params![
            key_use.tenant.as_str(),
            key_use.principal.as_str(),
            key_use.method,
            key_use.key.as_str(),
            key_use.fingerprint,
            key_use.descriptor_hash.cast_signed(),
            record.kind,
            record.body,
            record.created,
        ])
    })?;
    writer.keys_recorded = writer.keys_recorded.wrapping_add(1);
    if writer.keys_recorded.is_multiple_of(RECORDS_PER_SWEEP) {
        forget(&writer.conn.db, forget_before)?;
    }
    Ok(())
}

/// Deletes a batch of records that are past their time.
pub(crate) fn forget(db: &Connection, before: i64) -> rusqlite::Result<()> {
    db.prepare_cached(FORGET)?.execute([before]).map(drop)
}

/// What was recorded for a key.
pub(crate) fn find(db: &Connection, key_use: &KeyUse) -> rusqlite::Result<Option<Found>> {
    let scope =
        params![key_use.tenant.as_str(), key_use.principal.as_str(), key_use.method, key_use.key.as_str()];
    db.prepare_cached(FIND)?.query_row(scope, read).optional()
}

fn read(row: &Row<'_>) -> rusqlite::Result<Found> {
    let body = Bytes::from(row.get::<_, Vec<u8>>(3)?);
    let kind: i64 = row.get(2)?;
    Ok(Found {
        fingerprint: row.get(0)?,
        descriptor_hash: row.get::<_, i64>(1)?.cast_unsigned(),
        recorded: if kind == Record::ANSWER { Recorded::Answer(body) } else { Recorded::Refusal(body) },
    })
}
