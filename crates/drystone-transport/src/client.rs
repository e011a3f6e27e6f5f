//! Calls contracts in another process.
//!
//! One connection per process and callee module, made at the first call and shared by all: HTTP/2 carries the calls side
//! by side. It is kept apart per module because the name that TLS verifies is the module's.

mod connect;
mod failure;
mod greeted;
mod link;
mod remote_module;
mod replicas;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::ClientConfig;

use crate::{ProcessIdentity, TransportError};
pub use remote_module::{RemoteMetrics, RemoteModule};
pub use replicas::{Replicas, ReplicasMetrics};

/// Another process of the application, by its address.
///
/// Keep one per process of the topology: its modules are handed out shared, and with them their connections.
pub struct RemoteProcess {
    address: Arc<str>,
    app: Arc<str>,
    tls: Arc<ClientConfig>,
    modules: Mutex<BTreeMap<String, Arc<RemoteModule>>>,
}

impl RemoteProcess {
    /// The process at `address` (`host:port`; a host name is resolved at each connection), as called by a process of
    /// this identity. Connects to nothing yet.
    #[must_use]
    pub fn new(address: impl Into<String>, identity: &ProcessIdentity) -> Self {
        Self {
            address: address.into().into(),
            app: identity.app().into(),
            tls: identity.client_config(),
            modules: Mutex::default(),
        }
    }

    /// A module hosted there, the same one for the same name. It is the [`drystone_call::Remote`] of every contract
    /// that the module serves.
    ///
    /// # Errors
    /// [`TransportError::Name`] if the name cannot stand in a certificate.
    pub fn module(&self, module: &str) -> Result<Arc<RemoteModule>, TransportError> {
        let mut modules = self.modules.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = modules.get(module) {
            return Ok(Arc::clone(known));
        }
        let made = Arc::new(RemoteModule::new(module, &self.address, &self.app, &self.tls, Arc::default())?);
        modules.insert(module.to_owned(), Arc::clone(&made));
        Ok(made)
    }

    /// The address.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }
}

impl fmt::Debug for RemoteProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteProcess").field("address", &self.address).finish_non_exhaustive()
    }
}
