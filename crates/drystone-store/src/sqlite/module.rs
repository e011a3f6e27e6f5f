//! A module's files: which are open, which tenants there are, which keys are taken.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use drystone_call::{Admission, Claim, Error, KeyUse, Result, TenantId};
use tokio::sync::OnceCell;
use tokio::time::Instant;

use super::commit::Committer;
use super::conn::{Durability, check_version};
use super::file::{DbFile, FileConfig, Reader, Times};
use super::keys;
use super::layout::Layout;
use super::read::SqliteRead;
use super::registry::{self, Registry};
use super::schema::Kind;
use super::tx::SqliteTx;
use super::writer::OLDEST;
use crate::clock::millis;
use crate::config::StoreConfig;
use crate::keys::Claims;
use crate::metrics::{Counters, StoreMetrics};
use crate::tenants::{TenantState, unknown};

/// A module's database on SQLite.
pub(crate) struct SqliteModule {
    pub(crate) config: StoreConfig,
    pub(crate) files: FileConfig,
    pub(crate) shared: Arc<DbFile>,
    open: Mutex<Open>,
    pub(crate) registry: Registry,
    pub(crate) claims: Claims,
    /// Whether a keyed call was ever recorded with the data of no tenant, so that the gate looks there too.
    shared_keys: AtomicBool,
}

/// A file that is open or being opened.
type Cell = Arc<OnceCell<Arc<DbFile>>>;

/// The tenants' files that are open, with the tick of their last use.
#[derive(Default)]
struct Open {
    files: HashMap<TenantId, Entry>,
    tick: u64,
}

struct Entry {
    file: Cell,
    used: u64,
    /// Whether the file takes nobody in any more.
    closing: bool,
}

impl SqliteModule {
    /// Takes the module's lock, opens the shared file and reads the registry of tenants.
    pub(crate) async fn open(dir: &Path, config: StoreConfig, counters: Arc<Counters>) -> Result<Self> {
        check_version()?;
        let (dir, in_place) = (dir.to_owned(), config.in_place);
        blocking(in_place, move || Self::open_blocking(&dir, config, counters)).await
    }

    fn open_blocking(dir: &Path, config: StoreConfig, counters: Arc<Counters>) -> Result<Self> {
        let module = config.home.module();
        let layout = Arc::new(Layout::open(dir, module)?);
        let committer = if config.in_place {
            Committer::InPlace
        } else {
            Committer::start(module).map_err(|cause| {
                Error::unavailable("the store's commit thread cannot start").caused_by(cause)
            })?
        };
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
        let registry = Registry::open(&files.layout.shared(), files.durability)?;
        let shared_keys = registry::has_keys(&files.layout.shared())?;
        Ok(Self {
            config,
            files,
            shared,
            open: Mutex::default(),
            registry,
            claims: Claims::default(),
            shared_keys: AtomicBool::new(shared_keys),
        })
    }

    fn opened(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file of a tenant, opened and migrated if it is not open; `None` is the module's shared file.
    ///
    /// Nothing is asked of the registry for a file that is open: what takes a tenant's calls away closes its file.
    pub(crate) async fn file(&self, tenant: Option<&TenantId>, deadline: Instant) -> Result<Arc<DbFile>> {
        let Some(tenant) = tenant else { return Ok(Arc::clone(&self.shared)) };
        loop {
            let cell = match self.opened_or_opening(tenant)? {
                Ok(file) => return Ok(file),
                Err(cell) => cell,
            };
            match Box::pin(cell.get_or_try_init(|| self.open_tenant(tenant.clone(), &cell, deadline))).await {
                Ok(file) => return Ok(Arc::clone(file)),
                Err(Some(error)) => return Err(error),
                // The file was closed for good meanwhile: the registry says what is next.
                Err(None) => {}
            }
        }
    }

    fn opened_or_opening(&self, tenant: &TenantId) -> Result<std::result::Result<Arc<DbFile>, Cell>> {
        let mut open = self.opened();
        open.tick += 1;
        let tick = open.tick;
        if let Some(entry) = open.files.get_mut(tenant) {
            if entry.closing {
                self.registry.is_active(tenant)?;
                return Err(Error::unavailable(format!(
                    "the file of tenant {tenant} is being closed; try again"
                )));
            }
            entry.used = tick;
            let cell = &entry.file;
            return Ok(cell.get().map_or_else(|| Err(Arc::clone(cell)), |file| Ok(Arc::clone(file))));
        }
        if !self.registry.is_active(tenant)? && !self.config.create_tenants {
            return Err(unknown(tenant));
        }
        self.evict(&mut open);
        let cell = Arc::new(OnceCell::new());
        open.files.insert(tenant.clone(), Entry { file: Arc::clone(&cell), used: tick, closing: false });
        Ok(Err(cell))
    }

    /// The tenants' files that are open.
    pub(crate) fn open_files(&self) -> Vec<(TenantId, Arc<DbFile>)> {
        let open = self.opened();
        let file =
            |(tenant, entry): (&TenantId, &Entry)| Some((tenant.clone(), Arc::clone(entry.file.get()?)));
        open.files.iter().filter_map(file).collect()
    }

    /// The place of a tenant's file, if it is open or being opened.
    pub(crate) fn cell(&self, tenant: &TenantId) -> Option<Cell> {
        self.opened().files.get(tenant).map(|entry| Arc::clone(&entry.file))
    }

    /// As [`SqliteModule::cell`]; from now on nobody new is let in.
    pub(crate) fn closing(&self, tenant: &TenantId) -> Option<Cell> {
        let mut open = self.opened();
        let entry = open.files.get_mut(tenant)?;
        entry.closing = true;
        Some(Arc::clone(&entry.file))
    }

    /// Takes a file that was closed from those that are open.
    pub(crate) fn forget_file(&self, tenant: &TenantId, cell: &Cell) {
        let mut open = self.opened();
        if open.files.get(tenant).is_some_and(|entry| Arc::ptr_eq(&entry.file, cell)) {
            open.files.remove(tenant);
        }
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

    /// Opens a tenant's file; `None` if `cell` is not its place any more.
    async fn open_tenant(
        &self,
        tenant: TenantId,
        cell: &Cell,
        deadline: Instant,
    ) -> std::result::Result<Arc<DbFile>, Option<Error>> {
        if self.cell(&tenant).is_none_or(|place| !Arc::ptr_eq(&place, cell)) {
            return Err(None);
        }
        let opened = async {
            if !self.registry.is_active(&tenant)? {
                self.register(&tenant, TenantState::Active, deadline).await?;
                self.registry.is_active(&tenant)?;
            }
            self.open_file(&tenant).await
        };
        opened.await.map_err(Some)
    }

    /// Opens and migrates a tenant's file, in whatever state the tenant is.
    pub(crate) async fn open_file(&self, tenant: &TenantId) -> Result<Arc<DbFile>> {
        let (files, times, migrations) = (self.files.clone(), self.times(), self.config.migrations.sqlite);
        let path = files.layout.tenant(tenant);
        blocking(self.config.in_place, move || DbFile::open(path, Kind::Tenant, migrations, times, &files))
            .await
    }

    pub(crate) fn times(&self) -> Times {
        times(&self.config)
    }

    /// Says that a tenant is refused, where its file was closed under a call that had just come in.
    fn refused(&self, tenant: Option<&TenantId>, error: Error) -> Error {
        tenant.and_then(|tenant| self.registry.is_active(tenant).err()).unwrap_or(error)
    }

    /// Begins a transaction on the data of no tenant.
    pub(crate) async fn begin_shared(&self, deadline: Instant) -> Result<SqliteTx> {
        let hold = self.shared.queue.acquire(deadline).await?;
        SqliteTx::start(hold, deadline, Arc::clone(&self.files.counters))
    }

    /// Begins a transaction that writes.
    pub(crate) async fn begin(&self, tenant: Option<&TenantId>, deadline: Instant) -> Result<SqliteTx> {
        let file = self.file(tenant, deadline).await?;
        let hold = file.queue.acquire(deadline).await.map_err(|error| self.refused(tenant, error))?;
        SqliteTx::start(hold, deadline, Arc::clone(&self.files.counters))
    }

    /// Opens a snapshot.
    pub(crate) async fn read(&self, tenant: Option<&TenantId>, deadline: Instant) -> Result<SqliteRead> {
        let reader = self.reader(tenant, deadline).await?;
        self.files.counters.reads.add(1);
        SqliteRead::start(reader, deadline)
    }

    async fn reader(&self, tenant: Option<&TenantId>, deadline: Instant) -> Result<Reader> {
        let file = self.file(tenant, deadline).await?;
        file.reader(deadline).await.map_err(|error| self.refused(tenant, error))
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
        // Where another call has the key, a record still counts: that call may be looking for it as well.
        let held = self.claims.claim(&key_use);
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
            None => Ok(Admission::Run(Claim::new(key_use, Arc::new(held?)))),
        }
    }

    async fn find(
        &self,
        tenant: Option<&TenantId>,
        key_use: &KeyUse,
        deadline: Instant,
    ) -> Result<Option<crate::keys::Found>> {
        let reader = self.reader(tenant, deadline).await?;
        Ok(reader.conn().own(|db| keys::find(db, key_use))?)
    }

    pub(crate) fn metrics(&self) -> StoreMetrics {
        let mut metrics = self.files.counters.read();
        metrics.claims = self.claims.len() as u64;
        metrics.open_files = self.opened().files.len() as u64;
        metrics
    }

    fn patience(&self) -> Instant {
        Instant::now() + 2 * self.config.hold_limit
    }

    /// Lets what was begun end and closes the files.
    pub(crate) async fn close(&self) -> Result<()> {
        let entries = std::mem::take(&mut self.opened().files);
        // One file that does not close keeps the others from nothing.
        let mut first = Ok(());
        for entry in entries.into_values() {
            if let Some(file) = entry.file.get() {
                first = first.and(file.queue.retire(self.patience()).await);
            }
        }
        first.and(self.shared.queue.retire(self.patience()).await)
    }
}

fn times(config: &StoreConfig) -> Times {
    let now = config.home.now();
    let kept = i64::try_from(config.key_retention.as_millis()).unwrap_or(i64::MAX);
    Times { now: millis(now), forget_before: millis(now).saturating_sub(kept) }
}

#[cfg(feature = "testing")]
fn durability(config: &StoreConfig) -> Durability {
    let synchronous_off = config.testing.synchronous_off || config.in_place;
    Durability { synchronous_off, max_pages: config.testing.max_pages }
}

#[cfg(not(feature = "testing"))]
fn durability(config: &StoreConfig) -> Durability {
    Durability { synchronous_off: config.in_place, max_pages: None }
}

#[cfg(feature = "testing")]
fn group_age(config: &StoreConfig) -> Duration {
    config.testing.group_age.unwrap_or(OLDEST)
}

#[cfg(not(feature = "testing"))]
fn group_age(_: &StoreConfig) -> Duration {
    OLDEST
}

/// Does work for a disk on a thread that may wait for one, or in place where no thread may be part of it.
pub(crate) async fn blocking<T: Send + 'static>(
    in_place: bool,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    if in_place {
        return work();
    }
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|cause| Error::internal("opening the store failed").caused_by(cause))?
}
