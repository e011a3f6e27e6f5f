//! The breaker as a layer.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tower_layer::Layer;
use tower_service::Service;

use super::{Breaker, BreakerConfig, Change, Open, Permit, State};
use crate::clock::{Clock, TokioClock};
use crate::observe::{Observe, tell};
use crate::ready;

/// How a call ended, as a breaker counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The callee did its work; a refusal that it means is work too.
    Succeeded,
    /// The callee failed.
    Failed,
    /// Says nothing about the callee: not counted.
    Ignored,
}

/// Says how a call ended. A function `Fn(&Result<T, E>) -> Outcome` is one.
pub trait Classify<T, E>: Clone + Send + Sync + 'static {
    /// How the call with this result ended.
    fn classify(&self, result: &Result<T, E>) -> Outcome;
}

/// Every error is a failure of the callee.
#[derive(Clone, Copy, Debug, Default)]
pub struct ErrorsFail;

impl<T, E> Classify<T, E> for ErrorsFail {
    fn classify(&self, result: &Result<T, E>) -> Outcome {
        if result.is_ok() { Outcome::Succeeded } else { Outcome::Failed }
    }
}

impl<F, T, E> Classify<T, E> for F
where
    F: Fn(&Result<T, E>) -> Outcome + Clone + Send + Sync + 'static,
{
    fn classify(&self, result: &Result<T, E>) -> Outcome {
        self(result)
    }
}

/// What a breaker layer did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BreakerEvent {
    /// A call passed and ended.
    Ended(Outcome, Duration),
    /// A call was refused.
    Refused(Open),
    /// The breaker changed its state. Told while the breaker is held, see [`Breaker::on_change`].
    Changed(Change),
}

/// The error of a call behind a breaker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BreakerError<E> {
    /// Refused by the breaker: nothing was sent.
    Open(Open),
    /// The service's own.
    Inner(E),
}

impl<E: fmt::Display> fmt::Display for BreakerError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(open) => open.fmt(f),
            Self::Inner(error) => error.fmt(f),
        }
    }
}

impl<E: std::error::Error> std::error::Error for BreakerError<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Open(_) => None,
            Self::Inner(error) => error.source(),
        }
    }
}

/// Puts one breaker before the services that it wraps: all of them, and their clones, stand for one callee and share it.
#[derive(Clone)]
pub struct BreakerLayer<C = ErrorsFail> {
    config: BreakerConfig,
    breaker: Arc<Breaker>,
    classify: C,
    clock: Arc<dyn Clock>,
    observe: Option<Observe<BreakerEvent>>,
}

impl BreakerLayer {
    /// A closed breaker that takes every error for a failure.
    #[must_use]
    pub fn new(config: BreakerConfig) -> Self {
        Self {
            breaker: Arc::new(Breaker::new(config.clone())),
            config,
            classify: ErrorsFail,
            clock: Arc::new(TokioClock),
            observe: None,
        }
    }
}

impl<C> BreakerLayer<C> {
    /// Says which results are failures of the callee.
    #[must_use]
    pub fn classify<F>(self, classify: F) -> BreakerLayer<F> {
        let Self { config, breaker, clock, observe, .. } = self;
        BreakerLayer { config, breaker, classify, clock, observe }
    }

    /// Reads the time elsewhere than from tokio.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Tells `observe` of every call and every change of state. Call it before the layer is used: the breaker begins anew.
    #[must_use]
    pub fn observe(mut self, observe: Observe<BreakerEvent>) -> Self {
        let changes = Arc::clone(&observe);
        let breaker = Breaker::new(self.config.clone());
        self.breaker = Arc::new(
            breaker.on_change(Arc::new(move |change| changes(&BreakerEvent::Changed(change.clone())))),
        );
        self.observe = Some(observe);
        self
    }

    /// The breaker, to be asked for its state.
    #[must_use]
    pub fn breaker(&self) -> &Arc<Breaker> {
        &self.breaker
    }
}

impl<S, C: Clone> Layer<S> for BreakerLayer<C> {
    type Service = BreakerService<S, C>;

    fn layer(&self, inner: S) -> Self::Service {
        BreakerService { inner, ready: false, shared: self.clone() }
    }
}

impl<C> fmt::Debug for BreakerLayer<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BreakerLayer").field("breaker", &self.breaker).finish_non_exhaustive()
    }
}

/// A service behind a breaker.
#[derive(Debug)]
pub struct BreakerService<S, C = ErrorsFail> {
    inner: S,
    /// Whether the inner service said that it takes a call.
    ready: bool,
    shared: BreakerLayer<C>,
}

impl<S: Clone, C: Clone> Clone for BreakerService<S, C> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), ready: false, shared: self.shared.clone() }
    }
}

impl<S, C, R> Service<R> for BreakerService<S, C>
where
    S: Service<R> + Clone + Send + 'static,
    S::Future: Send,
    S::Response: Send,
    S::Error: Send,
    R: Send + 'static,
    C: Classify<S::Response, S::Error>,
{
    type Response = S::Response;
    type Error = BreakerError<S::Error>;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    /// Waits for the inner service, except while the breaker is open: a refusal has nothing to wait for. A service that fails here counts as a failed call.
    fn poll_ready(&mut self, task: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        let now = self.shared.clock.now();
        if self.ready || self.shared.breaker.state(now) == State::Open {
            return Poll::Ready(Ok(()));
        }
        self.inner.poll_ready(task).map(|result| match result {
            Ok(()) => {
                self.ready = true;
                Ok(())
            }
            Err(error) => match self.shared.breaker.enter(now) {
                Ok(permit) => self.shared.end(permit, Duration::ZERO, Err(error)).map(drop),
                Err(_) => Err(BreakerError::Inner(error)),
            },
        })
    }

    fn call(&mut self, request: R) -> Self::Future {
        let shared = self.shared.clone();
        let was_ready = std::mem::take(&mut self.ready);
        let mut inner = ready::take(&mut self.inner);
        Box::pin(async move {
            let began = shared.clock.now();
            let permit = shared.breaker.enter(began).map_err(|open| {
                tell(shared.observe.as_ref(), &BreakerEvent::Refused(open));
                BreakerError::Open(open)
            })?;
            // The breaker was open when this service was polled, and no longer is.
            let made_ready = if was_ready { Ok(()) } else { ready::ready(&mut inner).await };
            let result = match made_ready {
                Ok(()) => inner.call(request).await,
                Err(error) => Err(error),
            };
            let took = shared.clock.now().saturating_duration_since(began);
            shared.end(permit, took, result)
        })
    }
}

impl<C> BreakerLayer<C> {
    fn end<T, E>(
        &self,
        permit: Permit<'_>,
        took: Duration,
        result: Result<T, E>,
    ) -> Result<T, BreakerError<E>>
    where
        C: Classify<T, E>,
    {
        let outcome = self.classify.classify(&result);
        match outcome {
            Outcome::Succeeded => permit.succeeded(self.clock.now()),
            Outcome::Failed => permit.failed(self.clock.now()),
            Outcome::Ignored => drop(permit),
        }
        tell(self.observe.as_ref(), &BreakerEvent::Ended(outcome, took));
        result.map_err(BreakerError::Inner)
    }
}

#[cfg(test)]
mod tests;
