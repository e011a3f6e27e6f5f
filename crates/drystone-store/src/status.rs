//! What `db status` shows of a store.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The condition of a store, for people and for `--json`. It holds no password.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StoreStatus {
    /// The module.
    pub module: String,
    /// `sqlite` or `postgres`.
    pub kind: String,
    /// The module's directory, or the database and its server.
    pub place: String,
    /// What the data takes on the disk, in bytes.
    pub bytes: u64,
    /// How many tenants there are.
    pub tenants: TenantCounts,
    /// The module's migrations: of the tenants' data, then of the data of no tenant.
    pub schemas: Vec<SchemaStatus>,
    /// How long the oldest transaction has been open.
    pub oldest_transaction: Option<Duration>,
    /// Writers waiting for their turn in this process (on SQLite).
    pub writers_waiting: u64,
    /// The module's connections to the server, of all processes (on PostgreSQL).
    pub connections: u64,
    /// Tenants' files that are open (on SQLite).
    pub open_files: u64,
    /// Idempotency keys that are claimed in this process.
    pub claims: u64,
}

/// How many tenants are in each state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantCounts {
    /// Calls are answered.
    pub active: u64,
    /// Calls are refused.
    pub suspended: u64,
    /// Imported, or being so.
    pub importing: u64,
    /// Being deleted.
    pub deleting: u64,
}

/// How far a schema, or a kind of file, is migrated.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SchemaStatus {
    /// `tenants` or `shared`.
    pub of: String,
    /// Migrations that have run; of tenants' files, in the one that is furthest behind.
    pub applied: u64,
    /// Names of those that add and have not run, in order.
    pub pending: Vec<String>,
    /// Names of those that take away and have not run, in order.
    pub contract_pending: Vec<String>,
    /// Tenants' files that are not at the binary's version; they migrate when they open.
    pub files_behind: u64,
}
