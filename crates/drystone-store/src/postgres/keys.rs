//! The record of keyed calls, and the claim on a key by an advisory lock.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use deadpool_postgres::Object;
use drystone_call::{KeyUse, Recorded, Result};
use sha2::{Digest as _, Sha256};
use tokio_postgres::Client;
use tokio_postgres::error::Error as PgError;

use crate::keys::{Found, HeldKey, Record, in_use};

const INSERT: &str = "insert into drystone_idempotency \
    (tenant, principal, method, key, fingerprint, descriptor_hash, kind, body, created) \
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
const FIND: &str = "select fingerprint, descriptor_hash, kind, body from drystone_idempotency \
    where tenant = $1 and principal = $2 and method = $3 and key = $4";

/// Writes the outcome of a call, in the transaction of its effect.
pub(crate) async fn record(client: &Object, record: &Record<'_>) -> Result<(), PgError> {
    let statement = client.prepare_cached(INSERT).await?;
    let KeyUse { tenant, principal, method, key, fingerprint, descriptor_hash } = record.key_use;
    let (fingerprint, hash) = (fingerprint.as_slice(), descriptor_hash.cast_signed());
    client
        .execute(
            &statement,
            &[
                &tenant.as_str(),
                &principal.as_str(),
                method,
                &key.as_str(),
                &fingerprint,
                &hash,
                &record.kind,
                &record.body,
                &record.created,
            ],
        )
        .await
        .map(drop)
}

/// What was recorded for a key.
pub(crate) async fn find(client: &Object, key_use: &KeyUse) -> Result<Option<Found>> {
    let statement = client.prepare_cached(FIND).await?;
    let KeyUse { tenant, principal, method, key, .. } = key_use;
    let row =
        client.query_opt(&statement, &[&tenant.as_str(), &principal.as_str(), method, &key.as_str()]).await?;
    let Some(row) = row else { return Ok(None) };
    let fingerprint: Vec<u8> = row.try_get(0)?;
    let (kind, body): (i64, Vec<u8>) = (row.try_get(2)?, row.try_get(3)?);
    let body = Bytes::from(body);
    Ok(Some(Found {
        fingerprint: fingerprint.try_into().unwrap_or_default(),
        descriptor_hash: row.try_get::<_, i64>(1)?.cast_unsigned(),
        recorded: if kind == Record::ANSWER { Recorded::Answer(body) } else { Recorded::Refusal(body) },
    }))
}

/// A key claimed among all processes: an advisory lock of a connection, and in this process the claim that asked for it.
pub(crate) struct PostgresClaim {
    connection: Mutex<Option<Object>>,
    lock: i64,
    _held: HeldKey,
}

impl PostgresClaim {
    /// Claims the key.
    ///
    /// # Errors
    /// `IDEMPOTENCY_KEY_IN_USE` while another process has it.
    pub(crate) async fn take(
        connection: Object,
        held: HeldKey,
        schema: &str,
        key_use: &KeyUse,
    ) -> Result<Self> {
        let lock = lock_of(schema, key_use);
        // The claim stands before the answer is there, so that a caller who goes away meanwhile leaves no lock behind.
        let claim = Self { connection: Mutex::new(None), lock, _held: held };
        let statement = connection.prepare_cached("select pg_try_advisory_lock($1)").await?;
        let mut guard = Unlock { connection: Some(connection), lock };
        let asked = guard.client().query_one(&statement, &[&lock]).await?;
        if !asked.try_get::<_, bool>(0)? {
            guard.nothing_to_unlock();
            return Err(in_use(key_use));
        }
        *claim.connection.lock().unwrap_or_else(PoisonError::into_inner) = guard.connection.take();
        Ok(claim)
    }

    /// Frees the key, so that an immediate repeat finds it free.
    pub(crate) async fn release(&self) {
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(connection) = connection {
            unlock(connection, self.lock).await;
        }
    }
}

impl Drop for PostgresClaim {
    fn drop(&mut self) {
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(Unlock { connection, lock: self.lock });
    }
}

/// A connection that may hold the lock.
struct Unlock {
    connection: Option<Object>,
    lock: i64,
}

impl Unlock {
    fn client(&self) -> &Client {
        self.connection.as_ref().expect("the connection is there until it is taken")
    }

    fn nothing_to_unlock(&mut self) {
        drop(self.connection.take());
    }
}

impl Drop for Unlock {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        let lock = self.lock;
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(unlock(connection, lock))),
            // Closing the connection frees its locks.
            Err(_) => drop(Object::take(connection)),
        }
    }
}

async fn unlock(connection: Object, lock: i64) {
    if connection.execute("select pg_advisory_unlock($1)", &[&lock]).await.is_err() {
        drop(Object::take(connection));
    }
}

fn lock_of(schema: &str, key_use: &KeyUse) -> i64 {
    let mut hash = Sha256::new();
    let KeyUse { tenant, principal, method, key, .. } = key_use;
    for part in [schema, tenant.as_str(), principal.as_str(), method, key.as_str()] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let digest: [u8; 32] = hash.finalize().into();
    digest[..8].iter().fold(0_i64, |all, byte| (all << 8) | i64::from(*byte))
}
