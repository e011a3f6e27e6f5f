//! The counter of a bulkhead.

use std::fmt;

use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// Counts the calls in flight and refuses the one too many; shared in an `Arc`.
pub struct Bulkhead {
    most: AtomicU32,
    in_flight: AtomicU32,
    refused: AtomicU64,
}

impl Bulkhead {
    /// A bulkhead for at most so many calls at once; zero refuses all.
    #[must_use]
    pub fn new(most: u32) -> Self {
        Self { most: AtomicU32::new(most), in_flight: AtomicU32::new(0), refused: AtomicU64::new(0) }
    }

    /// A place, or none when all are taken. Takes no time and no lock.
    pub fn enter(&self) -> Option<Slot<'_>> {
        let most = self.most();
        let room = |taken: u32| (taken < most).then(|| taken + 1);
        // An exchange rather than an increment that is taken back, which would refuse others while it lasts.
        if self.in_flight.fetch_update(Ordering::Acquire, Ordering::Relaxed, room).is_ok() {
            return Some(Slot(self));
        }
        self.refused.fetch_add(1, Ordering::Relaxed);
        None
    }

    /// Changes how many may be in flight. Those that are already stay, even if they are now too many.
    pub fn resize(&self, most: u32) {
        self.most.store(most, Ordering::Relaxed);
    }

    /// How many may be in flight.
    #[must_use]
    pub fn most(&self) -> u32 {
        self.most.load(Ordering::Relaxed)
    }

    /// How many are in flight.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// How many were refused since the start.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Bulkhead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Bulkhead");
        shown.field("most", &self.most()).field("in_flight", &self.in_flight()).finish_non_exhaustive()
    }
}

/// A place in a [`Bulkhead`], free again when this is dropped.
#[derive(Debug)]
#[must_use = "the place is free again when this is dropped"]
pub struct Slot<'a>(&'a Bulkhead);

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Release);
    }
}
