//! What `policy` shows: every edge and every served method with its values, and how they stand in a process that runs.

use std::sync::Arc;

use drystone_call::{AnyChannel, ContractInfo, Dispatch, MethodLive, ServeLive};
use serde::{Deserialize, Serialize};

use super::Policies;
use super::laid::{Effective, Shown};

/// The policies of an application, or of one process of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct PolicyReport {
    /// The process that runs, if one was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) process: Option<String>,
    pub(crate) edges: Vec<EdgeReport>,
    pub(crate) served: Vec<ServedReport>,
}

/// One edge.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct EdgeReport {
    pub(crate) from: String,
    pub(crate) contract: String,
    pub(crate) methods: Vec<MethodReport<EdgeLive>>,
}

/// One contract that a module serves.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ServedReport {
    pub(crate) module: String,
    pub(crate) contract: String,
    pub(crate) methods: Vec<MethodReport<AdmissionLive>>,
}

/// One method.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct MethodReport<L> {
    pub(crate) method: String,
    pub(crate) policy: Vec<Shown>,
    /// How it stands, in a process that runs.
    #[serde(default = "Option::default", skip_serializing_if = "Option::is_none")]
    pub(crate) live: Option<L>,
}

/// How one method stands on one edge.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct EdgeLive {
    /// Calls under way.
    pub(crate) in_flight: u32,
    /// The state of the breaker, where there is one.
    pub(crate) breaker: Option<String>,
    /// How often it has opened.
    pub(crate) breaker_opened: u64,
}

/// How the admission of one served method stands.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct AdmissionLive {
    /// Calls that run.
    pub(crate) in_flight: u32,
    /// How many may, now.
    pub(crate) limit: u32,
    /// Calls that wait.
    pub(crate) waiting: u32,
    /// Milliseconds for which the one that waits longest has.
    pub(crate) oldest_ms: u64,
    /// Calls that were let in.
    pub(crate) admitted: u64,
    /// Calls that were sent away.
    pub(crate) shed: u64,
}

impl PolicyReport {
    /// What the settings alone say.
    pub(crate) fn of_settings(policies: &Policies) -> Self {
        let edges =
            policies.edges.iter().map(|edge| EdgeReport::of(&edge.from, edge.contract, &edge.methods, &[]));
        let served = policies.served.iter();
        let served =
            served.map(|served| ServedReport::of(&served.module, served.contract, &served.methods, &[]));
        Self { process: None, edges: edges.collect(), served: served.collect() }
    }

    /// What holds in a process, and how it stands.
    pub(super) fn of_process(
        process: &str,
        policies: &Policies,
        channels: &[Arc<dyn AnyChannel>],
        served: &[Arc<dyn Dispatch>],
    ) -> Self {
        let edge = |channel: &Arc<dyn AnyChannel>| {
            let edge = policies.edge(&channel.edge_metrics().from, channel.contract().name)?;
            Some(EdgeReport::of(&edge.from, edge.contract, &edge.methods, &channel.live()))
        };
        let one = |dispatch: &Arc<dyn Dispatch>| {
            let served = policies.served(dispatch.contract().name)?;
            Some(ServedReport::of(&served.module, served.contract, &served.methods, &dispatch.live()))
        };
        Self {
            process: Some(process.to_owned()),
            edges: channels.iter().filter_map(edge).collect(),
            served: served.iter().filter_map(one).collect(),
        }
    }
}

impl EdgeReport {
    fn of<P>(from: &str, contract: &ContractInfo, methods: &[Effective<P>], live: &[MethodLive]) -> Self {
        let live = live.iter().map(|live| EdgeLive {
            in_flight: live.in_flight,
            breaker: live.breaker.map(|state| state.to_string()),
            breaker_opened: live.breaker_opened,
        });
        let methods = reports(contract, methods, live.collect());
        Self { from: from.to_owned(), contract: contract.name.to_owned(), methods }
    }
}

impl ServedReport {
    fn of<P>(module: &str, contract: &ContractInfo, methods: &[Effective<P>], live: &[ServeLive]) -> Self {
        let live = live.iter().map(|live| {
            let stats = live.admission.unwrap_or_default();
            AdmissionLive {
                in_flight: stats.in_flight,
                limit: stats.limit,
                waiting: stats.waiting,
                oldest_ms: u64::try_from(stats.oldest.as_millis()).unwrap_or(u64::MAX),
                admitted: stats.admitted,
                shed: stats.shed,
            }
        });
        let methods = reports(contract, methods, live.collect());
        Self { module: module.to_owned(), contract: contract.name.to_owned(), methods }
    }
}

fn reports<P, L>(contract: &ContractInfo, methods: &[Effective<P>], live: Vec<L>) -> Vec<MethodReport<L>> {
    let live = live.into_iter().map(Some).chain(std::iter::repeat_with(|| None));
    let methods = contract.methods.iter().zip(methods).zip(live);
    methods
        .map(|((method, effective), live)| MethodReport {
            method: method.name.to_owned(),
            policy: effective.values.clone(),
            live,
        })
        .collect()
}
