//! Admission as a layer.

use std::fmt;
use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use tower_layer::Layer;

use super::{Admission, AdmissionConfig, Shed};
use crate::clock::{Clock, TokioClock};
use crate::guarded::{Guard, Guarded, Rejected};
use crate::observe::{Observe, tell};

/// What an admission layer did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdmissionEvent {
    /// A call was admitted after that wait.
    Admitted {
        /// From its arrival on.
        waited: Duration,
    },
    /// A call was shed.
    Shed(Shed),
    /// A call that was admitted ended.
    Ended {
        /// From its admission on.
        took: Duration,
    },
}

type KeyOf<R, K> = Arc<dyn Fn(&R) -> K + Send + Sync>;

/// Puts one admission before the services that it wraps, which share it with their clones. `key` says to whom a request belongs.
pub struct AdmissionLayer<R, K> {
    admission: Arc<Admission<K>>,
    key: KeyOf<R, K>,
    clock: Arc<dyn Clock>,
    observe: Option<Observe<AdmissionEvent>>,
}

impl<R, K: Eq + Hash + Clone + Send + Sync + 'static> AdmissionLayer<R, K> {
    /// Admits by tokio's clock. The limit learns from calls that end with `Ok`.
    pub fn new(config: AdmissionConfig, key: impl Fn(&R) -> K + Send + Sync + 'static) -> Self {
        let clock = Arc::new(TokioClock);
        Self { admission: Arc::new(Admission::new(config)), key: Arc::new(key), clock, observe: None }
    }

    /// Takes this admission, made with other weights or another clock; `clock` should be the same.
    #[must_use]
    pub fn admission(mut self, admission: Arc<Admission<K>>, clock: Arc<dyn Clock>) -> Self {
        self.admission = admission;
        self.clock = clock;
        self
    }

    /// Tells `observe` of every call.
    #[must_use]
    pub fn observe(mut self, observe: Observe<AdmissionEvent>) -> Self {
        self.observe = Some(observe);
        self
    }
}

impl<R, K> Clone for AdmissionLayer<R, K> {
    fn clone(&self) -> Self {
        let Self { admission, key, clock, observe } = self;
        Self { admission: admission.clone(), key: key.clone(), clock: clock.clone(), observe: observe.clone() }
    }
}

impl<R, K> fmt::Debug for AdmissionLayer<R, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdmissionLayer").field("admission", &self.admission).finish_non_exhaustive()
    }
}

impl<S, R, K> Layer<S> for AdmissionLayer<R, K> {
    type Service = Guarded<S, Self>;

    fn layer(&self, inner: S) -> Self::Service {
        Guarded::new(inner, self.clone())
    }
}

impl<R: 'static, K: Eq + Hash + Clone + Send + Sync + 'static> Guard<R> for AdmissionLayer<R, K> {
    type Refusal = Shed;
    type Key = K;

    fn key(&self, request: &R) -> K {
        (self.key)(request)
    }

    async fn run<T: Send, E: Send>(
        self,
        key: K,
        call: impl Future<Output = Result<T, E>> + Send,
    ) -> Result<T, Rejected<Shed, E>> {
        let observe = self.observe.as_ref();
        let came = self.clock.now();
        let admitted = self.admission.enter(&key).await.map_err(|shed| {
            tell(observe, &AdmissionEvent::Shed(shed));
            Rejected::Refused(shed)
        })?;
        let began = self.clock.now();
        tell(observe, &AdmissionEvent::Admitted { waited: began.saturating_duration_since(came) });
        let result = call.await;
        let took = self.clock.now().saturating_duration_since(began);
        if result.is_ok() {
            admitted.done(took);
        }
        tell(observe, &AdmissionEvent::Ended { took });
        result.map_err(Rejected::Inner)
    }
}
