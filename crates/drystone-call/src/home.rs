//! A module's surroundings that a test may want to turn by hand: the clock and the source of ids.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use uuid::Uuid;

use crate::chance::chance;
use crate::key::digest;
use crate::trace::mix;

/// The time of day. Deadlines do not use it: they run on tokio's clock.
pub trait Clock: Send + Sync + 'static {
    /// The time now.
    fn now(&self) -> SystemTime;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }
}

/// A clock that stands still until it is turned.
#[derive(Debug)]
pub struct ManualClock(AtomicU64);

impl ManualClock {
    /// A clock that shows `at`, to the microsecond.
    ///
    /// # Panics
    /// If `at` lies before 1970.
    #[must_use]
    pub fn at(at: SystemTime) -> Self {
        let since =
            at.duration_since(SystemTime::UNIX_EPOCH).expect("a manual clock shows a time after 1970");
        Self(AtomicU64::new(u64::try_from(since.as_micros()).unwrap_or(u64::MAX)))
    }

    /// Turns the clock forward.
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(u64::try_from(by.as_micros()).unwrap_or(u64::MAX), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_micros(self.0.load(Ordering::SeqCst))
    }
}

/// A source of 128 random bits.
pub trait Ids: Send + Sync + 'static {
    /// The next bits.
    fn next(&self) -> u128;

    /// What the ids repeat from, if they do: other things that are to repeat with them derive from it.
    fn seed(&self) -> Option<u64> {
        None
    }
}

/// Ids that nobody can foresee to be equal; not secrets.
#[derive(Clone, Copy, Debug, Default)]
pub struct RandomIds;

impl Ids for RandomIds {
    fn next(&self) -> u128 {
        chance()
    }
}

/// Ids that repeat from the same seed.
#[derive(Debug)]
pub struct SeededIds {
    seed: u64,
    count: AtomicU64,
}

impl SeededIds {
    /// The ids of a seed for one module: the sequence depends on both, so that it is the same wherever the module runs.
    #[must_use]
    pub fn new(seed: u64, module: &str) -> Self {
        let digest = digest(&[&seed.to_be_bytes(), module.as_bytes()]);
        let seed = digest[..8].iter().fold(0, |all, byte| (all << 8) | u64::from(*byte));
        Self { seed, count: AtomicU64::new(0) }
    }
}

impl Ids for SeededIds {
    fn next(&self) -> u128 {
        let count = self.count.fetch_add(1, Ordering::SeqCst).wrapping_mul(2);
        let word = |n: u64| mix(self.seed.wrapping_add(n.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        (u128::from(word(count)) << 64) | u128::from(word(count + 1))
    }

    fn seed(&self) -> Option<u64> {
        Some(self.seed)
    }
}

/// Where a call is executing: the module's name, its clock and its ids.
#[derive(Clone)]
pub struct Home {
    pub(crate) module: Arc<str>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<dyn Ids>,
}

impl Home {
    /// The surroundings of a module.
    #[must_use]
    pub fn new(module: &str, clock: Arc<dyn Clock>, ids: Arc<dyn Ids>) -> Arc<Self> {
        Arc::new(Self { module: module.into(), clock, ids })
    }

    /// The surroundings of a module on the machine's clock with random ids.
    #[must_use]
    pub fn of_system(module: &str) -> Arc<Self> {
        Self::new(module, Arc::new(SystemClock), Arc::new(RandomIds))
    }

    /// The module's name.
    #[must_use]
    pub fn module(&self) -> &str {
        &self.module
    }

    /// The time of day on this clock.
    #[must_use]
    pub fn now(&self) -> SystemTime {
        self.clock.now()
    }

    /// A version 7 UUID (RFC 9562) of this clock and these ids.
    #[must_use]
    pub fn new_id(&self) -> Uuid {
        let millis = self.clock.now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
        let millis = u64::try_from(millis).unwrap_or(u64::MAX);
        let bits = self.ids.next().to_be_bytes();
        let mut random = [0; 10];
        random.copy_from_slice(&bits[..10]);
        uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
    }
}

impl fmt::Debug for Home {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Home").field("module", &self.module).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeded_ids_repeat_and_depend_on_the_module() {
        let sequence = |seed, module| {
            let ids = SeededIds::new(seed, module);
            [ids.next(), ids.next(), ids.next()]
        };
        assert_eq!(sequence(7, "orders"), sequence(7, "orders"));
        assert_ne!(sequence(7, "orders"), sequence(8, "orders"));
        assert_ne!(sequence(7, "orders"), sequence(7, "users"));
        let [a, b, c] = sequence(7, "orders");
        assert!(a != b && b != c && a != c);
    }
}
