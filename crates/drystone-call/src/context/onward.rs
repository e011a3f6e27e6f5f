//! The context of a call that a handler makes: less time than its own, a span further, and a key derived from its own.

use std::sync::{Arc, PoisonError};

use tokio::time::Instant;

use super::{Context, Place};
use crate::channel::deadline_exceeded;
use crate::key::derive;
use crate::policy::Policy;
use crate::{IdempotencyKey, MethodInfo, PlatformReason, Result};

impl Context {
    /// The context that the callee of a call made `now` sees.
    ///
    /// # Errors
    /// `DEADLINE_EXCEEDED` if too little time is left to call at all;
    /// `CALLED_TWICE_WITHOUT_LABEL` if this context already made a call of the same keyed method under the same label.
    #[inline]
    pub(crate) fn onward(
        &self,
        place: &Arc<Place>,
        method: &'static MethodInfo,
        label: &'static str,
        policy: &Policy,
        now: Instant,
    ) -> Result<Self> {
        let deadline = policy
            .deadline
            .onward(now, self.caller.deadline, policy.timeout)
            .ok_or_else(|| deadline_exceeded(method.path))?;
        Ok(Self::assemble(
            Arc::clone(&self.caller.who),
            Arc::clone(place),
            deadline,
            self.caller.trace.child(),
            if method.is_keyed() { self.onward_key(method, label)? } else { None },
        ))
    }

    fn onward_key(&self, method: &'static MethodInfo, label: &'static str) -> Result<Option<IdempotencyKey>> {
        if self.verbatim {
            return Ok(self.caller.key.clone());
        }
        let call = (std::ptr::from_ref(method).addr(), label);
        let rare = self.caller.rare();
        let mut used = rare.used.lock().unwrap_or_else(PoisonError::into_inner);
        if used.contains(&call) {
            return Err(PlatformReason::CalledTwice.error(format!(
                "{} was called twice in one handler; tell the calls apart: client.labelled(\"...\")",
                method.path
            )));
        }
        used.push(call);
        drop(used);
        Ok(Some(match &self.caller.key {
            Some(key) => derive(key.as_str().as_bytes(), method.path, label),
            None => {
                let mut root = rare.root.lock().unwrap_or_else(PoisonError::into_inner);
                let root = root.get_or_insert_with(|| self.caller.place.home.ids.next().to_be_bytes());
                derive(root.as_slice(), method.path, label)
            }
        }))
    }

    /// Allows the same call again, with the same key: its outcome is open.
    pub(crate) fn may_repeat(&self, method: &'static MethodInfo, label: &'static str) {
        if let Some(rare) = self.caller.rare.get() {
            let call = (std::ptr::from_ref(method).addr(), label);
            rare.used.lock().unwrap_or_else(PoisonError::into_inner).retain(|made| *made != call);
        }
    }
}
