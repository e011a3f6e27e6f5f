//! One connection from another process: prove who it is, then serve its calls.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::Watcher;
use rustls::ServerConfig;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::lingering::Lingering;
use super::peer_call::Served;
use crate::peer::Facts;

/// How long a peer may take to prove who it is.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// Calls at once on one connection; more wait at the calling end, within their deadlines.
const CALLS_AT_ONCE: u32 = 1024;
/// Calls that a peer may drop before this end has looked at them. hyper's 20 guards against strangers; peers here are
/// known, and dropping many calls at once is what a caller does whose own caller went away.
const DROPPED_AT_ONCE: usize = 4096;
/// What a peer may send ahead: a whole message on a call, some of them on a connection.
const CALL_WINDOW: u32 = 4 * 1024 * 1024 + 64 * 1024;
const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;
/// A peer that does not answer a ping for this long is gone.
const PING_EVERY: Duration = Duration::from_secs(10);
const PING_ANSWER: Duration = Duration::from_secs(5);

/// Serves one connection to its end.
pub(super) async fn run(stream: TcpStream, tls: Arc<ServerConfig>, served: Arc<Served>, watcher: Watcher) {
    let address = stream.peer_addr().map(|address| address.to_string()).unwrap_or_default();
    let proved = tokio::time::timeout(HANDSHAKE, prove(stream, tls, &served.app));
    let (stream, modules) = match proved.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
        Ok(proved) => proved,
        Err(cause) => {
            served.count(|metrics| &metrics.refused);
            tracing::warn!(
                target: "drystone::transport", peer = address, %cause,
                "a connection was refused: its peer did not prove to be a process of this application",
            );
            return;
        }
    };
    served.count(|metrics| &metrics.connections);
    tracing::debug!(target: "drystone::transport", peer = address, ?modules, "connected");
    let modules: Arc<[String]> = modules.into();
    let service = service_fn(move |request| {
        let (served, modules) = (Arc::clone(&served), Arc::clone(&modules));
        async move { Ok::<_, Infallible>(served.answer(&modules, request).await) }
    });
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(CALLS_AT_ONCE)
        .max_pending_accept_reset_streams(DROPPED_AT_ONCE)
        .max_local_error_reset_streams(DROPPED_AT_ONCE)
        .initial_stream_window_size(CALL_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_ANSWER)
        .auto_date_header(false)
        .serve_connection(TokioIo::new(Lingering::new(stream)), service);
    if let Err(cause) = watcher.watch(connection).await {
        tracing::debug!(target: "drystone::transport", peer = address, %cause, "the connection broke");
    }
}

/// Shakes hands and reads the peer's modules from its certificate, once for all its calls.
async fn prove(
    stream: TcpStream,
    tls: Arc<ServerConfig>,
    app: &str,
) -> io::Result<(TlsStream<TcpStream>, Vec<String>)> {
    stream.set_nodelay(true)?;
    let stream = TlsAcceptor::from(tls).accept(stream).await?;
    let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    let facts = certificate.ok_or_else(|| io::Error::other("it showed no certificate")).map(Facts::of)?;
    let modules = facts.map_err(io::Error::other)?.modules_of(app);
    if modules.is_empty() {
        return Err(io::Error::other(format!("its certificate names no module of the app {app}")));
    }
    Ok((stream, modules))
}
