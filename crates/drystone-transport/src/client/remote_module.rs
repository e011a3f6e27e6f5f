//! One module in another process: its connection, and calls over it.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use drystone_call::headers::IDEMPOTENCY_REPLAYED;
use drystone_call::{Code, Error, MethodInfo, PlatformReason, Remote, Reply, Result};
use futures_util::future::BoxFuture;
use http::header::{CONTENT_TYPE, TE};
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use hyper::body::Incoming;
use rustls::ClientConfig;

use super::connect::{CONNECT, Target};
use super::failure::{Failure, Reached, was_not_processed};
use super::link::Link;
use crate::wire::{GRPC_CONTENT_TYPE, GrpcBody, ReadError, read_error, read_message, status_of};
use crate::{TransportError, health};

/// What was counted of one remote module.
#[derive(Debug, Default)]
pub struct RemoteMetrics {
    /// Connections that were made; one, as long as nothing breaks.
    pub connections: AtomicU64,
    /// Calls that were begun.
    pub calls: AtomicU64,
}

/// A module hosted by another process at one address: the [`Remote`] of its contracts. Made by [`crate::RemoteProcess::module`].
///
/// Connects at the first call and again at the first call after the connection broke. A failure to connect is the answer of
/// every call that waited for it; the next call tries again.
pub struct RemoteModule {
    link: Arc<Link>,
}

impl RemoteModule {
    pub(super) fn new(
        module: &str,
        address: &Arc<str>,
        app: &Arc<str>,
        tls: &Arc<ClientConfig>,
        metrics: Arc<RemoteMetrics>,
    ) -> Result<Self, TransportError> {
        Ok(Self::at(Target::new(module, address, app, tls)?, metrics))
    }

    /// The module at the address of its target.
    pub(super) fn at(target: Target, metrics: Arc<RemoteMetrics>) -> Self {
        Self { link: Arc::new(Link::new(target, metrics)) }
    }

    /// The module's name.
    #[must_use]
    pub fn module(&self) -> &str {
        &self.link.target.module
    }

    /// The address.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.link.target.address
    }

    /// The counters.
    #[must_use]
    pub fn metrics(&self) -> &RemoteMetrics {
        &self.link.metrics
    }

    /// Whether a call would find the connection made.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.link.is_connected()
    }

    /// Asks the process whether it serves `contract` (as in `shop.orders.v1.Orders`; empty for anything at all) now; for readiness checks.
    ///
    /// # Errors
    /// `UNAVAILABLE` if it does not, cannot be reached, or does not answer within `timeout`.
    pub async fn check(&self, contract: &str, timeout: Duration) -> Result<()> {
        let ask = async {
            let (headers, question) = (HeaderMap::new(), health::request_for(contract));
            let answer = self.exchange(health::CHECK, &headers, &question, CONNECT).await;
            answer.map_err(|failure| failure.error)
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
                let what = if contract.is_empty() { "anything" } else { contract };
                Err(self.unreachable(&format!("it does not serve {what} now; see its own readiness")))
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
            .authority(self.link.target.authority.clone())
            .path_and_query(PathAndQuery::from_static(path))
            .build()?;
        let mut request = Request::new(GrpcBody::of(message));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        Ok(request)
    }

    /// Sends a request and reads its answer, waiting for a connection no longer than `patience`.
    ///
    /// A connection that ended unnoticed gives the request back, or says that it was not processed; only then is it sent once more, on a new one.
    pub(super) async fn exchange(
        &self,
        path: &'static str,
        headers: &HeaderMap,
        message: &Bytes,
        patience: Duration,
    ) -> Result<Reply, Failure> {
        match self.attempt(path, headers, message, patience).await {
            Err(Failure { reached: Reached::NotProcessed, .. }) if !self.is_connected() => {
                self.attempt(path, headers, message, patience).await
            }
            outcome => outcome,
        }
    }

    async fn attempt(
        &self,
        path: &'static str,
        headers: &HeaderMap,
        message: &Bytes,
        patience: Duration,
    ) -> Result<Reply, Failure> {
        let connected = self.link.sender(patience).await;
        let mut sender = connected
            .map_err(|cause| Failure { error: self.unreachable(&cause), reached: Reached::Nowhere })?;
        let request = self.request(path, headers.clone(), message.clone()).map_err(Failure::of_peer)?;
        match sender.try_send_request(request).await {
            Ok(response) => self.read(path, response).await.map_err(Failure::of_peer),
            Err(failed) if failed.message().is_some() || was_not_processed(failed.error()) => Err(Failure {
                error: self.unreachable(&format!("its process is about to stop: {}", told(failed.error()))),
                reached: Reached::NotProcessed,
            }),
            Err(failed) => Err(Failure::of_peer(self.lost(path, &told(failed.error())))),
        }
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

    /// The peer could not be reached, so the call has had no effect.
    fn unreachable(&self, cause: &str) -> Error {
        let Target { module, address, .. } = &self.link.target;
        PlatformReason::PeerUnreachable
            .error(format!("the module {module} cannot be reached: {cause}"))
            .caused_by(PeerFault(format!("{module} at {address}: {cause}")))
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

/// An error with what caused it.
fn told(error: &hyper::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(deeper) = source {
        text = format!("{text}: {deeper}");
        source = deeper.source();
    }
    text
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
            let exchanged = self.exchange(method.path, &headers, &body, CONNECT).await;
            exchanged.map_err(|failure| failure.error)
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
pub(super) struct PeerFault(pub(super) String);
