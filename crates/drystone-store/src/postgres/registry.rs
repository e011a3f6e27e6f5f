//! Which tenants there are, as this process knows it, and who in it works for them.
//!
//! A call looks into a map and nothing else. Every change of a state takes a new number in the registry's table; each process reads what changed when it renews
//! its lease ([`Registry::refresh`]), and writes there up to which number it has followed: the transactions that it had begun before are over by then. A state
//! that is not active is read again before a call is refused, so that what lets calls in works at once.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use drystone_call::{Error, Result, TenantId};
use tokio::sync::Notify;
use tokio_postgres::Client;

use super::names::{Names, quoted};
use crate::tenants::{TenantState, unknown};

/// The tenants that this process knows.
pub(crate) struct Registry {
    table: String,
    tenants: RwLock<HashMap<TenantId, Known>>,
    /// Work that began before its tenant changed, with the number of the change.
    leaving: Mutex<Vec<(i64, Arc<Uses>)>>,
    seen: AtomicI64,
}

struct Known {
    state: TenantState,
    changed: i64,
    uses: Arc<Uses>,
}

/// The transactions that are open for a tenant since it last changed.
#[derive(Default)]
struct Uses {
    open: AtomicUsize,
    none_left: Notify,
}

impl Uses {
    async fn ended(&self) {
        loop {
            let none_left = self.none_left.notified();
            if self.open.load(Ordering::Acquire) == 0 {
                return;
            }
            none_left.await;
        }
    }
}

/// Says that a transaction is open for a tenant; ends when dropped, which must not be before the transaction is over at the server.
pub(crate) struct TenantUse(Arc<Uses>);

impl Clone for TenantUse {
    fn clone(&self) -> Self {
        self.0.open.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(&self.0))
    }
}

impl Drop for TenantUse {
    fn drop(&mut self) {
        if self.0.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.none_left.notify_waiters();
        }
    }
}

impl Registry {
    /// Knows nobody before the first [`Registry::refresh`].
    pub(crate) fn new(names: &Names) -> Self {
        Self {
            table: format!("{}.drystone_tenants", quoted(&names.shared)),
            tenants: RwLock::default(),
            leaving: Mutex::default(),
            seen: AtomicI64::new(0),
        }
    }

    /// Begins work for a tenant that this process knows to be active.
    pub(crate) fn enter(&self, tenant: &TenantId) -> Option<TenantUse> {
        let tenants = self.tenants.read().unwrap_or_else(PoisonError::into_inner);
        let known = tenants.get(tenant).filter(|known| known.state == TenantState::Active)?;
        // Counted under the lock: a change that comes later waits for it.
        known.uses.open.fetch_add(1, Ordering::AcqRel);
        Some(TenantUse(Arc::clone(&known.uses)))
    }

    /// Why a tenant is refused that [`Registry::enter`] did not let in.
    pub(crate) fn refusal(&self, tenant: &TenantId) -> Error {
        let tenants = self.tenants.read().unwrap_or_else(PoisonError::into_inner);
        let state = tenants.get(tenant).map(|known| known.state);
        state.and_then(|state| state.refusal(tenant)).unwrap_or_else(|| unknown(tenant))
    }

    /// Reads what changed and says up to which number this process has followed: no transaction is open that began before.
    pub(crate) async fn refresh(&self, client: &Client) -> Result<i64> {
        let sql =
            format!("select name, state, changed from {} where changed > $1 order by changed", self.table);
        let rows = client.query(&sql, &[&self.seen.load(Ordering::Acquire)]).await?;
        for row in &rows {
            let (tenant, changed) = (TenantId::new(row.try_get(0)?)?, row.try_get(2)?);
            self.note(&tenant, TenantState::parse(row.try_get(1)?)?, changed);
            self.seen.fetch_max(changed, Ordering::AcqRel);
        }
        let seen = self.seen.load(Ordering::Acquire);
        Ok(self.leaving().first().map_or(seen, |(changed, _)| seen.min(changed - 1)))
    }

    /// Remembers a tenant's state, unless something newer is known.
    pub(crate) fn note(&self, tenant: &TenantId, state: TenantState, changed: i64) {
        let known = Known { state, changed, uses: Arc::default() };
        let before = match self.tenants.write().unwrap_or_else(PoisonError::into_inner).entry(tenant.clone())
        {
            Entry::Vacant(place) => {
                place.insert(known);
                return;
            }
            Entry::Occupied(mut place) if place.get().changed < changed => place.insert(known),
            Entry::Occupied(_) => return,
        };
        // Work goes on under a new count, so that a tenant that is busy again keeps nobody waiting for the work before.
        let mut leaving = self.leaving();
        leaving.push((changed, before.uses));
        leaving.sort_by_key(|(changed, _)| *changed);
    }

    /// The work that is not over yet, that of the earliest change first.
    fn leaving(&self) -> MutexGuard<'_, Vec<(i64, Arc<Uses>)>> {
        let mut leaving = self.leaving.lock().unwrap_or_else(PoisonError::into_inner);
        leaving.retain(|(_, uses)| uses.open.load(Ordering::Acquire) > 0);
        leaving
    }

    /// Waits until the work of this process that began before a change is over.
    pub(crate) async fn left(&self, changed: i64) {
        loop {
            let first =
                self.leaving().first().filter(|(at, _)| *at <= changed).map(|(_, uses)| Arc::clone(uses));
            let Some(uses) = first else { return };
            uses.ended().await;
        }
    }
}
