//! Rate limit: so many calls a second for each key, with some burst, the rest refused at once.
//!
//! The generic cell rate algorithm (ITU-T I.371, annex A): per key one moment is kept, the *theoretical arrival time*, at which the next call would come if
//! all came evenly. A call may come earlier than that by what the burst allows; each call moves it on by the time between two even calls. It is a leaky
//! bucket that needs no timer to leak.
//!
//! # Why not the crate `governor`
//!
//! It is the same algorithm, well made, and was the first choice. But its keyed limiter reads a clock of its own kind instead of being told the time, so one moment could not
//! serve all decisions about a call; and at its smallest it brings eight crates (among them `quanta`, `portable-atomic` and `spinning_top`) for what are sixty lines here.

mod layer;

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

pub use layer::{RateEvent, RateLayer};

/// Into how many maps the keys are divided, so that threads seldom wait for each other.
const SHARDS: usize = 16;

/// A map with fewer keys than this is never swept.
const FEW: usize = 64;

/// The longest time between two calls that a rate can ask for.
const SLOWEST: Duration = Duration::from_secs(24 * 3600);

/// How many calls a key may make.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RateConfig {
    /// Calls a second in the long run. Less than one a day counts as one a day.
    pub per_second: f64,
    /// How many calls may come at once after a pause; zero counts as one.
    pub burst: u32,
}

impl RateConfig {
    /// The time between two calls that come evenly.
    fn interval(&self) -> Duration {
        let interval = Duration::try_from_secs_f64(1.0 / self.per_second);
        interval.unwrap_or(SLOWEST).min(SLOWEST)
    }
}

/// A call came too early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooFast {
    /// The first moment at which a call of this key would pass, from now.
    pub retry_in: Duration,
}

impl fmt::Display for TooFast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "too many calls; the next may come in {:?}", self.retry_in)
    }
}

impl std::error::Error for TooFast {}

/// Limits the rate of calls of each key; shared in an `Arc`.
pub struct RateLimiter<K> {
    interval: Duration,
    /// How much earlier than its even moment a call may come.
    tolerance: Duration,
    hasher: RandomState,
    shards: [Mutex<Shard<K>>; SHARDS],
}

/// Some of the keys, each with the moment at which its next call would come if all came evenly.
struct Shard<K> {
    due: HashMap<K, Instant>,
    /// How many keys there may be before those that are idle are removed.
    sweep_at: usize,
}

impl<K: Eq + Hash + Clone> RateLimiter<K> {
    /// A limiter that has not seen any key.
    #[must_use]
    pub fn new(config: RateConfig) -> Self {
        let interval = config.interval();
        Self {
            interval,
            tolerance: interval.saturating_mul(config.burst.saturating_sub(1)),
            hasher: RandomState::new(),
            shards: std::array::from_fn(|_| Mutex::new(Shard { due: HashMap::new(), sweep_at: FEW })),
        }
    }

    /// Counts a call of `key` at `now`.
    ///
    /// # Errors
    ///
    /// [`TooFast`] if the key has had its calls; such a call is not counted.
    pub fn check(&self, key: &K, now: Instant) -> Result<(), TooFast> {
        let mut shard = self.shard(key);
        let due = shard.due.get(key).map_or(now, |due| (*due).max(now));
        let early = due.saturating_duration_since(now);
        if early > self.tolerance {
            return Err(TooFast { retry_in: early - self.tolerance });
        }
        let next = due + self.interval;
        match shard.due.get_mut(key) {
            Some(due) => *due = next,
            None => shard.insert(key.clone(), next, now),
        }
        Ok(())
    }

    /// Forgets every key, and frees what it took to remember them.
    pub fn forget(&self) {
        for shard in &self.shards {
            *lock(shard) = Shard { due: HashMap::new(), sweep_at: FEW };
        }
    }

    /// How many keys are remembered. A key whose burst is whole again is as good as unknown, and is forgotten when its map has doubled.
    #[must_use]
    pub fn keys(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).due.len()).sum()
    }

    fn shard(&self, key: &K) -> MutexGuard<'_, Shard<K>> {
        let hash = usize::try_from(self.hasher.hash_one(key) % SHARDS as u64).unwrap_or_default();
        lock(&self.shards[hash])
    }
}

impl<K: Eq + Hash> Shard<K> {
    fn insert(&mut self, key: K, next: Instant, now: Instant) {
        if self.due.len() >= self.sweep_at {
            self.due.retain(|_, due| *due > now);
            // Half of the inserts between two sweeps pay for the next: the cost of a call stays constant.
            self.sweep_at = (self.due.len() * 2).max(FEW);
        }
        self.due.insert(key, next);
    }
}

/// A panic of a key's `Hash` or `Eq` leaves the map as it was.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<K> fmt::Debug for RateLimiter<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("RateLimiter");
        shown.field("interval", &self.interval).field("tolerance", &self.tolerance).finish_non_exhaustive()
    }
}
