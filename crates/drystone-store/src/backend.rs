//! The one place that knows both databases.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::SystemTime;

use drystone_call::{Home, Result, TenantId};
use tokio::io::{AsyncBufRead, AsyncWrite};

use crate::announce::Board;
use crate::archive::Section;
use crate::dialect::Dialect;
use crate::metrics::StoreMetrics;
use crate::postgres::PostgresModule;
use crate::sqlite::SqliteModule;
use crate::status::{StoreStatus, TenantCounts};
use crate::tenants::Tenant;

/// An open store.
pub(crate) struct Backend {
    pub(crate) home: Arc<Home>,
    pub(crate) database: Database,
    /// The types of events that the module may publish; none: any.
    pub(crate) publishes: Option<Arc<BTreeSet<&'static str>>>,
    pub(crate) board: Arc<Board>,
}

pub(crate) enum Database {
    Sqlite(Box<SqliteModule>),
    Postgres(Box<PostgresModule>),
}

impl Backend {
    pub(crate) fn dialect(&self) -> Dialect {
        match &self.database {
            Database::Sqlite(_) => Dialect::Sqlite,
            Database::Postgres(_) => Dialect::Postgres,
        }
    }

    pub(crate) fn metrics(&self) -> StoreMetrics {
        match &self.database {
            Database::Sqlite(module) => module.metrics(),
            Database::Postgres(module) => module.metrics(),
        }
    }

    pub(crate) async fn tenants(&self) -> Result<Vec<Tenant>> {
        match &self.database {
            Database::Sqlite(module) => Ok(module.tenants()),
            Database::Postgres(module) => module.tenants().await,
        }
    }

    /// `None`: the database does not say.
    pub(crate) async fn touched_since(&self, since: SystemTime) -> Result<Option<Vec<TenantId>>> {
        match &self.database {
            Database::Sqlite(module) => module.touched_since(since).await.map(Some),
            Database::Postgres(_) => Ok(None),
        }
    }

    pub(crate) async fn create_tenant(&self, tenant: &TenantId) -> Result<bool> {
        match &self.database {
            Database::Sqlite(module) => module.create_tenant(tenant).await,
            Database::Postgres(module) => module.create_tenant(tenant).await,
        }
    }

    pub(crate) async fn suspend_tenant(&self, tenant: &TenantId) -> Result<()> {
        match &self.database {
            Database::Sqlite(module) => module.suspend_tenant(tenant).await,
            Database::Postgres(module) => module.suspend_tenant(tenant).await,
        }
    }

    pub(crate) async fn resume_tenant(&self, tenant: &TenantId) -> Result<()> {
        match &self.database {
            Database::Sqlite(module) => module.resume_tenant(tenant).await,
            Database::Postgres(module) => module.resume_tenant(tenant).await,
        }
    }

    pub(crate) async fn delete_tenant(&self, tenant: &TenantId) -> Result<()> {
        match &self.database {
            Database::Sqlite(module) => module.delete_tenant(tenant).await,
            Database::Postgres(module) => module.delete_tenant(tenant).await,
        }
    }

    pub(crate) async fn export<W: AsyncWrite + Unpin + Send>(
        &self,
        tenant: Option<&TenantId>,
        to: &mut W,
    ) -> Result<Section> {
        match &self.database {
            Database::Sqlite(module) => module.export(tenant, to).await,
            Database::Postgres(module) => module.export(tenant, to).await,
        }
    }

    pub(crate) async fn import_tenant<R>(&self, tenant: &TenantId, from: &mut R) -> Result<Section>
    where
        R: AsyncBufRead + Unpin + Send,
    {
        match &self.database {
            Database::Sqlite(module) => module.import_tenant(tenant, from).await,
            Database::Postgres(module) => module.import_tenant(tenant, from).await,
        }
    }

    pub(crate) async fn import_shared<R: AsyncBufRead + Unpin + Send>(
        &self,
        from: &mut R,
    ) -> Result<Section> {
        match &self.database {
            Database::Sqlite(module) => module.import_shared(from).await,
            Database::Postgres(module) => module.import_shared(from).await,
        }
    }

    pub(crate) async fn status(&self) -> Result<StoreStatus> {
        let metrics = self.metrics();
        let mut status = StoreStatus {
            module: self.home.module().to_owned(),
            tenants: TenantCounts::of(&self.tenants().await?),
            writers_waiting: metrics.writers_waiting,
            claims: metrics.claims,
            ..StoreStatus::default()
        };
        match &self.database {
            Database::Sqlite(module) => module.status(&mut status).await?,
            Database::Postgres(module) => module.status(&mut status).await?,
        }
        Ok(status)
    }

    pub(crate) async fn close(&self) -> Result<()> {
        match &self.database {
            Database::Sqlite(module) => module.close().await,
            Database::Postgres(module) => {
                module.close().await;
                Ok(())
            }
        }
    }
}
