//! Coalescing: equal reads that are in the air at the same time share one flight, and, if asked for, its answer for a while after.
//!
//! A hot key whose answer is slow is asked for a thousand times before the first answer is back (a stampede). The first that asks *leads*: it starts
//! the flight. The others *join* it and get a clone of the same answer. The idea is that of Go's `singleflight` (golang.org/x/sync/singleflight); two
//! things are different here, because a read must not hide what its reader has written before:
//!
//! * a join says how new the answer must be (`not_before`): a flight that had not begun after that moment is not joined. [`Writes`](crate::Writes)
//!   remembers that moment per writer;
//! * nobody owns the flight. Whoever waits for it drives it, so a leader that goes away takes nobody with it, and when the last one goes, the flight
//!   is dropped: a cancelled read costs its callee nothing.
//!
//! The answer may be kept for a time to live (feature `cache`, on by default), in a bounded cache of the crate `moka` that prefers what is asked for
//! often (`TinyLFU`; Einziger, Friedman and Manes, "`TinyLFU`: a highly efficient cache admission policy", 2017).

mod cache;
mod course;
mod layer;

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::Instant;

use crate::sync::{Mutex, MutexGuard};
use crate::writes::KEPT;
use cache::Cache;
use course::{Aboard, Course, Ground};

pub use layer::{Coalesce, CoalesceEvent, CoalesceFuture, CoalesceLayer};

/// What a set of flights keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlightsConfig {
    /// For how long after a flight began its answer is handed out again; `None`: only to those that joined it. At most 60 s, which is as long as
    /// [`Writes`](crate::Writes) remembers; a longer one counts as 60 s.
    #[cfg(feature = "cache")]
    pub ttl: Option<Duration>,
    /// How many answers are kept at most, the least asked for giving way.
    pub most: u64,
}

impl Default for FlightsConfig {
    /// No cache; 10,000 answers if there is one.
    fn default() -> Self {
        Self {
            #[cfg(feature = "cache")]
            ttl: None,
            most: 10_000,
        }
    }
}

impl FlightsConfig {
    fn ttl(&self) -> Option<Duration> {
        #[cfg(feature = "cache")]
        return self.ttl.map(|ttl| ttl.min(KEPT));
        #[cfg(not(feature = "cache"))]
        None
    }
}

/// Flights in the air, by key, and the answers of those that have landed.
///
/// The key must hold everything on which the answer depends, and who asks: of Drystone's calls tenant, principal, method and request.
pub struct Flights<K, V> {
    table: Arc<Table<K, V>>,
    led: AtomicU64,
    joined: AtomicU64,
    cached: AtomicU64,
}

/// What flights land in: the map of those in the air, and the cache.
struct Table<K, V> {
    aloft: Mutex<Aloft<K, V>>,
    cache: Option<Cache<K, V>>,
}

type Aloft<K, V> = HashMap<Arc<K>, Arc<Course<Strip<K, V>, V>>>;

/// One flight's place in the table.
struct Strip<K, V> {
    key: Arc<K>,
    began: Instant,
    table: Arc<Table<K, V>>,
}

/// How many calls were answered how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlightsStats {
    /// Calls that started a flight.
    pub led: u64,
    /// Calls that joined one.
    pub joined: u64,
    /// Calls that got a kept answer.
    pub cached: u64,
    /// Flights that can be joined now.
    pub aloft: usize,
}

/// How a call came by its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Boarding {
    /// It started the flight.
    Led,
    /// It joined a flight in the air.
    Joined,
    /// It got the kept answer of a flight that had landed.
    Cached,
}

impl<K, V> Flights<K, V>
where
    K: Eq + Hash + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// No flights yet.
    #[must_use]
    pub fn new(config: FlightsConfig) -> Self {
        let cache = config.ttl().map(|ttl| Cache::new(ttl, config.most));
        let table = Arc::new(Table { aloft: Mutex::default(), cache });
        Self { table, led: AtomicU64::new(0), joined: AtomicU64::new(0), cached: AtomicU64::new(0) }
    }

    /// Joins the flight of `key` in the air, or starts one, which is then the one to join; `now` is the time.
    ///
    /// Only a flight, or a kept answer, that began *after* `not_before` will do. At the very moment is too early: clocks have steps, and a write that
    /// was acknowledged in the same step may not be in it. Nor is a flight joined that is in the air for 60 s, since nobody remembers what was
    /// written before. `start` gives the call, and its answer says whether it may be kept, which a refusal should not be.
    ///
    /// # Panics
    ///
    /// The future panics when the flight does: for the one that polled with the same panic, for the others with one that says so.
    pub fn join(
        &self,
        key: K,
        not_before: Option<Instant>,
        now: Instant,
        start: impl FnOnce() -> BoxFuture<'static, (V, bool)>,
    ) -> Flight<V> {
        let fresh = |began: Instant| not_before.is_none_or(|limit| began > limit);
        if let Some(value) = self.table.cache.as_ref().and_then(|cache| cache.get(&key, now, fresh)) {
            self.cached.fetch_add(1, Ordering::Relaxed);
            return Flight { place: Place::Landed(value), boarding: Boarding::Cached };
        }
        let mut aloft = self.table.lock();
        let found = aloft.get(&key).filter(|course| {
            let began = course.ground().began;
            fresh(began) && now.saturating_duration_since(began) < KEPT
        });
        if let Some((course, seat)) = found.and_then(|course| Some((course, course.board()?))) {
            let place = Place::Aboard(course.clone(), seat);
            drop(aloft);
            self.joined.fetch_add(1, Ordering::Relaxed);
            return Flight { place, boarding: Boarding::Joined };
        }
        let key = Arc::new(key);
        let (course, seat) = Course::new(Strip { key: key.clone(), began: now, table: self.table.clone() });
        let replaced = aloft.insert(key, course.clone());
        drop(aloft);
        drop(replaced);
        self.led.fetch_add(1, Ordering::Relaxed);
        // From here on dropping the flight gives the seat back, also when `start` panics.
        let flight = Flight { place: Place::Aboard(course.clone(), seat), boarding: Boarding::Led };
        course.take_off(start);
        flight
    }

    /// Forgets the answers that are kept, and lets their memory go. Flights in the air go on, and keep their answers when they land.
    pub fn forget(&self) {
        if let Some(cache) = &self.table.cache {
            cache.forget();
        }
    }

    /// How many calls were answered how, since the start.
    #[must_use]
    pub fn stats(&self) -> FlightsStats {
        FlightsStats {
            led: self.led.load(Ordering::Relaxed),
            joined: self.joined.load(Ordering::Relaxed),
            cached: self.cached.load(Ordering::Relaxed),
            aloft: self.table.lock().len(),
        }
    }
}

impl<K, V> fmt::Debug for Flights<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flights").field("aloft", &self.table.lock().len()).finish_non_exhaustive()
    }
}

impl<K, V> Table<K, V> {
    fn lock(&self) -> MutexGuard<'_, Aloft<K, V>> {
        // What can panic under the lock is the hash or the equality of a key: they change nothing.
        self.aloft.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K, V> Ground<V> for Strip<K, V>
where
    K: Eq + Hash + Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    fn close(course: &Course<Self, V>, keep: Option<&Arc<V>>) {
        let Self { key, began, table } = course.ground();
        let mut aloft = table.lock();
        let closed = match aloft.get(key) {
            Some(current) if std::ptr::eq(&raw const **current, course) => aloft.remove(key),
            // A newer one took its place, and its answer is the one to keep.
            _ => None,
        };
        if let (Some(_), Some(cache), Some(value)) = (&closed, &table.cache, keep) {
            cache.insert(key.clone(), value.clone(), *began);
        }
        drop(aloft);
    }
}

/// A call's place in a flight: its answer, when it lands.
#[must_use = "a flight goes on only while somebody waits for it"]
pub struct Flight<V> {
    place: Place<V>,
    boarding: Boarding,
}

enum Place<V> {
    Aboard(Arc<dyn Aboard<V>>, usize),
    Landed(Arc<V>),
    Left,
}

impl<V> Flight<V> {
    /// Whether this call started the flight.
    #[must_use]
    pub fn led(&self) -> bool {
        self.boarding == Boarding::Led
    }

    /// How this call came by its answer.
    #[must_use]
    pub fn boarding(&self) -> Boarding {
        self.boarding
    }
}

impl<V: Clone> Future for Flight<V> {
    type Output = V;

    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<V> {
        let value = match &mut self.place {
            Place::Aboard(course, seat) => match course.clone().poll(*seat, task.waker()) {
                Poll::Ready(value) => value,
                Poll::Pending => return Poll::Pending,
            },
            Place::Landed(value) => value.clone(),
            Place::Left => panic!("a flight was polled after it had landed"),
        };
        // Leaving first: the last to leave moves the answer out of the flight.
        self.leave();
        Poll::Ready(Arc::unwrap_or_clone(value))
    }
}

impl<V> Flight<V> {
    fn leave(&mut self) {
        if let Place::Aboard(course, seat) = std::mem::replace(&mut self.place, Place::Left) {
            course.leave(seat);
        }
    }
}

impl<V> Unpin for Flight<V> {}

impl<V> Drop for Flight<V> {
    fn drop(&mut self) {
        self.leave();
    }
}

impl<V> fmt::Debug for Flight<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flight").field("boarding", &self.boarding).finish_non_exhaustive()
    }
}
