//! Build it whole, take it apart later.
//!
//! The one crate that modules name. A module is a bounded context: a contract from a `.proto` file, an implementation of the generated trait, a
//! store of its own. All modules run in one process by default; a topology file moves any of them to a process of its own without a change of
//! code.
//!
//! ```no_run
//! use drystone::prelude::*;
//!
//! fn main() -> std::process::ExitCode {
//!     let greetings = Module::new("greetings").wire(|w| {
//!         let _store = w.store();
//!     });
//!     App::new("hello").module(greetings).run()
//! }
//! ```
//!
//! # What it deliberately lacks
//!
//! Code: everything but [`Page`] and the time helpers is re-exported from the crates that own it.

#[cfg(doctest)]
mod guide;
mod page;
mod timestamps;

#[doc(hidden)]
pub use drystone_call::defects;
pub use drystone_call::{
    Baggage, Caller, Code, Context, Error, FieldViolation, IdempotencyKey, OrFallback, PlatformReason,
    Principal, Reason, Result, TenantId, Timestamp, reason_of,
};
/// Events: outbox, inbox, relay, brokers; see [`drystone_events`].
pub use drystone_events as events;
pub use drystone_runtime::{App, Background, Module, Running, StartError, Wire, WireConsumer};
/// Rehearsals: an application's invariants under faults, seed by seed.
pub use drystone_runtime::{Broken, NotSo, Profile, Rehearsal, Rehearsed, Rehearser};
/// A module's database; see [`drystone_store`].
pub use drystone_store as store;
pub use tokio::join;

pub use page::Page;
pub use timestamps::{micros, timestamp};

/// What nearly every module imports.
pub mod prelude {
    pub use drystone_call::{Context, Error, OrFallback, Reason, Result};
    pub use drystone_events::Publish;
    pub use drystone_runtime::{App, Background, Module, Wire};
    pub use drystone_store::{Row, Store, Tx, migrations};

    pub use crate::{Page, micros, timestamp};
}
