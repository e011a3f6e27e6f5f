//! Deadline: a call ends in time, and what it calls ends a little earlier.
//!
//! A time limit at each hop alone lets work go on for which nobody waits any more. A deadline is handed on and shrinks: the callee gets what is left, less a margin
//! for the answer's way back, and a call for which less than a floor is left is not begun. On a wire it travels as `grpc-timeout`, the time that is left and not a
//! moment, since clocks differ (gRPC over HTTP/2, "Requests"; "gRPC and Deadlines", 2018).

mod grpc;
mod layer;

pub use grpc::{GRPC_TIMEOUT, grpc_timeout, set_grpc_timeout};
pub use layer::{
    Carry, Deadline, DeadlineError, DeadlineEvent, DeadlineLayer, DeadlinePassed, DeadlineService,
    GrpcTimeout, NotCarried,
};

use std::time::Duration;

use tokio::time::Instant;

/// How a deadline shrinks from hop to hop. ("gRPC and deadlines", 2018, tells why it must be handed on.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeadlineConfig {
    /// What a caller keeps of its own time, for the answer's way back.
    pub margin: Duration,
    /// A call that would get less than this is not begun.
    pub floor: Duration,
}

impl DeadlineConfig {
    /// The deadline of a call that may take `limit`, made at `now` by a caller whose own deadline is `caller`; `None` if less than the floor is left.
    #[must_use]
    pub fn onward(&self, now: Instant, caller: Instant, limit: Duration) -> Option<Instant> {
        let kept = caller.checked_sub(self.margin)?;
        // A limit too large for a clock is no limit.
        let onward = now.checked_add(limit).map_or(kept, |own| own.min(kept));
        (onward >= now && onward - now >= self.floor).then_some(onward)
    }
}

impl Default for DeadlineConfig {
    /// 2 ms kept, at least 1 ms handed on.
    fn default() -> Self {
        Self { margin: Duration::from_millis(2), floor: Duration::from_millis(1) }
    }
}

#[cfg(test)]
mod tests;
