//! The gate before a keyed handler: run it, or answer from the record.
//!
//! The gate is a store's: effect, key and answer commit together there. This file only says what the call needs of it.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;

use crate::{IdempotencyKey, Principal, Result, TenantId};

/// Scope and content of a key's use.
///
/// A key means the same call only within (tenant, principal, method).
#[derive(Clone, Debug)]
pub struct KeyUse {
    /// The tenant for whom the call is made.
    pub tenant: TenantId,
    /// Who acts.
    pub principal: Principal,
    /// The gRPC path of the method.
    pub method: &'static str,
    /// The key.
    pub key: IdempotencyKey,
    /// SHA-256 over the method and the request in deterministic encoding.
    pub fingerprint: [u8; 32],
    /// The hash of the contract's descriptors; fingerprints under different hashes are not comparable.
    pub descriptor_hash: u64,
}

/// What was recorded for a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// The encoded response.
    Answer(Bytes),
    /// The encoded `google.rpc.Status` of a refusal.
    Refusal(Bytes),
}

/// The gate's decision.
pub enum Admission {
    /// The key is free: run the handler under this claim.
    Run(Claim),
    /// The key was used for the same call: give this outcome again.
    Replay(Recorded),
}

/// A held key.
///
/// Who needs the key to stay taken clones [`Claim::hold`]; the key is free again when the last clone is gone. A store keeps one
/// until its commit has ended, for the handler's future may be dropped before.
pub struct Claim {
    /// What is claimed.
    pub key_use: KeyUse,
    hold: Arc<dyn Any + Send + Sync>,
    recorded: bool,
}

impl Claim {
    /// A claim that lasts as long as `hold`.
    #[must_use]
    pub fn new(key_use: KeyUse, hold: Arc<dyn Any + Send + Sync>) -> Self {
        Self { key_use, hold, recorded: false }
    }

    /// A share of the hold on the key.
    #[must_use]
    pub fn hold(&self) -> Arc<dyn Any + Send + Sync> {
        Arc::clone(&self.hold)
    }

    /// Says that the outcome stands in the record.
    pub fn mark_recorded(&mut self) {
        self.recorded = true;
    }

    /// Whether the outcome stands in the record.
    #[must_use]
    pub fn is_recorded(&self) -> bool {
        self.recorded
    }
}

impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claim")
            .field("use", &self.key_use)
            .field("recorded", &self.recorded)
            .finish_non_exhaustive()
    }
}

/// Decides about keyed calls; a module's store implements it.
pub trait KeyGate: Send + Sync + 'static {
    /// Claims the key, or finds what was recorded for it.
    ///
    /// # Errors
    /// `IDEMPOTENCY_KEY_IN_USE` while an equal call runs, `IDEMPOTENCY_KEY_REUSED` if the key was used with another payload
    /// of the same contract version, and whatever keeps the store from answering.
    fn admit(&self, key_use: KeyUse) -> BoxFuture<'_, Result<Admission>>;

    /// Whether the store's transactions can fail because of concurrent ones, so that running a handler again can succeed.
    ///
    /// Asked before each call that may run again: where it is false, nothing is kept for that.
    fn may_conflict(&self) -> bool {
        false
    }
}
