//! The edges that a process accepts: which module may call which contract.

use std::collections::{HashMap, HashSet};

/// The name under which the gateway calls: a process that runs it lists it among its modules.
pub const GATEWAY: &str = "gateway";

/// The declared edges towards the contracts of one process.
///
/// Complete before the server starts and never changed: a module declares its edges while it is wired.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EdgeSet {
    callees: HashMap<String, HashSet<String>>,
}

impl EdgeSet {
    /// No edges.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the edge from a module (or [`GATEWAY`]) to a contract, named as in `shop.orders.v1.Orders`.
    #[must_use]
    pub fn allow(mut self, caller: &str, contract: &str) -> Self {
        self.callees.entry(caller.to_owned()).or_default().insert(contract.to_owned());
        self
    }

    /// Whether the edge is declared.
    #[must_use]
    pub fn allows(&self, caller: &str, contract: &str) -> bool {
        self.callees.get(caller).is_some_and(|callees| callees.contains(contract))
    }
}

impl<C: AsRef<str>, S: AsRef<str>> FromIterator<(C, S)> for EdgeSet {
    fn from_iter<I: IntoIterator<Item = (C, S)>>(edges: I) -> Self {
        edges
            .into_iter()
            .fold(Self::new(), |set, (caller, contract)| set.allow(caller.as_ref(), contract.as_ref()))
    }
}
