//! Where a setting of a policy holds: everywhere, or for a contract, a method, an edge that is there.

use std::sync::Arc;

use drystone_call::{ContractInfo, MethodInfo};

use super::nearest::hint;

/// The contracts and edges of an application, as settings may name them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    /// The serving module and the contract.
    pub(crate) contracts: Vec<(Arc<str>, &'static ContractInfo)>,
    /// The calling module, or the gateway, and the contract that it calls.
    pub(crate) edges: Vec<(Arc<str>, &'static ContractInfo)>,
}

/// Where a setting holds, the general before the special.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Scope {
    /// Every call.
    All,
    /// The calls of a contract.
    Contract(&'static str),
    /// The calls of one method, by contract and index.
    Method(&'static str, usize),
    /// The calls of one module to a contract.
    Edge(Arc<str>, &'static str),
    /// Those of one method.
    EdgeMethod(Arc<str>, &'static str, usize),
}

impl Scope {
    /// The scopes that one method on one edge lies in, the most special last.
    pub(super) fn around(from: &Arc<str>, method: &MethodInfo) -> [Self; 5] {
        let (contract, index) = (method.contract, method.index);
        [
            Self::All,
            Self::Contract(contract),
            Self::Method(contract, index),
            Self::Edge(Arc::clone(from), contract),
            Self::EdgeMethod(Arc::clone(from), contract, index),
        ]
    }

    /// The index of the method, where the scope is one method's.
    pub(super) fn method(&self) -> Option<(&'static str, usize)> {
        match self {
            Self::Method(contract, index) | Self::EdgeMethod(_, contract, index) => Some((contract, *index)),
            _ => None,
        }
    }
}

impl Known {
    /// The scope that `kind` and `name` say, as in `[calls.kind."name"]`; `None` if there is no such kind.
    ///
    /// # Errors
    /// The name that is not known, and which are.
    pub(super) fn scope(&self, kind: &str, name: &str) -> Option<Result<Scope, String>> {
        Some(match kind {
            "contract" => self.contract(name).map(|contract| Scope::Contract(contract.name)),
            "method" => self.method(name).map(|method| Scope::Method(method.contract, method.index)),
            "edge" => self.edge(name),
            _ => return None,
        })
    }

    /// A problem with a name, or that its quotes are missing if that is why it is not known.
    pub(super) fn quote(&self, names: &[String], problem: String) -> String {
        let whole = names[1..].join(".");
        let meant = self.contracts.iter().find(|(_, contract)| {
            whole.strip_prefix(contract.name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        });
        match meant {
            Some((_, contract)) if names[1] != contract.name => {
                format!("a name with dots is quoted; write {}.\"{}\"", names[0], contract.name)
            }
            _ => problem,
        }
    }

    /// A method by its place in its contract.
    pub(super) fn method_of(&self, contract: &str, index: usize) -> Option<&'static MethodInfo> {
        let found = self.contracts.iter().find(|(_, known)| known.name == contract);
        found.and_then(|(_, contract)| contract.methods.get(index))
    }

    fn contract(&self, name: &str) -> Result<&'static ContractInfo, String> {
        let found = self.contracts.iter().find(|(_, contract)| contract.name == name);
        found.map(|(_, contract)| *contract).ok_or_else(|| {
            let names: Vec<&str> = self.contracts.iter().map(|(_, contract)| contract.name).collect();
            format!("no module serves a contract {name}{}", hint(name, "contracts", &names))
        })
    }

    fn method(&self, name: &str) -> Result<&'static MethodInfo, String> {
        let (contract, method) = name
            .split_once('/')
            .ok_or_else(|| format!("{name} names no method; write it as contract/Method"))?;
        let contract = self.contract(contract)?;
        contract.methods.iter().find(|known| known.name == method).ok_or_else(|| {
            let names: Vec<&str> = contract.methods.iter().map(|method| method.name).collect();
            format!("{} has no method {method}{}", contract.name, hint(method, "methods", &names))
        })
    }

    fn edge(&self, name: &str) -> Result<Scope, String> {
        let (from, to) =
            name.split_once("->").map(|(from, to)| (from.trim(), to.trim())).ok_or_else(|| {
                format!("{name} is no edge; write it as module -> contract, or module -> contract/Method")
            })?;
        let callers = self.edges.iter().map(|(from, _)| &**from);
        if !callers.clone().any(|caller| caller == from) {
            let mut names: Vec<&str> = callers.collect();
            names.dedup();
            return Err(format!("{from} calls nobody{}", hint(from, "callers", &names)));
        }
        let (contract, method) = match to.split_once('/') {
            Some((contract, _)) => (contract, Some(self.method(to)?)),
            None => (to, None),
        };
        let contract = self.contract(contract)?.name;
        let mut called = self.edges.iter().filter(|(caller, _)| **caller == *from);
        let from =
            called.clone().find(|(_, called)| called.name == contract).map(|(from, _)| from).ok_or_else(
                || {
                    let names: Vec<&str> = called.by_ref().map(|(_, called)| called.name).collect();
                    format!("{from} does not call {contract}; it calls {}", names.join(", "))
                },
            )?;
        Ok(match method {
            Some(method) => Scope::EdgeMethod(Arc::clone(from), contract, method.index),
            None => Scope::Edge(Arc::clone(from), contract),
        })
    }
}
