//! A module's schemas: who gets a connection, and with which wall around it.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use deadpool_postgres::{Object, Pool};
use drystone_call::{Admission, Claim, Error, KeyUse, Result, TenantId};
use secrecy::SecretString;
use tokio::time::Instant;

use super::connect::{Server, connection};
use super::keys::{self, PostgresClaim};
use super::names::{Names, quoted};
use super::started::check_migrated;
use super::tx::PostgresTx;
use crate::clock::millis;
use crate::config::StoreConfig;
use crate::keys::Claims;
use crate::metrics::{Counters, StoreMetrics};
use crate::tx::Isolation;

/// A module's database on PostgreSQL.
pub(crate) struct PostgresModule {
    config: StoreConfig,
    names: Names,
    /// Connections for tenants' data. Prepared statements are kept per connection and mean the tables of one schema.
    tenants: Pool,
    /// Connections for the data of no tenant.
    shared: Pool,
    /// Connections that hold the locks of keys.
    locks: Pool,
    known: Mutex<HashSet<TenantId>>,
    claims: Claims,
    counters: Arc<Counters>,
}

/// What a transaction is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Write(Isolation),
    Read,
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
        let server = server.logging_in_as(&names.role, password);
        let in_schema = |schema: &str| server.with_options(&format!("-c search_path={schema}"));
        let tenants = in_schema(&names.schema).pool(config.max_readers)?;
        let shared = in_schema(&names.shared).pool(config.max_readers)?;
        let locks = server.pool(config.max_readers)?;
        let known = {
            let client = connection(&shared, Instant::now() + Duration::from_secs(10)).await?;
            check_migrated(&client, &names, &config.migrations).await?;
            registered(&client, &names).await?
        };
        let known = Mutex::new(known.into_iter().collect());
        Ok(Self { config, names, tenants, shared, locks, known, claims: Claims::default(), counters })
    }

    /// The one place that hands out a connection: role, schema, tenant and limits are set in the batch that begins.
    pub(crate) async fn begin(
        &self,
        tenant: Option<&TenantId>,
        deadline: Instant,
        purpose: Purpose,
    ) -> Result<PostgresTx> {
        if let Some(tenant) = tenant {
            self.register(tenant, deadline).await?;
        }
        let pool = if tenant.is_some() { &self.tenants } else { &self.shared };
        let client = connection(pool, deadline).await?;
        let begin = self.begin_batch(tenant, deadline, purpose);
        let hold_limit = if purpose == Purpose::Read { None } else { Some(self.config.hold_limit) };
        if purpose == Purpose::Read {
            self.counters.reads.add(1);
        }
        PostgresTx::begin(client, begin, deadline, hold_limit, Arc::clone(&self.counters)).await
    }

    fn begin_batch(&self, tenant: Option<&TenantId>, deadline: Instant, purpose: Purpose) -> String {
        let mode = match purpose {
            Purpose::Write(Isolation::Serializable) => "isolation level serializable",
            Purpose::Write(Isolation::ReadCommitted) => "isolation level read committed",
            Purpose::Read => "isolation level serializable read only",
        };
        let schema = if tenant.is_some() { &self.names.schema } else { &self.names.shared };
        let left = deadline.saturating_duration_since(Instant::now()).as_millis().clamp(1, 86_400_000);
        // The server ends what a vanished client holds; a client that is there finds its limit passed before.
        let idle = (2 * self.config.hold_limit).as_millis().clamp(1, 86_400_000);
        // A tenant's name has no character that means anything in SQL.
        let tenant = tenant.map_or("", TenantId::as_str);
        format!(
            "begin {mode}; set local search_path = {}; set local statement_timeout = {left}; \
             set local idle_in_transaction_session_timeout = {idle}; select set_config('app.tenant', '{tenant}', true)",
            quoted(schema),
        )
    }

    async fn register(&self, tenant: &TenantId, deadline: Instant) -> Result<()> {
        if self.known.lock().unwrap_or_else(PoisonError::into_inner).contains(tenant) {
            return Ok(());
        }
        let client = connection(&self.shared, deadline).await?;
        let table = format!("{}.drystone_tenants", quoted(&self.names.shared));
        let sql = format!("insert into {table} (name, created) values ($1, $2) on conflict do nothing");
        client.execute(&sql, &[&tenant.as_str(), &millis(self.config.home.now())]).await?;
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(tenant.clone());
        Ok(())
    }

    /// Claims a key among all processes, or finds its record.
    pub(crate) async fn admit(&self, key_use: KeyUse, deadline: Instant) -> Result<Admission> {
        let held = self.claims.claim(&key_use)?;
        let lock = connection(&self.locks, deadline).await?;
        let claim = PostgresClaim::take(lock, held, &self.names.schema, &key_use).await?;
        for scope in [Some(&key_use.tenant), None] {
            let tx = self.begin(scope, deadline, Purpose::Read).await?;
            if let Some(found) = keys::find(tx.client()?, &key_use).await? {
                claim.release().await;
                let recorded = found.replay(&key_use)?;
                self.counters.replays.add(1);
                return Ok(Admission::Replay(recorded));
            }
        }
        Ok(Admission::Run(Claim::new(key_use, Arc::new(claim))))
    }

    /// The tenants that the module has data of, of whichever process.
    pub(crate) async fn tenants(&self) -> Result<Vec<TenantId>> {
        let client = connection(&self.shared, Instant::now() + Duration::from_secs(10)).await?;
        registered(&client, &self.names).await
    }

    pub(crate) fn metrics(&self) -> StoreMetrics {
        let mut metrics = self.counters.read();
        metrics.claims = self.claims.len() as u64;
        metrics
    }

    pub(crate) fn close(&self) {
        for pool in [&self.tenants, &self.shared, &self.locks] {
            pool.close();
        }
    }
}

async fn registered(client: &Object, names: &Names) -> Result<Vec<TenantId>> {
    let table = format!("{}.drystone_tenants", quoted(&names.shared));
    let rows = client.query(&format!("select name from {table} order by name"), &[]).await?;
    rows.iter().map(|row| TenantId::new(row.try_get::<_, &str>(0)?)).collect()
}
