//! How long to wait before an attempt is repeated.
//!
//! "Full jitter" of Marc Brooker, "Exponential backoff and jitter" (AWS Architecture Blog, 2015): a random time between nothing and a limit that doubles. Without the
//! randomness, callers that failed together come back together.

use std::time::Duration;

use crate::random::Random;

/// Waits that grow with each retry of a call, up to a limit, with full jitter (Brooker, "Exponential backoff and jitter", AWS Architecture Blog, 2015).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The longest wait before the first retry; it doubles with each.
    pub base: Duration,
    /// The longest wait of all.
    pub cap: Duration,
}

impl Backoff {
    /// The wait before the `retry`-th retry of a call, counted from 1: any time below [`Self::most`].
    #[must_use]
    pub fn delay(&self, retry: u32, random: &dyn Random) -> Duration {
        random.within(self.most(retry))
    }

    /// The limit of the wait before the `retry`-th retry.
    #[must_use]
    pub fn most(&self, retry: u32) -> Duration {
        let factor = 1_u32.checked_shl(retry.saturating_sub(1)).unwrap_or(u32::MAX);
        self.base.saturating_mul(factor).min(self.cap)
    }
}

impl Default for Backoff {
    /// From 10 ms to 500 ms.
    fn default() -> Self {
        Self { base: Duration::from_millis(10), cap: Duration::from_millis(500) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SeededRandom;

    #[test]
    fn the_limit_doubles_up_to_the_cap_and_the_wait_is_anywhere_below() {
        let backoff = Backoff::default();
        let limits = [1, 2, 3, 6, 7, 33, 1000].map(|retry| backoff.most(retry).as_millis());
        assert_eq!(limits, [10, 20, 40, 320, 500, 500, 500]);
        let random = SeededRandom::new(7);
        let waits: Vec<_> = (0..1000).map(|_| backoff.delay(2, &random)).collect();
        assert!(waits.iter().all(|wait| *wait < backoff.most(2)));
        for quarter in 0..4 {
            let (from, to) = (backoff.most(2) / 4 * quarter, backoff.most(2) / 4 * (quarter + 1));
            let share = waits.iter().filter(|wait| (from..to).contains(wait)).count();
            assert!((150..350).contains(&share), "{share} of 1000 waits in the {quarter}th quarter");
        }
        assert_eq!(Backoff { base: Duration::ZERO, ..backoff }.delay(3, &random), Duration::ZERO);
    }
}
