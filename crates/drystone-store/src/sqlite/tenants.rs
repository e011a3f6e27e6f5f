//! The life of a tenant on SQLite: a row in the shared file, and a file of its own.
//!
//! The shared file always says first what is about to happen, so that a crash leaves a state that is listed and can be gone on from.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use drystone_call::{Code, Error, Result, TenantId};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::file::DbFile;
use super::layout::unusable;
use super::module::SqliteModule;
use super::registry::Busy;
use crate::tenants::{Tenant, TenantState, exists, unknown, wrong_state};

/// How long those who still work for a tenant are waited for.
const PATIENCE: Duration = Duration::from_mins(1);
/// How long the shared file's other writers are waited for.
const SOON: Duration = Duration::from_secs(10);

impl SqliteModule {
    /// The tenants that the module has data of.
    pub(crate) fn tenants(&self) -> Vec<Tenant> {
        self.registry.all()
    }

    /// The active tenants whose files were written to at `since` or later, by what the file system says.
    pub(crate) async fn touched_since(&self, since: SystemTime) -> Result<Vec<TenantId>> {
        let active = self.registry.all().into_iter().filter(|one| one.state == TenantState::Active);
        let files: Vec<_> = active.map(|one| (self.files.layout.tenant(&one.name), one.name)).collect();
        let touched = move |path: &Path| {
            std::fs::metadata(path).and_then(|file| file.modified()).is_ok_and(|at| at >= since)
        };
        let is_touched = move |path: &PathBuf| touched(path) || touched(&path.with_extension("db-wal"));
        super::module::blocking(self.config.in_place, move || {
            Ok(files.into_iter().filter(|(path, _)| is_touched(path)).map(|(_, name)| name).collect())
        })
        .await
    }

    /// Creates a tenant; its file comes with the first use. `false`: it was there.
    pub(crate) async fn create_tenant(&self, tenant: &TenantId) -> Result<bool> {
        self.register(tenant, TenantState::Active, Instant::now() + SOON).await
    }

    /// Refuses calls from now on and waits until nobody works for the tenant.
    pub(crate) async fn suspend_tenant(&self, tenant: &TenantId) -> Result<()> {
        let _busy = self.registry.claim(tenant)?;
        match self.registry.state(tenant)? {
            TenantState::Active | TenantState::Suspended => {}
            state => return Err(wrong_state(tenant, state, "there is nothing to suspend")),
        }
        self.change(tenant, TenantState::Suspended).await?;
        self.close_file(tenant).await
    }

    /// Lets calls in again.
    pub(crate) async fn resume_tenant(&self, tenant: &TenantId) -> Result<()> {
        let _busy = self.registry.claim(tenant)?;
        match self.registry.state(tenant)? {
            TenantState::Active => return Ok(()),
            TenantState::Suspended | TenantState::Importing => {}
            state => return Err(wrong_state(tenant, state, "delete it to the end; it cannot come back")),
        }
        // A suspension that gave up waiting has left a file that takes nobody in.
        self.close_file(tenant).await?;
        self.change(tenant, TenantState::Active).await
    }

    /// Deletes the tenant's file, then its row.
    pub(crate) async fn delete_tenant(&self, tenant: &TenantId) -> Result<()> {
        let busy = self.registry.claim(tenant)?;
        if self.registry.state(tenant)? == TenantState::Active {
            return Err(wrong_state(tenant, TenantState::Active, "suspend it first"));
        }
        self.delete_claimed(tenant, &busy).await
    }

    async fn delete_claimed(&self, tenant: &TenantId, _: &Busy) -> Result<()> {
        self.registry.set(tenant, TenantState::Deleting);
        self.write_state(tenant, TenantState::Deleting).await?;
        self.close_file(tenant).await?;
        let path = self.files.layout.tenant(tenant);
        self.on_commit_thread(move || remove(&path)).await?;
        let mut tx = self.begin_shared(Instant::now() + SOON).await?;
        tx.execute("delete from drystone_tenants where name = $1", &(tenant.as_str(),))?;
        tx.submit(None, None)?.ended().await?;
        self.registry.remove(tenant);
        Ok(())
    }

    /// Begins an import: the row first, so that no file is without one.
    pub(crate) async fn start_import(&self, tenant: &TenantId) -> Result<Busy> {
        let busy = self.registry.claim(tenant)?;
        if let Ok(state) = self.registry.state(tenant) {
            return Err(exists(tenant, state));
        }
        let path = self.files.layout.tenant(tenant);
        if path.exists() {
            let place = path.display();
            return Err(Error::new(
                Code::AlreadyExists,
                format!("{place} is there, though nobody has created tenant {tenant}: move the file away"),
            ));
        }
        // In memory first: what is given up between the two is listed too.
        self.registry.add(tenant, TenantState::Importing, self.times().now);
        let registered = self.register(tenant, TenantState::Importing, Instant::now() + SOON).await;
        registered.map(|_| busy).inspect_err(|_| self.registry.remove(tenant))
    }

    /// Removes what an import that failed has left.
    pub(crate) async fn undo_import(&self, tenant: &TenantId, busy: &Busy) {
        if let Err(error) = self.delete_claimed(tenant, busy).await {
            tracing::error!(target: "drystone::store", tenant = tenant.as_str(), error = ?error, "an import that failed could not be removed");
        }
    }

    /// Puts a tenant into the registry before its file exists, so that no file is without an entry. `false`: it was there.
    pub(crate) async fn register(
        &self,
        tenant: &TenantId,
        state: TenantState,
        deadline: Instant,
    ) -> Result<bool> {
        let now = self.times().now;
        let mut tx = self.begin_shared(deadline).await?;
        let added = tx.execute(
            "insert into drystone_tenants (name, state, created) values ($1, $2, $3) on conflict do nothing",
            &(tenant.as_str(), state.as_str(), now),
        )?;
        tx.submit(None, None)?.ended().await?;
        self.registry.add(tenant, state, now);
        Ok(added == 1)
    }

    async fn change(&self, tenant: &TenantId, state: TenantState) -> Result<()> {
        if !self.write_state(tenant, state).await? {
            return Err(unknown(tenant));
        }
        self.registry.set(tenant, state);
        Ok(())
    }

    /// Writes a tenant's state; `false` if it has no row.
    async fn write_state(&self, tenant: &TenantId, state: TenantState) -> Result<bool> {
        let mut tx = self.begin_shared(Instant::now() + SOON).await?;
        let changed = tx.execute(
            "update drystone_tenants set state = $2 where name = $1",
            &(tenant.as_str(), state.as_str()),
        )?;
        tx.submit(None, None)?.ended().await?;
        Ok(changed == 1)
    }

    /// Closes the file of a tenant that takes no new calls, when its writers and readers are done.
    async fn close_file(&self, tenant: &TenantId) -> Result<()> {
        let Some(cell) = self.closing(tenant) else { return Ok(()) };
        let deadline = Instant::now() + PATIENCE;
        // Whoever opens the file now is waited for; whoever wants to later is refused by the state.
        let opened: Result<&Arc<DbFile>, ()> = cell.get_or_try_init(|| async { Err(()) }).await;
        if let Ok(file) = opened {
            file.queue.retire(deadline).await?;
            file.close_readers(deadline).await?;
        }
        self.forget_file(tenant, &cell);
        Ok(())
    }

    /// Runs something behind all files that are being closed.
    async fn on_commit_thread(&self, work: impl FnOnce() -> Result<()> + Send + 'static) -> Result<()> {
        let (done, end) = oneshot::channel();
        self.files.committer.later(Box::new(move || drop(done.send(work()))));
        end.await.map_err(|_| Error::internal("the store's commit thread has ended"))?
    }
}

/// Removes a database's files for good.
fn remove(path: &Path) -> Result<()> {
    for end in ["", "-wal", "-shm", "-journal"] {
        let mut name = path.as_os_str().to_owned();
        name.push(end);
        let name = PathBuf::from(name);
        match std::fs::remove_file(&name) {
            Ok(()) => {}
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => {}
            Err(cause) => return Err(unusable(&name, cause)),
        }
    }
    let synced = path.parent().map_or(Ok(()), |parent| std::fs::File::open(parent)?.sync_all());
    synced.map_err(|cause| unusable(path, cause))
}
