//! What an attempt teaches about the replica that it went to.

use std::sync::Arc;
use std::time::Duration;

use drystone_call::{Code, DEFAULT_TIMEOUT, Reply, Result};
use drystone_resilience::{Picked, grpc_timeout, set_grpc_timeout};
use http::HeaderMap;
use tokio::time::Instant;

use super::member::Member;

/// A call that is dropped this short before its deadline was dropped for it: timers are not finer.
const NEARLY: Duration = Duration::from_millis(5);

/// The attempts of one call, one at a time. Dropped at the call's deadline it counts as a failure of the replica, which has not answered; dropped before, by a
/// caller that went away, it says nothing.
pub(super) struct Attempt {
    deadline: Instant,
    picked: Option<Picked<Arc<Member>>>,
}

impl Attempt {
    /// The call with these headers.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let timeout = grpc_timeout(headers).unwrap_or(DEFAULT_TIMEOUT);
        Self { deadline: Instant::now() + timeout, picked: None }
    }

    /// Tells the next replica the time that is left now.
    pub(super) fn shrink(&self, headers: &mut HeaderMap) {
        set_grpc_timeout(headers, self.deadline.saturating_duration_since(Instant::now()));
    }

    pub(super) fn begins(&mut self, picked: Picked<Arc<Member>>) {
        self.picked = Some(picked);
    }

    /// The replica has answered, or the request was lost on it.
    pub(super) fn ends(&mut self, outcome: &Result<Reply>) {
        let Some(picked) = self.picked.take() else { return };
        match outcome {
            Err(error) if is_failure(error.code()) => picked.failed(Instant::now()),
            _ => picked.succeeded(Instant::now()),
        }
    }

    pub(super) fn ends_without_verdict(&mut self) {
        self.picked = None;
    }
}

/// Whether an answer speaks against the replica that gave it, rather than against the request.
fn is_failure(code: Code) -> bool {
    matches!(code, Code::Unavailable | Code::DeadlineExceeded | Code::Internal)
}

impl Drop for Attempt {
    fn drop(&mut self) {
        let now = Instant::now();
        if let Some(picked) = self.picked.take().filter(|_| now + NEARLY >= self.deadline) {
            picked.failed(now);
        }
    }
}
