//! Puts a gateway together from what the runtime has: channels, checks, routes, a gRPC service.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use drystone_call::{AnyChannel, Home, TenantId};
use http::{Request, Response};
use tower::util::BoxCloneSyncService;
use tower::{BoxError, Service, ServiceExt as _};

use crate::gateway::Gateway;
use crate::health::{Check, Health};
use crate::mint::Mint;
use crate::{GatewayError, dispatch, openapi};

/// A gRPC service in the form in which the gateway holds it.
pub type GrpcRoute = BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>;

/// How callers are told apart until identity is checked: they name themselves.
#[derive(Clone, Debug)]
pub struct DevMode {
    /// The tenant of a request that names none.
    pub default_tenant: TenantId,
}

impl Default for DevMode {
    fn default() -> Self {
        Self { default_tenant: TenantId::new("demo").expect("`demo` is a tenant's name") }
    }
}

/// What a gateway is made of.
#[must_use = "a builder does nothing until it is built"]
pub struct GatewayBuilder {
    channels: Vec<Arc<dyn AnyChannel>>,
    development: Option<DevMode>,
    home: Option<Arc<Home>>,
    checks: Vec<(String, Check)>,
    routes: Option<Router>,
    grpc: Option<GrpcRoute>,
    title: String,
    version: String,
}

impl GatewayBuilder {
    pub(crate) fn new() -> Self {
        Self {
            channels: Vec::new(),
            development: None,
            home: None,
            checks: Vec::new(),
            routes: None,
            grpc: None,
            title: "Drystone application".to_owned(),
            version: "0.0.0".to_owned(),
        }
    }

    /// Offers a contract by REST, by the routes that it declares; the channel must be bound before the first request.
    pub fn mount(mut self, channel: Arc<dyn AnyChannel>) -> Self {
        self.channels.push(channel);
        self
    }

    /// Lets callers name their tenant and principal in headers; see [`Mint`].
    pub fn development_mode(mut self, mode: DevMode) -> Self {
        self.development = Some(mode);
        self
    }

    /// The gateway's clock and ids; those of the machine when nothing is said.
    pub fn home(mut self, home: Arc<Home>) -> Self {
        self.home = Some(home);
        self
    }

    /// Adds a named check to `/readyz`, such as one per store and per process that is called.
    pub fn check(mut self, name: impl Into<String>, check: Check) -> Self {
        self.checks.push((name.into(), check));
        self
    }

    /// Adds routes beside the contracts. They are asked after the contracts' routes, and find a [`Mint`] in the request's extensions.
    ///
    /// # Panics
    /// If a route was added before, as [`Router::merge`] does.
    pub fn routes(mut self, routes: Router) -> Self {
        self.routes = Some(self.routes.unwrap_or_default().merge(routes));
        self
    }

    /// Answers requests of content type `application/grpc` with `service`.
    pub fn grpc<S, B>(mut self, service: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<B>, Error = Infallible> + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        self.grpc = Some(GrpcRoute::new(service.map_response(|response| response.map(Body::new))));
        self
    }

    /// Title and version in the OpenAPI document.
    pub fn info(mut self, title: impl Into<String>, version: impl Into<String>) -> Self {
        self.title = title.into();
        self.version = version.into();
        self
    }

    /// What makes the contexts of this gateway's requests, for a gRPC service that shares its port.
    ///
    /// Call it after [`Self::home`] and [`Self::development_mode`].
    ///
    /// # Errors
    /// [`GatewayError::NoIdentity`] without development mode.
    pub fn mint(&self) -> Result<Mint, GatewayError> {
        let mode = self.development.clone().ok_or(GatewayError::NoIdentity)?;
        let home = self.home.clone().unwrap_or_else(|| Home::of_system("gateway"));
        Ok(Mint::new(home, mode))
    }

    /// Compiles the routes and the OpenAPI document.
    ///
    /// # Errors
    /// A contract that cannot be read, a route that two methods claim, or no way to tell who is asking.
    pub fn build(self) -> Result<Gateway, GatewayError> {
        let mint = self.mint()?;
        let table = dispatch::Table::compile(&self.channels)?;
        let document = openapi::document(&self.title, &self.version, &table.contracts);
        let health = Health::new(Arc::clone(mint.home()), self.checks);
        let extra = self.routes.map(crate::gateway::with_problems);
        Ok(Gateway::assemble(mint, table, document, health, extra, self.grpc))
    }
}
