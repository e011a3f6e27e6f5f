//! The gateway as a tower service: who answers a request, top to bottom.

use std::convert::Infallible;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use axum::Router;
use axum::body::{Body, HttpBody as _};
use bytes::Bytes;
use drystone_call::{Context, Result};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use tower::{Service, ServiceExt as _};
use tracing::Instrument as _;

use crate::builder::{GatewayBuilder, GrpcRoute};
use crate::dispatch::{HEALTHZ, OPENAPI, READYZ, Table};
use crate::health::Health;
use crate::mint::Mint;
use crate::routes::{Found, Routes, allow};
use crate::{problem, rest, route::Route};

/// The one public entrance of an application, to be cloned freely.
#[derive(Clone)]
pub struct Gateway(Arc<Shared>);

struct Shared {
    mint: Mint,
    index: Routes,
    routes: Vec<Route>,
    document: Bytes,
    health: Health,
    extra: Option<Router>,
    grpc: Option<GrpcRoute>,
}

/// One route, for people to read.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RouteInfo {
    /// The HTTP method.
    pub http_method: String,
    /// The path template.
    pub path: String,
    /// The method that answers, as a gRPC path.
    pub method: &'static str,
}

impl Gateway {
    /// A gateway to put together.
    pub fn builder() -> GatewayBuilder {
        GatewayBuilder::new()
    }

    pub(crate) fn assemble(
        mint: Mint,
        table: Table,
        document: Bytes,
        health: Health,
        extra: Option<Router>,
        grpc: Option<GrpcRoute>,
    ) -> Self {
        let Table { index, routes, .. } = table;
        Self(Arc::new(Shared { mint, index, routes, document, health, extra, grpc }))
    }

    /// The routes of all mounted contracts, sorted by path.
    #[must_use]
    pub fn routes(&self) -> Vec<RouteInfo> {
        let describe = |route: &Route| RouteInfo {
            http_method: route.verb.clone(),
            path: route.template.to_string(),
            method: route.info.path,
        };
        let mut routes: Vec<_> = self.0.routes.iter().map(describe).collect();
        routes.sort_by(|a, b| (&a.path, &a.http_method).cmp(&(&b.path, &b.http_method)));
        routes
    }

    /// The OpenAPI 3.1 document that `/openapi.json` answers.
    #[must_use]
    pub fn openapi(&self) -> &Bytes {
        &self.0.document
    }

    /// The context of a request with these headers; see [`Mint::context`].
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for a header that is malformed.
    pub fn mint_context(&self, headers: &HeaderMap) -> Result<Context> {
        self.0.mint.context(headers)
    }

    /// The gateway as an axum router, to be mounted in a server that exists already.
    pub fn into_router(self) -> Router {
        Router::new().fallback_service(self)
    }

    /// Answers one request. Dropping the future cancels the call that it makes.
    pub async fn respond(&self, request: Request<Body>) -> Response<Body> {
        if is_grpc(request.headers())
            && let Some(grpc) = self.0.grpc.clone()
        {
            return infallible(grpc.oneshot(request).await);
        }
        if *request.method() != Method::HEAD {
            return self.route(request).await;
        }
        without_body(self.route(request).await)
    }

    async fn route(&self, mut request: Request<Body>) -> Response<Body> {
        let shared = &*self.0;
        let path = request.uri().path();
        if let Some(own) = Own::of(path) {
            return shared.own(own, request.method(), path).await;
        }
        match shared.index.find(request.method(), path) {
            Found::Route(index, matched) => {
                let matched = matched.len();
                let (parts, body) = request.into_parts();
                shared.call(&shared.routes[index], &parts, matched, body).await
            }
            Found::OtherMethods(methods) => {
                problem::other_methods(request.method(), path, Some(allow(&methods)))
            }
            Found::Nothing => match shared.extra.clone() {
                Some(extra) => {
                    request.extensions_mut().insert(shared.mint.clone());
                    let answer = AssertUnwindSafe(extra.oneshot(request)).catch_unwind().await;
                    answer.map_or_else(|_| problem::panicked(), infallible)
                }
                None => problem::no_route(request.method(), path),
            },
        }
    }
}

impl Shared {
    /// Calls a contract; `matched` is the length of the path without the custom verb.
    async fn call(&self, route: &Route, parts: &Parts, matched: usize, body: Body) -> Response<Body> {
        let cx = match self.mint.context(&parts.headers) {
            Ok(cx) => cx,
            Err(error) => return problem::problem(&error),
        };
        let span = tracing::info_span!(
            target: "drystone::gateway", "request", http = %parts.method, route = route.template.as_str(),
            tenant = cx.tenant().as_str(), trace = %cx.trace(), status = tracing::field::Empty,
        );
        async {
            let response = rest::answer(route, &cx, parts, &parts.uri.path()[..matched], body).await;
            tracing::Span::current().record("status", response.status().as_u16());
            response
        }
        .instrument(span)
        .await
    }

    async fn own(&self, own: Own, method: &Method, path: &str) -> Response<Body> {
        if !matches!(*method, Method::GET | Method::HEAD) {
            return problem::other_methods(method, path, Some(allow(&[Method::GET])));
        }
        match own {
            Own::Lives => problem::json(StatusCode::OK, Bytes::from_static(br#"{"status":"ok"}"#)),
            Own::Ready => {
                let report = self.health.report().await;
                let status = if report.is_ok() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
                problem::json_of(status, &report)
            }
            Own::Document => problem::json(StatusCode::OK, self.document.clone()),
        }
    }
}

/// What the gateway answers itself.
#[derive(Clone, Copy)]
enum Own {
    Lives,
    Ready,
    Document,
}

impl Own {
    fn of(path: &str) -> Option<Self> {
        match path {
            HEALTHZ => Some(Self::Lives),
            READYZ => Some(Self::Ready),
            OPENAPI => Some(Self::Document),
            _ => None,
        }
    }
}

impl Service<Request<Body>> for Gateway {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let gateway = self.clone();
        async move { Ok(gateway.respond(request).await) }.boxed()
    }
}

/// Routes beside the contracts, whose unknown paths and methods are problems as everywhere.
pub(crate) fn with_problems(routes: Router) -> Router {
    routes
        .fallback(|request: Request<Body>| async move {
            problem::no_route(request.method(), request.uri().path())
        })
        .method_not_allowed_fallback(|request: Request<Body>| async move {
            // axum adds the header `Allow`, for it alone knows.
            problem::other_methods(request.method(), request.uri().path(), None)
        })
}

fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).map(http::HeaderValue::as_bytes).unwrap_or_default();
    kind.strip_prefix(b"application/grpc")
        .is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// An answer to HEAD: the headers of the answer to GET, its length among them.
fn without_body(response: Response<Body>) -> Response<Body> {
    let length = response.body().size_hint().exact();
    let mut response = response.map(|_| Body::empty());
    if let Some(length) = length {
        response.headers_mut().entry(CONTENT_LENGTH).or_insert_with(|| length.into());
    }
    response
}

fn infallible<T>(result: Result<T, Infallible>) -> T {
    match result {
        Ok(value) => value,
        Err(never) => match never {},
    }
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway")
            .field("routes", &self.0.routes.len())
            .field("checks", &self.0.health)
            .field("grpc", &self.0.grpc.is_some())
            .finish_non_exhaustive()
    }
}
