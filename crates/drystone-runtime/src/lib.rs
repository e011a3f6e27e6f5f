//! App, Module, wiring, topology, processes.
//!
//! An application is declared, checked, and only then started. [`Module`]s declare in their wiring what they serve and which clients they need; from
//! that the graph of modules is known without I/O, and a contract that nobody serves, a cycle, or two servers of one contract are errors
//! before anything runs. A topology says which process hosts which modules; a process opens the stores of the modules that it hosts, binds each edge to
//! the direct, encoded or remote runner, and serves.
//!
//! # Invariants
//!
//! * Wiring does no I/O: `graph` and `routes` run it and open nothing.
//! * Where a module runs is decided by the settings alone. Its code runs unchanged in every process.
//! * A process that cannot start says what, where and what to do, and starts nothing by halves.
//! * No child process outlives its parent.
//!
//! # What it deliberately lacks
//!
//! Orchestration beyond one machine, and any knowledge of particular modules.

mod admin;
mod app;
mod cli;
mod commands;
mod entrance;
mod eventing;
mod events_metrics;
mod graph;
mod host;
mod module;
mod module_events;
mod policies;
mod process_file;
mod rehearsal;
mod rehearse;
mod remotes;
mod replicas_metrics;
mod routes;
mod running;
mod secrets;
mod settings;
mod signals;
mod start_error;
mod store_metrics;
mod stores;
mod surroundings;
mod tasks;
mod topology;
mod up;

pub use app::App;
pub use module::{Background, Module, Wire, WireConsumer};
pub use rehearse::{Broken, NotSo, Profile, Rehearsal, Rehearsed, Rehearser};
pub use running::Running;
pub use start_error::StartError;
