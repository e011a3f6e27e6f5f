//! The one connection to a module in another process, shared by its calls.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use hyper::client::conn::http2::SendRequest;

use super::connect::Target;
use super::remote_module::RemoteMetrics;
use crate::wire::GrpcBody;

/// Where a module is, and the connection to it.
pub(super) struct Link {
    pub(super) target: Target,
    pub(super) metrics: Arc<RemoteMetrics>,
    state: Mutex<State>,
}

/// The one connection.
enum State {
    Idle,
    /// Being made, by a task of its own: a caller that goes away takes nobody's connection with it.
    Connecting(Connecting),
    Ready(SendRequest<GrpcBody>),
}

type Connecting = Shared<BoxFuture<'static, Result<SendRequest<GrpcBody>, Arc<str>>>>;

impl Link {
    pub(super) fn new(target: Target, metrics: Arc<RemoteMetrics>) -> Self {
        Self { target, metrics, state: Mutex::new(State::Idle) }
    }

    /// Whether a request would be handed over at once.
    pub(super) fn is_connected(&self) -> bool {
        matches!(&*self.state(), State::Ready(sender) if !sender.is_closed())
    }

    /// The shared connection, made if there is none. A caller waits for it no longer than its patience; the connection goes on being made.
    ///
    /// # Errors
    /// A text that says what failed.
    pub(super) async fn sender(
        self: &Arc<Self>,
        patience: Duration,
    ) -> Result<SendRequest<GrpcBody>, Arc<str>> {
        let connecting = {
            let mut state = self.state();
            match &*state {
                State::Ready(sender) if !sender.is_closed() => return Ok(sender.clone()),
                State::Connecting(connecting) => connecting.clone(),
                State::Ready(_) | State::Idle => {
                    let connecting = Arc::clone(self).connect();
                    *state = State::Connecting(connecting.clone());
                    connecting
                }
            }
        };
        tokio::time::timeout(patience, connecting)
            .await
            .unwrap_or_else(|_| Err(format!("no connection within {} ms", patience.as_millis()).into()))
    }

    /// Begins to connect; the caller holds the state and sets it to the result.
    fn connect(self: Arc<Self>) -> Connecting {
        let task = tokio::spawn(async move {
            let outcome = self.target.connect().await.map_err(Arc::<str>::from);
            if outcome.is_ok() {
                self.metrics.connections.fetch_add(1, Relaxed);
            }
            *self.state() = outcome.clone().map_or(State::Idle, State::Ready);
            outcome
        });
        async move { task.await.unwrap_or_else(|cause| Err(cause.to_string().into())) }.boxed().shared()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
