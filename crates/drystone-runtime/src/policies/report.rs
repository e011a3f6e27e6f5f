//! What `policy` shows: every edge and every served method with its values, and how they stand in a process that runs.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use drystone_call::{AnyChannel, ContractInfo, Dispatch, MethodLive, MethodMetrics, ServeLive};
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
    /// Attempts over a wire.
    pub(crate) attempts: u64,
    /// Those after the first of a call.
    pub(crate) retries: u64,
    /// So many more would be granted now, where calls are tried again.
    pub(crate) retries_left: Option<u64>,
    /// Those that the budget did not grant.
    pub(crate) retries_refused: u64,
    /// Calls that bulkhead, rate or breaker refused.
    pub(crate) refused: u64,
    /// Reads that shared the call of another.
    pub(crate) coalesced: u64,
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
        let edges = policies
            .edges
            .iter()
            .map(|edge| EdgeReport::of(&edge.from, edge.contract, &edge.methods, Vec::new()));
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
            Some(EdgeReport::of(&edge.from, edge.contract, &edge.methods, lives(&**channel)))
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
    fn of<P>(from: &str, contract: &ContractInfo, methods: &[Effective<P>], live: Vec<EdgeLive>) -> Self {
        let live = live.into_iter().map(Some).collect();
        let methods = reports(contract, methods, live);
        Self { from: from.to_owned(), contract: contract.name.to_owned(), methods }
    }
}

/// How each method of an edge stands.
fn lives(channel: &dyn AnyChannel) -> Vec<EdgeLive> {
    let live = |(live, counted): (MethodLive, &MethodMetrics)| EdgeLive {
        in_flight: live.in_flight,
        breaker: live.breaker.map(|state| state.to_string()),
        breaker_opened: live.breaker_opened,
        attempts: counted.attempts.load(Relaxed),
        retries: counted.retries.load(Relaxed),
        retries_left: live.retries_left,
        retries_refused: counted.retries_refused.load(Relaxed),
        refused: counted.refused_here.load(Relaxed),
        coalesced: counted.coalesced.load(Relaxed),
    };
    channel.live().into_iter().zip(&channel.edge_metrics().methods).map(live).collect()
}

impl ServedReport {
    fn of<P>(module: &str, contract: &ContractInfo, methods: &[Effective<P>], live: &[ServeLive]) -> Self {
        let live = live.iter().map(|live| {
            // Nothing is counted where nothing is limited.
            live.admission.map(|stats| AdmissionLive {
                in_flight: stats.in_flight,
                limit: stats.limit,
                waiting: stats.waiting,
                oldest_ms: u64::try_from(stats.oldest.as_millis()).unwrap_or(u64::MAX),
                admitted: stats.admitted,
                shed: stats.shed,
            })
        });
        let methods = reports(contract, methods, live.collect());
        Self { module: module.to_owned(), contract: contract.name.to_owned(), methods }
    }
}

fn reports<P, L>(
    contract: &ContractInfo,
    methods: &[Effective<P>],
    live: Vec<Option<L>>,
) -> Vec<MethodReport<L>> {
    let live = live.into_iter().chain(std::iter::repeat_with(|| None));
    let methods = contract.methods.iter().zip(methods).zip(live);
    methods
        .map(|((method, effective), live)| MethodReport {
            method: method.name.to_owned(),
            policy: effective.values.clone(),
            live,
        })
        .collect()
}
