//! What a store counts.

use std::sync::atomic::{AtomicU64, Ordering};

/// A reading of a store's counters and gauges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreMetrics {
    /// Transactions that committed.
    pub commits: u64,
    /// Transactions that were rolled back: dropped, refused or failed.
    pub rollbacks: u64,
    /// Commits of the database, each with at least one fsync on SQLite.
    pub groups: u64,
    /// Transactions that those commits carried.
    pub group_members: u64,
    /// The most transactions that one commit carried.
    pub largest_group: u64,
    /// Groups that the database rolled back as a whole.
    pub groups_lost: u64,
    /// Snapshots opened.
    pub reads: u64,
    /// Calls answered from their record.
    pub replays: u64,
    /// Transactions that the database refused because of a concurrent one, or that were lost with their connection before they committed.
    pub conflicts: u64,
    /// Transactions taken away at the hold limit.
    pub held_too_long: u64,
    /// Writers waiting now, over all tenants.
    pub writers_waiting: u64,
    /// Transactions open now.
    pub open_transactions: u64,
    /// Idempotency keys claimed now.
    pub claims: u64,
    /// Tenants' files open now.
    pub open_files: u64,
}

/// The counters behind [`StoreMetrics`].
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) commits: Count,
    pub(crate) rollbacks: Count,
    pub(crate) groups: Count,
    pub(crate) group_members: Count,
    pub(crate) largest_group: Count,
    pub(crate) groups_lost: Count,
    pub(crate) reads: Count,
    pub(crate) replays: Count,
    pub(crate) conflicts: Count,
    pub(crate) held_too_long: Count,
    pub(crate) writers_waiting: Count,
    pub(crate) open_transactions: Count,
}

/// One number that many threads change.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn add(&self, n: usize) {
        self.0.fetch_add(n as u64, Ordering::Relaxed);
    }

    pub(crate) fn one_less(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn at_least(&self, n: usize) {
        self.0.fetch_max(n as u64, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Counters {
    pub(crate) fn read(&self) -> StoreMetrics {
        StoreMetrics {
            commits: self.commits.get(),
            rollbacks: self.rollbacks.get(),
            groups: self.groups.get(),
            group_members: self.group_members.get(),
            largest_group: self.largest_group.get(),
            groups_lost: self.groups_lost.get(),
            reads: self.reads.get(),
            replays: self.replays.get(),
            conflicts: self.conflicts.get(),
            held_too_long: self.held_too_long.get(),
            writers_waiting: self.writers_waiting.get(),
            open_transactions: self.open_transactions.get(),
            claims: 0,
            open_files: 0,
        }
    }
}
