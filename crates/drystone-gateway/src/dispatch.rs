//! The table of all routes of all mounted contracts.

use std::collections::BTreeMap;
use std::sync::Arc;

use drystone_call::AnyChannel;
use drystone_contract::{Contract, HttpBinding, Method};

use crate::GatewayError;
use crate::route::Route;
use crate::routes::Routes;

/// Paths that the gateway answers itself.
pub(crate) const HEALTHZ: &str = "/healthz";
pub(crate) const READYZ: &str = "/readyz";
pub(crate) const OPENAPI: &str = "/openapi.json";

/// What all mounted contracts offer by REST.
#[derive(Default)]
pub(crate) struct Table {
    pub(crate) index: Routes,
    pub(crate) routes: Vec<Route>,
    pub(crate) contracts: Vec<Contract>,
}

impl Table {
    /// Reads the contracts of `channels` and compiles their routes.
    pub(crate) fn compile(channels: &[Arc<dyn AnyChannel>]) -> Result<Self, GatewayError> {
        let mut table = Self::default();
        let mut mounted = BTreeMap::new();
        for channel in channels {
            let name = channel.contract().name;
            if mounted.insert(name, ()).is_some() {
                return Err(GatewayError::MountedTwice { contract: name });
            }
            table.add(channel)?;
        }
        Ok(table)
    }

    fn add(&mut self, channel: &Arc<dyn AnyChannel>) -> Result<(), GatewayError> {
        let info = channel.contract();
        let contract = Contract::parse(info.descriptor_set, info.name)
            .map_err(|cause| GatewayError::Descriptors { contract: info.name, cause: Box::new(cause) })?;
        for method in &contract.methods {
            let known = info.methods.iter().find(|known| known.name == method.name);
            let known = known
                .ok_or_else(|| GatewayError::Stale { contract: info.name, method: method.name.clone() })?;
            for binding in &method.bindings {
                let route = Route::compile(channel, known, method, binding)
                    .map_err(|problem| GatewayError::Binding { method: method.path.clone(), problem })?;
                self.insert(route, method, binding)?;
            }
        }
        self.contracts.push(contract);
        Ok(())
    }

    fn insert(&mut self, route: Route, method: &Method, binding: &HttpBinding) -> Result<(), GatewayError> {
        let shape = binding.template.shape();
        if [HEALTHZ, READYZ, OPENAPI].contains(&shape.as_str()) {
            return Err(GatewayError::RouteReserved { path: shape, method: method.path.clone() });
        }
        self.index.insert(&binding.verb, &binding.template, self.routes.len()).map_err(|taken| {
            GatewayError::RouteTaken {
                route: format!("{} {shape}", binding.verb),
                first: self.routes[taken].info.path.to_owned(),
                second: method.path.clone(),
            }
        })?;
        self.routes.push(route);
        Ok(())
    }
}
