//! The gateway on a listener: HTTP/1.1 and HTTP/2 without TLS on one port, and a graceful end.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::Body;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::{Gateway, GatewayError};

/// The time in which the headers of a connection's first request must arrive.
const HEADERS_WITHIN: Duration = Duration::from_secs(10);
/// The time from an answer over HTTP/1.1 to the headers of the next request, after which the connection is closed. More than the minute for which proxies keep theirs
/// idle: of a connection that both sides may use, the one that sends must be the one that closes, or now and then a request meets a connection that just went.
const NEXT_WITHIN: Duration = Duration::from_secs(75);
/// HTTP/2 pings find out connections whose peer is gone.
const PING_EVERY: Duration = Duration::from_secs(30);
/// The pause after a connection could not be accepted, mostly for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How serving ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Connections that had work left when the time to drain was over, and were cut.
    pub cut: usize,
}

/// Refuses addresses that other machines can reach, in development mode.
///
/// # Errors
/// [`GatewayError::OpenInDevelopment`].
pub fn check_listen(addr: SocketAddr, development: bool) -> Result<(), GatewayError> {
    if development && !addr.ip().to_canonical().is_loopback() {
        return Err(GatewayError::OpenInDevelopment { addr });
    }
    Ok(())
}

/// Serves until `shutdown` is ready; then accepts nothing more and gives requests that run `drain` to finish.
///
/// Idle connections are closed at once; HTTP/2 connections are told to go away.
pub async fn serve(
    listener: TcpListener,
    gateway: Gateway,
    shutdown: impl Future<Output = ()> + Send,
    drain: Duration,
) -> Drained {
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    let server = Arc::new(builder());
    loop {
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(Arc::clone(&server), stream, gateway.clone(), graceful.watcher()));
                }
                Err(error) => {
                    tracing::warn!(target: "drystone::gateway", %error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    let drained = tokio::time::timeout(drain, graceful.shutdown()).await;
    // What ended by itself is still counted until it is joined.
    while connections.try_join_next().is_some() {}
    let cut = if drained.is_ok() { 0 } else { connections.len() };
    connections.shutdown().await;
    Drained { cut }
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(NEXT_WITHIN);
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(PING_EVERY).max_header_list_size(64 * 1024);
    builder
}

async fn connection(
    server: Arc<Builder<TokioExecutor>>,
    stream: TcpStream,
    gateway: Gateway,
    watcher: Watcher,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(target: "drystone::gateway", %error, "TCP_NODELAY was refused");
    }
    let asked = AtomicBool::new(false);
    let service = service_fn(|request: http::Request<Incoming>| {
        asked.store(true, Ordering::Relaxed);
        let gateway = gateway.clone();
        async move { Ok::<_, Infallible>(gateway.respond(request.map(Body::new)).await) }
    });
    let served = watcher.watch(server.serve_connection(TokioIo::new(stream), service));
    let mut served = std::pin::pin!(served);
    // Until the protocol is known hyper has no limit of its own, so a silent peer would hold its connection for ever.
    let first = tokio::time::timeout(HEADERS_WITHIN, &mut served).await;
    let outcome = match first {
        Ok(outcome) => outcome,
        Err(_) if asked.load(Ordering::Relaxed) => served.await,
        Err(_) => return,
    };
    if let Err(error) = outcome {
        tracing::debug!(target: "drystone::gateway", error, "a connection broke");
    }
}
