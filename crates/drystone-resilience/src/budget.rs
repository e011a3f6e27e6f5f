//! Retry budget: retries are a share of the calls, however many of them fail.
//!
//! Three attempts a call at each of three hops are 27 calls of the last one, just when it can answer none of them. A budget bounds the sum where a number of
//! attempts cannot: in any window the retries are at most [`BudgetConfig::ratio`] of the calls, or [`BudgetConfig::floor`] if that is more, so that a caller with few calls can retry
//! at all. Max, not sum: a busy caller never makes more than `1 + ratio` attempts a call.
//!
//! After the retry budget of Finagle (`RetryBudget`) and of the SRE book (Beyer et al., *Site Reliability Engineering*, 2016, "Handling Overload"), with a
//! rolling window instead of a bucket of tokens: what was saved up in a calm hour must not feed a storm.

use std::fmt;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::time::Instant;

use crate::rolling::{Rolling, Ticks};
use crate::sync::Mutex;

/// How many retries there may be.
#[derive(Clone, Debug, PartialEq)]
pub struct BudgetConfig {
    /// Retries for each call in the window.
    pub ratio: f64,
    /// So many retries in the window are free, however few calls there were.
    pub floor: u32,
    /// The window, which rolls in ten steps.
    pub window: Duration,
}

impl Default for BudgetConfig {
    /// 20 % of the calls, or 10, in 10 s.
    fn default() -> Self {
        Self { ratio: 0.2, floor: 10, window: Duration::from_secs(10) }
    }
}

/// A budget for retries, shared by all calls to one callee: in any window they are at most a share of the calls, or the floor if that is more.
///
/// After Finagle's `RetryBudget` and *Site Reliability Engineering* (Beyer et al., 2016), "Handling overload", with a rolling window instead of a bucket of tokens.
pub struct Budget {
    config: BudgetConfig,
    ticks: Ticks,
    calls: Rolling,
    /// Locked to look at both counts and take a retry in one step.
    retries: Mutex<Rolling>,
}

impl Budget {
    /// A budget of which nothing is spent.
    #[must_use]
    pub fn new(config: BudgetConfig) -> Self {
        Self {
            ticks: Ticks::new(config.window),
            config,
            calls: Rolling::new(),
            retries: Mutex::new(Rolling::new()),
        }
    }

    /// Counts a call: its first attempt, not its retries.
    #[inline]
    pub fn deposit(&self, now: Instant) {
        self.calls.add(self.ticks.at(now));
    }

    /// Takes one retry; false if none is left, and then nothing is taken.
    #[must_use]
    pub fn withdraw(&self, now: Instant) -> bool {
        let tick = self.ticks.at(now);
        let retries = self.retries.lock().unwrap_or_else(PoisonError::into_inner);
        let left = retries.sum(tick) < allowed(&self.config, self.calls.sum(tick));
        if left {
            retries.add(tick);
        }
        left
    }

    /// How many retries are left in the window.
    #[must_use]
    pub fn left(&self, now: Instant) -> u64 {
        let tick = self.ticks.at(now);
        let retries = self.retries.lock().unwrap_or_else(PoisonError::into_inner);
        allowed(&self.config, self.calls.sum(tick)).saturating_sub(retries.sum(tick))
    }

    /// The settings.
    #[must_use]
    pub fn config(&self) -> &BudgetConfig {
        &self.config
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Budget").field("config", &self.config).finish_non_exhaustive()
    }
}

/// How many retries a window with so many calls may have.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "rounds down, and to zero"
)]
fn allowed(config: &BudgetConfig, calls: u64) -> u64 {
    // A hair more, so that 0.2 x 5 is one whole retry.
    ((config.ratio * calls as f64 + 1e-9) as u64).max(u64::from(config.floor))
}
