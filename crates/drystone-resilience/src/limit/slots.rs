//! The limit as threads share it, and the calls that it lets.

use std::fmt;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::time::Instant;

use super::LimitConfig;
use super::estimate::Estimate;
use super::samples::Samples;
use crate::sync::{AtomicU32, AtomicU64, Mutex, Ordering};

/// The limit and what it learns from. A call that ends adds to one word; one in eight looks at the clock, and at the estimate if nobody else does.
#[derive(Debug)]
pub(crate) struct Limit {
    effective: AtomicU32,
    learned: AtomicU32,
    /// Nanoseconds between two calls that end, under pressure; zero if it is not known.
    pace: AtomicU64,
    samples: Samples,
    estimate: Mutex<Estimate>,
}

impl Limit {
    pub(crate) fn new(config: LimitConfig) -> Self {
        let estimate = Estimate::new(config);
        Self {
            effective: AtomicU32::new(estimate.effective()),
            learned: AtomicU32::new(estimate.learned()),
            pace: AtomicU64::new(0),
            samples: Samples::new(),
            estimate: Mutex::new(estimate),
        }
    }

    /// How many may run now: fewer than learned while it probes.
    pub(crate) fn effective(&self) -> u32 {
        self.effective.load(Ordering::Relaxed)
    }

    /// The limit as learned.
    pub(crate) fn learned(&self) -> u32 {
        self.learned.load(Ordering::Relaxed)
    }

    pub(crate) fn configure(&self, config: LimitConfig) {
        let mut estimate = self.estimate.lock().unwrap_or_else(PoisonError::into_inner);
        estimate.configure(config);
        self.publish(&estimate);
    }

    /// Counts a call that did its work; whether it is time to [`Self::look`].
    pub(crate) fn sample(&self, took: Duration) -> bool {
        self.samples.add(took)
    }

    /// As [`Self::sample`], for a call that is timed only when that is of use.
    pub(crate) fn sample_some(&self, took: impl Fn() -> Duration) -> bool {
        self.samples.add_some(took)
    }

    /// Learns. `running` includes the call that has just ended.
    pub(crate) fn look(&self, now: Instant, running: u32) {
        // Who finds it locked leaves it: another one looks, eight calls later.
        let Ok(mut estimate) = self.estimate.try_lock() else { return };
        estimate.look(now, running, &self.samples);
        self.publish(&estimate);
    }

    /// A call found no room.
    pub(crate) fn blocked(&self, now: Instant) {
        // Only a probe that waits has to know.
        if self.effective() == self.learned() {
            return;
        }
        let Ok(mut estimate) = self.estimate.try_lock() else { return };
        estimate.blocked(now, &self.samples);
        self.publish(&estimate);
    }

    /// The time between two calls that end, when last under pressure; zero if it is not known.
    pub(crate) fn pace(&self) -> Duration {
        Duration::from_nanos(self.pace.load(Ordering::Relaxed))
    }

    /// Calls counted since the start.
    pub(crate) fn sampled(&self) -> u64 {
        self.samples.total()
    }

    fn publish(&self, estimate: &Estimate) {
        let pace = u64::try_from(estimate.pace().as_nanos()).unwrap_or(u64::MAX);
        self.pace.store(pace, Ordering::Relaxed);
        self.learned.store(estimate.learned(), Ordering::Relaxed);
        self.effective.store(estimate.effective(), Ordering::Relaxed);
    }
}

/// Lets as many calls at once as the callee does well, and refuses the others at once; shared in an `Arc`. With a queue: [`Admission`](crate::Admission).
pub struct AdaptiveLimit {
    limit: Limit,
    in_flight: AtomicU32,
    refused: AtomicU64,
}

impl AdaptiveLimit {
    /// A limit that has learned nothing yet.
    #[must_use]
    pub fn new(config: LimitConfig) -> Self {
        Self { limit: Limit::new(config), in_flight: AtomicU32::new(0), refused: AtomicU64::new(0) }
    }

    /// A place, or none when the limit is reached.
    pub fn enter(&self, now: Instant) -> Option<LimitSlot<'_>> {
        let limit = self.limit.effective();
        let room = |taken: u32| (taken < limit).then(|| taken + 1);
        if self.in_flight.fetch_update(Ordering::Acquire, Ordering::Relaxed, room).is_ok() {
            return Some(LimitSlot(self));
        }
        self.limit.blocked(now);
        self.refused.fetch_add(1, Ordering::Relaxed);
        None
    }

    /// Changes the bounds; what was learned stays, within them.
    pub fn configure(&self, config: LimitConfig) {
        self.limit.configure(config);
    }

    /// The limit as learned; a probe lets fewer for a moment.
    #[must_use]
    pub fn limit(&self) -> u32 {
        self.limit.learned()
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

impl fmt::Debug for AdaptiveLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("AdaptiveLimit");
        shown.field("limit", &self.limit()).field("in_flight", &self.in_flight()).finish_non_exhaustive()
    }
}

/// A place under an [`AdaptiveLimit`], free again when this is dropped.
#[derive(Debug)]
#[must_use = "the place is free again when this is dropped"]
pub struct LimitSlot<'a>(&'a AdaptiveLimit);

impl LimitSlot<'_> {
    /// The call did its work: it took so long and ended `now`. The limit learns from it; from a call whose place is only dropped it learns nothing.
    pub fn done(self, took: Duration, now: Instant) {
        if self.0.limit.sample(took) {
            self.0.limit.look(now, self.0.in_flight());
        }
    }
}

impl Drop for LimitSlot<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Release);
    }
}
