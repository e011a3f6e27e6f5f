//! A module's schemas: who gets a transaction, and with which wall around it.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use drystone_call::{Admission, Claim, KeyUse, Result, TenantId};
use secrecy::SecretString;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::connect::Server;
use super::contract::LEASE_LIVES;
use super::keeper::Keeper;
use super::keys::{Asked, Locks};
use super::lease::Lease;
use super::names::Names;
use super::open::{Purpose, Scope};
use super::pool::{Pool, pool, relay_pool};
use super::registry::Registry;
use super::tx::PostgresTx;
use crate::config::StoreConfig;
use crate::keys::Claims;
use crate::metrics::{Counters, StoreMetrics};

/// Every so many records, those of the tenant that are past their time are deleted along the way.
const RECORDS_PER_SWEEP: u32 = 512;

/// A module's database on PostgreSQL.
pub(crate) struct PostgresModule {
    pub(crate) config: StoreConfig,
    /// For connections beside the pool, as the module's role.
    pub(crate) server: Server,
    /// The same, as the role that carries the module's events.
    pub(crate) relay_server: Server,
    pub(crate) names: Names,
    pub(crate) shared: Arc<str>,
    pub(crate) pool: Pool,
    pub(crate) registry: Arc<Registry>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) keeper: Arc<Keeper>,
    keeping: Mutex<Option<JoinHandle<()>>>,
    locks: Locks,
    claims: Claims,
    records: AtomicU32,
}

impl PostgresModule {
    /// Logs in as the module's role, takes a lease, checks that the schemas are at the binary's version, and reads the registry of tenants.
    pub(crate) async fn open(
        url: &SecretString,
        password: Option<&SecretString>,
        config: StoreConfig,
        counters: Arc<Counters>,
    ) -> Result<Self> {
        let server = Server::parse(url)?;
        let names = Names::of(server.user(), config.home.module())?;
        let relay_server =
            server.logging_in_as(&names.relay, password).named(&format!("drystone/{}/relay", names.schema));
        let server = server.logging_in_as(&names.role, password).named(&format!("drystone/{}", names.schema));
        let registry = Arc::new(Registry::new(&names));
        let (migrations, lives) = (config.migrations, lease_lives(&config));
        let lease = Lease::take(&server, &names, migrations, Arc::clone(&registry), lives).await?;
        let pool = pool(&server, &names, config.hold_limit, config.max_connections)?;
        let relay = relay_pool(&relay_server, &names, config.hold_limit)?;
        let locks = Locks::new(&server, &names);
        let shared: Arc<str> = names.shared.as_str().into();
        let keeper = Arc::new(Keeper {
            pool: pool.clone(),
            relay,
            lease,
            shared: Arc::clone(&shared),
            config: config.clone(),
        });
        let keeping = Mutex::new(Some(tokio::spawn(Arc::clone(&keeper).work())));
        let (claims, records) = (Claims::default(), AtomicU32::new(0));
        Ok(Self {
            config,
            server,
            relay_server,
            names,
            shared,
            pool,
            registry,
            counters,
            keeper,
            keeping,
            locks,
            claims,
            records,
        })
    }

    /// The one place that hands out a transaction to a call: [`Scope`] sets up the wall when the first statement is sent.
    pub(crate) async fn begin(
        &self,
        tenant: Option<&TenantId>,
        deadline: Instant,
        purpose: Purpose,
    ) -> Result<PostgresTx> {
        self.keeper.lease.ensure(deadline).await?;
        let in_use = self.enter(tenant, deadline).await?;
        let scope =
            Scope { tenant: tenant.cloned(), in_use, purpose, shared: Arc::clone(&self.shared), deadline };
        PostgresTx::begin(&self.pool, scope, self.config.hold_limit, &self.counters).await
    }

    /// Hands out a transaction over the rows of all tenants in the tables of events, as the role that carries them.
    pub(crate) async fn begin_across(&self, deadline: Instant) -> Result<PostgresTx> {
        self.keeper.lease.ensure(deadline).await?;
        let (purpose, shared) = (Purpose::Across, Arc::clone(&self.shared));
        let scope = Scope { tenant: None, in_use: None, purpose, shared, deadline };
        PostgresTx::begin(&self.keeper.relay, scope, self.config.hold_limit, &self.counters).await
    }

    /// Claims a key among all processes, or finds its record.
    pub(crate) async fn admit(&self, key_use: KeyUse, deadline: Instant) -> Result<Admission> {
        let held = self.claims.claim(&key_use);
        let _in_use = self.enter(Some(&key_use.tenant), deadline).await?;
        match self.locks.ask(held, &key_use, deadline).await? {
            Asked::Recorded(found) => {
                let recorded = found.replay(&key_use)?;
                self.counters.replays.add(1);
                Ok(Admission::Replay(recorded))
            }
            Asked::Claimed(claim) => Ok(Admission::Run(Claim::new(key_use, Arc::new(claim)))),
        }
    }

    /// Counts a record, and now and then lets old ones be deleted; `tenant` is none for the module's shared data.
    pub(crate) fn recorded(&self, tenant: Option<&TenantId>) {
        let count = self.records.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        if count.is_multiple_of(RECORDS_PER_SWEEP) {
            let (keeper, tenant) = (Arc::clone(&self.keeper), tenant.cloned());
            tokio::spawn(async move {
                if let Err(error) = keeper.forget(tenant).await {
                    tracing::warn!(target: "drystone::store", %error, "old records of keyed calls were not deleted");
                }
            });
        }
    }

    pub(crate) fn metrics(&self) -> StoreMetrics {
        let mut metrics = self.counters.read();
        metrics.claims = self.claims.len() as u64;
        metrics
    }

    /// Lets what was begun end, gives the lease up and closes the connections.
    pub(crate) async fn close(&self) {
        self.pool.close();
        self.keeper.relay.close();
        let latest = Instant::now() + 2 * self.config.hold_limit;
        while self.counters.open_transactions.get() > 0 && Instant::now() < latest {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        if let Some(keeping) = self.keeping.lock().unwrap_or_else(PoisonError::into_inner).take() {
            keeping.abort();
        }
        self.keeper.lease.give_up().await;
        self.locks.close();
    }
}

impl Drop for PostgresModule {
    fn drop(&mut self) {
        if let Some(keeping) = self.keeping.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            keeping.abort();
        }
    }
}

#[cfg(feature = "testing")]
pub(crate) fn lease_lives(config: &StoreConfig) -> Duration {
    config.testing.lease_lives.unwrap_or(LEASE_LIVES)
}

#[cfg(not(feature = "testing"))]
pub(crate) fn lease_lives(_: &StoreConfig) -> Duration {
    LEASE_LIVES
}
