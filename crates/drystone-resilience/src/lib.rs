//! Tower layers that keep a failure where it happens, each usable alone in any tower stack.
//!
//! A call to another process can hang, fail, be slow, come a thousand at a time, or find nobody. Each of these has one answer here, small enough to be
//! read in one sitting:
//!
//! # Shape
//!
//! Every pattern comes in two parts. The *core* is a state machine that is told the time (`breaker.enter(now)`) and never waits: it can be put into any
//! stack, and property tests drive it through years in a second. The *layer* is the core as a [`tower_layer::Layer`], with a [`Clock`] and a
//! [`Random`] that a test may turn by hand. Drystone's own call stack composes the cores, since a call in one process must cost less than a boxed future.
//!
//! # Invariants
//!
//! * No core reads a clock or rolls dice of its own: what it did can be done again.
//! * A guard that is dropped gives back what it took, so a cancelled call leaks nothing and teaches nothing.
//! * What a layer refuses has not been sent, and says when to come again.
//!
//! # What it deliberately lacks
//!
//! Any knowledge of Drystone: which errors count and which calls may be repeated is for the stack to say. Hedging, and state shared between processes.

mod admission;
mod backoff;
mod balance;
mod breaker;
mod budget;
mod bulkhead;
mod clock;
mod deadline;
mod fallback;
mod flights;
mod guarded;
mod limit;
mod observe;
#[cfg(doctest)]
mod pages;
mod panic;
mod random;
mod rate;
mod ready;
mod retry;
mod rolling;
mod sync;
mod writes;

pub use admission::{
    Admission, AdmissionConfig, AdmissionEvent, AdmissionLayer, AdmissionStats, Admitted, QueueConfig, Shed,
    ShedWhy,
};
pub use backoff::Backoff;
pub use balance::{
    Balance, BalanceConfig, BalanceError, BalanceEvent, Balancer, Ejection, MemberStats, Picked,
};
pub use breaker::{
    Breaker, BreakerConfig, BreakerError, BreakerEvent, BreakerLayer, BreakerService, BreakerStats, Change,
    Classify, Counts, ErrorsFail, Open, Outcome, Permit, SlowCalls, State, Window,
};
pub use budget::{Budget, BudgetConfig};
pub use bulkhead::{Bulkhead, BulkheadEvent, BulkheadFull, BulkheadLayer, Slot};
pub use clock::{Clock, ManualClock, TokioClock};
pub use deadline::{
    Carry, Deadline, DeadlineConfig, DeadlineError, DeadlineEvent, DeadlineLayer, DeadlinePassed,
    DeadlineService, GRPC_TIMEOUT, GrpcTimeout, NotCarried, grpc_timeout, set_grpc_timeout,
};
pub use fallback::{FallbackEvent, FallbackLayer, FallbackService};
pub use flights::{
    Boarding, Coalesce, CoalesceEvent, CoalesceFuture, CoalesceLayer, Flight, Flights, FlightsConfig,
    FlightsStats,
};
pub use guarded::{Guard, Guarded, Rejected};
pub use limit::{AdaptiveLimit, LimitConfig, LimitEvent, LimitLayer, LimitReached, LimitSlot};
pub use observe::Observe;
pub use panic::{PanicError, PanicEvent, PanicLayer, PanicService, Panicked, catch_panic};
pub use random::{Random, SeededRandom, SystemRandom};
pub use rate::{RateConfig, RateEvent, RateLayer, RateLimiter, TooFast};
pub use retry::{
    Cloned, Decision, RetryConfig, RetryEvent, RetryLayer, RetryPolicy, RetryService, Stop, Verdict,
};
pub use writes::Writes;
