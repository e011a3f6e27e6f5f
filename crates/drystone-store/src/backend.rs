//! The one place that knows both databases.

use std::sync::Arc;

use drystone_call::{Home, Result, TenantId};

use crate::metrics::StoreMetrics;
use crate::postgres::PostgresModule;
use crate::sqlite::SqliteModule;

/// An open store.
pub(crate) struct Backend {
    pub(crate) home: Arc<Home>,
    pub(crate) database: Database,
}

pub(crate) enum Database {
    Sqlite(Box<SqliteModule>),
    Postgres(Box<PostgresModule>),
}

impl Backend {
    pub(crate) fn metrics(&self) -> StoreMetrics {
        match &self.database {
            Database::Sqlite(module) => module.metrics(),
            Database::Postgres(module) => module.metrics(),
        }
    }

    pub(crate) async fn tenants(&self) -> Result<Vec<TenantId>> {
        match &self.database {
            Database::Sqlite(module) => Ok(module.tenants()),
            Database::Postgres(module) => module.tenants().await,
        }
    }

    pub(crate) async fn close(&self) -> Result<()> {
        match &self.database {
            Database::Sqlite(module) => module.close().await,
            Database::Postgres(module) => {
                module.close();
                Ok(())
            }
        }
    }
}
