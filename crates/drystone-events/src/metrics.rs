//! What pumps and consumers count.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use drystone_call::TenantId;

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
    /// Keys that are parked now.
    pub parked_keys: Gauge,
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
    /// What is not with the target.
    pub behind: Behind,
}

/// What is not with a pump's target, lane by lane, as the pump saw it last. Reading it asks no store.
#[derive(Debug, Default)]
pub struct Behind(Mutex<Lanes>);

#[derive(Debug, Default)]
struct Lanes {
    /// Those that wait; those of tenants that the target refuses are marked.
    waiting: BTreeMap<Option<TenantId>, Waiting>,
    /// Since when nothing has moved although something waits that is not refused.
    still: Option<i64>,
}

#[derive(Debug)]
struct Waiting {
    messages: i64,
    oldest: i64,
    refused: bool,
}

impl Behind {
    /// How many messages wait at most: others, which the target does not want, may be counted among them.
    #[must_use]
    pub fn messages(&self) -> i64 {
        self.lanes().waiting.values().map(|lane| lane.messages).sum()
    }

    /// When the oldest of them was published, in microseconds since 1970.
    #[must_use]
    pub fn oldest(&self) -> Option<i64> {
        self.lanes().waiting.values().map(|lane| lane.oldest).min()
    }

    /// Since when the target has taken nothing although messages of tenants that it does not refuse wait, in microseconds since 1970.
    #[must_use]
    pub fn still_since(&self) -> Option<i64> {
        self.lanes().still
    }

    /// Messages of a lane, or of a refused tenant, wait.
    pub(crate) fn waits(&self, lane: Option<&TenantId>, messages: i64, oldest: i64, now: i64) {
        let mut lanes = self.lanes();
        let refused = lanes.waiting.get(&lane.cloned()).is_some_and(|lane| lane.refused);
        lanes.waiting.insert(lane.cloned(), Waiting { messages, oldest, refused });
        if !refused {
            lanes.still.get_or_insert(now);
        }
    }

    /// The target refuses the tenant of a lane.
    pub(crate) fn refused(&self, tenant: &TenantId, messages: i64, oldest: i64) {
        let mut lanes = self.lanes();
        lanes.waiting.insert(Some(tenant.clone()), Waiting { messages, oldest, refused: true });
        lanes.settle();
    }

    /// The target has taken messages.
    pub(crate) fn moved(&self, now: i64) {
        let mut lanes = self.lanes();
        lanes.still = lanes.still.map(|still| still.max(now));
    }

    /// A lane has nothing that waits.
    pub(crate) fn dry(&self, lane: Option<&TenantId>) {
        let mut lanes = self.lanes();
        if !lanes.waiting.is_empty() {
            lanes.waiting.remove(&lane.cloned());
            lanes.settle();
        }
    }

    fn lanes(&self) -> MutexGuard<'_, Lanes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lanes {
    /// Nothing stands still where nothing waits, or only for refused tenants.
    fn settle(&mut self) {
        if self.waiting.values().all(|lane| lane.refused) {
            self.still = None;
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_told_from_what_is_refused() {
        let (behind, acme, bolt) =
            (Behind::default(), TenantId::new("acme").unwrap(), TenantId::new("bolt").unwrap());
        behind.waits(Some(&acme), 3, 100, 500);
        behind.waits(Some(&bolt), 2, 200, 600);
        assert_eq!((behind.messages(), behind.oldest(), behind.still_since()), (5, Some(100), Some(500)));
        behind.moved(700);
        assert_eq!(behind.still_since(), Some(700));
        behind.refused(&acme, 3, 100);
        behind.dry(Some(&bolt));
        assert_eq!(
            (behind.messages(), behind.still_since()),
            (3, None),
            "a refused tenant does not make its pump stand still"
        );
        behind.waits(Some(&acme), 4, 100, 800);
        assert_eq!(behind.still_since(), None, "it stays refused until it is dry");
        behind.dry(Some(&acme));
        assert_eq!((behind.messages(), behind.oldest()), (0, None));
    }
}
