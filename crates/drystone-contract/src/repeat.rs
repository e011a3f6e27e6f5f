//! What becomes of a call that is sent twice.

use std::time::Duration;

/// What a call changes, and what repeating it does (`idempotency_level`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Nothing: a read (`NO_SIDE_EFFECTS`).
    NoSideEffects,
    /// Something, and no more when repeated (`IDEMPOTENT`).
    Idempotent,
    /// Something, and possibly a second time when repeated, unless a key tells the calls to be one.
    Mutating,
}

/// Equal calls in flight at the same time share one answer (`(drystone.method).coalesce`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Coalescing {
    /// For how long after it was asked for an answer is handed out again; `None`: only to calls that come before the answer does.
    pub ttl: Option<Duration>,
}

/// How a method treats idempotency keys (`(drystone.method).key`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyPolicy {
    /// Calls with the same key have one effect and one answer.
    Honoured,
    /// As honoured; a call without a key is refused.
    Required,
    /// Keys are not looked at.
    Ignored,
}
