//! A process that serves, and how it stops.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use drystone_call::{
    AnyChannel as _, Channel, Context, ContractClient, Dispatch, EdgeMetrics, Faults, Home, ManualClock,
    Principal, Result, ServiceDef as _, Target, TenantId,
};
use drystone_events::{Consumer, Relay, Subscription};
use drystone_gateway::Gateway;
use drystone_store::Store;
use drystone_transport::{GATEWAY, Replicas};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::StartError;
use crate::admin::Socket;
use crate::entrance::Entrance;
use crate::host::Listen;
use crate::policies::LivePolicies;
use crate::signals::Hangups;

/// A started process of an application.
pub struct Running {
    process: String,
    stopper: watch::Sender<bool>,
    home: Arc<Home>,
    pub(crate) drain: Duration,
    pub(crate) clock: Option<Arc<ManualClock>>,
    pub(crate) faults: Option<Arc<Faults>>,
    pub(crate) edges: Vec<Arc<EdgeMetrics>>,
    pub(crate) policies: Option<Arc<LivePolicies>>,
    clients: Mutex<Vec<Arc<EdgeMetrics>>>,
    pub(crate) internal: Option<JoinHandle<()>>,
    pub(crate) remotes: Vec<(Arc<Replicas>, &'static str)>,
    pub(crate) targets: BTreeMap<&'static str, Target>,
    pub(crate) tasks: Vec<JoinHandle<()>>,
    pub(crate) stores: Vec<(Arc<str>, Store)>,
    pub(crate) relays: Vec<Relay>,
    pub(crate) consumers: Vec<Consumer>,
    pub(crate) subscriptions: Vec<Subscription>,
    pub(crate) admin: Option<(Socket, JoinHandle<()>)>,
    gateway: Option<Gateway>,
    serving: Option<(SocketAddr, JoinHandle<()>)>,
}

impl Running {
    pub(crate) fn new(process: String, stopper: watch::Sender<bool>, home: Arc<Home>) -> Self {
        Self {
            process,
            stopper,
            home,
            drain: Duration::ZERO,
            clock: None,
            faults: None,
            edges: Vec::new(),
            policies: None,
            clients: Mutex::default(),
            internal: None,
            remotes: Vec::new(),
            targets: BTreeMap::new(),
            tasks: Vec::new(),
            stores: Vec::new(),
            relays: Vec::new(),
            consumers: Vec::new(),
            subscriptions: Vec::new(),
            admin: None,
            gateway: None,
            serving: None,
        }
    }

    pub(crate) async fn open_entrance(
        &mut self,
        entrance: Entrance,
        listen: Listen,
        mut stopping: watch::Receiver<bool>,
    ) -> Result<(), StartError> {
        let Entrance { gateway, listen: address } = entrance;
        if listen == Listen::AsSet {
            let part = || format!("the gateway on {address}");
            let listener =
                TcpListener::bind(address).await.map_err(|error| StartError::part(part(), error))?;
            let address = listener.local_addr().map_err(|error| StartError::part(part(), error))?;
            let stop = async move {
                // An error means that nobody is left to say so.
                let _ = stopping.wait_for(|stopping| *stopping).await;
            };
            let (served, drain) = (gateway.clone(), self.drain);
            self.serving = Some((
                address,
                tokio::spawn(async move {
                    let serve = drystone_gateway::serve(listener, served, stop, drain);
                    let drained = serve.await;
                    if drained.cut > 0 {
                        tracing::warn!(
                            connections = drained.cut,
                            "requests were cut off at the end of the drain time"
                        );
                    }
                }),
            ));
        }
        self.gateway = Some(gateway);
        Ok(())
    }

    /// The process's name in the topology.
    #[must_use]
    pub fn process(&self) -> &str {
        &self.process
    }

    /// The address on which the gateway listens, if it does in this process.
    #[must_use]
    pub fn gateway_address(&self) -> Option<SocketAddr> {
        self.serving.as_ref().map(|(address, _)| *address)
    }

    /// The gateway as a tower service, if it is in this process.
    #[must_use]
    pub fn service(&self) -> Option<Gateway> {
        self.gateway.clone()
    }

    /// The gateway as an axum router, if it is in this process.
    #[must_use]
    pub fn router(&self) -> Option<Router> {
        self.gateway.clone().map(Gateway::into_router)
    }

    /// A client that calls as the gateway does.
    ///
    /// # Errors
    /// `UNAVAILABLE` if this process neither hosts the contract nor has a way to it.
    pub fn client<C: ContractClient>(&self) -> Result<C> {
        let contract = C::Service::contract().name;
        let channel = Channel::<C::Service>::unbound(Some(GATEWAY), GATEWAY);
        let target = self.target(contract).ok_or_else(|| {
            drystone_call::Error::unavailable(format!("process {} has no way to {contract}", self.process))
        })?;
        channel.bind_to(target)?;
        if let Some(policies) = &self.policies {
            policies.add_channel(Arc::new(channel.clone()));
        }
        self.clients.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(channel.metrics()));
        Ok(C::from_channel(channel))
    }

    fn target(&self, contract: &str) -> Option<Target> {
        self.targets.get(contract).cloned()
    }

    /// A context as the gateway mints them.
    ///
    /// # Errors
    /// `TENANT_MALFORMED` or `INVALID_ARGUMENT` if a name is not one.
    pub fn context(&self, tenant: &str, principal: &str) -> Result<Context> {
        Ok(Context::mint(Arc::clone(&self.home), TenantId::new(tenant)?, Principal::new(principal)?))
    }

    /// Turns the time of day forward, where `[determinism] clock` made it stand still; says whether it did.
    #[must_use]
    pub fn turn_clock(&self, by: Duration) -> bool {
        self.clock.as_ref().inspect(|clock| clock.advance(by)).is_some()
    }

    pub(crate) fn home(&self) -> &Arc<Home> {
        &self.home
    }

    /// The counters of every edge that begins in this process, those of [`Running::client`]s included.
    #[must_use]
    pub fn edges(&self) -> Vec<Arc<EdgeMetrics>> {
        let mut edges = self.edges.clone();
        edges.extend(self.clients.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned());
        edges
    }

    /// The contracts that are called and served in this process, with their counters.
    #[must_use]
    pub fn served(&self) -> Vec<Arc<dyn Dispatch>> {
        let here = |target: &Target| match target {
            Target::Direct(mount) | Target::Encoded(mount) | Target::Faulty(mount, _) => {
                Some(Arc::clone(mount.dispatch()))
            }
            Target::Remote(_) => None,
        };
        self.targets.values().filter_map(here).collect()
    }

    /// The connections opened to other processes so far.
    #[must_use]
    pub fn remote_connections(&self) -> u64 {
        self.remotes.iter().map(|(remote, _)| remote.metrics().connections.load(Ordering::Relaxed)).sum()
    }

    /// What the process's edges inject, if it rehearses.
    #[must_use]
    pub fn faults(&self) -> Option<&Arc<Faults>> {
        self.faults.as_ref()
    }

    /// Reads the settings of calls again at every SIGHUP; never completes.
    pub(crate) async fn reload_at(&self, mut hangups: Hangups) {
        loop {
            hangups.next().await;
            if let Some(policies) = &self.policies {
                // What came of it is in the log.
                let _ = policies.reload_and_say();
            }
        }
    }

    /// The stores of the hosted modules.
    #[must_use]
    pub fn store(&self, module: &str) -> Option<&Store> {
        self.stores.iter().find(|(name, _)| **name == *module).map(|(_, store)| store)
    }

    /// The relays of the hosted modules.
    #[must_use]
    pub fn relays(&self) -> &[Relay] {
        &self.relays
    }

    /// The consumers of the hosted modules.
    #[must_use]
    pub fn consumers(&self) -> &[Consumer] {
        &self.consumers
    }

    /// What the hosted consumers read from the broker, if there is one.
    #[must_use]
    pub fn subscriptions(&self) -> &[Subscription] {
        &self.subscriptions
    }

    /// Stops in order: no new calls, calls in progress finish within the drain time, background work ends, stores close.
    pub async fn stop(self) {
        // An error means that nothing listens any more.
        let _ = self.stopper.send(true);
        let servers = self.serving.into_iter().map(|(_, serving)| serving).chain(self.internal);
        // The socket's name is free again when the stores are closed.
        let (_socket, admin) = self.admin.unzip();
        let servers = servers.chain(admin);
        let ended = async {
            for task in servers.chain(self.tasks) {
                // A task that panicked has said so.
                let _ = task.await;
            }
            // A repeated request needs the stores.
            if let Some(faults) = &self.faults {
                faults.at_rest().await;
            }
        };
        if timeout(self.drain, ended).await.is_err() {
            tracing::warn!(
                process = self.process,
                "calls in progress were cut off at the end of the drain time"
            );
        }
        for (module, store) in self.stores {
            if let Err(error) = store.close().await {
                tracing::error!(%module, ?error, "the store did not close well");
            }
        }
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").field("process", &self.process).finish_non_exhaustive()
    }
}
