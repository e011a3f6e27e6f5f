//! Retry as a layer.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::Instant;
use tower_layer::Layer;
use tower_service::Service;

use super::{Decision, RetryConfig, Stop, Verdict};
use crate::clock::{Clock, TokioClock};
use crate::observe::{Observe, tell};
use crate::random::{Random, SystemRandom};
use crate::{Budget, BudgetConfig, ready};

/// Which results are worth another attempt, and which requests can be repeated.
pub trait RetryPolicy<R, T, E>: Clone + Send + Sync + 'static {
    /// What this result means.
    fn judge(&self, result: &Result<T, E>) -> Verdict;

    /// A request for a later attempt, made before each attempt that may be followed by one; `None` if this one must not be repeated.
    fn again(&self, request: &R) -> Option<R>;

    /// When the caller stops waiting, if it says so.
    fn deadline(&self, _request: &R) -> Option<Instant> {
        None
    }
}

/// The policy under which every request may be repeated, by `Clone`; the function `Fn(&Result<T, E>) -> Verdict` judges. For callees whose every method is safe to repeat.
#[derive(Clone, Copy, Debug)]
pub struct Cloned<F>(pub F);

impl<F, R, T, E> RetryPolicy<R, T, E> for Cloned<F>
where
    F: Fn(&Result<T, E>) -> Verdict + Clone + Send + Sync + 'static,
    R: Clone,
{
    fn judge(&self, result: &Result<T, E>) -> Verdict {
        self.0(result)
    }

    fn again(&self, request: &R) -> Option<R> {
        Some(request.clone())
    }
}

/// What a retry layer did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryEvent {
    /// The attempt with this number failed, and another follows after the wait.
    Again {
        /// The attempts made so far.
        made: u32,
        /// The time until the next.
        wait: Duration,
    },
    /// The call ended after so many attempts.
    Ended {
        /// The attempts made.
        made: u32,
        /// Why there is no other.
        why: Stop,
    },
}

/// Repeats failed calls; the services that it wraps, and their clones, share its budget.
#[derive(Clone)]
pub struct RetryLayer<P> {
    config: RetryConfig,
    policy: P,
    budget: Arc<Budget>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    observe: Option<Observe<RetryEvent>>,
}

impl<P> RetryLayer<P> {
    /// Repeats what `policy` allows, within a budget of 20 %.
    #[must_use]
    pub fn new(config: RetryConfig, policy: P) -> Self {
        Self {
            config,
            policy,
            budget: Arc::new(Budget::new(BudgetConfig::default())),
            clock: Arc::new(TokioClock),
            random: Arc::new(SystemRandom::new()),
            observe: None,
        }
    }

    /// Takes retries from this budget, which may be shared with other layers that call the same callee.
    #[must_use]
    pub fn budget(mut self, budget: Arc<Budget>) -> Self {
        self.budget = budget;
        self
    }

    /// Reads the time, and waits, elsewhere than with tokio.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Takes the jitter from elsewhere than the system.
    #[must_use]
    pub fn random(mut self, random: Arc<dyn Random>) -> Self {
        self.random = random;
        self
    }

    /// Tells `observe` of every retry and of the end of every call.
    #[must_use]
    pub fn observe(mut self, observe: Observe<RetryEvent>) -> Self {
        self.observe = Some(observe);
        self
    }
}

impl<S, P: Clone> Layer<S> for RetryLayer<P> {
    type Service = RetryService<S, P>;

    fn layer(&self, inner: S) -> Self::Service {
        RetryService { inner, shared: self.clone() }
    }
}

impl<P> fmt::Debug for RetryLayer<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryLayer")
            .field("config", &self.config)
            .field("budget", &self.budget)
            .finish_non_exhaustive()
    }
}

/// A service whose failed calls are repeated.
#[derive(Clone, Debug)]
pub struct RetryService<S, P> {
    inner: S,
    shared: RetryLayer<P>,
}

impl<S, P, R> Service<R> for RetryService<S, P>
where
    S: Service<R> + Clone + Send + 'static,
    S::Future: Send,
    S::Response: Send,
    S::Error: Send,
    R: Send + 'static,
    P: RetryPolicy<R, S::Response, S::Error>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, task: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(task)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let inner = ready::take(&mut self.inner);
        let shared = self.shared.clone();
        Box::pin(async move { shared.run(inner, request).await })
    }
}

impl<P> RetryLayer<P> {
    async fn run<S, R>(&self, mut inner: S, mut request: R) -> Result<S::Response, S::Error>
    where
        S: Service<R>,
        P: RetryPolicy<R, S::Response, S::Error>,
    {
        let deadline = self.policy.deadline(&request);
        self.budget.deposit(self.clock.now());
        let mut made = 1;
        loop {
            let last = made >= self.config.attempts;
            let again = if last { None } else { self.policy.again(&request) };
            // The first attempt was ready when it was made. One that does not become ready has failed like one that was sent.
            let made_ready = if made == 1 { Ok(()) } else { ready::ready(&mut inner).await };
            let result = match made_ready {
                Ok(()) => inner.call(request).await,
                Err(error) => Err(error),
            };
            let (wait, next) = match self.decide(made, &result, deadline, again) {
                Ok(retry) => retry,
                Err(why) => {
                    tell(self.observe.as_ref(), &RetryEvent::Ended { made, why });
                    return result;
                }
            };
            tell(self.observe.as_ref(), &RetryEvent::Again { made, wait });
            self.clock.sleep_until(self.clock.now() + wait).await;
            request = next;
            made += 1;
        }
    }

    /// The wait and the request of the next attempt, or why there is none.
    fn decide<R, T, E>(
        &self,
        made: u32,
        result: &Result<T, E>,
        deadline: Option<Instant>,
        again: Option<R>,
    ) -> Result<(Duration, R), Stop>
    where
        P: RetryPolicy<R, T, E>,
    {
        let verdict = self.policy.judge(result);
        // A request that cannot be repeated takes nothing from the budget.
        let Some(again) = again else {
            return Err(match verdict {
                Verdict::Done => Stop::Done,
                Verdict::Refused => Stop::Refused,
                Verdict::Failed { .. } if made >= self.config.attempts => Stop::Attempts,
                Verdict::Failed { .. } => Stop::Unrepeatable,
            });
        };
        let now = self.clock.now();
        match self.config.decide(made, verdict, now, deadline, &self.budget, &*self.random) {
            Decision::Retry(wait) => Ok((wait, again)),
            Decision::Stop(why) => Err(why),
        }
    }
}
