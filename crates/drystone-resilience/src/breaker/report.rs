//! What a breaker says about itself.

use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

/// Whether calls pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Calls pass and are counted.
    Closed,
    /// Calls are refused.
    Open,
    /// A few calls pass, as probes.
    HalfOpen,
}

impl State {
    /// The word for metrics and logs: `closed`, `open`, `half-open`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half-open",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A change of state, as the listener is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The state before.
    pub from: State,
    /// The state from now on.
    pub to: State,
    /// When.
    pub at: Instant,
    /// The calls in the window when a closed breaker opened; all zero for other changes.
    pub counts: Counts,
}

/// The calls in a breaker's window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// All that ended.
    pub calls: u64,
    /// Those that failed or took longer than [`BreakerConfig::timeout`](super::BreakerConfig::timeout).
    pub failed: u64,
    /// Those that took longer than [`SlowCalls::after`](super::SlowCalls::after).
    pub slow: u64,
}

/// What a breaker did since it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerStats {
    /// The state since the last change.
    pub state: State,
    /// How often it opened, from closed and from half-open.
    pub opened: u64,
    /// How many calls it refused.
    pub refused: u64,
}

/// The breaker refused: nothing was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open {
    /// When a call may pass again. While probes are under way nobody knows: then it is a tenth of the reset time.
    pub retry_in: Duration,
}

impl fmt::Display for Open {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the circuit breaker is open; a call may pass in {:?}", self.retry_in)
    }
}

impl std::error::Error for Open {}
