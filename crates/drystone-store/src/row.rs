//! Rows: from columns to values, the same on both databases.

use std::fmt;

use rusqlite::types::{FromSql, ToSql};
use tokio_postgres::types as pg;

/// A value that can be bound to a statement on both databases.
pub trait Param: ToSql + pg::ToSql + Send + Sync {}
impl<T: ToSql + pg::ToSql + Send + Sync + ?Sized> Param for T {}

/// A type of column: what both `rusqlite` and `postgres-types` can write and read.
///
/// Integers (`i64` for `bigint`, `i32` for `integer`), `String`, `Vec<u8>`, `bool`, `f64`, `uuid::Uuid`, `time::OffsetDateTime`,
/// `serde_json::Value`, `Option` of each, and newtypes by `#[derive(Column)]`. Bind times in UTC and to the microsecond, as
/// `tx.now()` gives them: SQLite keeps a time as text, which sorts by time only within one offset, and PostgreSQL keeps
/// microseconds.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a column type",
    label = "cannot be stored",
    note = "column types are i64, i32, String, Vec<u8>, bool, f64, Uuid, time::OffsetDateTime, serde_json::Value and Option of each",
    note = "for a newtype over one of them, add #[derive(Column)]"
)]
pub trait Column: FromSql + for<'a> pg::FromSql<'a> {}
impl<T: FromSql + for<'a> pg::FromSql<'a>> Column for T {}

/// One row of a result, to read columns from.
pub struct RowView<'r>(pub(crate) View<'r>);

pub(crate) enum View<'r> {
    Sqlite(&'r rusqlite::Row<'r>),
    Postgres(&'r tokio_postgres::Row),
}

/// Why a row could not be mapped.
#[derive(Debug)]
pub enum RowError {
    /// The result has no such column.
    Missing {
        /// The column that was asked for.
        column: String,
        /// The columns that the result has.
        present: Vec<String>,
    },
    /// The column holds something else.
    Type {
        /// The column.
        column: String,
        /// The Rust type that was asked for.
        wanted: &'static str,
        /// What the database's driver says.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl fmt::Display for RowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { column, present } => write!(
                f,
                "the result has no column {column:?}, it has: {}; select it, or rename the field with #[row(rename = ..)]",
                present.join(", ")
            ),
            Self::Type { column, wanted, .. } => write!(f, "column {column:?} does not hold a {wanted}"),
        }
    }
}

impl std::error::Error for RowError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Missing { .. } => None,
            Self::Type { source, .. } => Some(source.as_ref()),
        }
    }
}

impl RowView<'_> {
    /// The value of a column by name.
    ///
    /// # Errors
    /// If the result has no such column, or it holds something else.
    pub fn get<T: Column>(&self, column: &str) -> Result<T, RowError> {
        self.named(column, 0)
    }

    /// The value of a column by name, looked for first at `guess`, where a struct's field of that position would find it.
    ///
    /// # Errors
    /// As [`RowView::get`].
    pub fn named<T: Column>(&self, column: &str, guess: usize) -> Result<T, RowError> {
        let index = if self.name(guess) == Some(column) { Some(guess) } else { self.find(column) };
        match index {
            Some(index) => self.at(index),
            None => Err(RowError::Missing { column: column.to_owned(), present: self.names() }),
        }
    }

    /// The value of a column by position, from 0.
    ///
    /// # Errors
    /// As [`RowView::get`].
    pub fn at<T: Column>(&self, index: usize) -> Result<T, RowError> {
        if index >= self.len() {
            return Err(RowError::Missing { column: format!("#{index}"), present: self.names() });
        }
        let value = match &self.0 {
            View::Sqlite(row) => row.get::<_, T>(index).map_err(Into::into),
            View::Postgres(row) => row.try_get::<_, T>(index).map_err(Into::into),
        };
        value.map_err(|source| RowError::Type {
            column: self.name(index).unwrap_or_default().to_owned(),
            wanted: std::any::type_name::<T>(),
            source,
        })
    }

    fn find(&self, column: &str) -> Option<usize> {
        (0..self.len()).find(|index| self.name(*index) == Some(column))
    }

    fn len(&self) -> usize {
        match &self.0 {
            View::Sqlite(row) => row.as_ref().column_count(),
            View::Postgres(row) => row.len(),
        }
    }

    fn name(&self, index: usize) -> Option<&str> {
        match &self.0 {
            View::Sqlite(row) => row.as_ref().column_name(index).ok(),
            View::Postgres(row) => row.columns().get(index).map(tokio_postgres::Column::name),
        }
    }

    fn names(&self) -> Vec<String> {
        (0..self.len()).filter_map(|index| self.name(index).map(str::to_owned)).collect()
    }
}

impl fmt::Debug for RowView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RowView").field("columns", &self.names()).finish()
    }
}

/// What a row can be read into: a struct with `#[derive(Row)]`, or a tuple of columns by position.
#[diagnostic::on_unimplemented(
    message = "a row cannot be read into `{Self}`",
    note = "add #[derive(Row)] to a struct with named fields, or read one column into a tuple: (i64,)"
)]
pub trait FromRow: Sized + Send {
    /// Reads the row.
    ///
    /// # Errors
    /// If a column is missing or holds something else.
    fn from_row(row: &RowView<'_>) -> Result<Self, RowError>;
}

macro_rules! tuples {
    ($(($($name:ident $at:tt),+);)+) => {$(
        impl<$($name: Column + Send),+> FromRow for ($($name,)+) {
            fn from_row(row: &RowView<'_>) -> Result<Self, RowError> {
                Ok(($(row.at::<$name>($at)?,)+))
            }
        }
    )+};
}

tuples! {
    (A 0);
    (A 0, B 1);
    (A 0, B 1, C 2);
    (A 0, B 1, C 2, D 3);
    (A 0, B 1, C 2, D 3, E 4);
    (A 0, B 1, C 2, D 3, E 4, F 5);
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6);
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7);
}
