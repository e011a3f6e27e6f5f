//! Defects for rehearsals of a rehearsal: one thing at a time that a promise rests on can be taken away.
//!
//! A check that finds nothing must be able to find something. With the feature `defects`, which no ordinary build has, a test breaks its own thread, and the
//! places that ask [`broken`] then do without. Without the feature there is no code.

#[cfg(feature = "defects")]
use std::cell::Cell;

#[cfg(feature = "defects")]
thread_local! {
    static BROKEN: Cell<&'static str> = const { Cell::new("") };
}

/// Takes this away on this thread, in place of what was taken away before; nothing, if it is empty.
#[cfg(feature = "defects")]
pub fn break_thread(what: &'static str) {
    BROKEN.set(what);
}

/// Whether this is taken away on this thread.
#[cfg(feature = "defects")]
#[must_use]
pub fn broken(what: &str) -> bool {
    BROKEN.get() == what
}

/// Whether this is taken away on this thread: nothing is.
#[cfg(not(feature = "defects"))]
#[inline(always)]
#[must_use]
pub const fn broken(_: &str) -> bool {
    false
}
