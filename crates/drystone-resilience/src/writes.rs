//! When did somebody last see one of their writes acknowledged? So that none of their reads joins a flight from before it.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How long a write is remembered, and so how old a flight or a kept answer may be at most.
pub(crate) const KEPT: Duration = Duration::from_secs(60);

/// By how much two threads may differ in what they take for now.
const SKEW: Duration = Duration::from_secs(1);

/// The last acknowledged write of each writer, for 60 s.
///
/// A coalesced read asks [`Writes::last`] for its reader and passes the answer to [`Flights::join`](crate::Flights::join) as `not_before`. It is
/// bounded and errs on the safe side: when there are more writers than it may remember, it forgets them all and lets everybody count as having written
/// when the last of them did. Reads are then coalesced less for a while, and never wrongly.
///
/// Two generations of 60 s are kept rather than an ordering by age: recording is one insertion, and forgetting is dropping a map.
pub struct Writes<K> {
    most: usize,
    state: Mutex<State<K>>,
}

struct State<K> {
    /// Those who wrote since `turned`, and those who last wrote in the 60 s before.
    recent: HashMap<K, Instant>,
    older: HashMap<K, Instant>,
    turned: Option<Instant>,
    /// Since when nothing is known of anybody who is not in the maps.
    everybody: Option<Instant>,
    overflows: u64,
}

impl<K: Eq + Hash + Clone> Writes<K> {
    /// How long a write is remembered: 60 s.
    pub const KEPT: Duration = KEPT;

    /// Remembers `most` writers at most, and at least one.
    #[must_use]
    pub fn new(most: usize) -> Self {
        let state = State {
            recent: HashMap::new(),
            older: HashMap::new(),
            turned: None,
            everybody: None,
            overflows: 0,
        };
        Self { most: most.max(1), state: Mutex::new(state) }
    }

    /// A write of `key` has been acknowledged; `now` is read after that. What is told late, or in another order, counts from its own moment.
    pub fn record(&self, key: &K, now: Instant) {
        let mut state = self.lock();
        let forgotten = state.turn(now);
        if let Some(last) = state.recent.get_mut(key) {
            *last = now.max(*last);
            return;
        }
        let mut dropped = (forgotten, HashMap::new());
        if state.recent.len() + state.older.len() >= self.most && !state.older.contains_key(key) {
            // Not `now` alone: what is told late is from before some of what is forgotten here.
            let newest = state.recent.values().chain(state.older.values()).copied().max();
            state.everybody = state.everybody.max(newest).max(Some(now));
            state.overflows += 1;
            dropped.1 = mem::take(&mut state.recent);
            state.older.clear();
        }
        let before = state.older.remove(key);
        state.recent.insert(key.clone(), before.map_or(now, |before| before.max(now)));
        drop(state);
        drop(dropped);
    }

    /// When a write of `key` was last acknowledged, if that was within the 60 s before `now`, or may have been.
    #[must_use]
    pub fn last(&self, key: &K, now: Instant) -> Option<Instant> {
        let state = self.lock();
        let own = state.recent.get(key).or_else(|| state.older.get(key)).copied();
        own.max(state.everybody).filter(|last| now.saturating_duration_since(*last) <= KEPT)
    }

    /// How many writers are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        let state = self.lock();
        state.recent.len() + state.older.len()
    }

    /// How often there were too many, and everybody counted as having written.
    #[must_use]
    pub fn overflows(&self) -> u64 {
        self.lock().overflows
    }

    /// Whether nobody is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<K> Writes<K> {
    fn lock(&self) -> MutexGuard<'_, State<K>> {
        // What can panic under the lock is the hash, the equality or the clone of a key, each before anything is changed for good.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K> State<K> {
    /// Starts a new generation when the present one is as old as a write is remembered; returns what is forgotten.
    fn turn(&mut self, now: Instant) -> HashMap<K, Instant> {
        let age = now.saturating_duration_since(*self.turned.get_or_insert(now));
        if age <= KEPT + SKEW {
            return HashMap::new();
        }
        self.turned = Some(now);
        mem::replace(&mut self.older, mem::take(&mut self.recent))
    }
}

impl<K> fmt::Debug for Writes<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("Writes")
            .field("most", &self.most)
            .field("remembered", &(state.recent.len() + state.older.len()))
            .field("everybody", &state.everybody)
            .finish_non_exhaustive()
    }
}
