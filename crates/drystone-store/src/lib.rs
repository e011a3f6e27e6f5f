//! A database per module, a wall per tenant.
//!
//! [`Store`] is what a module is given. [`Store::begin`] opens a [`Tx`] for the tenant of the call, [`Store::read`] a snapshot ([`ReadTx`]); both run
//! statements through [`Query`], bind tuples ([`Params`]) and map rows ([`FromRow`], `#[derive(Row)]`). Effect, idempotency key and answer commit together
//! ([`Tx::commit_with`], [`Tx::refuse`]); [`Store::gate`] answers a repeated call from that record.
//!
//! # Two databases, one meaning
//!
//! The text of a statement, its values, its errors and what a failed one leaves behind are the same on SQLite and PostgreSQL; one conformance suite
//! (`tests/conformance.rs`) runs on both.
//!
//! * *SQLite*: a file per tenant. Statements run in place, on the task that holds the transaction: a statement takes microseconds, and a hop to
//!   another thread costs more than that. Only COMMIT, with its fsync, goes to the module's commit thread. A file has one writer with a first come, first
//!   served queue, and transactions that queue up behind a commit become one group: `BEGIN IMMEDIATE`, a savepoint each, one COMMIT.
//! * *PostgreSQL*: a schema and a role per module, row-level security per tenant, serializable transactions.
//!
//! # Invariants
//!
//! * What was acknowledged is on the disk (`tests/durability.rs` counts the fsyncs and kills the process).
//! * A transaction once submitted commits with its group, whatever becomes of the caller; one that was not leaves nothing (`tests/sqlite/cancel.rs`).
//! * No answer leaves before the rows that it may have seen are durable (`tests/sqlite/groups.rs`).
//! * The writer of a file is a value that one place owns at a time. Nothing that can be dropped or forgotten keeps it longer than the hold limit.
//! * On PostgreSQL nothing takes effect outside its transaction, and of two calls with one key one does, whatever becomes of connections and locks
//!   (`tests/postgres`).
//! * No call to another module inside an open transaction: the compiler refuses it (`tests/ui`).
//!
//! # What it deliberately lacks
//!
//! Any network but that to its database; any way to name a tenant in a handler; a way to end a transaction in SQL. Long reads run in place too, on a
//! reader's connection: they keep no writer waiting, but they keep their thread.

mod announce;
mod archive;
mod backend;
#[cfg(feature = "sea-query")]
mod built;
mod clock;
mod config;
mod dialect;
mod error;
mod gate;
mod guard;
mod keys;
mod lent;
mod metrics;
mod migrate;
mod native;
mod params;
mod postgres;
mod query;
mod read;
mod row;
mod sqlite;
mod status;
mod store;
mod tenants;
mod tx;

#[doc(hidden)]
pub mod __private {
    pub use {postgres_types, rusqlite};
}

pub use announce::Announcements;
pub use archive::{Section, TableSum};
#[cfg(feature = "sea-query")]
pub use built::Built;
#[cfg(feature = "testing")]
#[doc(hidden)]
pub use config::Testing;
pub use config::{Location, StoreConfig};
pub use dialect::Dialect;
pub use drystone_derive::{Column, Row, migrations};
pub use error::{Fault, StatementError};
pub use metrics::StoreMetrics;
pub use migrate::{Migrated, MigratedSchema, Migration, Migrations, Step, Steps};
pub use native::{Native, SqliteNative};
pub use params::Params;
pub use postgres::Migrator;
pub use query::{Query, Run};
pub use read::ReadTx;
pub use row::{Column, FromRow, Param, RowError, RowView};
pub use status::{SchemaStatus, StoreStatus, TenantCounts};
pub use store::Store;
pub use tenants::{Tenant, TenantState, Tenants};
pub use tx::{Isolation, Tx};
