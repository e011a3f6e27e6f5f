//! The gateway of a process, put together from its modules.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use drystone_call::{AnyChannel, TenantId};
use drystone_gateway::{Check, DevMode, Gateway, GatewayError};
use drystone_transport::GrpcService;
use serde::Deserialize;

use crate::running::Running;
use crate::settings::Settings;
use crate::{App, StartError, events_metrics, rehearsal, replicas_metrics, store_metrics};

/// `[gateway]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GatewaySettings {
    listen: SocketAddr,
    mode: Mode,
    tenant: String,
}

impl GatewaySettings {
    /// Reads and checks the section.
    pub(crate) fn read(settings: &Settings) -> Result<(SocketAddr, DevMode), StartError> {
        let Self { listen, mode: Mode::Development, tenant } = settings.section("gateway")?;
        drystone_gateway::check_listen(listen, true)
            .map_err(|problem| StartError::part("the gateway", problem))?;
        let default_tenant =
            TenantId::new(&tenant).map_err(|error| StartError::part("the gateway", error.message()))?;
        Ok((listen, DevMode { default_tenant }))
    }
}

/// How callers are known.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Mode {
    /// By their own word.
    Development,
}

/// A gateway and where it listens.
pub(crate) struct Entrance {
    pub(crate) gateway: Gateway,
    pub(crate) listen: SocketAddr,
}

impl Entrance {
    /// Mounts every contract, the routes of the hosted modules, and the checks.
    pub(crate) fn build(
        app: &App,
        settings: &Settings,
        routes: Vec<Router>,
        channels: &[Arc<dyn AnyChannel>],
        checks: Vec<(String, Check)>,
        running: &Running,
    ) -> Result<Self, StartError> {
        let (listen, mode) = GatewaySettings::read(settings)?;
        let failed = |problem: GatewayError| StartError::part("the gateway", problem);
        let mut builder = Gateway::builder()
            .info(&*app.name, &app.version)
            .home(Arc::clone(running.home()))
            .development_mode(mode)
            .routes(metrics_route(running));
        for channel in channels {
            builder = builder.mount(Arc::clone(channel));
        }
        for routes in routes {
            builder = builder.routes(routes);
        }
        for (name, check) in checks {
            builder = builder.check(name, check);
        }
        let mint = builder.mint().map_err(failed)?;
        let grpc = GrpcService::new(channels.to_vec(), Arc::new(move |headers| mint.context(headers)));
        let gateway = builder.grpc(grpc).build().map_err(failed)?;
        Ok(Self { gateway, listen })
    }
}

/// `/metrics` in the Prometheus text format.
fn metrics_route(running: &Running) -> Router {
    let (edges, served, stores) = (running.edges(), running.served(), running.stores.clone());
    let channels = running.policies.as_ref().map_or_else(Vec::new, |policies| policies.channels());
    let (home, relays) = (Arc::clone(running.home()), running.relays.clone());
    let (consumers, subscriptions) = (running.consumers.clone(), running.subscriptions.clone());
    let remotes = running.remotes.clone();
    let faults = running.faults().cloned();
    let render = move || {
        let text = drystone_telemetry::prometheus(&edges)
            + &drystone_telemetry::prometheus_of_edges(&channels)
            + &drystone_telemetry::prometheus_of_served(&served)
            + &drystone_telemetry::prometheus_of_admission(&served)
            + &replicas_metrics::prometheus(&remotes)
            + &store_metrics::prometheus(&stores)
            + &events_metrics::prometheus(&home, &relays, &consumers, &subscriptions)
            + &faults.as_deref().map(rehearsal::prometheus).unwrap_or_default();
        async move { ([("content-type", "text/plain; version=0.0.4")], text) }
    };
    Router::new().route("/metrics", get(render))
}
