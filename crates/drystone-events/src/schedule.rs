//! When a message that failed is tried again.

use std::time::Duration;

use crate::clock::{Clock, after};

/// A schedule of repeated attempts: exponential, with full jitter, so that keys that failed together do not come back together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// The longest wait before the second attempt.
    pub base: Duration,
    /// The longest wait before any attempt.
    pub cap: Duration,
    /// How many attempts there are before the key is parked.
    pub attempts: u32,
}

impl Default for Schedule {
    /// Twelve attempts, 200 ms to 5 minutes apart: a quarter of an hour at most.
    fn default() -> Self {
        Self { base: Duration::from_millis(200), cap: Duration::from_secs(300), attempts: 12 }
    }
}

impl Schedule {
    /// The longest time from the first attempt to the last.
    #[must_use]
    pub fn longest(&self) -> Duration {
        (1..self.attempts).map(|made| self.limit(made)).fold(Duration::ZERO, Duration::saturating_add)
    }

    /// When the next attempt is due after `made` attempts failed, or `None` if that was the last.
    pub(crate) fn next(&self, made: u32, clock: &impl Clock) -> Option<i64> {
        (made < self.attempts).then(|| {
            let limit = u64::try_from(self.limit(made).as_micros()).unwrap_or(u64::MAX).max(1);
            after(clock.now(), Duration::from_micros(clock.roll() % limit))
        })
    }

    fn limit(&self, made: u32) -> Duration {
        self.base.saturating_mul(1_u32.checked_shl(made.saturating_sub(1)).unwrap_or(u32::MAX)).min(self.cap)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_cap() {
        let schedule = Schedule::default();
        assert_eq!(schedule.limit(1), Duration::from_millis(200));
        assert_eq!(schedule.limit(4), Duration::from_millis(1600));
        assert_eq!(schedule.limit(40), Duration::from_secs(300));
        assert!(schedule.longest() < Duration::from_mins(12), "{:?}", schedule.longest());
    }
}
