//! The graph of modules: who serves what, who calls whom; checked before anything runs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

use serde::Deserialize;

use crate::StartError;
use crate::module::ModulePlan;
use crate::topology::Topology;

/// A cycle of synchronous calls that somebody decided to live with.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AllowedCycle {
    through: BTreeSet<String>,
    reason: String,
}

/// `[graph]` in the settings.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GraphSettings {
    #[serde(default)]
    allowed_cycles: Vec<AllowedCycle>,
}

/// The modules with their contracts and the edges between them.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    /// Module to the contracts that it serves, in the order of declaration.
    pub(crate) modules: Vec<(Arc<str>, Vec<&'static str>)>,
    /// Calling module, contract and the module that serves it.
    pub(crate) edges: BTreeSet<Edge>,
    /// The modules that publish events.
    pub(crate) publishers: BTreeSet<Arc<str>>,
    /// Who wants which events, and from whom.
    pub(crate) subscriptions: Vec<Subscription>,
}

/// One consumer wants events of one type.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Subscription {
    /// The module that publishes them.
    pub(crate) from: Arc<str>,
    pub(crate) event_type: &'static str,
    /// The consumer and its module.
    pub(crate) consumer: Arc<str>,
    pub(crate) to: Arc<str>,
}

impl Subscription {
    /// The subscription in words, as the process `here` has it.
    fn text(&self, topology: &Topology, here: &str) -> String {
        let far = if topology.process_of(&self.from).is_some_and(|process| process == here) {
            ""
        } else {
            ", remote"
        };
        let of = if self.consumer == self.to { String::new() } else { format!(", by {}", self.consumer) };
        format!("handles {} ({}{far}{of})", self.event_type, self.from)
    }
}

/// One module calls one contract of another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Edge {
    pub(crate) from: Arc<str>,
    pub(crate) to: Arc<str>,
    pub(crate) contract: &'static str,
}

impl Graph {
    /// The graph of wired modules.
    ///
    /// # Errors
    /// A contract that nobody or that two modules serve, two modules of one name, a cycle that is not allowed.
    pub(crate) fn of(
        plans: &[ModulePlan],
        settings: &GraphSettings,
        partial: bool,
    ) -> Result<Self, StartError> {
        let mut graph = Self::default();
        let mut servers: BTreeMap<&'static str, Arc<str>> = BTreeMap::new();
        for plan in plans {
            if graph.modules.iter().any(|(name, _)| *name == plan.name) {
                return Err(StartError::DuplicateModule { module: plan.name.to_string() });
            }
            for served in &plan.served {
                let contract = served.contract().name;
                if let Some(first) = servers.insert(contract, Arc::clone(&plan.name)) {
                    return Err(StartError::ServedTwice {
                        contract: contract.to_owned(),
                        first: first.to_string(),
                        second: plan.name.to_string(),
                    });
                }
            }
            let contracts = plan.served.iter().map(|served| served.contract().name).collect();
            graph.modules.push((Arc::clone(&plan.name), contracts));
        }
        for plan in plans {
            for client in &plan.clients {
                let contract = client.contract().name;
                let to = servers.get(contract).ok_or_else(|| StartError::NotServed {
                    module: plan.name.to_string(),
                    contract: contract.to_owned(),
                })?;
                graph.edges.insert(Edge { from: Arc::clone(&plan.name), to: Arc::clone(to), contract });
            }
        }
        graph.refuse_cycles(settings)?;
        graph.subscribe(plans, partial)?;
        Ok(graph)
    }

    /// Finds the publisher of each type that is handled; where the application is `partial`, it may be missing.
    fn subscribe(&mut self, plans: &[ModulePlan], partial: bool) -> Result<(), StartError> {
        let mut publishers: BTreeMap<&'static str, &Arc<str>> = BTreeMap::new();
        for plan in plans {
            if !plan.publishes.is_empty() {
                self.publishers.insert(Arc::clone(&plan.name));
            }
            for event in &plan.publishes {
                if let Some(first) = publishers.insert(event, &plan.name) {
                    return Err(StartError::PublishedTwice {
                        event: (*event).to_owned(),
                        first: first.to_string(),
                        second: plan.name.to_string(),
                    });
                }
            }
        }
        for plan in plans {
            for (consumer, handlers) in &plan.consumers {
                for event_type in handlers.types() {
                    let Some(from) = publishers.get(event_type) else {
                        if partial || plan.outside_types(consumer).any(|outside| outside == event_type) {
                            continue;
                        }
                        return Err(StartError::NotPublished {
                            module: plan.name.to_string(),
                            event: event_type.to_owned(),
                        });
                    };
                    let (from, to) = (Arc::clone(from), Arc::clone(&plan.name));
                    let consumer = consumer.as_str().into();
                    self.subscriptions.push(Subscription { from, event_type, consumer, to });
                }
            }
        }
        self.subscriptions.sort();
        Ok(())
    }

    fn refuse_cycles(&self, settings: &GraphSettings) -> Result<(), StartError> {
        for cycle in self.cycles() {
            let members: BTreeSet<String> = cycle.iter().map(ToString::to_string).collect();
            let allowed =
                settings.allowed_cycles.iter().any(|c| c.through == members && !c.reason.trim().is_empty());
            if !allowed {
                let mut path: Vec<&str> = cycle.iter().map(|name| &**name).collect();
                path.push(&cycle[0]);
                return Err(StartError::Cycle {
                    path: path.join(" -> "),
                    quoted: cycle.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", "),
                });
            }
        }
        Ok(())
    }

    /// One cycle for every module from which a walk along the edges comes back to it, each set of members once.
    fn cycles(&self) -> Vec<Vec<Arc<str>>> {
        let mut found: Vec<Vec<Arc<str>>> = Vec::new();
        for (start, _) in &self.modules {
            let Some(cycle) = self.path_back(start) else { continue };
            let members: BTreeSet<&Arc<str>> = cycle.iter().collect();
            if !found.iter().any(|known| known.iter().collect::<BTreeSet<_>>() == members) {
                found.push(cycle);
            }
        }
        found
    }

    /// The shortest walk from a module back to itself.
    fn path_back(&self, start: &Arc<str>) -> Option<Vec<Arc<str>>> {
        let mut walks = std::collections::VecDeque::from([vec![Arc::clone(start)]]);
        let mut seen = BTreeSet::new();
        while let Some(walk) = walks.pop_front() {
            let last = walk.last()?;
            for edge in self.edges.iter().filter(|edge| edge.from == *last) {
                if edge.to == *start {
                    return Some(walk);
                }
                if seen.insert(Arc::clone(&edge.to)) {
                    let mut longer = walk.clone();
                    longer.push(Arc::clone(&edge.to));
                    walks.push_back(longer);
                }
            }
        }
        None
    }

    /// The modules, callers before those they call; in a cycle in the order of declaration.
    pub(crate) fn callers_first(&self) -> Vec<Arc<str>> {
        let mut left: Vec<&Arc<str>> = self.modules.iter().map(|(name, _)| name).collect();
        let mut order = Vec::new();
        while !left.is_empty() {
            let is_called = |name: &Arc<str>| {
                let callers = self.edges.iter().filter(|edge| edge.to == *name).map(|edge| &edge.from);
                callers.into_iter().any(|from| from != name && left.contains(&from))
            };
            let next = left.iter().position(|name| !is_called(name)).unwrap_or(0);
            order.push(Arc::clone(left.remove(next)));
        }
        order
    }

    /// The events that one module publishes and another handles, each pair once.
    fn events_between(&self) -> BTreeMap<(&str, &str), BTreeSet<&'static str>> {
        let mut between: BTreeMap<(&str, &str), BTreeSet<&'static str>> = BTreeMap::new();
        for subscription in &self.subscriptions {
            between
                .entry((&subscription.from, &subscription.to))
                .or_default()
                .insert(subscription.event_type);
        }
        between
    }

    /// The graph in words: one module a paragraph.
    pub(crate) fn text(&self, topology: &Topology) -> String {
        let mut text = String::new();
        for process in &topology.processes {
            let _ = writeln!(text, "process {}", process.name);
            for name in &process.modules {
                let _ = writeln!(text, "  module {name}");
                for (_, contracts) in self.modules.iter().filter(|(module, _)| **module == **name) {
                    for contract in contracts {
                        let _ = writeln!(text, "    serves {contract}");
                    }
                }
                for edge in self.edges.iter().filter(|edge| *edge.from == **name) {
                    let far =
                        if topology.process_of(&edge.to) == Some(&process.name) { "" } else { ", remote" };
                    let _ = writeln!(text, "    calls  {} ({}{far})", edge.contract, edge.to);
                }
                for subscription in
                    self.subscriptions.iter().filter(|subscription| *subscription.to == **name)
                {
                    let _ = writeln!(text, "    {}", subscription.text(topology, &process.name));
                }
            }
        }
        text
    }

    /// The graph as a Mermaid flow chart, one box a process.
    pub(crate) fn mermaid(&self, topology: &Topology) -> String {
        let mut text = String::from("flowchart LR\n");
        for process in &topology.processes {
            let _ = writeln!(text, "  subgraph process_{0} [\"process {0}\"]", process.name);
            for name in &process.modules {
                let _ = writeln!(text, "    {name}");
            }
            text.push_str("  end\n");
        }
        for edge in &self.edges {
            let _ = writeln!(text, "  {} -->|{}| {}", edge.from, edge.contract, edge.to);
        }
        for ((from, to), types) in self.events_between() {
            // Short names: the package is the publisher's.
            let names: Vec<&str> = types.iter().map(|name| name.rsplit('.').next().unwrap_or(name)).collect();
            let _ = writeln!(text, "  {from} -.->|{}| {to}", names.join(", "));
        }
        text
    }
}
