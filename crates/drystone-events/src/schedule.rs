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

    /// A clock whose time and chance are given.
    #[derive(Clone, Copy)]
    struct Given(i64, u64);

    impl Clock for Given {
        fn now(&self) -> i64 {
            self.0
        }

        async fn sleep(&self, _: Duration) {}

        fn roll(&self) -> u64 {
            self.1
        }
    }

    proptest::proptest! {
        /// From the first attempt to the last: as many as were asked for, no wait longer than the cap or than twice the limit before it, and all of them together
        /// no longer than what the schedule says of itself.
        #[test]
        fn a_schedule_ends_in_time(
            base in 1_u64..2_000_000,
            cap in 1_u64..1_000_000_000,
            attempts in 1_u32..40,
            rolls in proptest::collection::vec(proptest::prelude::any::<u64>(), 40),
        ) {
            let (base, cap) = (Duration::from_micros(base), Duration::from_micros(cap));
            let schedule = Schedule { base, cap, attempts };
            let (mut now, mut made) = (1_000_i64, 1);
            while let Some(due) = schedule.next(made, &Given(now, rolls[made as usize])) {
                let wait = Duration::from_micros((due - now).unsigned_abs());
                proptest::prop_assert!(due >= now && wait < schedule.limit(made).max(Duration::from_micros(1)));
                proptest::prop_assert!(schedule.limit(made) <= cap);
                proptest::prop_assert!(schedule.limit(made + 1) <= schedule.limit(made) * 2);
                (now, made) = (due, made + 1);
            }
            proptest::prop_assert_eq!(made, attempts);
            proptest::prop_assert!(Duration::from_micros((now - 1_000).unsigned_abs()) <= schedule.longest());
        }

        /// Full jitter: any moment up to the limit can come out, so that keys that failed together part.
        #[test]
        fn any_moment_up_to_the_limit_can_come_out(made in 1_u32..12, share in 0_u64..1000) {
            let schedule = Schedule::default();
            let limit = schedule.limit(made).as_micros() as u64;
            let wanted = limit * share / 1000;
            let expected = (made < schedule.attempts).then_some(7 + wanted as i64);
            proptest::prop_assert_eq!(schedule.next(made, &Given(7, wanted)), expected);
        }
    }
}
