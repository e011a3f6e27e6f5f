//! What a process does for a module's schemas on its own account, a little at a time: it renews its lease, forgets old records of keyed calls, and closes
//! connections that rested for long.

use std::sync::Arc;
use std::time::Duration;

use drystone_call::{Result, TenantId};
use tokio::time::{Instant, MissedTickBehavior};

use super::keys::FORGET;
use super::lease::{Lease, RENEWED_EVERY};
use super::names::quoted;
use super::open::{Open, Purpose, Scope};
use super::pool::{CLEANUP, Pool};
use crate::clock::millis;
use crate::config::StoreConfig;
use crate::error::too_late;
use crate::tx::Isolation;

/// A connection that rested for longer is closed.
const RESTS: Duration = Duration::from_secs(300);

/// What the background work needs; shared with the module.
pub(crate) struct Keeper {
    pub(crate) pool: Pool,
    /// The connections of those that carry the module's events.
    pub(crate) relay: Pool,
    pub(crate) lease: Lease,
    pub(crate) shared: Arc<str>,
    pub(crate) config: StoreConfig,
}

impl Keeper {
    /// Works until the task is aborted, or until this version must not work any more.
    pub(crate) async fn work(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(RENEWED_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut turn = Vec::new();
        loop {
            ticks.tick().await;
            if let Err(error) = self.lease.renew().await {
                tracing::warn!(target: "drystone::store", %error, "the lease was not renewed");
                if self.lease.lives().is_err() {
                    return;
                }
                continue;
            }
            // The next renewal must not wait for a connection whose other end is gone.
            let forgotten = tokio::time::timeout(CLEANUP, self.forget_of_next(&mut turn)).await;
            if let Err(error) = forgotten.unwrap_or_else(|_| Err(too_late("old records of keyed calls"))) {
                tracing::warn!(target: "drystone::store", %error, "old records of keyed calls were not deleted");
            }
            for pool in [&self.pool, &self.relay] {
                pool.retain(|_, metrics| metrics.last_used() < RESTS);
            }
        }
    }

    /// Forgets for one tenant at each turn, and for the shared data after the last.
    async fn forget_of_next(&self, turn: &mut Vec<TenantId>) -> Result<()> {
        match turn.pop() {
            Some(tenant) => self.forget(Some(tenant)).await,
            None => {
                let line = self.lease.line().get(Instant::now() + CLEANUP).await?;
                let all =
                    format!("select name from {}.drystone_tenants order by name desc", quoted(&self.shared));
                for row in line.hear(line.client.query(&all, &[])).await? {
                    turn.push(TenantId::new(row.try_get(0)?)?);
                }
                self.forget(None).await
            }
        }
    }

    /// Deletes a batch of records that are past their time.
    ///
    /// In a transaction of its own, and not serializable: within a call's it would make calls conflict that have nothing to do with one another.
    pub(crate) async fn forget(&self, tenant: Option<TenantId>) -> Result<()> {
        let purpose = Purpose::Write(Isolation::ReadCommitted);
        let (shared, deadline) = (Arc::clone(&self.shared), Instant::now() + CLEANUP);
        let mut open =
            Open::take(&self.pool, Scope { tenant, in_use: None, purpose, shared, deadline }).await?;
        let before = self.forget_before();
        open.ask(FORGET, &(before,)).await.map_err(|failure| failure.error)?;
        open.commit().await.1.map_err(|failure| failure.error.into())
    }

    /// Records made before this moment are past their time, in milliseconds since 1970.
    fn forget_before(&self) -> i64 {
        let kept = i64::try_from(self.config.key_retention.as_millis()).unwrap_or(i64::MAX);
        millis(self.config.home.now()).saturating_sub(kept)
    }
}
