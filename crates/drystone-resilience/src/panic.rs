//! Panic barrier: a panic in one call ends that call, and nothing else.
//!
//! Without it a panic unwinds into whatever drives the call: a connection with all its other streams, or a task that others wait for. Behind the barrier it is an error
//! like any other. The barrier catches by `std::panic::catch_unwind`, so a program built with `panic = "abort"` has none.
//!
//! What a panicking call left behind in shared state is as it was at that moment: locks are poisoned, counters may be off by one. Guards that restore in `Drop` are the
//! answer, and the reason why this is sound for services that keep their state behind such.

mod layer;

pub use layer::{PanicError, PanicEvent, PanicLayer, PanicService};

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;

use futures_util::FutureExt as _;

/// A call panicked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Panicked {
    message: String,
}

impl Panicked {
    /// What it said: the text of `panic!`, for logs and not for callers.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// From what `catch_unwind` caught.
    #[must_use]
    pub fn of(payload: &(dyn Any + Send)) -> Self {
        let text = payload.downcast_ref::<&str>().copied();
        let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        Self { message: text.unwrap_or("a value that is not text").to_owned() }
    }
}

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the call panicked: {}", self.message)
    }
}

impl std::error::Error for Panicked {}

/// Runs `call` behind the barrier, its destructor at the end too.
///
/// # Errors
///
/// [`Panicked`] if it panicked.
#[expect(clippy::redundant_async_block, reason = "the block drops the call inside of what is caught")]
pub async fn catch_panic<F: Future>(call: F) -> Result<F::Output, Panicked> {
    AssertUnwindSafe(async move { call.await })
        .catch_unwind()
        .await
        .map_err(|payload| Panicked::of(&*payload))
}

#[cfg(test)]
mod tests;
