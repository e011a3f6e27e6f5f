//! What becomes of a call that is sent twice.

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
