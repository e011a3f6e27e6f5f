//! The keys of calls: their claims, and what is recorded for them.
//!
//! One connection of the process holds the advisory locks of all keys that its calls have claimed. A lock only gives a twin in another process the
//! friendly answer early, that the call runs. What makes one effect is the record's unique key, written in the transaction of the effect: where
//! the connection was lost with its locks, twins run beside each other, the first to commit wins, and the others answer that the key is in use.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use drystone_call::{KeyUse, Recorded, Result};
use futures_util::FutureExt as _;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;
use tokio_postgres::{Error as PgError, Row, Statement};
use uuid::Uuid;

use super::connect::Server;
use super::line::{Connected, Line};
use super::names::{Names, quoted};
use crate::error::{is_lost, is_outdated, too_late};
use crate::keys::{Found, HeldKey, Record, in_use};

/// Writes the outcome of a call, in the transaction of its effect.
pub(crate) const RECORD: &str = "insert into drystone_idempotency \
    (tenant, principal, method, key, fingerprint, descriptor_hash, kind, body, created) \
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9)";

/// Deletes a batch of the transaction's tenant's records that are past their time.
pub(crate) const FORGET: &str = "delete from drystone_idempotency where ctid = any (array( \
    select ctid from drystone_idempotency where created < $1 order by created limit 1000))";

/// So that [`FORGET`] finds what it looks for without reading the rest; within a tenant, where there are tenants.
const BY_AGE: &str = "create index if not exists drystone_idempotency_by_age on drystone_idempotency ";

/// Makes the function that admits a keyed call, in the schema that is first on the search path: it takes the key's lock and then looks, with a snapshot
/// newer than the lock, for what a twin has recorded; first among the tenant's data, then in `{shared}`. The schemas' names are given quoted.
///
/// A record counts whether or not the lock was free, and frees it. The tenant of the transaction is what it was before when it returns.
const ADMIT: &str = r"
create or replace function {schema}.drystone_admit(
    in wanted bigint, in of_tenant text, in of_principal text, in of_method text, in of_key text,
    out free boolean, out fingerprint bytea, out descriptor_hash bigint, out kind bigint, out body bytea
) language plpgsql volatile security invoker as $drystone$
declare
    before text := coalesce(current_setting('app.tenant', true), '');
begin
    free := pg_try_advisory_lock(wanted);
    perform set_config('app.tenant', of_tenant, true);
    select r.fingerprint, r.descriptor_hash, r.kind, r.body into fingerprint, descriptor_hash, kind, body
        from {schema}.drystone_idempotency r
        where r.tenant = of_tenant and r.principal = of_principal and r.method = of_method and r.key = of_key;
    if not found then
        select r.fingerprint, r.descriptor_hash, r.kind, r.body into fingerprint, descriptor_hash, kind, body
            from {shared}.drystone_idempotency r
            where r.tenant = of_tenant and r.principal = of_principal and r.method = of_method and r.key = of_key;
    end if;
    perform set_config('app.tenant', before, true);
    if fingerprint is not null and free then
        perform pg_advisory_unlock(wanted);
    end if;
end
$drystone$;
";

/// What the keys need in a schema beside the table of records: [`BY_AGE`], and in that of the tenants [`ADMIT`].
pub(crate) fn platform(tenants: bool, names: &Names) -> String {
    let (columns, admit) = if tenants { ("(tenant, created);", ADMIT) } else { ("(created);", "") };
    let admit = admit.replace("{schema}", &quoted(&names.schema)).replace("{shared}", &quoted(&names.shared));
    format!("{BY_AGE}{columns}{admit}")
}

/// Ends the connection before this one, should the server not know that it is gone: it would keep its locks.
const END_FORMER: &str = "select pg_terminate_backend(pid) from pg_stat_activity \
    where usename = current_user and application_name = current_setting('application_name') and pid <> pg_backend_pid()";

/// How often a key is asked for again when the connection was lost meanwhile: asking twice does no harm.
const TRIES: u32 = 3;

/// The claims of a process on keys.
pub(crate) struct Locks {
    line: Line,
    admit: String,
    schema: String,
    prepared: Mutex<Option<Prepared>>,
}

/// A connection with its two statements.
#[derive(Clone)]
struct Prepared {
    on: Arc<Connected>,
    admit: Statement,
    unlock: Statement,
}

/// What is known of a key.
pub(crate) enum Asked {
    /// It is this call's.
    Claimed(PostgresClaim),
    /// It was used before.
    Recorded(Found),
}

impl Locks {
    pub(crate) fn new(server: &Server, names: &Names) -> Self {
        Self {
            // Statements of a volatile function see what was committed before each of them only here.
            line: Line::to(
                server
                    .named(&format!("drystone/keys/{}", Uuid::now_v7()))
                    .with_options("-c default_transaction_isolation=read\\ committed"),
            ),
            admit: format!(
                "select free, fingerprint, descriptor_hash, kind, body from {}.drystone_admit($1, $2, $3, $4, $5)",
                quoted(&names.schema)
            ),
            schema: names.schema.clone(),
            prepared: Mutex::new(None),
        }
    }

    /// Claims a key among all processes, or finds its record, in one round trip.
    ///
    /// Where another call of this process has the key, a record still counts: that call may be asking for it as well. The lock is one of the connection, so
    /// it is then taken once more and freed again.
    ///
    /// # Errors
    /// `IDEMPOTENCY_KEY_IN_USE` while another call has it and has recorded nothing.
    pub(crate) async fn ask(
        &self,
        held: Result<HeldKey>,
        key_use: &KeyUse,
        deadline: Instant,
    ) -> Result<Asked> {
        let lock = lock_of(&self.schema, key_use);
        let mut tries = TRIES;
        let (claim, row) = loop {
            tries -= 1;
            let prepared = match self.prepared(deadline).await {
                Err(Refused::Lost(_)) if tries > 0 => continue,
                prepared => prepared?,
            };
            // The lock's end is certain before it is asked for: a caller who goes away meanwhile leaves none behind.
            let locked = Locked { line: prepared.clone(), lock, unlock: true };
            let KeyUse { tenant, principal, method, key, .. } = key_use;
            let (tenant, principal, key) = (tenant.as_str(), principal.as_str(), key.as_str());
            let client = &prepared.on.client;
            let values: [&(dyn tokio_postgres::types::ToSql + Sync); 5] =
                [&lock, &tenant, &principal, method, &key];
            let asked = prepared.on.hear(client.query_one(&prepared.admit, &values));
            match tokio::time::timeout_at(deadline, asked).await {
                Ok(Ok(row)) => break (locked, row),
                Ok(Err(cause)) if tries > 0 && (is_lost(&cause) || is_outdated(&cause)) => {
                    self.forget_prepared();
                }
                Ok(Err(cause)) => return Err(cause.into()),
                Err(_) => return Err(too_late("a key's record")),
            }
        };
        judge(claim, &row, held, key_use)
    }

    fn forget_prepared(&self) {
        self.prepared.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    async fn prepared(&self, deadline: Instant) -> Result<Prepared, Refused> {
        let kept = self.prepared.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(kept) = kept.filter(|kept| !kept.on.client.is_closed()) {
            return Ok(kept);
        }
        let on = self.line.get(deadline).await.map_err(Refused::Other)?;
        let prepare = futures_util::future::try_join3(
            on.client.batch_execute(END_FORMER),
            on.client.prepare(&self.admit),
            on.client.prepare("select pg_advisory_unlock($1)"),
        );
        let ((), admit, unlock) = match tokio::time::timeout_at(deadline, on.hear(prepare)).await {
            Ok(Ok(all)) => all,
            Ok(Err(cause)) if is_lost(&cause) => return Err(Refused::Lost(cause)),
            Ok(Err(cause)) => return Err(Refused::Other(cause.into())),
            Err(_) => return Err(Refused::Other(too_late("a key's record"))),
        };
        let prepared = Prepared { on, admit, unlock };
        *self.prepared.lock().unwrap_or_else(PoisonError::into_inner) = Some(prepared.clone());
        Ok(prepared)
    }

    /// Ends the connection, and with it every claim.
    pub(crate) fn close(&self) {
        self.forget_prepared();
        self.line.close();
    }
}

/// Why there is no connection for keys.
enum Refused {
    Lost(PgError),
    Other(drystone_call::Error),
}

impl From<Refused> for drystone_call::Error {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Lost(cause) => cause.into(),
            Refused::Other(error) => error,
        }
    }
}

fn judge(mut locked: Locked, row: &Row, held: Result<HeldKey>, key_use: &KeyUse) -> Result<Asked> {
    let free: bool = row.try_get(0)?;
    let fingerprint: Option<&[u8]> = row.try_get(1)?;
    locked.unlock = free && fingerprint.is_none();
    let Some(fingerprint) = fingerprint else {
        if free {
            return Ok(Asked::Claimed(PostgresClaim { _held: held?, _locked: locked }));
        }
        return Err(in_use(key_use));
    };
    let (kind, body): (i64, &[u8]) = (row.try_get(3)?, row.try_get(4)?);
    let body = Bytes::copy_from_slice(body);
    Ok(Asked::Recorded(Found {
        fingerprint: fingerprint.try_into().unwrap_or_default(),
        descriptor_hash: row.try_get::<_, i64>(2)?.cast_unsigned(),
        recorded: if kind == Record::ANSWER { Recorded::Answer(body) } else { Recorded::Refusal(body) },
    }))
}

/// A claimed key: its lock among all processes, and in this process the claim that asked for it. Free again when dropped.
pub(crate) struct PostgresClaim {
    // In this order: the next call of this process may ask for the lock only after it was freed.
    _locked: Locked,
    _held: HeldKey,
}

/// A lock that the connection may hold.
struct Locked {
    line: Prepared,
    lock: i64,
    unlock: bool,
}

impl Drop for Locked {
    fn drop(&mut self) {
        if self.unlock {
            // Sent at the first poll, so it comes before whatever is asked on this connection next; there is nothing to do with the reply. A connection
            // that is lost has lost its locks.
            drop(self.line.on.client.execute(&self.line.unlock, &[&self.lock]).now_or_never());
        }
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
