//! A database per module, a wall per tenant.
//!
//! (header essay follows)

mod backend;
mod clock;
mod config;
mod error;
mod gate;
mod guard;
mod keys;
mod metrics;
mod migrate;
mod params;
mod postgres;
mod query;
mod read;
mod row;
mod sqlite;
mod store;
mod tenants;
mod tx;

#[doc(hidden)]
pub mod __private {
    pub use {postgres_types, rusqlite};
}

#[cfg(feature = "testing")]
#[doc(hidden)]
pub use config::Testing;
pub use config::{Location, StoreConfig};
pub use drystone_derive::{Column, Row, migrations};
pub use error::{Fault, StatementError};
pub use metrics::StoreMetrics;
pub use migrate::{Migration, Migrations, Step};
pub use params::Params;
pub use query::{Query, Run};
pub use read::ReadTx;
pub use row::{Column, FromRow, Param, RowError, RowView};
pub use store::Store;
pub use tenants::Tenants;
pub use tx::{Isolation, Tx};
