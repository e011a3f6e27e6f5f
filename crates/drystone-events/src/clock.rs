//! Time and chance, as the engine sees them: the machine's, or a simulator's.

use std::time::Duration;

/// What the engine knows of the world outside its stores and links.
///
/// The simulator implements it with paused time and one seed, so that a run repeats to the bit.
pub trait Clock: Send + Sync + 'static {
    /// The time of day, in microseconds since 1970.
    fn now(&self) -> i64;

    /// Waits.
    fn sleep(&self, time: Duration) -> impl Future<Output = ()> + Send;

    /// 64 random bits.
    fn roll(&self) -> u64;
}

/// The time of a module's home, and the machine's chance.
#[derive(Clone, Debug)]
pub struct HomeClock(pub(crate) std::sync::Arc<drystone_call::Home>);

impl HomeClock {
    /// The clock of a home.
    #[must_use]
    pub fn new(home: std::sync::Arc<drystone_call::Home>) -> Self {
        Self(home)
    }
}

impl Clock for HomeClock {
    fn now(&self) -> i64 {
        let since = self.0.now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
    }

    async fn sleep(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    fn roll(&self) -> u64 {
        (drystone_call::chance() >> 64) as u64
    }
}

/// A moment this long after `now`, both in microseconds.
pub(crate) fn after(now: i64, time: Duration) -> i64 {
    now.saturating_add(i64::try_from(time.as_micros()).unwrap_or(i64::MAX))
}
