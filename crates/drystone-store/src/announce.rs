//! Announcements: that a tenant's transaction committed, for those in this process who wait for its effects.
//!
//! They save a wait and decide nothing: who is not told finds the rows at its next look. So an announcement carries the tenant alone, several become one,
//! and one too many does no harm.

use std::any::Any;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use drystone_call::TenantId;
use tokio::sync::Notify;

/// Who waits for the announcements of a module's store.
#[derive(Default)]
pub(crate) struct Board(RwLock<Vec<Arc<Heard>>>);

/// What one of them has been told and has not taken yet.
#[derive(Default)]
struct Heard {
    tenants: Mutex<BTreeSet<TenantId>>,
    told: Notify,
}

impl Board {
    /// A new set of announcements, which begins with what is announced from now on.
    pub(crate) fn subscribe(self: &Arc<Self>) -> Announcements {
        let heard = Arc::<Heard>::default();
        self.0.write().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&heard));
        Announcements { board: Arc::clone(self), heard }
    }

    fn announce(&self, tenant: &TenantId) {
        for heard in self.0.read().unwrap_or_else(PoisonError::into_inner).iter() {
            let mut tenants = heard.tenants.lock().unwrap_or_else(PoisonError::into_inner);
            // Whoever has a tenant to take was woken when it came.
            if !tenants.contains(tenant) {
                tenants.insert(tenant.clone());
                drop(tenants);
                heard.told.notify_one();
            }
        }
    }
}

/// What is held until a commit has ended, whatever became of the caller: the claim on a key, and what is announced then.
pub(crate) struct UntilCommitted {
    /// Kept until the announcement is out.
    pub(crate) key: Option<Arc<dyn Any + Send + Sync>>,
    pub(crate) board: Arc<Board>,
    pub(crate) tenant: TenantId,
}

impl Drop for UntilCommitted {
    fn drop(&mut self) {
        self.board.announce(&self.tenant);
        self.key = None;
    }
}

/// The tenants whose transactions said [`crate::Tx::announce`] and have committed; made by [`crate::Store::announcements`].
///
/// It keeps one entry for a tenant, however often it is announced before it is taken. It ends with its last handle and not with the store: of a store that is closed
/// nothing more comes.
pub struct Announcements {
    board: Arc<Board>,
    heard: Arc<Heard>,
}

impl Announcements {
    /// Waits until something is announced, and takes everything that was announced since the last time. A future that is dropped takes nothing.
    pub async fn next(&mut self) -> BTreeSet<TenantId> {
        loop {
            // Asked for before the look, so that what comes in between is not missed.
            let told = self.heard.told.notified();
            let tenants =
                std::mem::take(&mut *self.heard.tenants.lock().unwrap_or_else(PoisonError::into_inner));
            if !tenants.is_empty() {
                return tenants;
            }
            told.await;
        }
    }
}

impl Drop for Announcements {
    fn drop(&mut self) {
        let mut all = self.board.0.write().unwrap_or_else(PoisonError::into_inner);
        all.retain(|heard| !Arc::ptr_eq(heard, &self.heard));
    }
}

impl fmt::Debug for Announcements {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Announcements").finish_non_exhaustive()
    }
}
