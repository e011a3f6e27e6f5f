//! The databases' own connections, for what only one of them has.

use std::fmt;
use std::ops::Deref;
use std::sync::MutexGuard;

use crate::sqlite::Held;

/// The connection of a transaction; see [`crate::Tx::native`].
#[derive(Debug)]
pub enum Native<'t> {
    /// SQLite's. It does not go along across an `.await`.
    Sqlite(SqliteNative<'t>),
    /// PostgreSQL's.
    Postgres(&'t tokio_postgres::Client),
}

/// SQLite's connection while the transaction has it; dereferences to [`rusqlite::Connection`].
pub struct SqliteNative<'t> {
    held: MutexGuard<'t, Held>,
    failed: &'t mut bool,
}

impl<'t> SqliteNative<'t> {
    /// The slot has a writer.
    pub(crate) fn new(held: MutexGuard<'t, Held>, failed: &'t mut bool) -> Self {
        Self { held, failed }
    }
}

impl Deref for SqliteNative<'_> {
    type Target = rusqlite::Connection;

    fn deref(&self) -> &rusqlite::Connection {
        &self.held.writer.as_ref().expect("the slot has a writer while this is handed out").conn.db
    }
}

impl Drop for SqliteNative<'_> {
    fn drop(&mut self) {
        // A full disk, or an interrupt, can have rolled everything back unseen.
        if let Some(writer) = self.held.writer.as_mut() {
            *self.failed |= !writer.survived(false);
        }
    }
}

impl fmt::Debug for SqliteNative<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteNative").finish_non_exhaustive()
    }
}
