//! The gate before keyed handlers.

use drystone_call::{Admission, DEFAULT_TIMEOUT, KeyGate, KeyUse, Result};
use futures_util::future::BoxFuture;
use tokio::time::Instant;

use crate::backend::Database;
use crate::store::Store;

/// Claims keys in the module's store, or finds what was recorded for them.
pub(crate) struct Gate(Store);

impl Gate {
    pub(crate) fn new(store: Store) -> Self {
        Self(store)
    }
}

impl KeyGate for Gate {
    fn admit(&self, key_use: KeyUse) -> BoxFuture<'_, Result<Admission>> {
        Box::pin(async move {
            let backend = self.0.backend()?;
            // The call's own deadline stands around this future and drops it earlier.
            let deadline = Instant::now() + DEFAULT_TIMEOUT;
            match &backend.database {
                Database::Sqlite(module) => module.admit(key_use, deadline).await,
                Database::Postgres(module) => Box::pin(module.admit(key_use, deadline)).await,
            }
        })
    }

    /// On SQLite a file has one writer at a time.
    fn may_conflict(&self) -> bool {
        self.0.backend().is_ok_and(|backend| matches!(backend.database, Database::Postgres(_)))
    }
}
