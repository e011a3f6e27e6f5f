//! Statements, run in place.

use rusqlite::{CachedStatement, Connection};

use crate::error::{Fault, StatementError};
use crate::guard;
use crate::params::Params;
use crate::row::{FromRow, RowView, View};

/// The only row, if there is one.
pub(crate) fn optional<T: FromRow>(
    db: &Connection,
    sql: &str,
    params: &impl Params,
) -> Result<Option<T>, StatementError> {
    let mut found = None;
    each(db, sql, params, |row| {
        if found.is_some() {
            return Err(Fault::ManyRows);
        }
        found = Some(T::from_row(row)?);
        Ok(())
    })?;
    Ok(found)
}

/// All rows.
pub(crate) fn all<T: FromRow>(
    db: &Connection,
    sql: &str,
    params: &impl Params,
) -> Result<Vec<T>, StatementError> {
    let mut found = Vec::new();
    each(db, sql, params, |row| {
        found.push(T::from_row(row)?);
        Ok(())
    })?;
    Ok(found)
}

/// The number of rows that the statement changed.
pub(crate) fn execute(db: &Connection, sql: &str, params: &impl Params) -> Result<u64, StatementError> {
    let reads_only = each(db, sql, params, |_| Ok(()))?;
    Ok(if reads_only { 0 } else { db.changes() })
}

/// Runs the statement to its end, so that nothing of it is left to be done, and says whether it only reads.
fn each<P: Params>(
    db: &Connection,
    sql: &str,
    params: &P,
    mut row: impl FnMut(&RowView<'_>) -> Result<(), Fault>,
) -> Result<bool, StatementError> {
    let mut run = || -> Result<bool, Fault> {
        guard::check(sql)?;
        let mut statement: CachedStatement<'_> = db.prepare_cached(sql)?;
        let wanted = statement.parameter_count();
        if wanted != params.count() {
            return Err(Fault::Parameters { bound: params.count(), wanted });
        }
        params.bind_sqlite(&mut statement)?;
        let reads_only = statement.readonly();
        let mut rows = statement.raw_query();
        while let Some(next) = rows.next()? {
            row(&RowView(View::Sqlite(next)))?;
        }
        Ok(reads_only)
    };
    run().map_err(|fault| StatementError::new(sql, fault))
}
