//! The hook through which a layer tells what it did.

use std::sync::Arc;

/// Called with what a layer did, as it happens: for metrics and logs. It runs in the path of the call, so it should be short.
pub type Observe<E> = Arc<dyn Fn(&E) + Send + Sync>;

/// Tells `event` to the hook, if there is one.
pub(crate) fn tell<E>(observe: Option<&Observe<E>>, event: &E) {
    if let Some(observe) = observe {
        observe(event);
    }
}
