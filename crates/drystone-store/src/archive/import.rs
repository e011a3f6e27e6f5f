//! Reads a section into a database: one driver for both.

use drystone_call::{Error, Result};
use tokio::io::AsyncBufRead;

use super::cell::Cell;
use super::mapping::Mapping;
use super::read::{Line, SectionReader};
use super::section::{Header, Table, unfit};
use super::sum::Sum;
use super::{Section, TableSum};
use crate::dialect::Dialect;

/// So many rows are written at a time.
const BATCH: usize = 500;
/// And no more than about so many bytes.
const BATCH_BYTES: usize = 1024 * 1024;

/// An open transaction that rows are written in.
pub(crate) trait Destination: Send {
    /// Which database it is.
    const DIALECT: Dialect;

    /// The names of the migrations that have run, in order.
    fn migrations(&self) -> &[String];

    /// Makes ready for the rows of a table and says the types of its columns here, in the order of `table`.
    fn table(&mut self, table: &Table) -> impl Future<Output = Result<Vec<String>>> + Send;

    /// Writes rows of the table.
    fn insert(&mut self, rows: Vec<Vec<Cell>>) -> impl Future<Output = Result<()>> + Send;

    /// Reads the rows of a table again: how many, and their sum.
    fn reread(&mut self, table: &Table, mapping: &Mapping)
    -> impl Future<Output = Result<(u64, Sum)>> + Send;
}

/// A table that was written and is to be compared.
struct Written {
    table: Table,
    mapping: Mapping,
    rows: u64,
    /// The sum of the rows as the database should have them.
    sum: Sum,
    /// The checksum that the archive gives.
    checksum: String,
}

/// Writes a section into `into`, reads everything again and compares. What was written is not committed.
pub(crate) async fn import<R, D>(from: &mut R, module: &str, into: &mut D) -> Result<Section>
where
    R: AsyncBufRead + Unpin + Send,
    D: Destination,
{
    let mut reader = SectionReader::new(from, module);
    let header = reader.header().await?;
    compare_versions(module, &header, into.migrations())?;
    let mut written: Vec<Written> = Vec::new();
    loop {
        match reader.next().await? {
            Line::Table(table) if written.iter().any(|one| one.table.name == table.name) => {
                return Err(reader.damaged("the table is there a second time"));
            }
            Line::Table(table) => written.push(rows(&mut reader, &header, table, into).await?),
            Line::End => break,
            Line::Row(_) | Line::Rows(..) => return Err(reader.damaged("it stands outside of a table")),
        }
    }
    let mut tables = Vec::with_capacity(written.len());
    for one in written {
        let (rows, sum) = into.reread(&one.table, &one.mapping).await?;
        if rows != one.rows || sum != one.sum {
            return Err(unfit(
                module,
                &format!(
                    "table {} was written with {} rows and read again with {rows} that are not the same: a trigger or a default changes them, or a \
                     column keeps less than the archive has",
                    one.table.name, one.rows
                ),
            ));
        }
        tables.push(TableSum { name: one.table.name, rows, checksum: one.checksum });
    }
    Ok(Section { module: module.to_owned(), tables })
}

/// Writes the rows of one table.
async fn rows<R, D>(
    reader: &mut SectionReader<'_, R>,
    header: &Header,
    table: Table,
    into: &mut D,
) -> Result<Written>
where
    R: AsyncBufRead + Unpin + Send,
    D: Destination,
{
    let declared = into.table(&table).await?;
    let mapping = Mapping::new(header.dialect, &table, D::DIALECT, declared);
    let (mut batch, mut bytes, mut sum) = (Vec::new(), 0, Sum::default());
    loop {
        match reader.next().await? {
            Line::Row(row) => {
                let row =
                    mapping.convert(row).map_err(|(at, why)| refused(&header.module, &table, at, &why))?;
                bytes += row.iter().map(size).sum::<usize>();
                mapping.add(row.clone(), &mut sum);
                batch.push(row);
                if batch.len() >= BATCH || bytes >= BATCH_BYTES {
                    into.insert(std::mem::take(&mut batch)).await?;
                    bytes = 0;
                }
            }
            Line::Rows(rows, archived) => {
                if !batch.is_empty() {
                    into.insert(batch).await?;
                }
                return Ok(Written { table, mapping, rows, sum, checksum: archived.hex() });
            }
            Line::Table(_) | Line::End => return Err(reader.damaged("the table before it has no end")),
        }
    }
}

fn size(cell: &Cell) -> usize {
    match cell {
        Cell::Null | Cell::Int(_) | Cell::Real(_) => 8,
        Cell::Text(text) => text.len(),
        Cell::Raw(bytes) | Cell::Blob(bytes) => bytes.len(),
    }
}

fn refused(module: &str, table: &Table, at: usize, why: &str) -> Error {
    let column = table.columns.get(at).map_or("", |column| column.name.as_str());
    unfit(module, &format!("a value of {}.{column} cannot be kept here: {why}", table.name))
}

/// Rows fit tables of their own version only.
fn compare_versions(module: &str, header: &Header, here: &[String]) -> Result<()> {
    let numbers = |names: &[String]| -> Vec<Option<u32>> { names.iter().map(|name| number(name)).collect() };
    if numbers(&header.migrations) == numbers(here) {
        return Ok(());
    }
    let last = |names: &[String]| names.last().map_or("no migration", String::as_str).to_owned();
    Err(unfit(
        module,
        &format!(
            "its data is at {} ({} migrations), and the data here at {} ({}): bring the older one to the newer one's version, with `migrate`, and export again",
            last(&header.migrations),
            header.migrations.len(),
            last(here),
            here.len()
        ),
    ))
}

/// The version in a migration's name: `V0001__expand_create` is 1.
fn number(name: &str) -> Option<u32> {
    name.strip_prefix('V')?.split("__").next()?.parse().ok()
}
