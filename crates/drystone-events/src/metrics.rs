//! What pumps and consumers count.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// The number.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }

    pub(crate) fn add(&self, more: u64) {
        self.0.fetch_add(more, Relaxed);
    }
}

/// A number as it was last seen.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// The number.
    #[must_use]
    pub fn get(&self) -> i64 {
        self.0.load(Relaxed)
    }

    pub(crate) fn set(&self, to: i64) {
        self.0.store(to, Relaxed);
    }
}

/// What one consumer has done since the process began.
#[derive(Debug, Default)]
pub struct ConsumerMetrics {
    /// Messages whose handler ran and committed.
    pub applied: Count,
    /// Messages that had arrived before.
    pub repeated: Count,
    /// Messages of a broker that were no events, and were left out.
    pub malformed: Count,
    /// Messages that were held back when they arrived.
    pub held: Count,
    /// Attempts at messages that were held back.
    pub retried: Count,
    /// Keys that were parked.
    pub parked: Count,
    /// The time that the last applied message took from publishing, in microseconds.
    pub latency: Gauge,
}

/// What one pump has done since the process began, over all its lanes.
#[derive(Debug, Default)]
pub struct PumpMetrics {
    /// Messages that the target has taken.
    pub carried: Count,
    /// Attempts that failed.
    pub failures: Count,
    /// How often somebody else had taken the claim.
    pub claims_lost: Count,
    /// How often the target had lost messages that it had acknowledged.
    pub forgotten: Count,
    /// When the oldest message that is not with the target was published, in microseconds since 1970; zero if there is none.
    pub oldest: Gauge,
}

/// What the fence of a module on PostgreSQL shows.
#[derive(Debug, Default)]
pub struct FenceMetrics {
    /// The greatest number that is settled.
    pub settled: Gauge,
    /// The greatest number that was taken.
    pub high: Gauge,
    /// Since when the fence waits for an older transaction, in microseconds since 1970; zero if it does not.
    pub waiting_since: Gauge,
    /// The process id of the session that it waits for; zero if it does not wait.
    pub blocker: Gauge,
}
