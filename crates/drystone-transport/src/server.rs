//! Serves the contracts of a process to the other processes of the application.

mod connection;
mod lingering;
mod peer_call;

use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use drystone_call::Dispatch;
use hyper_util::server::graceful::GracefulShutdown;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream, ToSocketAddrs};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::{EdgeSet, ProcessIdentity, TransportError};
use peer_call::Served;

/// The pause after a failure to accept, such as no file descriptors left: the queue of the kernel waits meanwhile.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What a server counted since it was bound.
#[derive(Debug, Default)]
pub struct ServerMetrics {
    /// Connections whose peer proved its identity.
    pub connections: AtomicU64,
    /// Connections that failed to: no certificate, one of another authority, not TLS 1.3, not HTTP/2.
    pub refused: AtomicU64,
    /// Calls that arrived, those that were refused included.
    pub calls: AtomicU64,
}

/// How a server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// The connections that still had calls running when the time to drain was over, and were cut.
    pub cut: usize,
}

/// The listening end of a process: mutual TLS 1.3, HTTP/2, gRPC.
///
/// Bound first and served later, so that a process can say its address before its modules are ready; who connects
/// in between waits in the kernel's queue.
pub struct InternalServer {
    listener: TcpListener,
    local_addr: SocketAddr,
    app: Arc<str>,
    tls: Arc<ServerConfig>,
    metrics: Arc<ServerMetrics>,
    grace: Duration,
}

impl InternalServer {
    /// Binds an address; port 0 takes a free one.
    ///
    /// # Errors
    /// [`TransportError::Listen`].
    pub async fn bind(
        address: impl ToSocketAddrs + std::fmt::Debug,
        identity: &ProcessIdentity,
    ) -> Result<Self, TransportError> {
        let text = format!("{address:?}");
        let failed = |source| TransportError::Listen { address: text.clone(), source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let local_addr = listener.local_addr().map_err(failed)?;
        Ok(Self {
            listener,
            local_addr,
            app: identity.app().into(),
            tls: identity.server_config(),
            metrics: Arc::default(),
            grace: Duration::ZERO,
        })
    }

    /// The same server, which stops in two steps: for `grace` it says that it does not serve any more, and serves on; then it closes its
    /// port. Who balances over replicas has turned away by then. It does not wait when nobody is connected.
    #[must_use]
    pub fn grace(self, grace: Duration) -> Self {
        Self { grace, ..self }
    }

    /// The address that is listened on.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// The counters; they go on counting while [`InternalServer::serve`] runs.
    #[must_use]
    pub fn metrics(&self) -> Arc<ServerMetrics> {
        Arc::clone(&self.metrics)
    }

    /// Serves until `shutdown` completes and the [`InternalServer::grace`] is over, then stops accepting, tells every peer to open no more calls (GOAWAY), and
    /// waits for the running ones. All this takes no longer than `drain`.
    ///
    /// Dropping the future cuts every connection at once, and with it drops the handlers at their next await.
    pub async fn serve(
        self,
        services: Vec<Arc<dyn Dispatch>>,
        edges: EdgeSet,
        shutdown: impl Future<Output = ()>,
        drain: Duration,
    ) -> Drained {
        let Self { listener, app, tls, metrics, grace, .. } = self;
        let served = Arc::new(Served::new(app, services, edges, metrics));
        let mut port =
            Port { listener, tls, served, graceful: GracefulShutdown::new(), connections: JoinSet::new() };
        port.accept_until(shutdown).await;
        let cut_at = Instant::now() + drain;
        port.served.drains();
        port.accept_until(tokio::time::sleep(grace.min(drain / 2))).await;
        port.close(cut_at).await
    }
}

/// A port that is listened on, and the connections made to it.
struct Port {
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    served: Arc<Served>,
    graceful: GracefulShutdown,
    connections: JoinSet<()>,
}

impl Port {
    /// Accepts connections until `end` completes, or nobody is there to whom it matters that the server stops.
    async fn accept_until(&mut self, end: impl Future<Output = ()>) {
        let mut end = pin!(end);
        while !(self.served.is_draining() && self.connections.is_empty()) {
            tokio::select! {
                () = &mut end => return,
                stream = accept(&self.listener) => {
                    let (tls, served) = (Arc::clone(&self.tls), Arc::clone(&self.served));
                    self.connections.spawn(connection::run(stream, tls, served, self.graceful.watcher()));
                }
                Some(_) = self.connections.join_next(), if !self.connections.is_empty() => {}
            }
        }
    }

    /// Closes the port, lets running calls end until `cut_at`, and cuts the others.
    async fn close(self, cut_at: Instant) -> Drained {
        let Self { listener, graceful, mut connections, .. } = self;
        drop(listener);
        let drained = async {
            graceful.shutdown().await;
            while connections.join_next().await.is_some() {}
        };
        let _ = tokio::time::timeout_at(cut_at, drained).await;
        while connections.try_join_next().is_some() {}
        let cut = connections.len();
        connections.shutdown().await;
        Drained { cut }
    }
}

async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(cause) => {
                tracing::warn!(target: "drystone::transport", %cause, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

impl Served {
    fn count(&self, which: fn(&ServerMetrics) -> &AtomicU64) {
        which(&self.metrics).fetch_add(1, Relaxed);
    }
}

impl std::fmt::Debug for InternalServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InternalServer").field("local_addr", &self.local_addr).finish_non_exhaustive()
    }
}
