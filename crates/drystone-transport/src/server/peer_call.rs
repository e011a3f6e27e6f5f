//! One call from another process: may it, then hand it to the module.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use drystone_call::headers::{self, parse_timeout};
use drystone_call::{DEFAULT_TIMEOUT, Dispatch, Error, PlatformReason, Reply, Result};
use http::{HeaderMap, Request, Response};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::ServerMetrics;
use crate::edges::{EdgeSet, GATEWAY};
use crate::health;
use crate::routes::Routes;
use crate::wire::{GrpcBody, answer, read_request};

/// What a process serves, and to whom.
pub(super) struct Served {
    pub(super) app: Arc<str>,
    pub(super) metrics: Arc<ServerMetrics>,
    services: Vec<Arc<dyn Dispatch>>,
    routes: Routes,
    edges: EdgeSet,
    draining: AtomicBool,
}

impl Served {
    pub(super) fn new(
        app: Arc<str>,
        services: Vec<Arc<dyn Dispatch>>,
        edges: EdgeSet,
        metrics: Arc<ServerMetrics>,
    ) -> Self {
        let routes = Routes::new(services.iter().map(|service| service.contract()));
        Self { app, metrics, services, routes, edges, draining: AtomicBool::new(false) }
    }

    /// From now on the process says that it does not serve, and serves whoever has not heard of it.
    pub(super) fn drains(&self) {
        self.draining.store(true, Relaxed);
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining.load(Relaxed)
    }

    /// Answers one call of a peer that hosts `modules`.
    pub(super) async fn answer(&self, modules: &[String], request: Request<Incoming>) -> Response<GrpcBody> {
        self.count(|metrics| &metrics.calls);
        let (parts, body) = request.into_parts();
        let path = parts.uri.path();
        let outcome = if path == health::CHECK {
            self.health(&parts.headers, body).await
        } else {
            self.call(modules, path, &parts.headers, body).await
        };
        answer(outcome)
    }

    async fn call(
        &self,
        modules: &[String],
        path: &str,
        headers: &HeaderMap,
        body: Incoming,
    ) -> Result<Reply> {
        let route = self.routes.find(path)?;
        self.admit(modules, headers, route.method.contract)?;
        let message = read_request(body, deadline_of(headers)?, path).await?;
        let reply = self.services[route.contract].dispatch(route.method.index, headers, message);
        reply.ok_or_else(|| Error::internal(format!("{path} has no handler")))?.await
    }

    /// Whether the calling module is whom its process may speak for, and has declared the edge.
    ///
    /// A call that names no module comes from the gateway: only that calls from outside every module.
    fn admit(&self, modules: &[String], headers: &HeaderMap, contract: &str) -> Result<()> {
        let caller = match headers.get(headers::CALLER) {
            Some(value) => value.to_str().unwrap_or_default(),
            None => GATEWAY,
        };
        if !modules.iter().any(|module| module == caller) {
            return Err(PlatformReason::EdgeNotDeclared.error(format!(
                "a call to {contract} claims to come from the module {caller:?}, but the certificate of its process \
                 names only {}; host {caller:?} in that process, or have its certificate issued anew",
                modules.join(", ")
            )));
        }
        if !self.edges.allows(caller, contract) {
            return Err(PlatformReason::EdgeNotDeclared.error(format!(
                "the module {caller:?} calls {contract} and has not declared it; take the client from its wiring \
                 (`w.client::<..>()`), and run both processes from the same build"
            )));
        }
        Ok(())
    }

    /// Tells any process of the application whether a contract is served here.
    async fn health(&self, headers: &HeaderMap, body: Incoming) -> Result<Reply> {
        let service = health::service_of(read_request(body, deadline_of(headers)?, health::CHECK).await?)?;
        if service.is_empty() || self.routes.serves(&service) {
            return Ok(health::answer(!self.is_draining()));
        }
        Err(health::unknown(&service))
    }
}

/// When the call must have been answered, as its headers say.
fn deadline_of(headers: &HeaderMap) -> Result<Instant> {
    let timeout = match headers.get(headers::GRPC_TIMEOUT) {
        Some(value) => parse_timeout(value.to_str().unwrap_or_default())?,
        None => DEFAULT_TIMEOUT,
    };
    Ok(Instant::now() + timeout)
}
