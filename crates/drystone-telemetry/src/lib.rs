//! Logs and metrics of a process.
//!
//! [`init`] sets up the process's log: one line an event on standard error, with the span of the call that it belongs to. [`prometheus`] renders the
//! counters that the call stack keeps for every edge, [`prometheus_of_served`] those of every contract that is served here;
//! [`prometheus_of_edges`] and [`prometheus_of_admission`] say how breakers, bulkheads and admission stand.
//!
//! # Invariants
//!
//! * Nothing here is on the path of a call: counters are written by the call stack itself and read here.
//! * A log line goes to standard error, never to standard output, which belongs to the command that runs.
//!
//! # What it deliberately lacks
//!
//! Exporters and stored wide events: they build on the same spans and counters.

mod log;
mod prometheus;
mod stack;

pub use log::{LogFormat, init};
pub use prometheus::{prometheus, prometheus_of_served};
pub use stack::{prometheus_of_admission, prometheus_of_edges};
