//! Fallback: when a callee cannot answer, somebody else's answer, or an older one, is better than none.
//!
//! The layer keeps what the fallback needs of the request, calls, and asks the fallback if the call failed in a way that the user's filter lets through. A fallback must
//! not fail in the same way as what it stands in for: a constant, a cache, a default, another service; not the same callee by another path. Outermost of the layers that protect a
//! callee, it also answers for the calls that a breaker or a limit refuses.
//!
//! Nygard calls the idea *failing over to a degraded answer* (*Release It!*, 2007); in Hystrix every command has one (`getFallback`).

mod layer;

pub use layer::{FallbackEvent, FallbackLayer, FallbackService};

#[cfg(test)]
mod tests;
