//! The panic barrier as a layer.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use tower_layer::Layer;
use tower_service::Service;

use super::{Panicked, catch_panic};
use crate::observe::{Observe, tell};

/// The error of a call behind a barrier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PanicError<E> {
    /// It panicked.
    Panicked(Panicked),
    /// The service's own.
    Inner(E),
}

impl<E: fmt::Display> fmt::Display for PanicError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Panicked(panicked) => panicked.fmt(f),
            Self::Inner(error) => error.fmt(f),
        }
    }
}

impl<E: std::error::Error> std::error::Error for PanicError<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Panicked(_) => None,
            Self::Inner(error) => error.source(),
        }
    }
}

/// What a barrier did: it caught this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PanicEvent(pub Panicked);

/// Puts a barrier before panics in a service.
#[derive(Clone, Default)]
pub struct PanicLayer {
    observe: Option<Observe<PanicEvent>>,
}

impl PanicLayer {
    /// A barrier.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Tells `observe` of every panic.
    #[must_use]
    pub fn observe(mut self, observe: Observe<PanicEvent>) -> Self {
        self.observe = Some(observe);
        self
    }

    fn caught<E>(&self, panicked: Panicked) -> PanicError<E> {
        tell(self.observe.as_ref(), &PanicEvent(panicked.clone()));
        PanicError::Panicked(panicked)
    }
}

impl fmt::Debug for PanicLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PanicLayer").finish_non_exhaustive()
    }
}

impl<S> Layer<S> for PanicLayer {
    type Service = PanicService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        PanicService { inner, shared: self.clone() }
    }
}

/// A service behind a barrier.
#[derive(Clone, Debug)]
pub struct PanicService<S> {
    inner: S,
    shared: PanicLayer,
}

impl<S, R> Service<R> for PanicService<S>
where
    S: Service<R>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    S::Response: 'static,
{
    type Response = S::Response;
    type Error = PanicError<S::Error>;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, task: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        let Self { inner, shared } = self;
        match catch_unwind(AssertUnwindSafe(|| inner.poll_ready(task))) {
            Ok(poll) => poll.map_err(PanicError::Inner),
            Err(payload) => Poll::Ready(Err(shared.caught(Panicked::of(&*payload)))),
        }
    }

    fn call(&mut self, request: R) -> Self::Future {
        // A service may panic before it has made a future.
        let call = catch_unwind(AssertUnwindSafe(|| self.inner.call(request)));
        let shared = self.shared.clone();
        Box::pin(async move {
            let caught = match call {
                Ok(call) => catch_panic(call).await,
                Err(payload) => Err(Panicked::of(&*payload)),
            };
            match caught {
                Ok(result) => result.map_err(PanicError::Inner),
                Err(panicked) => Err(shared.caught(panicked)),
            }
        })
    }
}
