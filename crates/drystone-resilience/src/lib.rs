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

mod clock;
mod random;

pub use clock::{Clock, ManualClock, TokioClock};
pub use random::{Random, SeededRandom, SystemRandom};
