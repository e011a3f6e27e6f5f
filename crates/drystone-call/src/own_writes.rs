//! When each principal last had a write acknowledged, so that its reads never share what is older.
//!
//! One for a process, shared by all its edges: a write through one contract may change what another one reads. A call to another process says how old the last write
//! is ([`WROTE`]), and the process there takes it for as much younger as the call was under way, which errs to the safe side.

use std::fmt;
use std::time::Duration;

use drystone_resilience::Writes;
use http::{HeaderMap, HeaderValue};
use tokio::time::Instant;

use crate::headers::WROTE;
use crate::{Context, Principal, TenantId};

/// How many principals are remembered; with more, all count as having written at that moment.
const REMEMBERED: usize = 100_000;

/// The last acknowledged writes of a process's principals.
pub struct OwnWrites(Writes<(TenantId, Principal)>);

impl OwnWrites {
    /// Nobody has written yet.
    #[must_use]
    pub fn new() -> Self {
        Self(Writes::new(REMEMBERED))
    }

    /// Remembers that a write of this caller was answered.
    pub(crate) fn record(&self, cx: &Context, at: Instant) {
        self.0.record(&(cx.tenant().clone(), cx.principal().clone()), at);
    }

    /// When the principal's last write was acknowledged, if lately.
    pub(crate) fn last(&self, cx: &Context, now: Instant) -> Option<Instant> {
        self.0.last(&(cx.tenant().clone(), cx.principal().clone()), now)
    }

    /// Tells the callee of a call what is remembered of its principal.
    pub(crate) fn tell(&self, onward: &Context, headers: &mut HeaderMap, now: Instant) {
        if let Some(at) = self.last(onward, now) {
            let age = u64::try_from(now.saturating_duration_since(at).as_micros()).unwrap_or(u64::MAX);
            headers.insert(WROTE, HeaderValue::from(age));
        }
    }

    /// Takes what a caller tells. What cannot be read says nothing.
    pub(crate) fn hear(&self, cx: &Context, headers: &HeaderMap, now: Instant) {
        let age = headers.get(WROTE).and_then(|age| age.to_str().ok()?.parse().ok());
        if let Some(at) = age.and_then(|age| now.checked_sub(Duration::from_micros(age))) {
            self.record(cx, at);
        }
    }
}

impl Default for OwnWrites {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for OwnWrites {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnWrites").finish_non_exhaustive()
    }
}
