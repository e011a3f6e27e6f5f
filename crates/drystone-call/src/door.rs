//! The door of one served method: how many calls run at once, who waits, and for how long.

use std::sync::Arc;

use drystone_resilience::{Admission, AdmissionStats, Admitted, Shed};

use tokio::time::Instant;

use crate::policy::ServePolicy;
use crate::{MethodInfo, PlatformReason, Result, TenantId};

/// How calls of one method are admitted. Changed as a whole; a call keeps the door that it came in by.
pub(crate) struct Door {
    policy: ServePolicy,
    admission: Option<Arc<Admission<TenantId>>>,
}

impl Door {
    fn new(policy: ServePolicy) -> Self {
        let admission = policy.admission.map(|config| {
            let weights = policy.tenants.clone();
            let weight = move |tenant: &TenantId| weights.get(tenant).copied().unwrap_or(1);
            Arc::new(Admission::new(config).weights(Arc::new(weight)))
        });
        Self { policy, admission }
    }

    /// The door of another policy, if it is another one.
    pub(crate) fn with(&self, policy: ServePolicy) -> Option<Self> {
        if self.policy == policy {
            return None;
        }
        Some(match (&self.admission, &policy.admission) {
            // What has learned something goes on with it; what has not begins where the settings say.
            (Some(admission), Some(config))
                if self.policy.tenants == policy.tenants && admission.stats().admitted > 0 =>
            {
                admission.configure(*config);
                Self { admission: Some(Arc::clone(admission)), policy }
            }
            _ => Self::new(policy),
        })
    }

    /// Lets a call in at once, if there is room and nobody waits; otherwise it has to [`Self::wait`].
    pub(crate) fn enter(&self, now: Instant) -> Entry<'_> {
        let Some(admission) = &self.admission else { return Entry::Open };
        match admission.try_enter() {
            Some(admitted) => Entry::In(Inside { admitted, since: now }),
            None => Entry::Full(admission),
        }
    }

    /// Lets a call in when it is its turn.
    pub(crate) async fn wait<'d>(
        admission: &'d Admission<TenantId>,
        tenant: &TenantId,
        method: &'static MethodInfo,
    ) -> Result<Inside<'d>> {
        let admitted = admission.enter(tenant).await.map_err(|Shed { retry_after, .. }| {
            let text = format!("{} has more to do than it can; the call has not begun", method.path);
            PlatformReason::Overloaded.error(text).retry_after(retry_after)
        })?;
        // The wait is not the handler's time.
        Ok(Inside { admitted, since: Instant::now() })
    }

    pub(crate) fn live(&self) -> ServeLive {
        ServeLive {
            policy: self.policy.clone(),
            admission: self.admission.as_ref().map(|admission| admission.stats()),
        }
    }
}

impl Default for Door {
    fn default() -> Self {
        Self::new(ServePolicy::default())
    }
}

/// How a door is found.
pub(crate) enum Entry<'d> {
    /// There is no limit.
    Open,
    /// There was room.
    In(Inside<'d>),
    /// There is none, or others wait.
    Full(&'d Admission<TenantId>),
}

/// A call that was let in; when this is dropped, another may come in its place.
pub(crate) struct Inside<'d> {
    admitted: Admitted<'d, TenantId>,
    since: Instant,
}

impl Inside<'_> {
    /// The call has done its work, and the limit may learn from it.
    pub(crate) fn done(self) {
        self.admitted.done_in(|| self.since.elapsed());
    }
}

/// How the admission of one served method stands now.
#[derive(Clone, Debug)]
pub struct ServeLive {
    /// What holds for its calls.
    pub policy: ServePolicy,
    /// What the admission has counted, if there is one.
    pub admission: Option<AdmissionStats>,
}
