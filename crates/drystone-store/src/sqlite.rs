//! SQLite: one file per tenant, one writer per file with group commit, readers on connections of their own.
//!
//! Statements run in place on the task that holds the transaction; only COMMIT and its fsync go to the module's own thread. The
//! writer of a file is a value ([`writer::Writer`]) that exactly one place owns at a time: the queue while nobody writes, the slot of the
//! transaction that holds it, or the commit thread. Whoever is done with it gives it back to the queue, which decides what is next.

mod catalog;
mod commit;
mod conn;
mod export;
mod file;
mod import;
mod keys;
mod layout;
mod module;
mod queue;
mod read;
mod registry;
mod schema;
mod statement;
mod status;
mod tenants;
mod tx;
mod writer;

pub(crate) use module::SqliteModule;
pub(crate) use queue::Held;
pub(crate) use read::SqliteRead;
pub(crate) use tx::SqliteTx;
