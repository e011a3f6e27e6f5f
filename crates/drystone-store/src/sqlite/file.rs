//! One database file: the queue of its writers and the pool of its readers.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use drystone_call::{Error, Result};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::commit::Committer;
use super::conn::{Conn, Durability};
use super::keys;
use super::layout::{Layout, ensure, unusable};
use super::queue::Queue;
use super::schema::{Kind, migrate};
use super::writer::Writer;
use crate::error::too_late;
use crate::metrics::Counters;
use crate::migrate::Migration;

/// What all files of a module have in common.
#[derive(Clone)]
pub(crate) struct FileConfig {
    pub(crate) durability: Durability,
    pub(crate) group_age: Duration,
    pub(crate) hold_limit: Duration,
    pub(crate) max_readers: usize,
    pub(crate) committer: Committer,
    pub(crate) counters: Arc<Counters>,
    pub(crate) layout: Arc<Layout>,
}

/// An open file.
pub(crate) struct DbFile {
    pub(crate) queue: Arc<Queue>,
    path: PathBuf,
    resting: Mutex<Vec<Conn>>,
    permits: Arc<Semaphore>,
    max_readers: usize,
    /// The module's lock lasts as long as its last file.
    _layout: Arc<Layout>,
}

/// The moments that opening a file needs, in milliseconds since 1970.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) now: i64,
    pub(crate) forget_before: i64,
}

impl DbFile {
    /// Opens a file, creating and migrating it as needed; touches the disk.
    pub(crate) fn open(
        path: PathBuf,
        kind: Kind,
        migrations: &[Migration],
        times: Times,
        config: &FileConfig,
    ) -> Result<Arc<Self>> {
        ensure(&path)?;
        let conn = Conn::writer(&path, config.durability).map_err(|cause| unusable(&path, cause))?;
        migrate(&conn, kind, migrations, &path.display().to_string(), times.now)?;
        conn.own(|db| keys::forget(db, times.forget_before))?;
        let writer = Box::new(Writer::new(conn, Arc::clone(&config.counters), config.group_age));
        let queue =
            Queue::new(writer, config.committer.clone(), Arc::clone(&config.counters), config.hold_limit);
        Ok(Arc::new(Self {
            queue,
            path,
            resting: Mutex::default(),
            permits: Arc::new(Semaphore::new(config.max_readers)),
            max_readers: config.max_readers,
            _layout: Arc::clone(&config.layout),
        }))
    }

    /// Whether nobody uses the file but its owner.
    pub(crate) fn is_unused(self: &Arc<Self>) -> bool {
        Arc::strong_count(self) == 1 && Arc::strong_count(&self.queue) == 1
    }

    /// Lets those who read end, until `deadline` at most, closes their connections and lets nobody else in. Can be repeated.
    pub(crate) async fn close_readers(&self, deadline: Instant) -> Result<()> {
        let all = u32::try_from(self.max_readers).unwrap_or(u32::MAX);
        let waiting = tokio::time::timeout_at(deadline, self.permits.acquire_many(all)).await;
        // An error says that they were closed before.
        let _all = waiting.map_err(|_| too_late("the readers of the database"))?;
        self.permits.close();
        self.resting.lock().unwrap_or_else(PoisonError::into_inner).clear();
        Ok(())
    }

    /// A connection to read with, waiting for one until `deadline` at most.
    pub(crate) async fn reader(self: &Arc<Self>, deadline: Instant) -> Result<Reader> {
        let permit = tokio::time::timeout_at(deadline, Arc::clone(&self.permits).acquire_owned()).await;
        let permit = permit
            .map_err(|_| too_late("a reader of the database"))?
            .map_err(|_| Error::unavailable("the store is closing"))?;
        let rested = self.resting.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let conn = match rested {
            Some(conn) => conn,
            None => Conn::reader(&self.path).map_err(|cause| unusable(&self.path, cause))?,
        };
        Ok(Reader { conn: Some(conn), file: Arc::clone(self), _permit: permit })
    }
}

/// A reader's connection, returned to its pool when dropped.
pub(crate) struct Reader {
    conn: Option<Conn>,
    file: Arc<DbFile>,
    _permit: OwnedSemaphorePermit,
}

impl Reader {
    pub(crate) fn conn(&self) -> &Conn {
        self.conn.as_ref().expect("the connection is there until the reader is dropped")
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let Some(conn) = self.conn.take() else { return };
        conn.limit.clear();
        // A snapshot that cannot be closed would keep the log from being reused: such a connection is not kept.
        if conn.db.is_autocommit() || conn.run("rollback").is_ok() {
            self.file.resting.lock().unwrap_or_else(PoisonError::into_inner).push(conn);
        }
    }
}
