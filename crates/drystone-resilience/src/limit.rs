//! Adaptive limit: how many calls at once a callee can do well, found while it works.
//!
//! A callee has a *knee*. Below it, one more call at once is one more done in the same time; above it, calls only wait for each other. The limit aims at a little
//! less than twice the knee, so that there is always one to start when another ends.
//!
//! # How it is found
//!
//! Little's law says where the knee is: the highest rate times the lowest latency, and that is how BBR finds what to keep in flight on a path (Cardwell et al., "BBR: congestion-based
//! congestion control", ACM Queue 2016). For a service the law alone would err. Where calls share a commit, the lowest latency is that of a call alone, and
//! a limit made from it would forbid the very sharing; where a queue stands, the lowest latency is that of the queue. So here the law only makes the first guess,
//! and each step is tested, as BBR tests with its gain cycle: under pressure, every 0.5 to 4 s, a short *probe* lets half as many calls at once and
//! compares the rates. As much work with half the calls: they were waiting for each other, the limit falls. Half the work: the limit rises. 85 %: it stays.
//! Rates are compared, never times, so a service that became slower for good, or whose latency grows with its batches, is judged by what it gets done.
//!
//! Where calls take about as long as the fastest one, they do not wait for each other and there is nothing to compare: the limit doubles at once. The reverse is
//! no proof, as with the shared commit, and is left to the probes.
//!
//! * A window lasts 100 ms and at least 32 calls (with fewer calls, up to 1 s and more). One in which the limit was not nearly reached says nothing about it and may only lower
//!   the known lowest latency, which is that of a single call and is forgotten after 10 s.
//! * The first guess may be far below the limit, since a process may begin its life with many times more to do than it can. One that soon does less than half the work is given
//!   up, and is not repeated before probes of half the limit say so.
//! * A probe never goes below `min`; where half the limit would, it tries twice the limit.
//! * A probe ends after a second if the calls in flight do not end: a callee that hangs teaches nothing.

mod config;
mod estimate;
mod layer;
mod samples;
mod slots;

pub use config::LimitConfig;
pub use layer::{LimitEvent, LimitLayer, LimitReached};
pub(crate) use slots::Limit;
pub use slots::{AdaptiveLimit, LimitSlot};
