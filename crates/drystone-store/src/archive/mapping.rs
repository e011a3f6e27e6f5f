//! What becomes of a table's rows on their way into a database.

use super::cell::{self, Cell};
use super::convert::Kind;
use super::section::Table;
use super::sum::Sum;
use crate::dialect::Dialect;

/// The mapping of one table's rows.
#[derive(Clone, Debug)]
pub(crate) struct Mapping {
    from: Dialect,
    to: Dialect,
    /// What each column holds, as PostgreSQL names it, on whichever side it is.
    kinds: Vec<Kind>,
    /// The types of the columns in the database that the rows go to.
    declared: Vec<String>,
}

impl Mapping {
    /// The mapping of the rows of `table` into columns of these types.
    pub(crate) fn new(from: Dialect, table: &Table, to: Dialect, declared: Vec<String>) -> Self {
        let kinds = match to {
            Dialect::Postgres => declared.iter().map(|kind| Kind::of(kind)).collect(),
            Dialect::Sqlite => table.columns.iter().map(|column| Kind::of(&column.kind)).collect(),
        };
        Self { from, to, kinds, declared }
    }

    /// A row as the database keeps it.
    ///
    /// # Errors
    /// The number of the column, from 0, and why its value cannot be kept.
    pub(crate) fn convert(&self, row: Vec<Cell>) -> Result<Vec<Cell>, (usize, String)> {
        if row.len() != self.kinds.len() {
            return Err((
                self.kinds.len().min(row.len()),
                "the row has another number of values than there are columns".to_owned(),
            ));
        }
        if self.from == self.to {
            return Ok(row);
        }
        let types = self.kinds.iter().zip(&self.declared);
        let converted = row.iter().zip(types).enumerate().map(|(at, (cell, (kind, declared)))| {
            match self.to {
                Dialect::Postgres => kind.to_postgres(cell),
                Dialect::Sqlite => kind.to_sqlite(cell, declared),
            }
            .map_err(|why| (at, why))
        });
        converted.collect()
    }

    /// Adds a row, as the database keeps it or will, to the sum that both are compared by.
    pub(crate) fn add(&self, row: Vec<Cell>, sum: &mut Sum) {
        let row: Vec<Cell> = if self.from == self.to || self.to == Dialect::Sqlite {
            row
        } else {
            row.into_iter().zip(&self.kinds).map(|(cell, kind)| kind.canonical(cell)).collect()
        };
        let mut line = Vec::new();
        cell::write(&row, &mut line);
        sum.add(&line);
    }
}
