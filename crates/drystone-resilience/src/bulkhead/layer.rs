//! The bulkhead as a layer.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use tower_layer::Layer;

use super::Bulkhead;
use crate::guarded::{Guard, Guarded, Rejected};
use crate::observe::{Observe, tell};

/// A bulkhead had no place for a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BulkheadFull {
    /// How many were in flight.
    pub in_flight: u32,
}

impl fmt::Display for BulkheadFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the bulkhead is full: {} calls are in flight", self.in_flight)
    }
}

impl std::error::Error for BulkheadFull {}

/// What a bulkhead layer did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BulkheadEvent {
    /// A call passed; so many are in flight with it.
    Entered {
        /// With this one.
        in_flight: u32,
    },
    /// A call was refused.
    Refused(BulkheadFull),
}

/// Puts one bulkhead before the services that it wraps, which share it with their clones.
#[derive(Clone)]
pub struct BulkheadLayer {
    bulkhead: Arc<Bulkhead>,
    observe: Option<Observe<BulkheadEvent>>,
}

impl BulkheadLayer {
    /// At most so many calls at once.
    #[must_use]
    pub fn new(most: u32) -> Self {
        Self { bulkhead: Arc::new(Bulkhead::new(most)), observe: None }
    }

    /// Tells `observe` of every call.
    #[must_use]
    pub fn observe(mut self, observe: Observe<BulkheadEvent>) -> Self {
        self.observe = Some(observe);
        self
    }

    /// The bulkhead, to be asked or resized.
    #[must_use]
    pub fn bulkhead(&self) -> &Arc<Bulkhead> {
        &self.bulkhead
    }
}

impl fmt::Debug for BulkheadLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BulkheadLayer").field("bulkhead", &self.bulkhead).finish_non_exhaustive()
    }
}

impl<S> Layer<S> for BulkheadLayer {
    type Service = Guarded<S, Self>;

    fn layer(&self, inner: S) -> Self::Service {
        Guarded::new(inner, self.clone())
    }
}

impl<R> Guard<R> for BulkheadLayer {
    type Refusal = BulkheadFull;
    type Key = ();

    fn key(&self, _: &R) {}

    async fn run<T: Send, E: Send>(
        self,
        (): (),
        call: impl Future<Output = Result<T, E>> + Send,
    ) -> Result<T, Rejected<BulkheadFull, E>> {
        let slot = self.bulkhead.enter();
        let in_flight = self.bulkhead.in_flight();
        let Some(_slot) = slot else {
            let full = BulkheadFull { in_flight };
            tell(self.observe.as_ref(), &BulkheadEvent::Refused(full));
            return Err(Rejected::Refused(full));
        };
        tell(self.observe.as_ref(), &BulkheadEvent::Entered { in_flight });
        call.await.map_err(Rejected::Inner)
    }
}
