//! The contracts as gRPC for anyone who has the `.proto` files: a tower service to be mounted on a port.

use std::convert::Infallible;
use std::fmt::{self, Display};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context as Task, Poll};

use bytes::Bytes;
use drystone_call::headers::{GRPC_TIMEOUT, parse_timeout};
use drystone_call::{AnyChannel, Context, DEFAULT_TIMEOUT, Error, Reply, Result};
use futures_util::future::BoxFuture;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Body;
use tokio::time::Instant;
use tower::Service;

use crate::health;
use crate::routes::Routes;
use crate::wire::{GrpcBody, answer, read_request};

/// Makes the context of a call that came from outside, from its headers; the gateway knows how.
pub type Mint = Arc<dyn Fn(&HeaderMap) -> Result<Context> + Send + Sync>;

/// Says whether the application is ready, for `grpc.health.v1.Health`.
pub type Ready = Arc<dyn Fn() -> BoxFuture<'static, bool> + Send + Sync>;

/// Serves contracts as gRPC over HTTP/2, and `grpc.health.v1.Health/Check` beside them.
///
/// It calls through channels, as every caller outside the modules does, so its callers meet the same limits, keys and errors as
/// those who come by REST. Clones share everything.
#[derive(Clone)]
pub struct GrpcService {
    shared: Arc<Shared>,
}

struct Shared {
    channels: Vec<Arc<dyn AnyChannel>>,
    routes: Routes,
    mint: Mint,
    ready: Option<Ready>,
}

impl GrpcService {
    /// Serves what these channels call. It reports to be healthy always; see [`GrpcService::ready_when`].
    #[must_use]
    pub fn new(channels: Vec<Arc<dyn AnyChannel>>, mint: Mint) -> Self {
        let routes = Routes::new(channels.iter().map(|channel| channel.contract()));
        Self { shared: Arc::new(Shared { channels, routes, mint, ready: None }) }
    }

    /// The same service, healthy when `ready` says so.
    #[must_use]
    pub fn ready_when(self, ready: Ready) -> Self {
        let Shared { channels, mint, .. } = &*self.shared;
        let routes = Routes::new(channels.iter().map(|channel| channel.contract()));
        let (channels, mint) = (channels.clone(), Arc::clone(mint));
        Self { shared: Arc::new(Shared { channels, routes, mint, ready: Some(ready) }) }
    }
}

impl<B> Service<Request<B>> for GrpcService
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Display,
{
    type Response = Response<GrpcBody>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<GrpcBody>, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Task<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            if !is_grpc(&parts.headers) {
                let mut response = Response::new(GrpcBody::empty());
                *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
                return Ok(response);
            }
            let path = parts.uri.path();
            let outcome = if path == health::CHECK {
                shared.health(body).await
            } else {
                shared.call(path, &parts.headers, body).await
            };
            Ok(answer(outcome))
        })
    }
}

impl Shared {
    async fn call<B>(&self, path: &str, headers: &HeaderMap, body: B) -> Result<Reply>
    where
        B: Body<Data = Bytes>,
        B::Error: Display,
    {
        let route = self.routes.find(path)?;
        let cx = shrink((self.mint)(headers)?, headers)?;
        let channel = &self.channels[route.contract];
        // A caller that set itself no limit does not hold a stream open for longer than the call may take.
        let timeout = channel.timeout(route.method.index).unwrap_or(DEFAULT_TIMEOUT);
        let until = cx.deadline().min(Instant::now() + timeout);
        let message = read_request(pin!(body), until, path).await?;
        let reply = channel.call_bytes(route.method.index, &cx, message);
        reply.ok_or_else(|| Error::internal(format!("{path} has no handler")))?.await
    }

    /// Answers anyone: health is nobody's data.
    async fn health<B>(&self, body: B) -> Result<Reply>
    where
        B: Body<Data = Bytes>,
        B::Error: Display,
    {
        let deadline = Instant::now() + DEFAULT_TIMEOUT;
        let service = health::service_of(read_request(pin!(body), deadline, health::CHECK).await?)?;
        if !service.is_empty() && !self.routes.serves(&service) {
            return Err(health::unknown(&service));
        }
        Ok(health::answer(match &self.ready {
            Some(ready) => ready().await,
            None => true,
        }))
    }
}

/// Whether the media type is gRPC with protobuf messages.
fn is_grpc(headers: &HeaderMap) -> bool {
    let text = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = text.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/grpc") || essence.eq_ignore_ascii_case("application/grpc+proto")
}

/// The context with the caller's time, if that is less than what the gateway gave.
fn shrink(cx: Context, headers: &HeaderMap) -> Result<Context> {
    let Some(value) = headers.get(GRPC_TIMEOUT) else { return Ok(cx) };
    let timeout = parse_timeout(value.to_str().unwrap_or_default())?;
    Ok(if timeout < cx.time_left() { cx.with_timeout(timeout) } else { cx })
}

impl fmt::Debug for GrpcService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrpcService").field("routes", &self.shared.routes).finish_non_exhaustive()
    }
}
