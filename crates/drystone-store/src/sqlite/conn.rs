//! Connections: how they are opened, what they refuse and how a running statement is interrupted.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use drystone_call::{Code, Error, Result};
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::{Connection, OpenFlags};
use tokio::time::Instant;

/// Older versions can damage a database in WAL mode.
const OLDEST: i32 = 3_051_003;
/// Virtual machine steps between two looks at the clock: some 20 to 100 microseconds.
const STEPS_PER_LOOK: i32 = 2_000;
/// More than one handler's statements and the store's own, so that hot ones stay prepared.
const STATEMENTS_KEPT: usize = 128;

/// How a connection syncs and how large its file may grow.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Durability {
    pub(crate) synchronous_off: bool,
    pub(crate) max_pages: Option<u32>,
}

/// Refuses a SQLite that can damage its files.
pub(crate) fn check_version() -> Result<()> {
    if rusqlite::version_number() >= OLDEST {
        return Ok(());
    }
    Err(Error::new(
        Code::FailedPrecondition,
        format!(
            "SQLite {} can damage a database in WAL mode; build with 3.51.3 or newer (rusqlite's feature `bundled` has it)",
            rusqlite::version()
        ),
    ))
}

/// When a running statement must stop: a moment that the progress handler looks at.
#[derive(Debug)]
pub(crate) struct Limit {
    base: Instant,
    micros: AtomicU64,
}

impl Limit {
    fn new() -> Self {
        Self { base: Instant::now(), micros: AtomicU64::new(u64::MAX) }
    }

    pub(crate) fn set(&self, at: Instant) {
        let micros = at.saturating_duration_since(self.base).as_micros();
        self.micros.store(u64::try_from(micros).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(crate) fn clear(&self) {
        self.micros.store(u64::MAX, Ordering::Relaxed);
    }

    fn passed(&self) -> bool {
        let limit = self.micros.load(Ordering::Relaxed);
        limit != u64::MAX && self.base.elapsed().as_micros() >= u128::from(limit)
    }
}

/// A connection with its limit and its authorizer.
#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) db: Connection,
    pub(crate) limit: Arc<Limit>,
    own: Arc<AtomicBool>,
}

impl Conn {
    /// The connection that writes.
    pub(crate) fn writer(path: &Path, durability: Durability) -> rusqlite::Result<Self> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
        let conn = Self::open(path, flags)?;
        conn.db.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
        let synchronous = if durability.synchronous_off { "off" } else { "full" };
        conn.db.pragma_update(None, "synchronous", synchronous)?;
        conn.db.pragma_update(None, "foreign_keys", true)?;
        if let Some(pages) = durability.max_pages {
            conn.db.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))?;
        }
        conn.guarded()
    }

    /// A connection that only reads.
    pub(crate) fn reader(path: &Path) -> rusqlite::Result<Self> {
        let conn = Self::open(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        conn.db.pragma_update(None, "query_only", true)?;
        conn.guarded()
    }

    fn open(path: &Path, flags: OpenFlags) -> rusqlite::Result<Self> {
        let db = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        db.busy_timeout(Duration::from_secs(5))?;
        db.pragma_update(None, "trusted_schema", false)?;
        db.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
        Ok(Self { db, limit: Arc::new(Limit::new()), own: Arc::default() })
    }

    fn guarded(mut self) -> rusqlite::Result<Self> {
        let limit = Arc::clone(&self.limit);
        self.db.progress_handler(STEPS_PER_LOOK, Some(move || limit.passed()))?;
        let own = Arc::clone(&self.own);
        self.db.authorizer(Some(move |asked: AuthContext<'_>| authorize(&asked, &own)))?;
        Ok(self)
    }

    /// Runs a statement of the store itself: past the authorizer, without a limit, prepared once.
    pub(crate) fn run(&self, sql: &str) -> rusqlite::Result<()> {
        self.own(|db| db.prepare_cached(sql)?.raw_execute().map(drop))
    }

    /// Work of the store itself, which the authorizer lets through.
    pub(crate) fn own<R>(&self, work: impl FnOnce(&Connection) -> R) -> R {
        self.own.store(true, Ordering::Relaxed);
        let done = work(&self.db);
        self.own.store(false, Ordering::Relaxed);
        done
    }
}

/// What a first word does not show: `EXPLAIN COMMIT` is harmless, a pragma as a table function is not.
///
/// `quick_check` only reads; SQLite itself runs it when a migration adds a column with a condition.
fn authorize(asked: &AuthContext<'_>, own: &AtomicBool) -> Authorization {
    let refused = match asked.action {
        AuthAction::Attach { .. }
        | AuthAction::Detach { .. }
        | AuthAction::Transaction { .. }
        | AuthAction::Savepoint { .. } => true,
        AuthAction::Pragma { pragma_name, .. } => pragma_name != "quick_check",
        _ => false,
    };
    if refused && !own.load(Ordering::Relaxed) { Authorization::Deny } else { Authorization::Allow }
}
