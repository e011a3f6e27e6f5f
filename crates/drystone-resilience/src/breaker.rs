//! Circuit breaker: a callee that fails is left alone for a while, and asked carefully before it is trusted again.
//!
//! Closed, calls pass and are counted over a rolling window, by time or by number. When at least [`BreakerConfig::minimum_calls`] are in it and the share that
//! failed, or that was slow, reaches its limit, the breaker opens: calls are refused at once, which costs the caller nothing and the callee less. After
//! [`BreakerConfig::reset`], half-open, a few calls at a time are let through as probes. Enough successes close it; one failure opens it again.
//!
//! The pattern is Nygard's (*Release It!*, 2007), the counting over a window with a minimum is Hystrix's ("How it works", 2012), slow calls are counted as
//! resilience4j does.
//!
//! # Choices
//!
//! * Only a failed or slow call opens a breaker, never a success: a callee that is just answering again is not cut off because its successes reached the minimum.
//! * What a breaker counts belongs to one *generation*, the time between two changes of state. A call that began before a change counts for nothing after it: a
//!   late failure from before the outage does not open a breaker that has closed since.
//! * `reset` is exact, without jitter: only [`BreakerConfig::probes`] calls at a time pass a half-open breaker, so many breakers that reset together send a few probes
//!   each, not a herd.
//! * Closed, the path of a call takes no lock.

mod config;
mod gate;
mod layer;
mod report;
mod window;

pub use config::{BreakerConfig, SlowCalls, Window};
pub use gate::{Breaker, Permit};
pub use layer::{BreakerError, BreakerEvent, BreakerLayer, BreakerService, Classify, ErrorsFail, Outcome};
pub use report::{BreakerStats, Change, Counts, Open, State};

#[cfg(test)]
mod tests;
