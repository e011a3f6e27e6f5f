//! PostgreSQL: one schema and one role per module, row-level security per tenant.
//!
//! This is the thinnest backend that keeps the promises of the conformance suite. Two things it does more simply than it should: a key's
//! advisory lock is held by a connection of its own for as long as the call runs, where the handler's transaction could hold it; and the connection
//! is not encrypted, so the server belongs on this host or behind a private link.

mod connect;
mod contract;
mod keys;
mod lint;
mod migrator;
mod module;
mod names;
mod platform;
mod roles;
mod started;
mod step;
mod tx;

pub use migrator::Migrator;
pub(crate) use module::{PostgresModule, Purpose};
pub(crate) use tx::{OwnRecord, PostgresTx};
