//! What `db status` shows of a store.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::migrate::{Migration, Step};
use crate::tenants::{Tenant, TenantState};

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

impl TenantCounts {
    /// Counts tenants.
    pub(crate) fn of(all: &[Tenant]) -> Self {
        let mut counts = Self::default();
        for tenant in all {
            *match tenant.state {
                TenantState::Active => &mut counts.active,
                TenantState::Suspended => &mut counts.suspended,
                TenantState::Importing => &mut counts.importing,
                TenantState::Deleting => &mut counts.deleting,
            } += 1;
        }
        counts
    }
}

impl SchemaStatus {
    /// Compares what the binary brings with the names of what has run.
    pub(crate) fn of(of: &str, all: &[Migration], applied: &[String]) -> Self {
        let left = |step: Step| -> Vec<String> {
            let left =
                all.iter().filter(|one| one.step == step && !applied.iter().any(|name| name == one.name));
            left.map(|one| one.name.to_owned()).collect()
        };
        Self {
            of: of.to_owned(),
            applied: applied.len() as u64,
            pending: left(Step::Expand),
            contract_pending: left(Step::Contract),
            files_behind: 0,
        }
    }
}
