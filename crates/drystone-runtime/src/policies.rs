//! The settings of calls: `[calls]` and `[serving]`, made into a policy for every method on every edge and for every served method.
//!
//! Several levels may set one value, and the most special wins: built in, `[calls]`, the method's options in its `.proto`, `[calls.contract]`,
//! `[calls.method]`, `[calls.edge]` of a contract, `[calls.edge]` of a method. A value remembers where it comes from. Names and values are checked when they are
//! read, before anything changes: a misspelt limit that is silently ignored would be one that somebody believes in.

mod calling;
mod draft;
mod laid;
mod levels;
mod live;
mod nearest;
mod report;
mod scope;
mod serving;
#[cfg(test)]
mod tests;
mod value;

use std::sync::Arc;

use drystone_call::ContractInfo;
use drystone_call::policy::{Policy, ServePolicy};
use drystone_transport::GATEWAY;

use crate::StartError;
use crate::graph::Graph;
use crate::module::ModulePlan;
use crate::settings::Settings;
use laid::Effective;
pub(crate) use laid::{BUILT_IN, Shown};
use levels::Levels;
pub(crate) use live::{LivePolicies, Reloaded};
pub(crate) use report::{AdmissionLive, EdgeLive, MethodReport, PolicyReport};
pub(crate) use scope::Known;

/// The policies of an application.
#[derive(Clone, Debug, Default)]
pub(crate) struct Policies {
    pub(crate) edges: Vec<EdgePolicies>,
    pub(crate) served: Vec<ServedPolicies>,
}

/// How one module, or the gateway, calls one contract.
#[derive(Clone, Debug)]
pub(crate) struct EdgePolicies {
    pub(crate) from: Arc<str>,
    pub(crate) contract: &'static ContractInfo,
    /// One entry a method, in the contract's order.
    pub(crate) methods: Vec<Effective<Policy>>,
}

/// How the calls of one contract are admitted.
#[derive(Clone, Debug)]
pub(crate) struct ServedPolicies {
    pub(crate) module: Arc<str>,
    pub(crate) contract: &'static ContractInfo,
    /// One entry a method, in the contract's order.
    pub(crate) methods: Vec<Effective<ServePolicy>>,
}

impl Known {
    /// What the modules of an application serve and call; the gateway calls every contract.
    pub(crate) fn of(plans: &[ModulePlan], graph: &Graph) -> Self {
        let served =
            plans.iter().flat_map(|plan| plan.served.iter().map(|served| (&plan.name, served.contract())));
        let contracts: Vec<_> = served.map(|(module, contract)| (Arc::clone(module), contract)).collect();
        let info =
            |name: &str| contracts.iter().find(|(_, known)| known.name == name).map(|(_, known)| *known);
        let inside =
            graph.edges.iter().filter_map(|edge| Some((Arc::clone(&edge.from), info(edge.contract)?)));
        let gateway: Arc<str> = GATEWAY.into();
        let outside = contracts.iter().map(|(_, contract)| (Arc::clone(&gateway), *contract));
        let edges = outside.chain(inside).collect();
        Self { contracts, edges }
    }
}

impl Policies {
    /// What the settings say, for everything that is known.
    ///
    /// # Errors
    /// A name that is not known, a value that does not fit, values that do not go together: each with its place.
    pub(crate) fn read(settings: &Settings, known: &Known) -> Result<Self, StartError> {
        let (calls, serving) = (Levels::of_calls(settings, known)?, Levels::of_serving(settings, known)?);
        let edge = |(from, contract): &(Arc<str>, &'static ContractInfo)| {
            let methods = contract.methods.iter().map(|method| calls.calling(from, method));
            Ok(EdgePolicies { from: Arc::clone(from), contract, methods: methods.collect::<Result<_, _>>()? })
        };
        let one = |(module, contract): &(Arc<str>, &'static ContractInfo)| {
            let methods = contract.methods.iter().map(|method| serving.serving(method));
            Ok(ServedPolicies {
                module: Arc::clone(module),
                contract,
                methods: methods.collect::<Result<_, _>>()?,
            })
        };
        Ok(Self {
            edges: known.edges.iter().map(edge).collect::<Result<_, StartError>>()?,
            served: known.contracts.iter().map(one).collect::<Result<_, StartError>>()?,
        })
    }

    /// The policies of one edge.
    pub(crate) fn edge(&self, from: &str, contract: &str) -> Option<&EdgePolicies> {
        self.edges.iter().find(|edge| *edge.from == *from && edge.contract.name == contract)
    }

    /// The policies of one served contract.
    pub(crate) fn served(&self, contract: &str) -> Option<&ServedPolicies> {
        self.served.iter().find(|served| served.contract.name == contract)
    }
}
