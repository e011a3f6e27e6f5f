//! The tables of the platform, and the module's migrations, in one file.
//!
//! They run when the file opens, contract steps too: one process owns a module's files, so no older version can be at work beside it, and the module's
//! lock is its lease. A file that a newer version opened before opens here as long as that version only added.

use drystone_call::{Error, Result};
use rusqlite::Connection;

use super::conn::Conn;
use crate::migrate::{self, Applied, Migration};

const PLATFORM: &str = "
create table if not exists drystone_migrations (
    version integer primary key,
    name text not null,
    checksum text not null,
    applied integer not null
) strict;
create table if not exists drystone_idempotency (
    id integer primary key,
    tenant text not null,
    principal text not null,
    method text not null,
    key text not null,
    fingerprint blob not null,
    descriptor_hash integer not null,
    kind integer not null,
    body blob not null,
    created integer not null,
    unique (tenant, principal, method, key)
) strict;
";

const REGISTRY: &str = "
create table if not exists drystone_tenants (name text primary key, created integer not null) strict, without rowid;
";

/// Tables of events, in a tenant's file. Times are microseconds since 1970.
///
/// A number of the outbox is never given twice, since positions count by it. The inbox is one tree by its key, as its rows are hardly more than their keys.
const EVENTS: &str = "
create table if not exists drystone_outbox (
    seq integer primary key autoincrement,
    id blob not null,
    type text not null,
    key text not null,
    data blob not null,
    created integer not null,
    trace text
) strict;
create table if not exists drystone_scheduled (
    id blob primary key not null,
    type text not null,
    key text not null,
    data blob not null,
    due integer not null,
    created integer not null,
    trace text
) strict;
create index if not exists drystone_scheduled_by_due on drystone_scheduled (due);
create table if not exists drystone_inbox (
    consumer text not null,
    id blob not null,
    handled integer not null,
    primary key (consumer, id)
) strict, without rowid;
create index if not exists drystone_inbox_by_age on drystone_inbox (handled);
create table if not exists drystone_held (
    place integer primary key autoincrement,
    consumer text not null,
    source text not null,
    key text not null,
    id blob not null,
    type text not null,
    format text not null default 'protobuf',
    data blob not null,
    created integer not null,
    trace text,
    seq integer not null,
    state text not null check (state in ('retrying', 'waiting', 'parked')),
    attempts integer not null,
    due integer,
    reason text,
    since integer not null,
    unique (consumer, id)
) strict;
create index if not exists drystone_held_by_key on drystone_held (consumer, source, key, place);
create index if not exists drystone_held_by_due on drystone_held (due) where state = 'retrying';
";

/// The positions of the pumps, in every file. What came last to the platform, so that a file that has it has everything.
const PUMPS: &str = "
create table if not exists drystone_pumps (
    name text primary key,
    position integer not null default 0,
    epoch integer not null default 0,
    owner text,
    until integer,
    mark text,
    broker_seq integer
) strict, without rowid;
";
const HAS_ALL: &str = "select exists (select 1 from sqlite_schema where name = 'drystone_pumps')";

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The module's data of no tenant, and the registry of tenants.
    Shared,
    /// One tenant's data.
    Tenant,
}

/// Brings a file to the module's version.
///
/// # Errors
/// `FAILED_PRECONDITION` if a migration fails or an applied one was edited; the file is then at the last one that ran.
pub(crate) fn migrate(conn: &Conn, kind: Kind, all: &[Migration], place: &str, now: i64) -> Result<()> {
    if !conn.own(|db| db.query_row(HAS_ALL, [], |row| row.get(0)))? {
        create(conn, kind)?;
    }
    let applied = conn.own(applied)?;
    for migration in migrate::plan(all, &applied, place)? {
        apply(conn, migration, now)
            .map_err(|cause| migrate::failed(migration, place, &cause.to_string(), cause))?;
        tracing::info!(target: "drystone::store", place, migration = migration.name, "migrated");
    }
    Ok(())
}

fn create(conn: &Conn, kind: Kind) -> Result<()> {
    in_transaction(conn, || {
        conn.own(|db| {
            db.execute_batch(PLATFORM)?;
            db.execute_batch(if kind == Kind::Shared { REGISTRY } else { EVENTS })?;
            db.execute_batch(PUMPS)
        })
    })
    .map_err(Error::from)
}

fn applied(db: &Connection) -> rusqlite::Result<Vec<Applied>> {
    let mut statement =
        db.prepare("select version, name, checksum from drystone_migrations order by version")?;
    let rows = statement.query_map([], |row| {
        Ok(Applied { version: row.get(0)?, name: row.get(1)?, checksum: row.get(2)? })
    })?;
    rows.collect()
}

/// Runs one migration, which may not end its transaction: the authorizer refuses that.
///
/// It is looked for once more where nobody else can write: when the call that opens a file is dropped, the opening goes on, and the next call opens the
/// file a second time meanwhile.
fn apply(conn: &Conn, migration: &Migration, now: i64) -> rusqlite::Result<()> {
    in_transaction(conn, || {
        let known = "select exists (select 1 from drystone_migrations where version = ?)";
        if conn.own(|db| db.query_row(known, [migration.version], |row| row.get(0)))? {
            return Ok(());
        }
        conn.db.execute_batch(migration.sql)?;
        let line = (migration.version, migration.name, migrate::checksum(migration), now);
        let insert = "insert into drystone_migrations (version, name, checksum, applied) values (?, ?, ?, ?)";
        conn.own(|db| db.execute(insert, line)).map(drop)
    })
}

fn in_transaction(conn: &Conn, work: impl FnOnce() -> rusqlite::Result<()>) -> rusqlite::Result<()> {
    conn.run("begin immediate")?;
    match work() {
        Ok(()) => conn.run("commit"),
        Err(cause) => {
            if !conn.db.is_autocommit() {
                conn.run("rollback")?;
            }
            Err(cause)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::conn::Durability;
    use super::*;
    use crate::migrate::Step;

    #[test]
    fn a_migration_that_another_opening_ran_meanwhile_is_not_run_again() {
        let dir = tempfile::TempDir::new().unwrap();
        let path = dir.path().join("demo.db");
        let open = || Conn::writer(&path, Durability::default()).unwrap();
        let name = "V0001__expand_create";
        let migration =
            Migration { version: 1, step: Step::Expand, name, sql: "create table items (id text) strict" };
        let (first, second) = (open(), open());
        migrate(&first, Kind::Tenant, &[], "demo.db", 7).unwrap();
        for conn in [&first, &second] {
            // Both have planned before one of them runs.
            apply(conn, &migration, 7).unwrap();
        }
        assert_eq!(second.own(applied).unwrap().len(), 1);
    }
}
