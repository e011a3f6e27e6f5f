//! Shared state under every order in which threads can meet.
//!
//! The files of the crate that share state take atomics and locks from `crate::sync`. Here they are compiled a second time with loom's, which runs each test
//! once for every interleaving, with the weak memory orders that the hardware may have.

#![expect(dead_code, unreachable_pub, reason = "the files are the crate's, and a test uses a part of each")]

#[path = "../../src/rolling.rs"]
mod rolling;

mod admission;
mod breaker;
mod budget;
mod bulkhead;
mod flights;

/// What `src/sync.rs` takes from std.
mod sync {
    pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering};
    pub(crate) use loom::sync::{Mutex, MutexGuard};
}

/// Runs `model` under every order of its threads with at most three switches that none of them asked for. Fewer than all, but a defect that needs four has not been seen.
fn explore(model: impl Fn() + Sync + Send + 'static) {
    explore_within(3, model);
}

/// The same with at most `switches`, for a model that is long.
fn explore_within(switches: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(switches);
    builder.check(model);
}
