//! The registry of tenants: in memory what the shared file says, and who works on a tenant's life.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use drystone_call::{Result, TenantId};

use super::conn::{Conn, Durability};
use crate::tenants::{Tenant, TenantState, busy, unknown};

/// The tenants of a module.
#[derive(Default)]
pub(crate) struct Registry {
    tenants: Mutex<BTreeMap<TenantId, Tenant>>,
    /// The tenants whose life an operation is changing, or whose data it copies.
    busy: Arc<Mutex<HashSet<TenantId>>>,
}

impl Registry {
    /// Reads the shared file. The column of the state came later than the table.
    pub(crate) fn open(shared: &Path, durability: Durability) -> Result<Self> {
        let conn = Conn::writer(shared, durability)?;
        let tenants = conn.own(|db| -> Result<BTreeMap<TenantId, Tenant>> {
            if !db.column_exists(None, "drystone_tenants", "state")? {
                db.execute_batch(
                    "alter table drystone_tenants add column state text not null default 'active'",
                )?;
            }
            let mut statement = db.prepare("select name, state, created from drystone_tenants")?;
            let rows = statement.query_map([], |row| {
                Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, i64>(2)?))
            })?;
            rows.map(|row| {
                let (name, state, created) = row?;
                let name = TenantId::new(&name)?;
                Ok((
                    name.clone(),
                    Tenant { name, state: TenantState::parse(&state)?, created: moment(created) },
                ))
            })
            .collect()
        })?;
        Ok(Self { tenants: Mutex::new(tenants), busy: Arc::default() })
    }

    fn tenants(&self) -> MutexGuard<'_, BTreeMap<TenantId, Tenant>> {
        self.tenants.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state of a tenant.
    ///
    /// # Errors
    /// `TENANT_UNKNOWN`.
    pub(crate) fn state(&self, tenant: &TenantId) -> Result<TenantState> {
        self.tenants().get(tenant).map(|tenant| tenant.state).ok_or_else(|| unknown(tenant))
    }

    /// Whether the tenant may be worked for; `false` if nobody has created it.
    ///
    /// # Errors
    /// `TENANT_SUSPENDED`.
    pub(crate) fn is_active(&self, tenant: &TenantId) -> Result<bool> {
        let Some(state) = self.tenants().get(tenant).map(|tenant| tenant.state) else { return Ok(false) };
        state.refusal(tenant).map_or(Ok(true), Err)
    }

    /// Adds a tenant that the shared file has by now.
    pub(crate) fn add(&self, tenant: &TenantId, state: TenantState, created: i64) {
        let new = Tenant { name: tenant.clone(), state, created: moment(created) };
        self.tenants().entry(tenant.clone()).or_insert(new);
    }

    /// Changes a tenant's state.
    pub(crate) fn set(&self, tenant: &TenantId, state: TenantState) {
        if let Some(tenant) = self.tenants().get_mut(tenant) {
            tenant.state = state;
        }
    }

    /// Removes a tenant that the shared file does not have any more.
    pub(crate) fn remove(&self, tenant: &TenantId) {
        self.tenants().remove(tenant);
    }

    /// All tenants, in order of their names.
    pub(crate) fn all(&self) -> Vec<Tenant> {
        self.tenants().values().cloned().collect()
    }

    /// Keeps other operations away from a tenant until the claim is dropped.
    ///
    /// # Errors
    /// `ABORTED` while another one has it.
    pub(crate) fn claim(&self, tenant: &TenantId) -> Result<Busy> {
        if !self.busy.lock().unwrap_or_else(PoisonError::into_inner).insert(tenant.clone()) {
            return Err(busy(tenant));
        }
        Ok(Busy { tenants: Arc::clone(&self.busy), tenant: tenant.clone() })
    }
}

/// An operation on a tenant is running.
pub(crate) struct Busy {
    tenants: Arc<Mutex<HashSet<TenantId>>>,
    tenant: TenantId,
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.tenants.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.tenant);
    }
}

fn moment(millis: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(millis).unwrap_or_default())
}

/// Whether a keyed call was ever recorded with the data of no tenant.
pub(crate) fn has_keys(shared: &Path) -> Result<bool> {
    let conn = Conn::reader(shared)?;
    Ok(conn.db.query_row("select exists (select 1 from drystone_idempotency)", [], |row| row.get(0))?)
}
