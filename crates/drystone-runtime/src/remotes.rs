//! The ways to modules in other processes, one a module, each to all replicas of the process.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use drystone_transport::{Discovery, ProcessIdentity, Reach, Replicas};

use crate::StartError;
use crate::host::Host;

/// A way to a module, with a contract that its process serves.
pub(crate) type Remote = (Arc<Replicas>, &'static str);

/// The ways to modules in other processes.
pub(crate) struct Remotes {
    /// Process to where it is reached.
    reach: BTreeMap<String, Reach>,
    /// Process to who looks for its replicas: once for all its modules.
    found: BTreeMap<String, Discovery>,
    /// Contract to the module that serves it.
    servers: BTreeMap<&'static str, Arc<str>>,
    /// Module to the process that hosts it.
    processes: BTreeMap<Arc<str>, String>,
    identity: Option<ProcessIdentity>,
    made: BTreeMap<Arc<str>, Remote>,
}

impl Remotes {
    /// No way is made yet; `addresses` says where the processes are.
    pub(crate) fn new(host: &Host, addresses: &BTreeMap<String, SocketAddr>) -> Self {
        let modules = &host.graph.modules;
        let served = modules
            .iter()
            .flat_map(|(module, contracts)| contracts.iter().map(|contract| (*contract, Arc::clone(module))));
        let hosted = modules.iter().filter_map(|(module, _)| {
            host.topology.process_of(module).map(|process| (Arc::clone(module), process.clone()))
        });
        let listening = addresses
            .iter()
            .map(|(process, address)| (process.clone(), Reach::Addresses(vec![address.to_string()])));
        let set = host.topology.processes.iter().filter_map(|p| Some((p.name.clone(), p.reach.clone()?)));
        Self {
            reach: listening.chain(set).collect(),
            found: BTreeMap::new(),
            servers: served.collect(),
            processes: hosted.collect(),
            identity: host.internal.as_ref().map(|(_, identity)| identity.clone()),
            made: BTreeMap::new(),
        }
    }

    /// The way to the module that serves a contract.
    pub(crate) fn way_to_server_of(&mut self, contract: &'static str) -> Result<Arc<Replicas>, StartError> {
        let module = self.servers.get(contract).cloned().unwrap_or_default();
        self.way_to(&module, contract)
    }

    /// The way to a module, whose process serves `contract`.
    pub(crate) fn way_to(
        &mut self,
        module: &Arc<str>,
        contract: &'static str,
    ) -> Result<Arc<Replicas>, StartError> {
        if let Some((remote, _)) = self.made.get(module) {
            return Ok(Arc::clone(remote));
        }
        let process = self.processes.get(module).cloned().unwrap_or_default();
        let discovery = self.discovery(&process)?;
        let identity = self.identity.as_ref().ok_or_else(|| {
            StartError::Topology(format!(
                "module `{module}` runs in another process, but the topology is whole"
            ))
        })?;
        let remote = Replicas::start(module, discovery, identity)
            .map_err(|error| StartError::part(format!("the way to module `{module}`"), error))?;
        let remote = Arc::new(remote);
        self.made.insert(Arc::clone(module), (Arc::clone(&remote), contract));
        Ok(remote)
    }

    fn discovery(&mut self, process: &str) -> Result<Discovery, StartError> {
        if let Some(found) = self.found.get(process) {
            return Ok(found.clone());
        }
        let reach = self.reach.get(process).cloned().ok_or_else(|| {
            StartError::Topology(format!(
                "process `{process}` has no address: set processes.{process}.listen or .reach, or start the topology with `up`"
            ))
        })?;
        let discovery = Discovery::start(reach);
        self.found.insert(process.to_owned(), discovery.clone());
        Ok(discovery)
    }

    /// The ways that were made.
    pub(crate) fn into_made(self) -> Vec<Remote> {
        self.made.into_values().collect()
    }
}
