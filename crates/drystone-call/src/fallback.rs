//! An answer of one's own where the callee has none.

use crate::{Caller, Code, Error, PlatformReason, Result};

/// Answers instead of a callee that cannot: it is away, too slow, or has more to do than it can.
///
/// A refusal is an answer and stays one: nobody falls back from `OUT_OF_STOCK`.
///
/// ```
/// use drystone_call::{Caller, Error, OrFallback, Result};
///
/// fn shipping_days(cx: &Caller, asked: Result<u32>) -> Result<u32> {
///     asked.or_fallback(cx, |_| 5)
/// }
/// ```
pub trait OrFallback<T> {
    /// The answer, or `fallback`'s if the callee could not give one. Noted in the context as `fallback` with the error's code.
    ///
    /// # Errors
    /// The callee's refusal.
    fn or_fallback(self, cx: &Caller, fallback: impl FnOnce(&Error) -> T) -> Result<T>;
}

impl<T> OrFallback<T> for Result<T> {
    fn or_fallback(self, cx: &Caller, fallback: impl FnOnce(&Error) -> T) -> Result<T> {
        match self {
            Err(error) if could_not(&error) => {
                cx.note("fallback", error.code());
                Ok(fallback(&error))
            }
            answer => answer,
        }
    }
}

/// Whether the callee had no answer, as opposed to one that the caller does not like.
fn could_not(error: &Error) -> bool {
    match error.code() {
        Code::Unavailable | Code::DeadlineExceeded => true,
        Code::ResourceExhausted => {
            error.is(PlatformReason::Overloaded) || error.is(PlatformReason::BulkheadFull)
        }
        _ => false,
    }
}
