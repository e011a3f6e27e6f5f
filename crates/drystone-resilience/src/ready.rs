//! Readiness of the inner service, for layers whose call goes on after the layer has been left.

use std::future::poll_fn;
use std::mem;

use tower_service::Service;

/// The service that was made ready, for one call; a clone, which is not ready, takes its place.
pub(crate) fn take<S: Clone>(service: &mut S) -> S {
    let clone = service.clone();
    mem::replace(service, clone)
}

/// Waits until `service` takes a call.
pub(crate) async fn ready<S: Service<R>, R>(service: &mut S) -> Result<(), S::Error> {
    poll_fn(|task| service.poll_ready(task)).await
}
