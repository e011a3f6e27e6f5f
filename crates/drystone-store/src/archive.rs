//! Archives: a tenant's data as lines of JSON, written from one snapshot and read into one transaction.

mod cell;
mod convert;
mod import;
mod json;
mod mapping;
mod order;
mod read;
mod section;
mod sum;

use drystone_call::{Error, Result};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

pub(crate) use cell::Cell;
pub(crate) use import::{Destination, import};
pub(crate) use mapping::Mapping;
pub(crate) use order::groups;
pub(crate) use section::{Column, SectionWriter, Table, unfit};
pub(crate) use sum::Sum;

/// The outcomes of keyed calls: one that is repeated after a move is still answered from its record.
pub(crate) const RECORDS: &str = "drystone_idempotency";
/// What was published.
pub(crate) const OUTBOX: &str = "drystone_outbox";
/// What could not be handled yet.
const HELD: &str = "drystone_held";

/// The platform's tables that an archive has: records, and events with what is known of them, so that none is lost by a move and none happens twice. The positions of
/// the pumps stay behind: elsewhere they begin anew, and what the inbox has makes a repeat harmless.
const ARCHIVED: [&str; 5] = [RECORDS, OUTBOX, HELD, "drystone_inbox", "drystone_scheduled"];

/// The column that numbers a table's rows in the order in which they came. An archive has the order and not the numbers; each database gives its own.
pub(crate) fn number_of(table: &str) -> Option<&'static str> {
    match table {
        OUTBOX => Some("seq"),
        HELD => Some("place"),
        _ => None,
    }
}

/// Writes a piece of an archive.
///
/// # Errors
/// `UNAVAILABLE` if it cannot be written.
pub(crate) async fn write<W: AsyncWrite + Unpin>(to: &mut W, piece: &[u8]) -> Result<()> {
    let written = to.write_all(piece).await;
    written.map_err(|cause| {
        Error::unavailable(format!("the archive cannot be written: {cause}")).caused_by(cause)
    })
}

/// Whether a table belongs to the platform and not into an archive.
pub(crate) fn is_platform(table: &str) -> bool {
    table.starts_with("drystone_") && !ARCHIVED.contains(&table)
}

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
