//! Reads a section line by line and checks it on the way: counts, checksums, the end.

use drystone_call::{Error, Result};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _};

use super::cell::{self, Cell};
use super::section::{End, FORMAT, Header, Table, TableEnd, damaged, unfit};
use super::sum::{Sum, hex};

/// The longest line, in bytes: a row with values of 1 GB, the most that a database keeps, is refused rather than half read.
const LONGEST: u64 = 512 * 1024 * 1024;

/// A section that is being read.
pub(crate) struct SectionReader<'r, R> {
    from: &'r mut R,
    module: String,
    digest: Sha256,
    line: Vec<u8>,
    number: u64,
    rows: u64,
    sum: Sum,
}

/// A line after the header.
pub(crate) enum Line {
    Table(Table),
    Row(Vec<Cell>),
    /// The table's rows are complete: how many, and their sum.
    Rows(u64, Sum),
    /// The section is whole.
    End,
}

impl<'r, R: AsyncBufRead + Unpin + Send> SectionReader<'r, R> {
    pub(crate) fn new(from: &'r mut R, module: &str) -> Self {
        Self {
            from,
            module: module.to_owned(),
            digest: Sha256::new(),
            line: Vec::new(),
            number: 0,
            rows: 0,
            sum: Sum::default(),
        }
    }

    /// Reads the header.
    pub(crate) async fn header(&mut self) -> Result<Header> {
        self.read().await?;
        let header: Header = serde_json::from_slice(&self.line)
            .map_err(|cause| self.damaged("it is not the header of a section").caused_by(cause))?;
        if header.format != FORMAT {
            return Err(unfit(
                &self.module,
                &format!("it has format {}, and this binary reads format {FORMAT}", header.format),
            ));
        }
        if header.module != self.module {
            return Err(unfit(&self.module, &format!("it is of module {}", header.module)));
        }
        self.digest.update(&self.line);
        Ok(header)
    }

    /// Reads the next line, which must be one that can stand there.
    pub(crate) async fn next(&mut self) -> Result<Line> {
        self.read().await?;
        let line = self.parse()?;
        self.digest.update(&self.line);
        Ok(line)
    }

    fn parse(&mut self) -> Result<Line> {
        let line = &self.line;
        if line.starts_with(b"[") {
            let row = line.strip_suffix(b"\n").unwrap_or(line);
            let cells = cell::read(row).ok_or_else(|| self.damaged("it is not a row"))?;
            self.rows += 1;
            self.sum.add(row);
            return Ok(Line::Row(cells));
        }
        if let Ok(table) = serde_json::from_slice(line) {
            (self.rows, self.sum) = (0, Sum::default());
            return Ok(Line::Table(table));
        }
        if let Ok(TableEnd { rows, checksum }) = serde_json::from_slice(line) {
            if rows != self.rows || checksum != self.sum.hex() {
                let what = format!(
                    "the table should have {rows} rows with checksum {checksum}, and has {} with {}",
                    self.rows,
                    self.sum.hex()
                );
                return Err(self.damaged(&what));
            }
            return Ok(Line::Rows(rows, self.sum));
        }
        match serde_json::from_slice(line) {
            Ok(End { end }) if end == hex(&self.digest.clone().finalize()) => Ok(Line::End),
            Ok(End { .. }) => Err(self.damaged("the checksum of all lines is another one")),
            Err(_) => Err(self.damaged("it is no line of a section")),
        }
    }

    async fn read(&mut self) -> Result<()> {
        self.line.clear();
        self.number += 1;
        let read = (&mut *self.from).take(LONGEST).read_until(b'\n', &mut self.line).await;
        read.map_err(|cause| Error::unavailable("the archive cannot be read").caused_by(cause))?;
        if self.line.last() == Some(&b'\n') {
            return Ok(());
        }
        Err(self.damaged(if self.line.len() as u64 == LONGEST {
            "it is too long"
        } else {
            "the archive ends there"
        }))
    }

    pub(crate) fn damaged(&self, what: &str) -> Error {
        damaged(&self.module, self.number, what)
    }
}
