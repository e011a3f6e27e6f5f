//! A module's schemas: who gets a connection, and with which wall around it.

use std::sync::Arc;
use std::time::Duration;

use drystone_call::{Admission, Claim, KeyUse, Result, TenantId};
use secrecy::SecretString;
use tokio::time::Instant;

use super::connect::Server;
use super::keys::{Asked, Locks};
use super::names::Names;
use super::open::{Purpose, Scope};
use super::pool::{Pool, connection, pool};
use super::registry::Registry;
use super::started::check_migrated;
use super::tx::PostgresTx;
use crate::config::StoreConfig;
use crate::keys::Claims;
use crate::metrics::{Counters, StoreMetrics};

/// A module's database on PostgreSQL.
pub(crate) struct PostgresModule {
    pub(crate) config: StoreConfig,
    pub(crate) server: Server,
    pub(crate) names: Names,
    pub(crate) shared: Arc<str>,
    pub(crate) pool: Pool,
    locks: Locks,
    pub(crate) registry: Registry,
    claims: Claims,
    pub(crate) counters: Arc<Counters>,
}

impl PostgresModule {
    /// Logs in as the module's role and checks that the schemas are at the binary's version.
    pub(crate) async fn open(
        url: &SecretString,
        password: Option<&SecretString>,
        config: StoreConfig,
        counters: Arc<Counters>,
    ) -> Result<Self> {
        let server = Server::parse(url)?;
        let names = Names::of(server.user(), config.home.module())?;
        let server = server.logging_in_as(&names.role, password).named(&format!("drystone/{}", names.schema));
        let pool = pool(&server, &names, config.hold_limit, config.max_readers)?;
        let locks = Locks::new(&server, &names);
        let registry = Registry::new(&names);
        {
            let conn = connection(&pool, Instant::now() + Duration::from_secs(10)).await?;
            check_migrated(conn.client(), &names, &config.migrations).await?;
            registry.refresh(conn.client()).await?;
        }
        let shared = names.shared.as_str().into();
        Ok(Self { config, server, names, shared, pool, locks, registry, claims: Claims::default(), counters })
    }

    /// The one place that hands out a transaction: [`Scope`] sets up the wall when the first statement is sent.
    pub(crate) async fn begin(
        &self,
        tenant: Option<&TenantId>,
        deadline: Instant,
        purpose: Purpose,
    ) -> Result<PostgresTx> {
        let in_use = self.enter(tenant, deadline).await?;
        let scope = Scope { tenant: tenant.cloned(), in_use, purpose, shared: Arc::clone(&self.shared), deadline };
        PostgresTx::begin(&self.pool, scope, self.config.hold_limit, &self.counters).await
    }

    /// Claims a key among all processes, or finds its record.
    pub(crate) async fn admit(&self, key_use: KeyUse, deadline: Instant) -> Result<Admission> {
        let _in_use = self.enter(Some(&key_use.tenant), deadline).await?;
        let held = self.claims.claim(&key_use)?;
        match self.locks.ask(held, &key_use, deadline).await? {
            Asked::Recorded(found) => {
                let recorded = found.replay(&key_use)?;
                self.counters.replays.add(1);
                Ok(Admission::Replay(recorded))
            }
            Asked::Claimed(claim) => Ok(Admission::Run(Claim::new(key_use, Arc::new(claim)))),
        }
    }

    pub(crate) fn metrics(&self) -> StoreMetrics {
        let mut metrics = self.counters.read();
        metrics.claims = self.claims.len() as u64;
        metrics
    }

    pub(crate) fn close(&self) {
        self.pool.close();
        self.locks.close();
    }
}
