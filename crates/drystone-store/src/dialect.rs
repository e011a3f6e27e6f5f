//! Which of the two databases a store is on.

use serde::{Deserialize, Serialize};

/// A database. What a module writes is the same on both; the engines of the platform ask where they have to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// Embedded SQLite: a file per tenant.
    Sqlite,
    /// PostgreSQL: a schema per module, with the rows of all tenants behind a wall.
    Postgres,
}
