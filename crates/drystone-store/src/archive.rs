//! Archives: a tenant's data as lines of JSON, written from one snapshot and read into one transaction.

use serde::{Deserialize, Serialize};

/// What an archive holds of one module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Section {
    /// The module.
    pub module: String,
    /// Its tables, in the order in which the section has them.
    pub tables: Vec<TableSum>,
}

/// How many rows of a table there are, and what they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableSum {
    /// The table.
    pub name: String,
    /// Its rows.
    pub rows: u64,
    /// The sum of the rows' SHA-256 in hex, which does not depend on their order. Of an import, it is that of the archive, given after the rows that were
    /// written have been read again and found to be the same.
    pub checksum: String,
}
