//! A service behind a guard: what bulkhead, limit, admission and rate limit have in common as layers.

use std::fmt;
use std::future::Future;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use tower_service::Service;

use crate::ready;

/// The error of a call behind a guard that may refuse it for the reason `Refusal`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejected<Refusal, E> {
    /// Refused by the guard: nothing was sent.
    Refused(Refusal),
    /// The service's own.
    Inner(E),
}

impl<Refusal: fmt::Display, E: fmt::Display> fmt::Display for Rejected<Refusal, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Inner(error) => error.fmt(f),
        }
    }
}

impl<Refusal: std::error::Error, E: std::error::Error> std::error::Error for Rejected<Refusal, E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Refused(_) => None,
            Self::Inner(error) => error.source(),
        }
    }
}

/// Lets a call pass, or refuses it. Implemented by the layers of this crate.
pub trait Guard<R>: Clone + Send + Sync + 'static {
    /// Why it refuses.
    type Refusal: Send;
    /// What it wants to know about a request.
    type Key: Send;

    /// Reads it from the request.
    fn key(&self, request: &R) -> Self::Key;

    /// Runs `call`, or refuses it.
    fn run<T: Send, E: Send>(
        self,
        key: Self::Key,
        call: impl Future<Output = Result<T, E>> + Send,
    ) -> impl Future<Output = Result<T, Rejected<Self::Refusal, E>>> + Send;
}

/// A service behind a guard, which it shares with its clones.
#[derive(Clone, Debug)]
pub struct Guarded<S, G> {
    inner: S,
    guard: G,
}

impl<S, G> Guarded<S, G> {
    pub(crate) fn new(inner: S, guard: G) -> Self {
        Self { inner, guard }
    }
}

impl<S, G, R> Service<R> for Guarded<S, G>
where
    S: Service<R> + Clone + Send + 'static,
    S::Future: Send,
    S::Response: Send,
    S::Error: Send,
    R: Send + 'static,
    G: Guard<R>,
{
    type Response = S::Response;
    type Error = Rejected<G::Refusal, S::Error>;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    /// Waits for the inner service alone. Whether the guard lets a call pass depends on the call, so it is asked when the call runs.
    fn poll_ready(&mut self, task: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(task).map_err(Rejected::Inner)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let key = self.guard.key(&request);
        let guard = self.guard.clone();
        let mut inner = ready::take(&mut self.inner);
        Box::pin(async move { guard.run(key, async move { inner.call(request).await }).await })
    }
}
