//! Makes a connection to a module in another process, and makes sure that it is that module.

use std::sync::Arc;
use std::time::Duration;

use http::uri::Authority;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::greeted::Greeted;
use crate::peer::Facts;
use crate::wire::GrpcBody;
use crate::{TransportError, names};

/// How long a connection may take: half of the default deadline, so that a caller learns that the peer is away rather than
/// that its time is over.
pub(super) const CONNECT: Duration = Duration::from_secs(1);
/// A peer that does not answer a ping for this long is gone, and calls waiting on it fail.
const PING_EVERY: Duration = Duration::from_secs(5);
const PING_ANSWER: Duration = Duration::from_secs(5);
/// What the peer may send ahead: a whole message on a call, some of them on a connection.
const CALL_WINDOW: u32 = 4 * 1024 * 1024 + 64 * 1024;
const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;
/// Dropped calls whose late frames are still known for what they are; beyond, HTTP/2 takes them for errors of the peer.
const DROPPED_KNOWN: usize = 4096;

const CERTIFICATES: &str = "see whether the certificates of both processes are good and of one authority";

/// Where to connect and whom to expect there.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) module: Arc<str>,
    pub(super) address: Arc<str>,
    app: Arc<str>,
    /// The name that requests are for, which is the one that TLS verifies.
    pub(super) authority: Authority,
    name: ServerName<'static>,
    tls: Arc<ClientConfig>,
}

impl Target {
    pub(super) fn new(
        module: &str,
        address: &Arc<str>,
        app: &Arc<str>,
        tls: &Arc<ClientConfig>,
    ) -> Result<Self, TransportError> {
        names::check("the module", module)?;
        let refused = || TransportError::Name { what: "the module", name: module.to_owned() };
        let dns = names::module_dns(module);
        let authority = Authority::try_from(dns.as_str()).map_err(|_| refused())?;
        let name = ServerName::try_from(dns).map_err(|_| refused())?;
        Ok(Self {
            module: module.into(),
            address: Arc::clone(address),
            app: Arc::clone(app),
            authority,
            name,
            tls: Arc::clone(tls),
        })
    }

    /// The same module at another address.
    pub(super) fn at(&self, address: &Arc<str>) -> Self {
        Self { address: Arc::clone(address), ..self.clone() }
    }

    /// Connects.
    ///
    /// # Errors
    /// A text that says what failed.
    pub(super) async fn connect(&self) -> Result<SendRequest<GrpcBody>, String> {
        let connecting = async {
            let stream = self.prove().await?;
            self.greet(stream).await
        };
        tokio::time::timeout(CONNECT, connecting).await.map_err(|_| {
            format!("no connection within {} ms; see whether its machine can be reached", CONNECT.as_millis())
        })?
    }

    /// Begins HTTP/2 and waits for the peer's first word.
    ///
    /// In TLS 1.3 a client learns only then whether its own certificate was accepted, and a call handed over before would be
    /// lost with its outcome unknown.
    async fn greet(&self, stream: TlsStream<TcpStream>) -> Result<SendRequest<GrpcBody>, String> {
        let (stream, greeted) = Greeted::new(stream);
        let handshake = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(CALL_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_ANSWER)
            .keep_alive_while_idle(true)
            .max_concurrent_reset_streams(DROPPED_KNOWN)
            .max_local_error_reset_streams(DROPPED_KNOWN)
            .handshake(TokioIo::new(stream));
        let (sender, connection) = handshake.await.map_err(|cause| cause.to_string())?;
        let (module, address) = (Arc::clone(&self.module), Arc::clone(&self.address));
        tokio::spawn(async move {
            let ended = connection.await;
            tracing::debug!(target: "drystone::transport", %module, %address, ?ended, "the connection ended");
        });
        let greeting = greeted.await.unwrap_or_else(|_| Err("the connection was closed".to_owned()));
        greeting.map_err(|cause| format!("{cause}; {CERTIFICATES}"))?;
        Ok(sender)
    }

    /// Connects TCP and TLS. TLS verifies that the peer hosts the module; that it is the module of this app, it cannot know.
    async fn prove(&self) -> Result<TlsStream<TcpStream>, String> {
        let stream = TcpStream::connect(&*self.address)
            .await
            .map_err(|cause| format!("{cause}; see whether its process runs and listens there"))?;
        stream.set_nodelay(true).map_err(|cause| cause.to_string())?;
        let connector = TlsConnector::from(Arc::clone(&self.tls));
        let stream = connector
            .connect(self.name.clone(), stream)
            .await
            .map_err(|cause| format!("{cause}; see whether that process hosts the module; {CERTIFICATES}"))?;
        let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let facts = certificate.map_or_else(|| Err("it showed no certificate".to_owned()), Facts::of)?;
        if facts.modules_of(&self.app).iter().any(|module| **module == *self.module) {
            return Ok(stream);
        }
        Err(format!(
            "its certificate does not name the module {} of the app {}; see whether the address is of another app",
            self.module, self.app
        ))
    }
}
