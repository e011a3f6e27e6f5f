//! PostgreSQL: schemas and roles per module, row-level security per tenant.
//!
//! A transaction costs as few round trips as its statements allow: `begin` goes with the first statement, the record of a keyed call with
//! `commit`. Keys are claimed on one connection of the process. A module's role works for one tenant at a time, behind the wall; a second one carries the events of all
//! tenants and sees nothing else.

mod batch;
mod catalog;
mod commit;
mod connect;
mod contract;
mod keeper;
mod keys;
mod lease;
mod line;
mod lint;
mod migrator;
mod module;
mod names;
mod open;
mod platform;
mod pool;
mod registry;
mod roles;
mod rows;
mod started;
mod status;
mod step;
mod tenants;
mod tls;
mod tx;

pub use migrator::Migrator;
pub(crate) use module::PostgresModule;
pub(crate) use open::Purpose;
pub(crate) use tx::{OwnRecord, PostgresTx};
