//! Permits and the line in front of them, shared by threads.
//!
//! One word holds how many run (lower half) and how many wait (upper half), so that "there is room and nobody waits" is one look, and taking the permit one
//! exchange. The queue is behind a lock, which only those meet who wait, and those who leave while somebody waits. The number of those who wait
//! changes under the lock alone. A call that joins raises it *before* it looks for room again: whoever left before that has
//! made room that the second look sees; whoever leaves after it sees that somebody waits.

use std::hash::Hash;
use std::sync::{Arc, PoisonError};

use tokio::time::Instant;

use super::queue::{Arrival, Full, Joined, Queue, Rules};
use super::waiter::{Verdict, Waiter};
use crate::sync::{AtomicU64, Mutex, MutexGuard, Ordering};

const ONE_RUNS: u64 = 1;
const ONE_WAITS: u64 = 1 << 32;

/// Permits and the line in front of them.
#[derive(Debug)]
pub(crate) struct Line<K> {
    counts: AtomicU64,
    queue: Mutex<Queue<K>>,
}

impl<K: Eq + Hash + Clone> Line<K> {
    pub(crate) fn new() -> Self {
        Self { counts: AtomicU64::new(0), queue: Mutex::new(Queue::new()) }
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> u32 {
        waiting(self.counts.load(Ordering::Relaxed))
    }

    /// Takes a permit if fewer than `limit` run and nobody waits.
    pub(crate) fn try_take(&self, limit: u32) -> bool {
        let free = |counts| (waiting(counts) == 0 && running(counts) < limit).then(|| counts + ONE_RUNS);
        self.counts.fetch_update(Ordering::Acquire, Ordering::Relaxed, free).is_ok()
    }

    /// Joins the line. The caller then gives out turns, for there may be room since.
    pub(crate) fn join(&self, arrival: &Arrival<'_, K>, rules: Rules) -> Result<Joined, Full> {
        let mut queue = self.queue();
        let joined = queue.join(arrival, rules)?;
        match &joined.displaced {
            Some((displaced, ahead)) => displaced.decide(Verdict::Displaced { ahead: *ahead }),
            None => _ = self.counts.fetch_add(ONE_WAITS, Ordering::AcqRel),
        }
        Ok(joined)
    }

    /// Decides about the next one that waits: it gets a permit, if fewer than `limit` run, or has waited too long. The caller wakes it and asks again.
    pub(crate) fn turn(&self, limit: u32, now: Instant) -> Option<Arc<Waiter>> {
        let counts = self.counts.load(Ordering::Acquire);
        if waiting(counts) == 0 || running(counts) >= limit {
            return None;
        }
        let mut queue = self.queue();
        if queue.waiting() == 0 {
            return None;
        }
        // From waiting to running in one step: in between nobody could pass by the line.
        let taken = |counts| (running(counts) < limit).then(|| counts - ONE_WAITS + ONE_RUNS);
        self.counts.fetch_update(Ordering::AcqRel, Ordering::Relaxed, taken).ok()?;
        let (waiter, expired) = queue.next(now)?;
        if expired {
            self.counts.fetch_sub(ONE_RUNS, Ordering::AcqRel);
            waiter.decide(Self::expired(&queue, &waiter));
        } else {
            waiter.decide(Verdict::Granted);
        }
        Some(waiter)
    }

    /// Ends the wait of a call: what was decided about it, or now that it has waited too long.
    pub(crate) fn expire(&self, waiter: &Waiter, now: Instant) -> Verdict {
        let mut queue = self.queue();
        if queue.remove(waiter, now).is_some() {
            self.counts.fetch_sub(ONE_WAITS, Ordering::AcqRel);
            waiter.decide(Self::expired(&queue, waiter));
        }
        // Who is not in the queue any more has been decided about, under the lock.
        waiter.verdict().unwrap_or(Verdict::Expired { ahead: 1 })
    }

    /// Gives a permit back; whether somebody waits for it.
    pub(crate) fn give_back(&self) -> bool {
        waiting(self.counts.fetch_sub(ONE_RUNS, Ordering::AcqRel)) > 0
    }

    /// How many run.
    pub(crate) fn running(&self) -> u32 {
        running(self.counts.load(Ordering::Relaxed))
    }

    /// When the one that waits longest came.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        self.queue().oldest()
    }

    fn expired(queue: &Queue<K>, waiter: &Waiter) -> Verdict {
        let ahead = queue.lane(waiter.lane).map_or(1, |(key, weight)| queue.ahead(key, weight));
        Verdict::Expired { ahead }
    }

    /// A panic of a key's `Hash` or `Eq` comes before anything is changed.
    fn queue(&self) -> MutexGuard<'_, Queue<K>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the lower half of the word")]
fn running(counts: u64) -> u32 {
    counts as u32
}

fn waiting(counts: u64) -> u32 {
    u32::try_from(counts >> 32).unwrap_or_default()
}
