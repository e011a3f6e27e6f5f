//! A module's section: a header, its tables with their rows, an end that says whether it is whole.
//!
//! ```json
//! {"module":"stock","format":1,"dialect":"sqlite","migrations":["V0001__expand_create"]}
//! {"table":"items","columns":[{"name":"id","type":"uuid"},{"name":"quantity","type":"bigint"}]}
//! [{"blob":"019a..."},3]
//! {"rows":1,"checksum":"5b1e..."}
//! {"end":"90c4..."}
//! ```

use drystone_call::{Code, Error};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::cell::{self, Cell};
use super::sum::{Sum, hex};
use super::{Section, TableSum};
use crate::dialect::Dialect;

/// The version of the format. A section of another version is refused.
pub(crate) const FORMAT: u32 = 1;
/// So much is collected before it is written, in bytes.
const CHUNK: usize = 64 * 1024;

/// The first line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Header {
    pub(crate) module: String,
    pub(crate) format: u32,
    pub(crate) dialect: Dialect,
    /// The names of the migrations that had run, in order.
    pub(crate) migrations: Vec<String>,
}

/// The line before a table's rows.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Table {
    #[serde(rename = "table")]
    pub(crate) name: String,
    pub(crate) columns: Vec<Column>,
}

/// A column: its type is what the table's definition says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Column {
    pub(crate) name: String,
    #[serde(rename = "type")]
    pub(crate) kind: String,
}

/// The line after a table's rows.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TableEnd {
    pub(crate) rows: u64,
    pub(crate) checksum: String,
}

/// The last line: the SHA-256 of all lines before it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct End {
    pub(crate) end: String,
}

/// Writes a section into memory, from where it is taken in pieces.
pub(crate) struct SectionWriter {
    section: Section,
    table: Option<(String, u64, Sum)>,
    digest: Sha256,
    buffer: Vec<u8>,
    row: Vec<u8>,
}

impl SectionWriter {
    /// Begins a section.
    pub(crate) fn new(module: &str, dialect: Dialect, migrations: Vec<String>) -> Self {
        let mut writer = Self {
            section: Section { module: module.to_owned(), tables: Vec::new() },
            table: None,
            digest: Sha256::new(),
            buffer: Vec::new(),
            row: Vec::new(),
        };
        writer.line(&Header { module: module.to_owned(), format: FORMAT, dialect, migrations });
        writer
    }

    fn line(&mut self, line: &impl Serialize) {
        serde_json::to_writer(&mut self.buffer, line).expect("a line can be written to memory");
        self.buffer.push(b'\n');
    }

    /// Begins a table.
    pub(crate) fn table(&mut self, table: &Table) {
        self.line(table);
        self.table = Some((table.name.clone(), 0, Sum::default()));
    }

    /// Adds a row to the table.
    pub(crate) fn row(&mut self, cells: &[Cell]) {
        self.row.clear();
        cell::write(cells, &mut self.row);
        if let Some((_, rows, sum)) = &mut self.table {
            *rows += 1;
            sum.add(&self.row);
        }
        self.buffer.extend_from_slice(&self.row);
        self.buffer.push(b'\n');
    }

    /// Ends the table.
    pub(crate) fn end_table(&mut self) {
        let Some((name, rows, sum)) = self.table.take() else { return };
        let checksum = sum.hex();
        self.line(&TableEnd { rows, checksum: checksum.clone() });
        self.section.tables.push(TableSum { name, rows, checksum });
    }

    /// What was written and not taken yet, when it is worth taking.
    pub(crate) fn chunk(&mut self) -> Option<Vec<u8>> {
        (self.buffer.len() >= CHUNK).then(|| self.take())
    }

    fn take(&mut self) -> Vec<u8> {
        self.digest.update(&self.buffer);
        std::mem::take(&mut self.buffer)
    }

    /// Ends the section and gives what was not taken yet.
    pub(crate) fn end(mut self) -> (Vec<u8>, Section) {
        let mut rest = self.take();
        let end = End { end: hex(&self.digest.clone().finalize()) };
        self.line(&end);
        rest.append(&mut self.buffer);
        (rest, self.section)
    }
}

/// The archive is not what was written once.
pub(crate) fn damaged(module: &str, line: u64, what: &str) -> Error {
    Error::new(
        Code::DataLoss,
        format!(
            "the archive's section of module {module} is damaged at its line {line}: {what}; use another copy of it, or export again"
        ),
    )
}

/// The archive is whole, and the module cannot take it.
pub(crate) fn unfit(module: &str, what: &str) -> Error {
    Error::new(Code::FailedPrecondition, format!("the archive does not fit module {module}: {what}"))
}
