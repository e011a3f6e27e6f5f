//! Work across tenants: one at a time, each with a context of its own.

use std::sync::Arc;

use drystone_call::{Context, DEFAULT_TIMEOUT, Principal, Result, TenantId};

use crate::store::Store;

/// The tenants that a module has data of.
#[derive(Clone, Debug)]
pub struct Tenants(Store);

impl Tenants {
    pub(crate) fn new(store: Store) -> Self {
        Self(store)
    }

    /// Their names, in order.
    ///
    /// # Errors
    /// If the store does not answer.
    pub async fn list(&self) -> Result<Vec<TenantId>> {
        self.0.backend()?.tenants().await
    }

    /// Runs `work` for each tenant, one after another, as the module itself.
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
        for tenant in backend.tenants().await? {
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
