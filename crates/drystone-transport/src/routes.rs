//! The methods of several contracts by their gRPC path.

use std::collections::HashMap;

use drystone_call::{Code, ContractInfo, Error, MethodInfo};

/// Where each path leads.
#[derive(Debug)]
pub(crate) struct Routes {
    contracts: Vec<&'static ContractInfo>,
    paths: HashMap<&'static str, Route>,
}

/// The place of a method.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Route {
    /// The index of the contract among those of the table.
    pub(crate) contract: usize,
    /// The method.
    pub(crate) method: &'static MethodInfo,
}

impl Routes {
    /// The methods of these contracts. If two are the same contract, the first one serves it.
    pub(crate) fn new(contracts: impl IntoIterator<Item = &'static ContractInfo>) -> Self {
        let contracts: Vec<_> = contracts.into_iter().collect();
        let mut paths = HashMap::new();
        for (contract, info) in contracts.iter().enumerate() {
            for method in info.methods {
                paths.entry(method.path).or_insert(Route { contract, method });
            }
        }
        Self { contracts, paths }
    }

    /// The method of a path.
    ///
    /// # Errors
    /// `UNIMPLEMENTED`, naming the path and what there is instead.
    pub(crate) fn find(&self, path: &str) -> Result<Route, Error> {
        self.paths.get(path).copied().ok_or_else(|| self.unknown(path))
    }

    /// Whether a contract of this name is served.
    pub(crate) fn serves(&self, contract: &str) -> bool {
        self.contracts.iter().any(|info| info.name == contract)
    }

    fn unknown(&self, path: &str) -> Error {
        let shown: String = path.chars().take(200).collect();
        let contract = path.trim_start_matches('/').split('/').next().unwrap_or_default();
        let text = if self.serves(contract) {
            format!(
                "{shown} is not a method of {contract}: caller and callee were built from different contracts"
            )
        } else {
            let served: Vec<_> = self.contracts.iter().map(|info| info.name).collect();
            format!("nobody serves {shown} here; served are: {}", served.join(", "))
        };
        Error::new(Code::Unimplemented, text)
    }
}
