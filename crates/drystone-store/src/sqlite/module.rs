//! A module's files: which are open, which tenants there are, which keys are taken.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use drystone_call::{Admission, Claim, Error, KeyUse, Result, TenantId};
use tokio::sync::OnceCell;
use tokio::time::Instant;

use super::commit::Committer;
use super::conn::{Durability, check_version};
use super::file::{DbFile, FileConfig, Times};
use super::keys;
use super::layout::Layout;
use super::read::SqliteRead;
use super::schema::Kind;
use super::tx::SqliteTx;
use super::writer::OLDEST;
use crate::clock::millis;
use crate::config::StoreConfig;
use crate::keys::Claims;
use crate::metrics::{Counters, StoreMetrics};

/// A module's database on SQLite.
pub(crate) struct SqliteModule {
    config: StoreConfig,
    files: FileConfig,
    shared: Arc<DbFile>,
    open: Mutex<Open>,
    known: Mutex<HashSet<TenantId>>,
    pub(crate) claims: Claims,
    /// Whether a keyed call was ever recorded with the data of no tenant, so that the gate looks there too.
    shared_keys: AtomicBool,
}

/// The tenants' files that are open, with the tick of their last use.
#[derive(Default)]
struct Open {
    files: HashMap<TenantId, Entry>,
    tick: u64,
}

struct Entry {
    file: Arc<OnceCell<Arc<DbFile>>>,
    used: u64,
}

impl SqliteModule {
    /// Takes the module's lock, opens the shared file and reads the registry of tenants.
    pub(crate) async fn open(dir: &Path, config: StoreConfig, counters: Arc<Counters>) -> Result<Self> {
        check_version()?;
        let dir = dir.to_owned();
        blocking(move || Self::open_blocking(&dir, config, counters)).await
    }

    fn open_blocking(dir: &Path, config: StoreConfig, counters: Arc<Counters>) -> Result<Self> {
        let module = config.home.module();
        let layout = Arc::new(Layout::open(dir, module)?);
        let committer = Committer::start(module)
            .map_err(|cause| Error::unavailable("the store's commit thread cannot start").caused_by(cause))?;
        let files = FileConfig {
            durability: durability(&config),
            group_age: group_age(&config),
            hold_limit: config.hold_limit,
            max_readers: config.max_readers,
            committer,
            counters,
            layout,
        };
        let migrations = config.migrations.shared_sqlite;
        let shared = DbFile::open(files.layout.shared(), Kind::Shared, migrations, times(&config), &files)?;
        let known = super::registry::read(&files.layout.shared())?;
        let shared_keys = super::registry::has_keys(&files.layout.shared())?;
        Ok(Self {
            config,
            files,
            shared,
            open: Mutex::default(),
            known: Mutex::new(known),
            claims: Claims::default(),
            shared_keys: AtomicBool::new(shared_keys),
        })
    }

    fn opened(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self) -> MutexGuard<'_, HashSet<TenantId>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file of a tenant, opened and migrated if it is not open; `None` is the module's shared file.
    async fn file(&self, tenant: Option<&TenantId>, deadline: Instant) -> Result<Arc<DbFile>> {
        let Some(tenant) = tenant else { return Ok(Arc::clone(&self.shared)) };
        let cell = {
            let mut open = self.opened();
            open.tick += 1;
            let tick = open.tick;
            if let Some(entry) = open.files.get_mut(tenant) {
                entry.used = tick;
                if let Some(file) = entry.file.get() {
                    return Ok(Arc::clone(file));
                }
                Arc::clone(&entry.file)
            } else {
                self.evict(&mut open);
                let cell = Arc::new(OnceCell::new());
                open.files.insert(tenant.clone(), Entry { file: Arc::clone(&cell), used: tick });
                cell
            }
        };
        cell.get_or_try_init(|| self.open_tenant(tenant.clone(), deadline)).await.cloned()
    }

    /// Closes the files that were not used for longest, where nobody uses them, until there is room for one more.
    fn evict(&self, open: &mut Open) {
        while open.files.len() >= self.config.max_open_files.max(1) {
            let unused = open.files.iter().filter(|(_, entry)| {
                Arc::strong_count(&entry.file) == 1 && entry.file.get().is_none_or(DbFile::is_unused)
            });
            let Some(oldest) = unused.min_by_key(|(_, entry)| entry.used).map(|(tenant, _)| tenant.clone())
            else {
                return;
            };
            let closed = open.files.remove(&oldest);
            self.files.committer.later(Box::new(move || drop(closed)));
        }
    }

    async fn open_tenant(&self, tenant: TenantId, deadline: Instant) -> Result<Arc<DbFile>> {
        if !self.known().contains(&tenant) {
            self.register(&tenant, deadline).await?;
            self.known().insert(tenant.clone());
        }
        let (files, times, migrations) =
            (self.files.clone(), times(&self.config), self.config.migrations.sqlite);
        let path = files.layout.tenant(&tenant);
        blocking(move || DbFile::open(path, Kind::Tenant, migrations, times, &files)).await
    }

    /// Puts a tenant into the registry before its file exists, so that no file is without an entry.
    async fn register(&self, tenant: &TenantId, deadline: Instant) -> Result<()> {
        let hold = self.shared.queue.acquire(deadline).await?;
        let mut tx = SqliteTx::start(hold, deadline, Arc::clone(&self.files.counters))?;
        let now = times(&self.config).now;
        tx.execute(
            "insert into drystone_tenants (name, created) values ($1, $2) on conflict do nothing",
            &(tenant.as_str(), now),
        )?;
        tx.submit(None, None)?.ended().await
    }

    /// Begins a transaction that writes.
    pub(crate) async fn begin(&self, tenant: Option<&TenantId>, deadline: Instant) -> Result<SqliteTx> {
        let file = self.file(tenant, deadline).await?;
        let hold = file.queue.acquire(deadline).await?;
        SqliteTx::start(hold, deadline, Arc::clone(&self.files.counters))
    }

    /// Opens a snapshot.
    pub(crate) async fn read(&self, tenant: Option<&TenantId>, deadline: Instant) -> Result<SqliteRead> {
        let file = self.file(tenant, deadline).await?;
        let reader = file.reader(deadline).await?;
        self.files.counters.reads.add(1);
        SqliteRead::start(reader, deadline)
    }

    /// Says that a keyed call was recorded with the data of no tenant.
    pub(crate) fn note_shared_key(&self) {
        self.shared_keys.store(true, Ordering::Relaxed);
    }

    /// Records made before this moment are past their time, in milliseconds since 1970.
    pub(crate) fn forget_before(&self) -> i64 {
        times(&self.config).forget_before
    }

    /// Claims a key, or finds its record. The claim comes first: a twin that ended in between has left its record.
    pub(crate) async fn admit(&self, key_use: KeyUse, deadline: Instant) -> Result<Admission> {
        let held = self.claims.claim(&key_use)?;
        let mut found = self.find(Some(&key_use.tenant), &key_use, deadline).await?;
        if found.is_none() && self.shared_keys.load(Ordering::Relaxed) {
            found = self.find(None, &key_use, deadline).await?;
        }
        match found {
            Some(found) => {
                let recorded = found.replay(&key_use)?;
                self.files.counters.replays.add(1);
                Ok(Admission::Replay(recorded))
            }
            None => Ok(Admission::Run(Claim::new(key_use, Arc::new(held)))),
        }
    }

    async fn find(
        &self,
        tenant: Option<&TenantId>,
        key_use: &KeyUse,
        deadline: Instant,
    ) -> Result<Option<crate::keys::Found>> {
        let reader = self.file(tenant, deadline).await?.reader(deadline).await?;
        Ok(reader.conn().own(|db| keys::find(db, key_use))?)
    }

    /// The tenants that the module has data of.
    pub(crate) fn tenants(&self) -> Vec<TenantId> {
        let mut all: Vec<TenantId> = self.known().iter().cloned().collect();
        all.sort();
        all
    }

    pub(crate) fn metrics(&self) -> StoreMetrics {
        let mut metrics = self.files.counters.read();
        metrics.claims = self.claims.len() as u64;
        metrics.open_files = self.opened().files.len() as u64;
        metrics
    }

    /// Lets what was begun end and closes the files.
    pub(crate) async fn close(&self) -> Result<()> {
        let entries = std::mem::take(&mut self.opened().files);
        // One file that does not close keeps the others from nothing.
        let mut first = Ok(());
        for entry in entries.into_values() {
            if let Some(file) = entry.file.get() {
                first = first.and(file.queue.retire().await);
            }
        }
        first.and(self.shared.queue.retire().await)
    }
}

fn times(config: &StoreConfig) -> Times {
    let now = config.home.now();
    let kept = i64::try_from(config.key_retention.as_millis()).unwrap_or(i64::MAX);
    Times { now: millis(now), forget_before: millis(now).saturating_sub(kept) }
}

#[cfg(feature = "testing")]
fn durability(config: &StoreConfig) -> Durability {
    Durability { synchronous_off: config.testing.synchronous_off, max_pages: config.testing.max_pages }
}

#[cfg(not(feature = "testing"))]
fn durability(_: &StoreConfig) -> Durability {
    Durability::default()
}

#[cfg(feature = "testing")]
fn group_age(config: &StoreConfig) -> Duration {
    config.testing.group_age.unwrap_or(OLDEST)
}

#[cfg(not(feature = "testing"))]
fn group_age(_: &StoreConfig) -> Duration {
    OLDEST
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|cause| Error::internal("opening the store failed").caused_by(cause))?
}
