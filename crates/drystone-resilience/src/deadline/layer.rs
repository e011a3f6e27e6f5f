//! Deadline as a layer.

use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::{BoxFuture, Either, ready, select};
use http::Request;
use tokio::time::Instant;
use tower_layer::Layer;
use tower_service::Service;

use super::{DeadlineConfig, grpc_timeout, set_grpc_timeout};
use crate::clock::{Clock, TokioClock};
use crate::observe::{Observe, tell};

/// How a deadline travels with a request of type `R`.
pub trait Carry<R>: Clone + Send + Sync + 'static {
    /// How long the caller waits, if the request says so.
    fn read(&self, request: &R) -> Option<Duration>;

    /// Writes the deadline of the inner service, of which `left` is left now.
    fn write(&self, request: &mut R, deadline: Instant, left: Duration);
}

/// Requests carry no deadline.
#[derive(Clone, Copy, Debug, Default)]
pub struct NotCarried;

impl<R> Carry<R> for NotCarried {
    fn read(&self, _: &R) -> Option<Duration> {
        None
    }

    fn write(&self, _: &mut R, _: Instant, _: Duration) {}
}

/// The header `grpc-timeout` of an HTTP request carries it between processes, and the extension [`Deadline`] within one. A header that is not well formed counts as none.
#[derive(Clone, Copy, Debug, Default)]
pub struct GrpcTimeout;

/// The deadline of an HTTP request, among its extensions: for the layers and the service inside of [`DeadlineLayer::grpc`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline(pub Instant);

impl<B> Carry<Request<B>> for GrpcTimeout {
    fn read(&self, request: &Request<B>) -> Option<Duration> {
        grpc_timeout(request.headers())
    }

    fn write(&self, request: &mut Request<B>, deadline: Instant, left: Duration) {
        set_grpc_timeout(request.headers_mut(), left);
        request.extensions_mut().insert(Deadline(deadline));
    }
}

/// The call did not end in time, or could not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeadlinePassed {
    /// True if the call was not begun, since too little of its time was left.
    pub before_call: bool,
}

impl fmt::Display for DeadlinePassed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.before_call {
            "too little of the caller's time is left to begin the call"
        } else {
            "the deadline passed before the call ended"
        })
    }
}

impl std::error::Error for DeadlinePassed {}

/// The error of a call with a deadline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeadlineError<E> {
    /// Ended by the deadline. What the callee did until then stays done.
    Passed(DeadlinePassed),
    /// The service's own.
    Inner(E),
}

impl<E: fmt::Display> fmt::Display for DeadlineError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passed(passed) => passed.fmt(f),
            Self::Inner(error) => error.fmt(f),
        }
    }
}

impl<E: std::error::Error> std::error::Error for DeadlineError<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Passed(_) => None,
            Self::Inner(error) => error.source(),
        }
    }
}

/// What a deadline layer did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeadlineEvent {
    /// A call ended in time, with so much left.
    InTime(Duration),
    /// A call was ended, or not begun.
    Passed(DeadlinePassed),
}

/// Ends calls in time.
#[derive(Clone)]
pub struct DeadlineLayer<A = NotCarried> {
    limit: Duration,
    config: DeadlineConfig,
    carry: A,
    clock: Arc<dyn Clock>,
    observe: Option<Observe<DeadlineEvent>>,
}

impl DeadlineLayer {
    /// Every call, of whatever type, may take `limit`.
    #[must_use]
    pub fn new(limit: Duration) -> Self {
        Self {
            limit,
            config: DeadlineConfig::default(),
            carry: NotCarried,
            clock: Arc::new(TokioClock),
            observe: None,
        }
    }

    /// An HTTP request may take what its `grpc-timeout` says, and `limit` at most; the inner service reads there what is left for it.
    #[must_use]
    pub fn grpc(limit: Duration) -> DeadlineLayer<GrpcTimeout> {
        Self::new(limit).carry(GrpcTimeout)
    }
}

impl<A> DeadlineLayer<A> {
    /// Reads and writes deadlines in another way.
    #[must_use]
    pub fn carry<B>(self, carry: B) -> DeadlineLayer<B> {
        let Self { limit, config, clock, observe, .. } = self;
        DeadlineLayer { limit, config, carry, clock, observe }
    }

    /// How a deadline that was handed on shrinks.
    #[must_use]
    pub fn config(mut self, config: DeadlineConfig) -> Self {
        self.config = config;
        self
    }

    /// Reads the time, and waits, elsewhere than with tokio.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Tells `observe` how every call ended.
    #[must_use]
    pub fn observe(mut self, observe: Observe<DeadlineEvent>) -> Self {
        self.observe = Some(observe);
        self
    }

    fn passed(&self, before_call: bool) -> DeadlinePassed {
        let passed = DeadlinePassed { before_call };
        tell(self.observe.as_ref(), &DeadlineEvent::Passed(passed));
        passed
    }

    /// The deadline of a call that comes in now; `None` if it is not worth beginning, `Some(None)` if it lies beyond what a clock shows.
    fn deadline<R>(&self, now: Instant, request: &R) -> Option<Option<Instant>>
    where
        A: Carry<R>,
    {
        // A wait too long for a clock is none.
        match self.carry.read(request).and_then(|left| now.checked_add(left)) {
            Some(caller) => self.config.onward(now, caller, self.limit).map(Some),
            None => Some(now.checked_add(self.limit)),
        }
    }

    /// Waits for the call, and for its deadline.
    async fn within<T, E>(
        &self,
        deadline: Instant,
        call: impl Future<Output = Result<T, E>>,
    ) -> Result<T, DeadlineError<E>> {
        match select(pin!(call), self.clock.sleep_until(deadline)).await {
            Either::Left((result, _)) => {
                let left = deadline.saturating_duration_since(self.clock.now());
                tell(self.observe.as_ref(), &DeadlineEvent::InTime(left));
                result.map_err(DeadlineError::Inner)
            }
            Either::Right(_) => Err(DeadlineError::Passed(self.passed(false))),
        }
    }
}

impl<S, A: Clone> Layer<S> for DeadlineLayer<A> {
    type Service = DeadlineService<S, A>;

    fn layer(&self, inner: S) -> Self::Service {
        DeadlineService { inner, shared: self.clone() }
    }
}

impl<A> fmt::Debug for DeadlineLayer<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadlineLayer")
            .field("limit", &self.limit)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// A service whose calls end in time.
#[derive(Clone, Debug)]
pub struct DeadlineService<S, A = NotCarried> {
    inner: S,
    shared: DeadlineLayer<A>,
}

impl<S, A, R> Service<R> for DeadlineService<S, A>
where
    S: Service<R>,
    S::Future: Send + 'static,
    S::Response: Send + 'static,
    S::Error: Send + 'static,
    A: Carry<R>,
{
    type Response = S::Response;
    type Error = DeadlineError<S::Error>;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, task: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(task).map_err(DeadlineError::Inner)
    }

    fn call(&mut self, mut request: R) -> Self::Future {
        let now = self.shared.clock.now();
        let Some(deadline) = self.shared.deadline(now, &request) else {
            return Box::pin(ready(Err(DeadlineError::Passed(self.shared.passed(true)))));
        };
        let Some(deadline) = deadline else {
            let call = self.inner.call(request);
            return Box::pin(async move { call.await.map_err(DeadlineError::Inner) });
        };
        self.shared.carry.write(&mut request, deadline, deadline.saturating_duration_since(now));
        let call = self.inner.call(request);
        let shared = self.shared.clone();
        Box::pin(async move { shared.within(deadline, call).await })
    }
}
