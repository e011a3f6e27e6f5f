//! One turn at a time for each of many things.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Mutex as Turn, OwnedMutexGuard};

/// Locks by name, in memory only while somebody has or wants one.
#[derive(Debug)]
pub(crate) struct Locks<K>(Arc<Mutex<HashMap<K, Arc<Turn<()>>>>>);

impl<K> Default for Locks<K> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

/// A turn; the next one begins when it is dropped.
pub(crate) struct Held<K: Eq + Hash> {
    key: K,
    turn: Option<OwnedMutexGuard<()>>,
    all: Arc<Mutex<HashMap<K, Arc<Turn<()>>>>>,
}

impl<K: Eq + Hash + Clone> Locks<K> {
    /// Waits for the turn of `key`; first come, first served.
    pub(crate) async fn lock(&self, key: K) -> Held<K> {
        let turn = {
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(all.entry(key.clone()).or_default())
        };
        let mut held = Held { key, turn: None, all: Arc::clone(&self.0) };
        held.turn = Some(turn.lock_owned().await);
        held
    }
}

impl<K: Eq + Hash> Drop for Held<K> {
    fn drop(&mut self) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        self.turn = None;
        // Whoever waits has a handle of its own.
        if all.get(&self.key).is_some_and(|turn| Arc::strong_count(turn) == 1) {
            all.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nothing_is_left_when_nobody_waits() {
        let locks = Locks::default();
        let first = locks.lock("a").await;
        let other = locks.lock("b").await;
        assert!(futures_util::poll!(std::pin::pin!(locks.lock("a"))).is_pending());
        drop((first, other));
        assert!(locks.0.lock().unwrap().is_empty());
    }
}
