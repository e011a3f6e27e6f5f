//! Attempts of one call over a wire: again where that is safe and helps, within a budget, each behind the breaker.
//!
//! A chain of calls tries again at one hop only, the one nearest to the failure: who has tried again, or may not any more, says so with the error
//! ([`Error::mark_final`]), and nobody above it tries again. Without that, three attempts at each of three hops are 27.

use std::time::Duration;

use bytes::Bytes;
use drystone_resilience::Permit;
use http::HeaderValue;
use tokio::time::{Instant, sleep, timeout_at};

use crate::channel::{Link, deadline_exceeded};
use crate::guards::{Guards, Retries};
use crate::headers::ATTEMPT;
use crate::serve::report;
use crate::service::{Reply, ServiceDef};
use crate::{Code, Context, Effect, Error, MethodInfo, PlatformReason, Remote, Result};

impl<S: ServiceDef + ?Sized> Link<S> {
    /// Makes a call over a wire, and makes it again as long as that is allowed and may help.
    pub(crate) async fn attempts(
        &self,
        remote: &dyn Remote,
        guards: &Guards,
        onward: &Context,
        method: &'static MethodInfo,
        body: Bytes,
    ) -> Result<Reply> {
        let retries = guards.retries.as_deref().filter(|_| may_repeat(method, onward));
        if let Some(retries) = retries {
            retries.budget.deposit(Instant::now());
        }
        let mut attempt = 1;
        loop {
            let error = match self.attempt(remote, guards, onward, method, body.clone(), attempt).await {
                Ok(reply) => return Ok(reply),
                Err(error) => error,
            };
            let Some(retries) = retries.filter(|_| may_help(&error, attempt)) else {
                // What was tried again is not tried again further up.
                return Err(if attempt > 1 { error.mark_final() } else { error });
            };
            match self.pause(retries, onward, method, &error, attempt) {
                Some(pause) => sleep(pause).await,
                None => return Err(error.mark_final()),
            }
            attempt += 1;
        }
    }

    /// How long to wait before the next attempt; `None` if there is none.
    fn pause(
        &self,
        retries: &Retries,
        onward: &Context,
        method: &'static MethodInfo,
        error: &Error,
        attempt: u32,
    ) -> Option<Duration> {
        let jitter = retries.policy.backoff.delay(attempt, self.random());
        let pause = jitter + error.retry_delay().unwrap_or_default();
        if attempt >= retries.policy.attempts || onward.time_left() <= pause {
            return None;
        }
        let granted = retries.budget.withdraw(Instant::now());
        self.count_retry(method, granted);
        granted.then_some(pause)
    }

    /// One attempt: breaker, then the wire, until the deadline.
    async fn attempt(
        &self,
        remote: &dyn Remote,
        guards: &Guards,
        onward: &Context,
        method: &'static MethodInfo,
        body: Bytes,
        attempt: u32,
    ) -> Result<Reply> {
        let began = Instant::now();
        let permit = guards.enter_breaker(method, began).inspect_err(|_| self.count_refused(method))?;
        let mut headers = onward.to_headers();
        headers.insert(ATTEMPT, HeaderValue::from(attempt));
        if let Some(writes) = self.own_writes.get() {
            writes.tell(onward, &mut headers, began);
        }
        self.count_attempt(method, body.len());
        let answer = timeout_at(onward.deadline(), remote.call(method, headers, body)).await;
        let outcome = answer.unwrap_or_else(|_| Err(deadline_exceeded(method.path)));
        if let Some(permit) = permit {
            judge(permit, &outcome, began, onward.deadline(), guards.policy.timeout);
        }
        let reply = outcome.map_err(|error| report(method, error))?;
        self.count_received(reply.body.len());
        Ok(reply)
    }
}

/// Whether the method's contract and the call's key make a second attempt one effect.
fn may_repeat(method: &MethodInfo, onward: &Context) -> bool {
    match method.effect {
        Effect::NoSideEffects | Effect::Idempotent => true,
        Effect::Mutating => method.is_keyed() && onward.key().is_some(),
    }
}

/// Whether another attempt may have another outcome.
///
/// From the second attempt on, a key in use is most likely held by an attempt of this very call whose answer was lost.
fn may_help(error: &Error, attempt: u32) -> bool {
    if error.is_final() || error.is(PlatformReason::CircuitOpen) {
        return false;
    }
    error.code() == Code::Unavailable || (attempt > 1 && error.is(PlatformReason::KeyInUse))
}

/// Teaches the breaker: a failure is the callee's, a refusal is not one.
///
/// A caller with little time left cannot hold it against the callee that it ran out: only attempts that had half of what the policy gives count.
fn judge(permit: Permit<'_>, outcome: &Result<Reply>, began: Instant, deadline: Instant, timeout: Duration) {
    let now = Instant::now();
    match outcome {
        Ok(_) => permit.succeeded(now),
        Err(error) => match error.code() {
            Code::DeadlineExceeded if deadline.saturating_duration_since(began) < timeout / 2 => drop(permit),
            Code::Unavailable | Code::DeadlineExceeded | Code::Internal => permit.failed(now),
            _ => permit.succeeded(now),
        },
    }
}
