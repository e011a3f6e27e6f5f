//! What an admission is told, and what it tells.

use std::fmt;
use std::time::Duration;

use crate::LimitConfig;

/// How many calls run at once, and how the others wait.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct AdmissionConfig {
    /// How many run at once.
    pub limit: LimitConfig,
    /// How the others wait.
    pub queue: QueueConfig,
}

/// How calls wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueConfig {
    /// How long a call may wait while the queue *stands*: when it has stood for as long as it had been empty. 10 ms by default.
    pub target: Duration,
    /// The most that a call may wait otherwise, in a burst; 250 ms by default. Counts as `target` if it is less.
    pub interval: Duration,
    /// How many may wait, of all keys together; 1024 by default. A key's share of it is that of its weight among the keys that wait.
    pub length: u32,
}

impl Default for QueueConfig {
    fn default() -> Self {
        Self { target: Duration::from_millis(10), interval: Duration::from_millis(250), length: 1024 }
    }
}

/// An admission at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AdmissionStats {
    /// Calls that run.
    pub in_flight: u32,
    /// How many may run at once, as learned; a probe lets fewer for a moment.
    pub limit: u32,
    /// Calls that wait.
    pub waiting: u32,
    /// Calls admitted since the start; lags by at most what is ending at the moment.
    pub admitted: u64,
    /// Calls shed since the start.
    pub shed: u64,
    /// How long the oldest that waits has waited; zero if none waits.
    pub oldest: Duration,
}

/// A call was not admitted, and has had no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shed {
    /// When it would be worth to try again: about the time in which the calls of this key that wait are served, at least the queue's interval.
    pub retry_after: Duration,
    /// Why.
    pub why: ShedWhy,
}

/// Why a call was shed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShedWhy {
    /// The queue was full, and the call's key had its share of it.
    Full,
    /// It waited for as long as it may.
    TooOld,
}

impl fmt::Display for Shed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = match self.why {
            ShedWhy::Full => "the queue is full",
            ShedWhy::TooOld => "it waited too long",
        };
        write!(f, "the call was not admitted: {why}; try again in {:?}", self.retry_after)
    }
}

impl std::error::Error for Shed {}
