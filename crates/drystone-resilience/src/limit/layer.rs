//! The adaptive limit as a layer.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tower_layer::Layer;

use super::{AdaptiveLimit, LimitConfig};
use crate::clock::{Clock, TokioClock};
use crate::guarded::{Guard, Guarded, Rejected};
use crate::observe::{Observe, tell};

/// As many calls were in flight as the limit lets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitReached {
    /// The limit.
    pub limit: u32,
}

impl fmt::Display for LimitReached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "as many calls are in flight as the callee does well: {}", self.limit)
    }
}

impl std::error::Error for LimitReached {}

/// What a limit layer did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitEvent {
    /// A call ended.
    Ended {
        /// How long it took.
        took: Duration,
        /// The limit then.
        limit: u32,
    },
    /// A call was refused.
    Refused(LimitReached),
}

/// Puts one limit before the services that it wraps, which share it with their clones.
#[derive(Clone)]
pub struct LimitLayer {
    limit: Arc<AdaptiveLimit>,
    clock: Arc<dyn Clock>,
    observe: Option<Observe<LimitEvent>>,
}

impl LimitLayer {
    /// A limit between those bounds. It learns from calls that end with `Ok`.
    #[must_use]
    pub fn new(config: LimitConfig) -> Self {
        Self { limit: Arc::new(AdaptiveLimit::new(config)), clock: Arc::new(TokioClock), observe: None }
    }

    /// Reads the time elsewhere than from tokio.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Tells `observe` of every call.
    #[must_use]
    pub fn observe(mut self, observe: Observe<LimitEvent>) -> Self {
        self.observe = Some(observe);
        self
    }

    /// The limit, to be asked or given other bounds.
    #[must_use]
    pub fn limit(&self) -> &Arc<AdaptiveLimit> {
        &self.limit
    }
}

impl fmt::Debug for LimitLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LimitLayer").field("limit", &self.limit).finish_non_exhaustive()
    }
}

impl<S> Layer<S> for LimitLayer {
    type Service = Guarded<S, Self>;

    fn layer(&self, inner: S) -> Self::Service {
        Guarded::new(inner, self.clone())
    }
}

impl<R> Guard<R> for LimitLayer {
    type Refusal = LimitReached;
    type Key = ();

    fn key(&self, _: &R) {}

    async fn run<T: Send, E: Send>(
        self,
        (): (),
        call: impl Future<Output = Result<T, E>> + Send,
    ) -> Result<T, Rejected<LimitReached, E>> {
        let began = self.clock.now();
        let Some(slot) = self.limit.enter(began) else {
            let reached = LimitReached { limit: self.limit.limit() };
            tell(self.observe.as_ref(), &LimitEvent::Refused(reached));
            return Err(Rejected::Refused(reached));
        };
        let result = call.await;
        let now = self.clock.now();
        let took = now.saturating_duration_since(began);
        if result.is_ok() {
            slot.done(took, now);
        }
        tell(self.observe.as_ref(), &LimitEvent::Ended { took, limit: self.limit.limit() });
        result.map_err(Rejected::Inner)
    }
}
