//! What the platform costs, measured beside what a careful person would have written by hand.
//!
//! Each suite runs the real parts, the way a process of an application runs them, with a subscriber that records every span and with the
//! counters on. Beside each measurement runs its yardstick: the bare boxed call, a bare axum route, a group commit written by
//! hand. The two take turns within one run, so that what the machine does meanwhile happens to both, and what is reported is the median of
//! the rounds and the ratio inside each round.
//!
//! # Invariants
//!
//! * Processor time stands beside throughput: it hardly changes when the machine is busy.
//! * Servers and clients are processes of their own. The program starts itself again, with its role in the environment.
//! * A wrong answer ends the run: nothing is measured that does not work.
//!
//! # What it deliberately lacks
//!
//! Thresholds. A number depends on the machine, so a person reads `RESULTS.md` and judges; what must hold everywhere is a test.

mod api;
mod bare;
mod build_times;
mod by_hand;
mod calls;
mod cascade;
mod child;
mod cpu;
mod events;
mod http;
mod layers;
mod machine;
mod memory;
mod open;
mod overload;
mod plain;
mod postgres;
mod prices;
mod profile;
mod recorder;
mod remote;
mod report;
mod rest;
mod sales;
mod stats;
mod suites;
mod tenants;
mod transactions;
mod work;

pub use suites::main;
