//! Coalescing as a layer.

use std::fmt;
use std::hash::Hash;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use tokio::time::Instant;
use tower_layer::Layer;
use tower_service::Service;

use super::{Boarding, Flight, Flights, FlightsConfig};
use crate::clock::{Clock, TokioClock};
use crate::observe::{Observe, tell};
use crate::ready::ready;

/// How one call was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CoalesceEvent {
    /// Whether it led, joined, or got a kept answer.
    pub boarding: Boarding,
}

type KeyOf<Req, K> = Arc<dyn Fn(&Req) -> Option<(K, Option<Instant>)> + Send + Sync>;
type Keep<Res, E> = dyn Fn(&Result<Res, E>) -> bool + Send + Sync;

/// Lets equal requests in flight share one call of the inner service.
///
/// The function says for each request the key under which it is equal to others, and after which moment the answer must have been read
/// ([`Flights::join`]); a request without a key goes its own way. Response and error are cloned for all that wait, so an error that cannot be cloned is
/// put into an `Arc` by a layer inside. All services that one layer makes share their flights.
///
/// Only what [`keep`](Self::keep) allows is kept for the time to live; without it every `Ok` is.
pub struct CoalesceLayer<Req, K, Res, E> {
    flights: Arc<Flights<K, Result<Res, E>>>,
    key_of: KeyOf<Req, K>,
    keep: Arc<Keep<Res, E>>,
    clock: Arc<dyn Clock>,
    observe: Option<Observe<CoalesceEvent>>,
}

impl<Req, K, Res, E> CoalesceLayer<Req, K, Res, E>
where
    K: Eq + Hash + Send + Sync + 'static,
    Res: Clone + Send + Sync + 'static,
    E: Clone + Send + Sync + 'static,
{
    /// A layer whose requests are equal when `key_of` gives them equal keys.
    #[must_use]
    pub fn new(
        config: FlightsConfig,
        key_of: impl Fn(&Req) -> Option<(K, Option<Instant>)> + Send + Sync + 'static,
    ) -> Self {
        Self {
            flights: Arc::new(Flights::new(config)),
            key_of: Arc::new(key_of),
            keep: Arc::new(Result::is_ok),
            clock: Arc::new(TokioClock),
            observe: None,
        }
    }

    /// Which answers may be kept for the time to live.
    #[must_use]
    pub fn keep(mut self, keep: impl Fn(&Result<Res, E>) -> bool + Send + Sync + 'static) -> Self {
        self.keep = Arc::new(keep);
        self
    }

    /// Takes the time from `clock`.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Tells `observe` how each call with a key was answered.
    #[must_use]
    pub fn observe(mut self, observe: Observe<CoalesceEvent>) -> Self {
        self.observe = Some(observe);
        self
    }

    /// The flights, to look at.
    #[must_use]
    pub fn flights(&self) -> &Flights<K, Result<Res, E>> {
        &self.flights
    }
}

impl<Req, K, Res, E> Clone for CoalesceLayer<Req, K, Res, E> {
    fn clone(&self) -> Self {
        Self {
            flights: self.flights.clone(),
            key_of: self.key_of.clone(),
            keep: self.keep.clone(),
            clock: self.clock.clone(),
            observe: self.observe.clone(),
        }
    }
}

impl<S, Req, K, Res, E> Layer<S> for CoalesceLayer<Req, K, Res, E> {
    type Service = Coalesce<S, Req, K, Res, E>;

    fn layer(&self, inner: S) -> Self::Service {
        Coalesce { inner, layer: self.clone() }
    }
}

impl<Req, K, Res, E> fmt::Debug for CoalesceLayer<Req, K, Res, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CoalesceLayer").field("flights", &self.flights).finish_non_exhaustive()
    }
}

/// The service of [`CoalesceLayer`].
///
/// It is always ready: whether a request needs the inner service is known only with the request, so each flight waits for the readiness of a clone of its own.
pub struct Coalesce<S, Req, K, Res, E> {
    inner: S,
    layer: CoalesceLayer<Req, K, Res, E>,
}

impl<S: Clone, Req, K, Res, E> Clone for Coalesce<S, Req, K, Res, E> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), layer: self.layer.clone() }
    }
}

impl<S: fmt::Debug, Req, K, Res, E> fmt::Debug for Coalesce<S, Req, K, Res, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Coalesce").field("inner", &self.inner).field("layer", &self.layer).finish()
    }
}

impl<S, Req, K, Res, E> Service<Req> for Coalesce<S, Req, K, Res, E>
where
    S: Service<Req, Response = Res, Error = E> + Clone + Send + 'static,
    S::Future: Send + 'static,
    Req: Send + 'static,
    K: Eq + Hash + Send + Sync + 'static,
    Res: Clone + Send + Sync + 'static,
    E: Clone + Send + Sync + 'static,
{
    type Response = Res;
    type Error = E;
    type Future = CoalesceFuture<Res, E>;

    fn poll_ready(&mut self, _task: &mut Context<'_>) -> Poll<Result<(), E>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Req) -> Self::Future {
        let call = ready_and_call(self.inner.clone());
        let Some((key, not_before)) = (self.layer.key_of)(&request) else {
            return CoalesceFuture { part: Part::Own(Box::pin(call(request))) };
        };
        let keep = self.layer.keep.clone();
        let flight = self.layer.flights.join(key, not_before, self.layer.clock.now(), move || {
            Box::pin(async move {
                let answer = call(request).await;
                let keep = keep(&answer);
                (answer, keep)
            })
        });
        tell(self.layer.observe.as_ref(), &CoalesceEvent { boarding: flight.boarding() });
        CoalesceFuture { part: Part::Shared(flight) }
    }
}

fn ready_and_call<S, Req>(
    mut inner: S,
) -> impl FnOnce(Req) -> BoxFuture<'static, Result<S::Response, S::Error>>
where
    S: Service<Req> + Send + 'static,
    S::Future: Send + 'static,
    Req: Send + 'static,
{
    |request| {
        Box::pin(async move {
            ready(&mut inner).await?;
            inner.call(request).await
        })
    }
}

/// The future of [`Coalesce`].
pub struct CoalesceFuture<Res, E> {
    part: Part<Res, E>,
}

enum Part<Res, E> {
    Shared(Flight<Result<Res, E>>),
    Own(BoxFuture<'static, Result<Res, E>>),
}

impl<Res: Clone, E: Clone> Future for CoalesceFuture<Res, E> {
    type Output = Result<Res, E>;

    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.part {
            Part::Shared(flight) => Pin::new(flight).poll(task),
            Part::Own(call) => call.as_mut().poll(task),
        }
    }
}

impl<Res, E> fmt::Debug for CoalesceFuture<Res, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CoalesceFuture").finish_non_exhaustive()
    }
}
