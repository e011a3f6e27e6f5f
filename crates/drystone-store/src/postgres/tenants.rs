//! The life of a tenant on PostgreSQL: a row in the registry, and rows behind the wall in the tables of all tenants.
//!
//! Several processes work in one database. Who changes a tenant's state writes it first, and then waits until every process that lives has followed
//! ([`super::registry`]); so nobody writes into what is being exported or deleted.

use std::time::{Duration, SystemTime};

use drystone_call::{Code, Error, Result, TenantId};
use tokio::time::Instant;
use tokio_postgres::Client;

use super::module::{PostgresModule, lease_lives};
use super::names::quoted;
use super::open::{Purpose, Scope};
use super::registry::TenantUse;
use super::tx::PostgresTx;
use crate::clock::millis;
use crate::tenants::{Tenant, TenantState, busy, exists, unknown, wrong_state};
use crate::tx::Isolation;

/// How long those who still work for a tenant are waited for: longer than the lease of a process that was killed.
const PATIENCE: Duration = Duration::from_mins(1);
/// How long the server is waited for.
pub(crate) const SOON: Duration = Duration::from_secs(10);
/// How long the lock of an operation that was given up may still stand while its connection closes.
const CLOSES: Duration = Duration::from_secs(1);
/// The pause between two looks at what other processes do.
const LOOK: Duration = Duration::from_millis(100);

/// The processes that live and have not followed a change.
const BEHIND: &str = "select process from drystone_leases where renewed > clock_timestamp() - make_interval(secs => $2) \
    and seen < $1 order by process";

impl PostgresModule {
    /// Begins work for a tenant: a look into a map, and for one that is not known to be active, at the server.
    ///
    /// # Errors
    /// `TENANT_UNKNOWN` or `TENANT_SUSPENDED`.
    pub(crate) async fn enter(
        &self,
        tenant: Option<&TenantId>,
        deadline: Instant,
    ) -> Result<Option<TenantUse>> {
        let Some(tenant) = tenant else { return Ok(None) };
        if let Some(known) = self.registry.enter(tenant) {
            return Ok(Some(known));
        }
        // Rare and large: a begin that finds its tenant in the map does not carry this along.
        Box::pin(self.look(tenant, deadline)).await.map(Some)
    }

    /// Looks at the server for a tenant that is not known to be active, and creates it where that is allowed.
    async fn look(&self, tenant: &TenantId, deadline: Instant) -> Result<TenantUse> {
        let mut found = self.find(tenant, deadline).await?;
        if found.is_none() && self.config.create_tenants {
            self.insert(tenant, TenantState::Active, deadline).await?;
            found = self.find(tenant, deadline).await?;
        }
        let (state, changed) = found.ok_or_else(|| unknown(tenant))?;
        self.registry.note(tenant, state, changed);
        self.registry.enter(tenant).ok_or_else(|| self.registry.refusal(tenant))
    }

    /// The tenants that the module has data of.
    pub(crate) async fn tenants(&self) -> Result<Vec<Tenant>> {
        let mut tx = self.on_shared(Purpose::Read, Instant::now() + SOON).await?;
        let sql = "select name, state, created from drystone_tenants order by name";
        let rows: Vec<(String, String, i64)> = tx.all(sql, &()).await?;
        let tenant = |(name, state, created): (String, String, i64)| {
            let created = Duration::from_millis(u64::try_from(created).unwrap_or_default());
            let created = SystemTime::UNIX_EPOCH + created;
            Ok(Tenant { name: TenantId::new(&name)?, state: TenantState::parse(&state)?, created })
        };
        rows.into_iter().map(tenant).collect()
    }

    /// Creates a tenant. `false`: it was there.
    pub(crate) async fn create_tenant(&self, tenant: &TenantId) -> Result<bool> {
        self.insert(tenant, TenantState::Active, Instant::now() + SOON).await
    }

    /// Refuses calls from now on and waits until no process works for the tenant.
    pub(crate) async fn suspend_tenant(&self, tenant: &TenantId) -> Result<()> {
        let suspending = async {
            let from = [TenantState::Active, TenantState::Suspended];
            let Some(changed) = self.change(tenant, &from, TenantState::Suspended).await? else {
                return Err(self.explain(tenant, "there is nothing to suspend").await?);
            };
            self.followed(tenant, changed).await
        };
        self.claim(tenant).await?.during(suspending).await
    }

    /// Lets calls in again.
    pub(crate) async fn resume_tenant(&self, tenant: &TenantId) -> Result<()> {
        let resuming = async {
            let from = [TenantState::Suspended, TenantState::Importing];
            if self.change(tenant, &from, TenantState::Active).await?.is_some() {
                return Ok(());
            }
            match self.find(tenant, Instant::now() + SOON).await? {
                Some((TenantState::Active, _)) => Ok(()),
                _ => Err(self.explain(tenant, "delete it to the end; it cannot come back").await?),
            }
        };
        self.claim(tenant).await?.during(resuming).await
    }

    /// Says why a change was not possible.
    async fn explain(&self, tenant: &TenantId, remedy: &str) -> Result<Error> {
        let found = self.find(tenant, Instant::now() + SOON).await?;
        Ok(found.map_or_else(|| unknown(tenant), |(state, _)| wrong_state(tenant, state, remedy)))
    }

    /// Begins a deletion, which no process works against any more when this returns.
    pub(crate) async fn start_delete(&self, tenant: &TenantId) -> Result<()> {
        let from = [TenantState::Suspended, TenantState::Importing, TenantState::Deleting];
        let Some(changed) = self.change(tenant, &from, TenantState::Deleting).await? else {
            return Err(self.explain(tenant, "suspend it first").await?);
        };
        self.followed(tenant, changed).await
    }

    /// Removes a tenant whose data is gone.
    pub(crate) async fn remove(&self, tenant: &TenantId) -> Result<()> {
        let mut tx = self.on_shared(WRITE, Instant::now() + SOON).await?;
        let sql = "delete from drystone_tenants where name = $1 and state in ('importing', 'deleting')";
        tx.execute(sql, &(tenant.as_str(),)).await?;
        tx.submit(None, None).await
    }

    /// Begins an import into a tenant that is not there.
    pub(crate) async fn start_import(&self, tenant: &TenantId) -> Result<()> {
        if self.insert(tenant, TenantState::Importing, Instant::now() + SOON).await? {
            return Ok(());
        }
        let found = self.find(tenant, Instant::now() + SOON).await?;
        Err(found.map_or_else(|| busy(tenant), |(state, _)| exists(tenant, state)))
    }

    /// The state of a tenant at the server, and the number of its last change.
    pub(crate) async fn find(
        &self,
        tenant: &TenantId,
        deadline: Instant,
    ) -> Result<Option<(TenantState, i64)>> {
        let mut tx = self.on_shared(Purpose::Read, deadline).await?;
        let sql = "select state, changed from drystone_tenants where name = $1";
        let found: Option<(String, i64)> = tx.optional(sql, &(tenant.as_str(),)).await?;
        found.map(|(state, changed)| Ok((TenantState::parse(&state)?, changed))).transpose()
    }

    /// Adds a tenant; `false` if it is there.
    async fn insert(&self, tenant: &TenantId, state: TenantState, deadline: Instant) -> Result<bool> {
        let mut tx = self.on_shared(WRITE, deadline).await?;
        let sql =
            "insert into drystone_tenants (name, state, created) values ($1, $2, $3) on conflict do nothing";
        let values = (tenant.as_str(), state.as_str(), millis(self.config.home.now()));
        let added = tx.execute(sql, &values).await?;
        tx.submit(None, None).await?;
        Ok(added == 1)
    }

    /// Changes a tenant's state, if it is in one of `from`, and gives the number of the change.
    ///
    /// Numbers are taken under a lock that lasts until the commit: who has read a number has read all that are lower.
    async fn change(&self, tenant: &TenantId, from: &[TenantState], to: TenantState) -> Result<Option<i64>> {
        let mut tx = self.on_shared(WRITE, Instant::now() + SOON).await?;
        let lock = format!("{}.drystone_tenants", self.names.shared);
        tx.execute("select pg_advisory_xact_lock(hashtextextended($1, 0))", &(lock,)).await?;
        let from: Vec<&str> = from.iter().map(|state| state.as_str()).collect();
        let sql = "update drystone_tenants set state = $2, changed = default \
            where name = $1 and state = any(string_to_array($3, ' ')) returning changed";
        let changed: Option<(i64,)> =
            tx.optional(sql, &(tenant.as_str(), to.as_str(), from.join(" "))).await?;
        tx.submit(None, None).await?;
        let Some((changed,)) = changed else { return Ok(None) };
        self.registry.note(tenant, to, changed);
        Ok(Some(changed))
    }

    /// Waits until no transaction is open that began before a change, in this process and in the others.
    async fn followed(&self, tenant: &TenantId, changed: i64) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let mut behind = "this process".to_owned();
        let all = async {
            self.registry.left(changed).await;
            // This process need not wait for its own turn.
            self.keeper.lease.renew().await?;
            loop {
                behind = self.behind(changed).await?;
                if behind.is_empty() {
                    return Ok(());
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::time::timeout_at(deadline, all).await.unwrap_or_else(|_| {
            Err(Error::new(
                Code::DeadlineExceeded,
                format!("calls for tenant {tenant} are refused now, but {behind} still works for it; repeat this to wait on"),
            ))
        })
    }

    /// The other processes that have not followed a change.
    async fn behind(&self, changed: i64) -> Result<String> {
        let mut tx = self.on_shared(Purpose::Read, Instant::now() + SOON).await?;
        let behind: Vec<(String,)> =
            tx.all(BEHIND, &(changed, lease_lives(&self.config).as_secs_f64())).await?;
        Ok(behind.into_iter().map(|(process,)| process).collect::<Vec<_>>().join(", "))
    }

    /// Keeps other operations away from the tenant, in all processes, until it is released or dropped.
    ///
    /// # Errors
    /// `ABORTED` while another one runs.
    pub(crate) async fn claim(&self, tenant: &TenantId) -> Result<Claim> {
        let claim = Claim(self.session(&self.names.schema).await?);
        let name = format!("{}.{tenant}", self.names.schema);
        let until = Instant::now() + CLOSES;
        while !claim
            .0
            .query_one("select pg_try_advisory_lock(hashtextextended($1, 1))", &[&name])
            .await?
            .try_get(0)?
        {
            if Instant::now() > until {
                return Err(busy(tenant));
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(claim)
    }

    /// A connection of its own, for work that takes its time.
    pub(crate) async fn session(&self, schema: &str) -> Result<Client> {
        let options = format!(
            "-c search_path={} -c timezone=UTC -c datestyle=ISO -c intervalstyle=postgres",
            quoted(schema)
        );
        self.server.with_options(&options).connect().await
    }

    pub(crate) async fn on_shared(&self, purpose: Purpose, deadline: Instant) -> Result<PostgresTx> {
        let shared = self.shared.clone();
        let scope = Scope { tenant: None, in_use: None, purpose, shared, deadline };
        PostgresTx::begin(&self.pool, scope, self.config.hold_limit, &self.counters).await
    }
}

/// A tenant on which one operation works, as a lock of a connection of its own.
pub(crate) struct Claim(pub(crate) Client);

impl Claim {
    /// Gives the tenant free before the operation's outcome is known, so that the next one finds it so.
    async fn release(&self) {
        // A connection that is lost has lost its lock too.
        let _ = self.0.execute("select pg_advisory_unlock_all()", &[]).await;
    }

    /// Gives the tenant free when the operation has ended.
    pub(crate) async fn during<T>(self, operation: impl Future<Output = Result<T>>) -> Result<T> {
        let done = operation.await;
        self.release().await;
        done
    }
}

const WRITE: Purpose = Purpose::Write(Isolation::ReadCommitted);
