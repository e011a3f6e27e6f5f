//! Admission as a layer.

use std::fmt;
use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use tower_layer::Layer;

use super::{Admission, AdmissionConfig, Shed, Weights};
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
    config: AdmissionConfig,
    weights: Option<Weights<K>>,
    admission: Arc<Admission<K>>,
    key: KeyOf<R, K>,
    clock: Arc<dyn Clock>,
    observe: Option<Observe<AdmissionEvent>>,
}

impl<R, K: Eq + Hash + Clone + Send + Sync + 'static> AdmissionLayer<R, K> {
    /// Admits by tokio's clock. The limit learns from calls that end with `Ok`.
    pub fn new(config: AdmissionConfig, key: impl Fn(&R) -> K + Send + Sync + 'static) -> Self {
        let clock = Arc::new(TokioClock);
        let admission = Arc::new(Admission::new(config));
        Self { config, weights: None, admission, key: Arc::new(key), clock, observe: None }
    }

    /// Reads the time elsewhere than from tokio. Call it before the layer is used: the admission begins anew.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self.anew()
    }

    /// Asks `weights` what share a key has, see [`Admission::weights`]. Call it before the layer is used: the admission begins anew.
    #[must_use]
    pub fn weights(mut self, weights: Weights<K>) -> Self {
        self.weights = Some(weights);
        self.anew()
    }

    /// The admission, to be asked or given other settings.
    #[must_use]
    pub fn admission(&self) -> &Arc<Admission<K>> {
        &self.admission
    }

    fn anew(mut self) -> Self {
        let admission = Admission::new(self.config).with_clock(self.clock.clone());
        let weights = self.weights.clone();
        self.admission = Arc::new(match weights {
            Some(weights) => admission.weights(weights),
            None => admission,
        });
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
        Self {
            config: self.config,
            weights: self.weights.clone(),
            admission: self.admission.clone(),
            key: self.key.clone(),
            clock: self.clock.clone(),
            observe: self.observe.clone(),
        }
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
