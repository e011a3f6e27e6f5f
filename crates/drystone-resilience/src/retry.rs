//! Retry: a call that failed for a passing reason is made again, a little later, if it may be.
//!
//! Whether a result is worth another attempt, and whether a request can be repeated at all, is for the user's [`RetryPolicy`] to say: this code knows neither HTTP nor
//! gRPC. What it adds is everything that keeps retries from doing harm: a limit on the attempts, [waits with full jitter](crate::Backoff), a
//! [budget](crate::Budget) that bounds the retries of all calls together, the end of the caller's patience, and the callee's own word: [`Verdict::Refused`] ends the call at once
//! (in gRPC the trailer `grpc-retry-pushback-ms: -1`, proposal A6), and a `retry_after` is waited out first.
//!
//! [`RetryConfig::decide`] is the whole core: one decision, after one attempt.

mod layer;

pub use layer::{Cloned, RetryEvent, RetryLayer, RetryPolicy, RetryService};

use std::time::Duration;

use tokio::time::Instant;

use crate::{Backoff, Budget, Random};

/// How often, and how soon.
#[derive(Clone, Debug, PartialEq)]
pub struct RetryConfig {
    /// The attempts of a call, the first one too; 1 or less: no retries.
    pub attempts: u32,
    /// The waits between them.
    pub backoff: Backoff,
}

impl Default for RetryConfig {
    /// 3 attempts.
    fn default() -> Self {
        Self { attempts: 3, backoff: Backoff::default() }
    }
}

/// What one attempt came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// An answer, good or bad: another attempt would change nothing, or must not be made.
    Done,
    /// A failure that may have passed.
    Failed {
        /// The callee asks not to be called again before so long.
        retry_after: Option<Duration>,
    },
    /// A failure of which the callee, or a layer below, says that it must not be repeated: it has repeated it itself, or is overloaded.
    Refused,
}

/// What follows an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Wait so long, and try again. A retry has been taken from the budget.
    Retry(Duration),
    /// Hand out the result.
    Stop(Stop),
}

/// Why there is no other attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stop {
    /// The result is an answer.
    Done,
    /// The callee refused to be tried again.
    Refused,
    /// The request cannot be repeated.
    Unrepeatable,
    /// All attempts are made.
    Attempts,
    /// The wait would outlast the deadline.
    Deadline,
    /// The budget is spent.
    Budget,
}

impl Stop {
    /// The word for metrics and logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Unrepeatable => "unrepeatable",
            Self::Attempts => "attempts",
            Self::Deadline => "deadline",
            Self::Budget => "budget",
        }
    }
}

impl RetryConfig {
    /// Decides what follows the attempt number `made`, counted from 1, which ended at `now` with `verdict`. The budget is asked last, so only a retry that will be made is
    /// taken from it.
    #[must_use]
    pub fn decide(
        &self,
        made: u32,
        verdict: Verdict,
        now: Instant,
        deadline: Option<Instant>,
        budget: &Budget,
        random: &dyn Random,
    ) -> Decision {
        let retry_after = match verdict {
            Verdict::Done => return Decision::Stop(Stop::Done),
            Verdict::Refused => return Decision::Stop(Stop::Refused),
            Verdict::Failed { retry_after } => retry_after.unwrap_or_default(),
        };
        if made >= self.attempts {
            return Decision::Stop(Stop::Attempts);
        }
        // On top of what the callee asked for: those it told the same should not come back together.
        let wait = retry_after.saturating_add(self.backoff.delay(made, random));
        let Some(next) = now.checked_add(wait) else { return Decision::Stop(Stop::Deadline) };
        if deadline.is_some_and(|deadline| next >= deadline) {
            return Decision::Stop(Stop::Deadline);
        }
        if budget.withdraw(now) { Decision::Retry(wait) } else { Decision::Stop(Stop::Budget) }
    }
}

#[cfg(test)]
mod budget_tests;
#[cfg(test)]
mod tests;
