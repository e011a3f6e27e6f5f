//! The settings of a breaker.

use std::time::Duration;

/// When a breaker opens, and how it closes again.
#[derive(Clone, Debug, PartialEq)]
pub struct BreakerConfig {
    /// Over which calls the shares are taken.
    pub window: Window,
    /// With fewer calls in the window the breaker does not open; at least 1, at most the length of a window by number.
    pub minimum_calls: u32,
    /// The share of failed calls that opens it, in percent of the calls in the window. Above 100: never.
    pub errors_percent: f64,
    /// A call that took longer counts as failed, whatever became of it.
    pub timeout: Option<Duration>,
    /// A second limit, on calls that take long.
    pub slow: Option<SlowCalls>,
    /// For how long an open breaker refuses before it lets probes through.
    pub reset: Duration,
    /// How many probes may be under way at a time, and how many must succeed to close it; at least 1.
    pub probes: u32,
}

/// Over which calls a breaker takes its shares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// The last so many calls. A failed call looks at each of them: keep it below some thousands.
    Calls(u32),
    /// The calls that ended in the last so long, in ten steps: between nine and ten tenths of it.
    Time(Duration),
}

/// When slow calls open a breaker.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SlowCalls {
    /// A call that took longer than this is slow.
    pub after: Duration,
    /// The share of slow calls that opens the breaker, in percent of the calls in the window.
    pub percent: f64,
}

impl BreakerConfig {
    /// The classic trio: a call slower than `timeout` counts as failed, so many percent of failures open the breaker, and it tries again after `reset`.
    #[must_use]
    pub fn trio(timeout: Duration, errors_percent: f64, reset: Duration) -> Self {
        Self { timeout: Some(timeout), errors_percent, reset, ..Self::default() }
    }
}

impl Default for BreakerConfig {
    /// 50 % of at least 20 calls in 10 s; 3 probes after 5 s.
    fn default() -> Self {
        Self {
            window: Window::Time(Duration::from_secs(10)),
            minimum_calls: 20,
            errors_percent: 50.0,
            timeout: None,
            slow: None,
            reset: Duration::from_secs(5),
            probes: 3,
        }
    }
}
