//! The rate limit as a layer.

use std::fmt;
use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;

use tower_layer::Layer;

use super::{RateConfig, RateLimiter, TooFast};
use crate::clock::{Clock, TokioClock};
use crate::guarded::{Guard, Guarded, Rejected};
use crate::observe::{Observe, tell};

/// What a rate layer did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateEvent {
    /// A call passed.
    Passed,
    /// A call was refused.
    Refused(TooFast),
}

type KeyOf<R, K> = Arc<dyn Fn(&R) -> K + Send + Sync>;

/// Puts one rate limiter before the services that it wraps, which share it with their clones. `key` says whose rate a request counts in.
pub struct RateLayer<R, K> {
    limiter: Arc<RateLimiter<K>>,
    key: KeyOf<R, K>,
    clock: Arc<dyn Clock>,
    observe: Option<Observe<RateEvent>>,
}

impl<R, K: Eq + Hash + Clone> RateLayer<R, K> {
    /// Each key may make so many calls.
    pub fn new(config: RateConfig, key: impl Fn(&R) -> K + Send + Sync + 'static) -> Self {
        let clock = Arc::new(TokioClock);
        Self { limiter: Arc::new(RateLimiter::new(config)), key: Arc::new(key), clock, observe: None }
    }

    /// Reads the time elsewhere than from tokio.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Tells `observe` of every call.
    #[must_use]
    pub fn observe(mut self, observe: Observe<RateEvent>) -> Self {
        self.observe = Some(observe);
        self
    }
}

impl<R, K> Clone for RateLayer<R, K> {
    fn clone(&self) -> Self {
        let Self { limiter, key, clock, observe } = self;
        Self { limiter: limiter.clone(), key: key.clone(), clock: clock.clone(), observe: observe.clone() }
    }
}

impl<R, K> fmt::Debug for RateLayer<R, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLayer").field("limiter", &self.limiter).finish_non_exhaustive()
    }
}

impl<S, R, K> Layer<S> for RateLayer<R, K> {
    type Service = Guarded<S, Self>;

    fn layer(&self, inner: S) -> Self::Service {
        Guarded::new(inner, self.clone())
    }
}

impl<R: 'static, K: Eq + Hash + Clone + Send + 'static> Guard<R> for RateLayer<R, K> {
    type Refusal = TooFast;
    type Key = K;

    fn key(&self, request: &R) -> K {
        (self.key)(request)
    }

    async fn run<T: Send, E: Send>(
        self,
        key: K,
        call: impl Future<Output = Result<T, E>> + Send,
    ) -> Result<T, Rejected<TooFast, E>> {
        let checked = self.limiter.check(&key, self.clock.now());
        let event = checked.map_or_else(RateEvent::Refused, |()| RateEvent::Passed);
        tell(self.observe.as_ref(), &event);
        checked.map_err(Rejected::Refused)?;
        call.await.map_err(Rejected::Inner)
    }
}
