//! Where a module's store is reached.

use drystone_call::{Result, TenantId};
use drystone_store::{Section, Store, StoreStatus};
use tokio::io::{AsyncBufRead, AsyncWrite};

use crate::admin::{Peer, TenantLine};

/// Where a module's store is reached; each method does the same wherever that is.
#[derive(Clone, Debug)]
pub(super) enum Reach {
    /// Opened by the command itself: files that no process owns, or a database that is there for many.
    Own(Store),
    /// In the process that owns its files.
    Process {
        /// That process.
        peer: Peer,
        /// The module.
        module: String,
    },
}

impl Reach {
    pub(super) async fn status(&self) -> Result<StoreStatus> {
        match self {
            Self::Own(store) => store.status().await,
            Self::Process { peer, module } => peer.status(module).await,
        }
    }

    pub(super) async fn tenants(&self) -> Result<Vec<TenantLine>> {
        match self {
            Self::Own(store) => Ok(store.tenants().all().await?.into_iter().map(TenantLine::from).collect()),
            Self::Process { peer, module } => peer.tenants(module).await,
        }
    }

    pub(super) async fn create(&self, tenant: &TenantId) -> Result<bool> {
        match self {
            Self::Own(store) => store.tenants().create(tenant).await,
            Self::Process { peer, module } => peer.create(module, tenant).await,
        }
    }

    pub(super) async fn suspend(&self, tenant: &TenantId) -> Result<()> {
        match self {
            Self::Own(store) => store.tenants().suspend(tenant).await,
            Self::Process { peer, module } => peer.suspend(module, tenant).await,
        }
    }

    pub(super) async fn resume(&self, tenant: &TenantId) -> Result<()> {
        match self {
            Self::Own(store) => store.tenants().resume(tenant).await,
            Self::Process { peer, module } => peer.resume(module, tenant).await,
        }
    }

    pub(super) async fn delete(&self, tenant: &TenantId) -> Result<()> {
        match self {
            Self::Own(store) => store.tenants().delete(tenant).await,
            Self::Process { peer, module } => peer.delete(module, tenant).await,
        }
    }

    /// Writes the section of a tenant, or that of the data of no tenant.
    ///
    /// Boxed, as the import is: these are the largest futures of a command, and a move has both.
    pub(super) async fn export<W>(&self, of: Option<&TenantId>, to: &mut W) -> Result<Section>
    where
        W: AsyncWrite + Unpin + Send,
    {
        match (self, of) {
            (Self::Own(store), Some(tenant)) => Box::pin(store.tenants().export(tenant, to)).await,
            (Self::Own(store), None) => Box::pin(store.tenants().export_shared(to)).await,
            (Self::Process { peer, module }, of) => Box::pin(peer.export(module, of, to)).await,
        }
    }

    /// Reads the section of a tenant that is not there, or that of the data of no tenant.
    pub(super) async fn import<R>(&self, of: Option<&TenantId>, from: &mut R) -> Result<Section>
    where
        R: AsyncBufRead + Unpin + Send,
    {
        match (self, of) {
            (Self::Own(store), Some(tenant)) => Box::pin(store.tenants().import(tenant, from)).await,
            (Self::Own(store), None) => Box::pin(store.tenants().import_shared(from)).await,
            (Self::Process { peer, module }, of) => Box::pin(peer.import(module, of, from)).await,
        }
    }

    /// Lets go of what the command opened.
    pub(super) async fn close(&self) {
        if let Self::Own(store) = self
            && let Err(error) = store.close().await
        {
            eprintln!("the store of module {} did not close well: {error}", store.module());
        }
    }
}
