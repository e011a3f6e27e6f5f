//! One module in another process: its connection, and calls over it.

use std::error::Error as StdError;
use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use drystone_call::headers::IDEMPOTENCY_REPLAYED;
use drystone_call::{Code, Error, MethodInfo, PlatformReason, Remote, Reply, Result};
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use http::header::{CONTENT_TYPE, TE};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use rustls::ClientConfig;

use super::connect::Target;
use crate::wire::{GRPC_CONTENT_TYPE, GrpcBody, ReadError, read_error, read_message, status_of};
use crate::{TransportError, health, names};

/// What was counted of one remote module.
#[derive(Debug, Default)]
pub struct RemoteMetrics {
    /// Connections that were made; one, as long as nothing breaks.
    pub connections: AtomicU64,
    /// Calls that were begun.
    pub calls: AtomicU64,
}

/// A module hosted by another process: the [`Remote`] of its contracts. Made by [`crate::RemoteProcess::module`].
///
/// Connects at the first call and again at the first call after the connection broke. A failure to connect is the answer of
/// every call that waited for it; the next call tries again.
pub struct RemoteModule {
    link: Arc<Link>,
    authority: Authority,
}

struct Link {
    target: Target,
    state: Mutex<State>,
    metrics: RemoteMetrics,
}

/// The one connection.
enum State {
    Idle,
    /// Being made, by a task of its own: a caller that goes away takes nobody's connection with it.
    Connecting(Connecting),
    Ready(SendRequest<GrpcBody>),
}

type Connecting = Shared<BoxFuture<'static, Result<SendRequest<GrpcBody>, Arc<str>>>>;

impl RemoteModule {
    pub(super) fn new(
        module: &str,
        address: &Arc<str>,
        app: &Arc<str>,
        tls: &Arc<ClientConfig>,
    ) -> Result<Self, TransportError> {
        let target = Target::new(module, address, app, tls)?;
        let authority = Authority::try_from(names::module_dns(module))
            .map_err(|_| TransportError::Name { what: "the module", name: module.to_owned() })?;
        let link = Link { target, state: Mutex::new(State::Idle), metrics: RemoteMetrics::default() };
        Ok(Self { link: Arc::new(link), authority })
    }

    /// The module's name.
    #[must_use]
    pub fn module(&self) -> &str {
        &self.link.target.module
    }

    /// The counters.
    #[must_use]
    pub fn metrics(&self) -> &RemoteMetrics {
        &self.link.metrics
    }

    /// Asks the process whether it serves `contract` (as in `shop.orders.v1.Orders`) now; for readiness checks.
    ///
    /// # Errors
    /// `UNAVAILABLE` if it does not, cannot be reached, or does not answer within `timeout`.
    pub async fn check(&self, contract: &str, timeout: Duration) -> Result<()> {
        let ask = async {
            let request = self.request(health::CHECK, HeaderMap::new(), health::request_for(contract))?;
            self.exchange(health::CHECK, request).await
        };
        let answer = tokio::time::timeout(timeout, ask).await.map_err(|_| {
            self.unreachable(&format!(
                "no answer to a health check within {} ms; see what its process is busy with",
                timeout.as_millis()
            ))
        })?;
        match answer {
            Ok(reply) if health::is_serving(&reply.body) => Ok(()),
            Ok(_) => {
                Err(self.unreachable(&format!("it does not serve {contract} now; see its own readiness")))
            }
            Err(error) if error.code() == Code::Unavailable => Err(error),
            Err(error) => Err(self.unreachable(error.message())),
        }
    }

    fn request(
        &self,
        path: &'static str,
        mut headers: HeaderMap,
        message: Bytes,
    ) -> Result<Request<GrpcBody>> {
        headers.insert(CONTENT_TYPE, GRPC_CONTENT_TYPE);
        headers.insert(TE, HeaderValue::from_static("trailers"));
        let uri = Uri::builder()
            .scheme(Scheme::HTTPS)
            .authority(self.authority.clone())
            .path_and_query(PathAndQuery::from_static(path))
            .build()?;
        let mut request = Request::new(GrpcBody::of(message));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        Ok(request)
    }

    /// Sends a request and reads its answer.
    ///
    /// A connection that ended unnoticed gives the request back unsent; only then is it sent once more, on a new one.
    async fn exchange(&self, path: &str, request: Request<GrpcBody>) -> Result<Reply> {
        let mut sender = self.sender().await?;
        let response = match sender.try_send_request(request).await {
            Ok(response) => response,
            Err(mut failed) => match failed.take_message() {
                Some(unsent) => {
                    let mut sender = self.sender().await?;
                    sender.send_request(unsent).await.map_err(|cause| self.broke(path, &cause))?
                }
                None => return Err(self.broke(path, failed.error())),
            },
        };
        self.read(path, response).await
    }

    async fn read(&self, path: &str, response: Response<Incoming>) -> Result<Reply> {
        let (parts, body) = response.into_parts();
        let replayed = parts.headers.contains_key(IDEMPOTENCY_REPLAYED);
        let marked = |error: Error| if replayed { error.mark_replayed() } else { error };
        if parts.status != StatusCode::OK {
            let status = status_of(&parts.headers).and_then(Result::err);
            return Err(marked(status.unwrap_or_else(|| read_error(parts.status, path))));
        }
        if let Some(Err(error)) = status_of(&parts.headers) {
            return Err(marked(error));
        }
        let received = match read_message(body, path).await {
            Ok(received) => received,
            Err(ReadError::Refused(error)) => return Err(error),
            Err(ReadError::Broken(cause)) => return Err(self.lost(path, &cause)),
        };
        match received.trailers.as_ref().and_then(status_of) {
            Some(Ok(())) => {}
            Some(Err(error)) => return Err(marked(error)),
            None => return Err(self.lost(path, "the answer ended without a status")),
        }
        let body = received
            .message
            .ok_or_else(|| Error::internal(format!("{path} was answered without a message")))?;
        Ok(Reply { body, replayed })
    }

    /// The shared connection, made if there is none.
    async fn sender(&self) -> Result<SendRequest<GrpcBody>> {
        let connecting = {
            let mut state = self.link.state();
            match &*state {
                State::Ready(sender) if !sender.is_closed() => return Ok(sender.clone()),
                State::Connecting(connecting) => connecting.clone(),
                State::Ready(_) | State::Idle => {
                    let connecting = Arc::clone(&self.link).connect();
                    *state = State::Connecting(connecting.clone());
                    connecting
                }
            }
        };
        connecting.await.map_err(|cause| self.unreachable(&cause))
    }

    /// The peer could not be reached, so the call has had no effect.
    fn unreachable(&self, cause: &str) -> Error {
        let Target { module, address, .. } = &self.link.target;
        PlatformReason::PeerUnreachable
            .error(format!("the module {module} cannot be reached: {cause}"))
            .caused_by(PeerFault(format!("{module} at {address}: {cause}")))
    }

    fn broke(&self, path: &str, cause: &hyper::Error) -> Error {
        let mut text = cause.to_string();
        let mut source = cause.source();
        while let Some(deeper) = source {
            text = format!("{text}: {deeper}");
            source = deeper.source();
        }
        self.lost(path, &text)
    }

    /// The connection or the call broke after the request was handed over, so the outcome is open.
    fn lost(&self, path: &str, cause: &str) -> Error {
        let Target { module, address, .. } = &self.link.target;
        PlatformReason::PeerUnreachable
            .error(format!(
                "the answer to {path} of the module {module} was lost: {cause}; whether the call had its effect is not \
                 known: send it again with the same idempotency key"
            ))
            .caused_by(PeerFault(format!("{module} at {address}: {cause}")))
    }
}

impl Link {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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
}

impl Remote for RemoteModule {
    fn call(
        &self,
        method: &'static MethodInfo,
        headers: HeaderMap,
        body: Bytes,
    ) -> BoxFuture<'_, Result<Reply>> {
        Box::pin(async move {
            self.link.metrics.calls.fetch_add(1, Relaxed);
            let request = self.request(method.path, headers, body)?;
            self.exchange(method.path, request).await
        })
    }
}

impl fmt::Debug for RemoteModule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Target { module, address, .. } = &self.link.target;
        f.debug_struct("RemoteModule")
            .field("module", module)
            .field("address", address)
            .finish_non_exhaustive()
    }
}

/// Where the peer is and what happened to it: for the log, as callers outside are not told where processes listen.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct PeerFault(String);
