//! Tenants: who there are, their life cycle, and work across them.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use drystone_call::{Code, Context, DEFAULT_TIMEOUT, Error, PlatformReason, Principal, Result, TenantId};
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufRead, AsyncWrite};

use crate::archive::Section;
use crate::store::Store;

/// The tenants that a module has data of.
#[derive(Clone, Debug)]
pub struct Tenants(Store);

/// A tenant as the module's store knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    /// The name.
    pub name: TenantId,
    /// Where in its life it is.
    pub state: TenantState,
    /// When it was created here, on the module's clock and to the millisecond.
    pub created: SystemTime,
}

/// Where in its life a tenant is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TenantState {
    /// Calls are answered.
    Active,
    /// Calls are refused; the data stays as it is.
    Suspended,
    /// An archive is being read, or was read and waits for [`Tenants::resume`].
    Importing,
    /// The data is being deleted, or that was interrupted: [`Tenants::delete`] goes on.
    Deleting,
}

impl TenantState {
    const ALL: [Self; 4] = [Self::Active, Self::Suspended, Self::Importing, Self::Deleting];

    /// The state's name, as the registry of tenants keeps it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Importing => "importing",
            Self::Deleting => "deleting",
        }
    }

    /// The state of a name.
    ///
    /// # Errors
    /// `DATA_LOSS` if the registry has something else.
    pub(crate) fn parse(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name).ok_or_else(|| {
            Error::new(Code::DataLoss, format!("the registry of tenants has the unknown state {name:?}"))
        })
    }

    /// Why calls for a tenant in this state are refused; `None` for one that is active.
    pub(crate) fn refusal(self, tenant: &TenantId) -> Option<Error> {
        let why = match self {
            Self::Active => return None,
            Self::Suspended => {
                format!("tenant {tenant} is suspended; `tenants resume {tenant}` lets calls in again")
            }
            Self::Importing => {
                format!(
                    "tenant {tenant} is being imported; when that is done, `tenants resume {tenant}` lets calls in"
                )
            }
            Self::Deleting => {
                format!(
                    "tenant {tenant} is being deleted; `tenants delete {tenant}` completes a deletion that was interrupted"
                )
            }
        };
        Some(PlatformReason::TenantSuspended.error(why))
    }
}

impl fmt::Display for TenantState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// There is no such tenant.
pub(crate) fn unknown(tenant: &TenantId) -> Error {
    PlatformReason::TenantUnknown
        .error(format!("there is no tenant {tenant}; create it with `tenants create {tenant}`"))
}

/// The tenant is in a state from which this cannot be done.
pub(crate) fn wrong_state(tenant: &TenantId, state: TenantState, remedy: &str) -> Error {
    Error::new(Code::FailedPrecondition, format!("tenant {tenant} is {state}: {remedy}"))
}

/// The tenant is there already.
pub(crate) fn exists(tenant: &TenantId, state: TenantState) -> Error {
    Error::new(
        Code::AlreadyExists,
        format!("tenant {tenant} is there already ({state}): delete it first, or import under another name"),
    )
}

/// Another operation on the tenant is running.
pub(crate) fn busy(tenant: &TenantId) -> Error {
    Error::aborted(format!("another operation on tenant {tenant} is running; try again when it is done"))
}

/// Runs a change in a task of its own: half of one would be worse than one that the caller does not wait for.
///
/// Boxed, as all work here: its type is too deep for the compiler to look through in a module's code.
async fn to_the_end<T: Send + 'static>(change: BoxFuture<'static, Result<T>>) -> Result<T> {
    tokio::spawn(change)
        .await
        .map_err(|cause| Error::internal("a change of a tenant failed").caused_by(cause))?
}

/// Forgets the type of a future.
fn boxed<'w, T>(work: impl Future<Output = Result<T>> + Send + 'w) -> BoxFuture<'w, Result<T>> {
    Box::pin(work)
}

/// The life cycle. A change that has begun goes on to its end, also when its future is dropped.
impl Tenants {
    pub(crate) fn new(store: Store) -> Self {
        Self(store)
    }

    /// The names of those that may be worked for, in order.
    ///
    /// # Errors
    /// If the store does not answer.
    pub async fn list(&self) -> Result<Vec<TenantId>> {
        let all = self.all().await?;
        Ok(all.into_iter().filter(|one| one.state == TenantState::Active).map(|one| one.name).collect())
    }

    /// The names of those that may be worked for and whose data may have changed at `since` or later, on the machine's clock: on SQLite those whose files
    /// were written to, on PostgreSQL all. For engines that look for work when a process begins.
    ///
    /// # Errors
    /// If the store does not answer.
    pub async fn touched_since(&self, since: SystemTime) -> Result<Vec<TenantId>> {
        let backend = self.0.backend()?;
        match boxed(backend.touched_since(since)).await? {
            Some(touched) => Ok(touched),
            None => self.list().await,
        }
    }

    /// All of them, in order of their names.
    ///
    /// # Errors
    /// If the store does not answer.
    pub async fn all(&self) -> Result<Vec<Tenant>> {
        let backend = self.0.backend()?;
        boxed(backend.tenants()).await
    }

    /// Creates a tenant without data; says whether it did. `false`: it was there, in whatever state.
    ///
    /// # Errors
    /// If the store does not answer.
    pub async fn create(&self, tenant: &TenantId) -> Result<bool> {
        let (backend, tenant) = (self.0.backend()?, tenant.clone());
        to_the_end(boxed(async move { backend.create_tenant(&tenant).await })).await
    }

    /// Refuses calls for a tenant from now on, and returns when nobody works for it any more, in whatever process. Can be repeated.
    ///
    /// # Errors
    /// `TENANT_UNKNOWN`; `FAILED_PRECONDITION` if it is being imported or deleted; `DEADLINE_EXCEEDED` if somebody still works for it after a minute: calls are
    /// refused by then, and repeating this waits on; `ABORTED` while another operation on the tenant runs.
    pub async fn suspend(&self, tenant: &TenantId) -> Result<()> {
        let (backend, tenant) = (self.0.backend()?, tenant.clone());
        to_the_end(boxed(async move { backend.suspend_tenant(&tenant).await })).await
    }

    /// Lets calls in again for a tenant that is suspended or was imported.
    ///
    /// # Errors
    /// `TENANT_UNKNOWN`; `FAILED_PRECONDITION` if it is being deleted; `ABORTED` while another operation on the tenant runs.
    pub async fn resume(&self, tenant: &TenantId) -> Result<()> {
        let (backend, tenant) = (self.0.backend()?, tenant.clone());
        to_the_end(boxed(async move { backend.resume_tenant(&tenant).await })).await
    }

    /// Deletes a tenant with all its data. What was interrupted, by a crash or an error, is listed as [`TenantState::Deleting`] and can be repeated.
    ///
    /// # Errors
    /// `TENANT_UNKNOWN`; `FAILED_PRECONDITION` if it is active; otherwise as [`Tenants::suspend`].
    pub async fn delete(&self, tenant: &TenantId) -> Result<()> {
        let (backend, tenant) = (self.0.backend()?, tenant.clone());
        to_the_end(boxed(async move { backend.delete_tenant(&tenant).await })).await
    }

    /// Writes the module's section of a tenant's archive, from one snapshot, and says what it holds.
    ///
    /// A tenant that is active can be exported too. Its other modules are then exported at other moments; suspend it where that matters.
    ///
    /// # Errors
    /// `TENANT_UNKNOWN`; `FAILED_PRECONDITION` if it is being imported or deleted, or if a table cannot be exported; what writing to `to` gives.
    pub async fn export<W: AsyncWrite + Unpin + Send>(
        &self,
        tenant: &TenantId,
        to: &mut W,
    ) -> Result<Section> {
        let backend = self.0.backend()?;
        boxed(backend.export(Some(tenant), to)).await
    }

    /// Reads the module's section of an archive into a tenant that is not there, and leaves it [`TenantState::Importing`]: [`Tenants::resume`] lets calls in.
    ///
    /// `from` is read up to the end of the section. What was written is read again and compared before it is committed.
    ///
    /// # Errors
    /// `ALREADY_EXISTS` if the tenant is there; `DATA_LOSS` if the archive is damaged; `FAILED_PRECONDITION` if it does not fit the module. Nothing is left behind
    /// then.
    pub async fn import<R: AsyncBufRead + Unpin + Send>(
        &self,
        tenant: &TenantId,
        from: &mut R,
    ) -> Result<Section> {
        let backend = self.0.backend()?;
        boxed(backend.import_tenant(tenant, from)).await
    }

    /// As [`Tenants::export`], for the module's data of no tenant.
    ///
    /// # Errors
    /// As [`Tenants::export`].
    pub async fn export_shared<W: AsyncWrite + Unpin + Send>(&self, to: &mut W) -> Result<Section> {
        let backend = self.0.backend()?;
        boxed(backend.export(None, to)).await
    }

    /// As [`Tenants::import`], for the module's data of no tenant. Its tables must be empty, and nobody should work with them meanwhile.
    ///
    /// # Errors
    /// As [`Tenants::import`]; `ALREADY_EXISTS` if a table has rows.
    pub async fn import_shared<R: AsyncBufRead + Unpin + Send>(&self, from: &mut R) -> Result<Section> {
        let backend = self.0.backend()?;
        boxed(backend.import_shared(from)).await
    }

    /// Runs `work` for each tenant that may be worked for, one after another, as the module itself.
    ///
    /// One tenant's failure does not keep the others from their turn; the first one is returned when all had it.
    ///
    /// # Errors
    /// The first failure.
    pub async fn each<F, W>(&self, mut work: W) -> Result<()>
    where
        W: FnMut(Context) -> F,
        F: Future<Output = Result<()>>,
    {
        let backend = self.0.backend()?;
        let principal = Principal::new(&format!("module:{}", self.0.module()))?;
        let mut first = Ok(());
        for tenant in self.list().await? {
            let name = tenant.clone();
            // As inside a call: the keys of calls made with it are derived, so that they are safe to repeat.
            let cx =
                Context::mint(Arc::clone(&backend.home), tenant, principal.clone()).detach(DEFAULT_TIMEOUT);
            if let Err(error) = work(cx).await {
                tracing::warn!(target: "drystone::store", tenant = name.as_str(), error = ?error, "work on a tenant failed");
                first = first.and(Err(error));
            }
        }
        first
    }
}
