//! Idempotency keys: which are claimed in this process, and what a record means for a repeated call.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use drystone_call::{IdempotencyKey, KeyUse, PlatformReason, Principal, Recorded, Result, TenantId};

/// The outcome of a keyed call, to be written with its effect.
pub(crate) struct Record<'r> {
    pub(crate) key_use: &'r KeyUse,
    pub(crate) kind: i64,
    pub(crate) body: Vec<u8>,
    /// Milliseconds since 1970.
    pub(crate) created: i64,
}

impl Record<'_> {
    pub(crate) const ANSWER: i64 = 0;
    pub(crate) const REFUSAL: i64 = 1;
}

/// What was found for a key.
pub(crate) struct Found {
    pub(crate) fingerprint: [u8; 32],
    pub(crate) descriptor_hash: u64,
    pub(crate) recorded: Recorded,
}

impl Found {
    /// The outcome to give again.
    ///
    /// # Errors
    /// `IDEMPOTENCY_KEY_REUSED` if the key stood for another payload. Fingerprints under different versions of a contract are not comparable, so
    /// such a call is taken for the same.
    pub(crate) fn replay(self, key_use: &KeyUse) -> Result<Recorded> {
        if self.descriptor_hash == key_use.descriptor_hash && self.fingerprint != key_use.fingerprint {
            return Err(PlatformReason::KeyReused.error(format!(
                "the idempotency key was used before for {} with another request; use a new key for a new request",
                key_use.method
            )));
        }
        Ok(self.recorded)
    }
}

type Scope = (TenantId, Principal, &'static str, IdempotencyKey);

/// The keys of calls that run in this process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Claims(Arc<Mutex<HashSet<Scope>>>);

impl Claims {
    /// Claims a key until the hold is dropped.
    ///
    /// # Errors
    /// `IDEMPOTENCY_KEY_IN_USE` while another call has it.
    pub(crate) fn claim(&self, key_use: &KeyUse) -> Result<HeldKey> {
        let scope = (key_use.tenant.clone(), key_use.principal.clone(), key_use.method, key_use.key.clone());
        if self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(scope.clone()) {
            return Ok(HeldKey { claims: self.clone(), scope });
        }
        Err(in_use(key_use))
    }

    pub(crate) fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

pub(crate) fn in_use(key_use: &KeyUse) -> drystone_call::Error {
    PlatformReason::KeyInUse.error(format!(
        "a call of {} with the same idempotency key is running; ask again when it is done",
        key_use.method
    ))
}

/// A claimed key; free again when dropped.
#[derive(Debug)]
pub(crate) struct HeldKey {
    claims: Claims,
    scope: Scope,
}

impl Drop for HeldKey {
    fn drop(&mut self) {
        self.claims.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.scope);
    }
}
