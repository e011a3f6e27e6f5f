//! One process of an application: opens what it hosts, binds the edges, serves, stops.
//!
//! Starting has two halves, for processes that learn of each other's addresses only once all have opened a port, as in tests:
//! [`Host::prepare`] opens stores and the port between processes, [`Host::start`] binds the edges and serves.

mod foreground;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use drystone_call::{AnyChannel, EdgeMetrics, Faults, KeyGate, Mount, Target, defects};
use drystone_events::delivery;
use drystone_gateway::Check;
use drystone_store::Store;
use drystone_transport::{DevAuthority, EdgeSet, GATEWAY, InternalServer, ProcessIdentity};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::entrance::Entrance;
use crate::eventing::{Eventing, Parts};
use crate::graph::Graph;
use crate::module::ModulePlan;
use crate::module_events::ModuleEvents;
use crate::policies::{Known, LivePolicies};
use crate::rehearsal::RehearsalSettings;
use crate::remotes::Remotes;
use crate::running::Running;
use crate::settings::Settings;
use crate::stores::Stores;
use crate::surroundings::{AppSettings, CallSettings, Surroundings};
use crate::tasks::Tasks;
use crate::topology::{MAIN, Process, Topology};
use crate::{App, StartError, admin, rehearsal};

pub(crate) use foreground::run;

/// How long another process may take to say that it is there.
const CHECK_TIMEOUT: Duration = Duration::from_millis(900);

/// A process that has opened its stores and its port and does not serve yet.
pub(crate) struct Host {
    app: App,
    settings: Settings,
    pub(crate) topology: Topology,
    process: Process,
    plans: Vec<ModulePlan>,
    pub(crate) graph: Graph,
    surroundings: Surroundings,
    policies: Arc<LivePolicies>,
    mounts: BTreeMap<&'static str, Mount>,
    stores: Vec<(Arc<str>, Store)>,
    pub(crate) internal: Option<(InternalServer, ProcessIdentity)>,
    eventing: Option<Eventing>,
    faults: Option<Arc<Faults>>,
}

impl Host {
    /// Wires all modules, opens the stores of those that `process` hosts, and in a split topology its port.
    pub(crate) async fn prepare(
        app: &App,
        settings: Settings,
        topology: &Topology,
        process: &str,
    ) -> Result<Self, StartError> {
        let process = topology.process(process)?.clone();
        let (plans, graph) = app.plan(&settings)?;
        let known = Known::of(&plans, &graph);
        let mut host = Self {
            app: app.clone(),
            policies: Arc::new(LivePolicies::new(app, &process.name, &settings, known)?),
            surroundings: Surroundings::read(&settings)?,
            faults: RehearsalSettings::read(&settings)?.map(RehearsalSettings::faults),
            settings,
            topology: topology.clone(),
            process,
            plans,
            graph,
            mounts: BTreeMap::new(),
            stores: Vec::new(),
            internal: None,
            eventing: None,
        };
        host.open_stores().await?;
        host.mount();
        host.eventing = Some(Eventing::of(&host.parts()).await?);
        if topology.is_split() {
            host.internal = Some(host.open_port().await?);
        }
        Ok(host)
    }

    /// What of the process the events need.
    fn parts(&self) -> Parts<'_> {
        Parts {
            app: &self.app.name,
            process: &self.process.name,
            settings: &self.settings,
            surroundings: &self.surroundings,
            graph: &self.graph,
            faults: self.faults.as_ref(),
            plans: self.plans.iter().filter(|plan| self.hosts(&plan.name)).collect(),
        }
    }

    fn hosts(&self, module: &str) -> bool {
        self.process.modules.iter().any(|hosted| hosted == module)
    }

    async fn open_stores(&mut self) -> Result<(), StartError> {
        let stores = Stores::read(&self.app.name, &self.settings)?;
        if stores.owner().is_some() {
            tracing::warn!(
                "store.owner_url is set: only `migrate` needs it, and a process that runs should not have it"
            );
        }
        let mut opened = Vec::new();
        for plan in self.plans.iter().filter(|plan| plan.uses_store && self.hosts(&plan.name)) {
            let store = stores.open(plan).await?;
            stores.create_tenants(&store).await?;
            opened.push((Arc::clone(&plan.name), store));
        }
        self.stores = opened;
        Ok(())
    }

    fn mount(&mut self) {
        let mut mounts = BTreeMap::new();
        for plan in self.plans.iter().filter(|plan| self.hosts(&plan.name)) {
            let home = self.surroundings.home(&plan.name);
            let honours_keys = plan.uses_store && !defects::broken("keys are ignored");
            let gate: Option<Arc<dyn KeyGate>> = honours_keys.then(|| plan.store.gate());
            for served in &plan.served {
                let mount = served.mount(Arc::clone(&home), gate.clone());
                self.policies.add_served(Arc::clone(mount.dispatch()));
                mounts.insert(served.contract().name, mount);
            }
        }
        self.mounts = mounts;
    }

    async fn open_port(&self) -> Result<(InternalServer, ProcessIdentity), StartError> {
        let settings = self.settings.section::<AppSettings>("app")?;
        let part = || format!("the port of process `{}` for other processes", self.process.name);
        let authority =
            DevAuthority::open(settings.certificates()).map_err(|error| StartError::part(part(), error))?;
        let mut modules = self.process.modules.clone();
        if self.process.name == MAIN {
            modules.push(GATEWAY.to_owned());
        }
        let identity = authority
            .issue(&self.app.name, &self.process.name, &modules)
            .map_err(|error| StartError::part(part(), error))?;
        let address = self.process.listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0)));
        let server = InternalServer::bind(address, &identity)
            .await
            .map_err(|error| StartError::part(part(), error))?;
        Ok((server.grace(settings.grace()), identity))
    }

    /// Where other processes reach this one.
    pub(crate) fn internal_address(&self) -> Option<SocketAddr> {
        self.internal.as_ref().map(|(server, _)| server.local_addr())
    }

    /// Binds every edge and serves; `addresses` says where the other processes are.
    pub(crate) async fn start(
        mut self,
        addresses: &BTreeMap<String, SocketAddr>,
        listen: Listen,
    ) -> Result<Running, StartError> {
        let outside = self.outside_channels();
        let mut remotes = Remotes::new(&self, addresses);
        let (metrics, targets) = self.bind_edges(&outside, &mut remotes)?;
        let (stopper, stopping) = watch::channel(false);
        let eventing = self.eventing.take().expect("prepared before");
        let relays = eventing.relays(&self.parts(), &mut remotes)?;
        let subscriptions = eventing.subscriptions(&self.parts());
        let tasks = self.take_tasks();
        tasks.start(&stopping).await?;
        let mut running = Running::new(self.process.name.clone(), stopper, self.surroundings.home(GATEWAY));
        running.drain = self.settings.section::<AppSettings>("app")?.drain();
        running.clock = self.surroundings.manual.clone();
        running.faults.clone_from(&self.faults);
        running.edges = metrics;
        running.policies = Some(Arc::clone(&self.policies));
        running.targets = targets;
        running.internal = self.serve_internal(eventing.mount.as_ref(), stopping.clone(), running.drain);
        running.remotes = remotes.into_made();
        running.stores = self.stores.clone();
        running.relays = relays;
        running.consumers.clone_from(&eventing.consumers);
        running.subscriptions = subscriptions;
        running.admin = Some(self.open_admin(&running, stopping.clone())?);
        if self.process.name == MAIN {
            let checks = self.checks(&running);
            let routes = self.take_routes();
            let entrance = Entrance::build(&self.app, &self.settings, routes, &outside, checks, &running)?;
            running.open_entrance(entrance, listen, stopping.clone()).await?;
        }
        running.tasks = tasks.go_on(&stopping);
        running.tasks.extend(eventing.go_on(&running.relays, &running.subscriptions, &stopping)?);
        Ok(running)
    }

    /// A channel of the gateway for every contract.
    fn outside_channels(&self) -> Vec<Arc<dyn AnyChannel>> {
        self.plans
            .iter()
            .flat_map(|plan| &plan.served)
            .map(|served| served.outside_channel(GATEWAY))
            .collect()
    }

    fn bind_edges(
        &self,
        outside: &[Arc<dyn AnyChannel>],
        remotes: &mut Remotes,
    ) -> Result<Bound, StartError> {
        let inside = self.plans.iter().filter(|plan| self.hosts(&plan.name)).flat_map(|plan| &plan.clients);
        let outside = outside.iter().filter(|_| self.process.name == MAIN);
        let runner = self.settings.section::<CallSettings>("calls")?.runner;
        let (mut metrics, mut targets) = (Vec::new(), BTreeMap::new());
        for channel in inside.chain(outside) {
            let contract = channel.contract().name;
            let (faults, from) = (self.faults.as_ref(), &*channel.edge_metrics().from);
            let target = match self.mounts.get(contract) {
                Some(mount) => rehearsal::target_here(mount, runner, faults, from),
                None => {
                    let remote = remotes.way_to_server_of(contract)?;
                    let to = remote.module().to_owned();
                    rehearsal::target_elsewhere(remote, faults, from, &to)
                }
            };
            targets.insert(contract, target.clone());
            channel.bind_to(target).map_err(|error| StartError::part("an edge", error.message()))?;
            self.policies.add_channel(Arc::clone(channel));
            metrics.push(Arc::clone(channel.edge_metrics()));
        }
        Ok((metrics, targets))
    }

    /// Opens the admin socket and serves the hosted modules' stores on it.
    fn open_admin(
        &self,
        running: &Running,
        stopping: watch::Receiver<bool>,
    ) -> Result<(admin::Socket, JoinHandle<()>), StartError> {
        let data = self.settings.section::<AppSettings>("app")?.data;
        let mut socket = admin::Socket::bind(&data, &self.process.name)?;
        let listener = socket.take_listener().expect("a socket that was just bound has its listener");
        let about = admin::About {
            application: self.app.name.to_string(),
            process: self.process.name.clone(),
            pid: std::process::id(),
            place: Stores::read(&self.app.name, &self.settings)?.place().shown(),
            modules: self.stores.iter().map(|(module, _)| module.to_string()).collect(),
        };
        let events = ModuleEvents::of_process(running, &self.settings, &self.surroundings, &self.graph)?;
        let (stores, home) = (self.stores.clone(), Arc::clone(running.home()));
        let policies = Arc::clone(&self.policies);
        let serving =
            admin::serve(listener, admin::Admin { about, stores, events, home, policies }, stopping);
        Ok((socket, serving))
    }

    fn serve_internal(
        &mut self,
        deliveries: Option<&Mount>,
        mut stopping: watch::Receiver<bool>,
        drain: Duration,
    ) -> Option<JoinHandle<()>> {
        let (server, _) = self.internal.take()?;
        let declared = self.graph.edges.iter().map(|edge| (&*edge.from, edge.contract));
        let declared =
            declared.chain(self.graph.subscriptions.iter().map(|s| (&*s.from, delivery::contract())));
        let edges: EdgeSet =
            declared.chain(self.mounts.keys().map(|contract| (GATEWAY, *contract))).collect();
        let mounts = self.mounts.values().chain(deliveries);
        let services = mounts.map(|mount| Arc::clone(mount.dispatch())).collect();
        let stop = async move {
            // An error means that nobody is left to say so.
            let _ = stopping.wait_for(|stopping| *stopping).await;
        };
        Some(tokio::spawn(async move {
            let drained = server.serve(services, edges, stop, drain).await;
            if drained.cut > 0 {
                tracing::warn!(
                    connections = drained.cut,
                    "calls of other processes were cut off at the end of the drain time"
                );
            }
        }))
    }

    /// One readiness check for every store and every module in another process.
    fn checks(&self, running: &Running) -> Vec<(String, Check)> {
        let stores = self.stores.iter().map(|(module, store)| {
            let store = store.clone();
            let check: Check = Arc::new(move || {
                let store = store.clone();
                Box::pin(async move { store.health().await })
            });
            (format!("store {module}"), check)
        });
        let remotes = running.remotes.iter().map(|(remote, contract)| {
            let (remote, contract) = (Arc::clone(remote), *contract);
            let name = format!("module {}", remote.module());
            let check: Check = Arc::new(move || {
                let remote = Arc::clone(&remote);
                Box::pin(async move { remote.check(contract, CHECK_TIMEOUT).await })
            });
            (name, check)
        });
        stores.chain(remotes).collect()
    }

    /// The routes of the hosted modules; those of other processes have no gateway to be mounted in.
    fn take_routes(&mut self) -> Vec<Router> {
        let hosted = &self.process.modules;
        let plans = self.plans.iter_mut().filter(|plan| hosted.iter().any(|name| **name == *plan.name));
        plans.map(|plan| std::mem::take(&mut plan.routes)).collect()
    }

    fn take_tasks(&mut self) -> Tasks {
        let mut tasks = Tasks::default();
        let hosted = self.process.modules.clone();
        for plan in self.plans.iter_mut().filter(|plan| hosted.iter().any(|name| **name == *plan.name)) {
            tasks.add(&self.surroundings.home(&plan.name), plan);
        }
        tasks
    }
}

/// The counters of the bound edges, and what each contract is bound to.
type Bound = (Vec<Arc<EdgeMetrics>>, BTreeMap<&'static str, Target>);

/// Whether the gateway opens its port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Listen {
    /// On the address of the settings.
    AsSet,
    /// Not at all: somebody else serves its router.
    No,
}

/// Starts the whole application without a port.
pub(crate) async fn start_embedded(app: &App, settings: Settings) -> Result<Running, StartError> {
    let topology = Topology::whole(&app.module_names());
    Host::prepare(app, settings, &topology, MAIN).await?.start(&BTreeMap::new(), Listen::No).await
}

/// Starts every process of the topology inside this one.
pub(crate) async fn start_topology(app: &App, settings: &Settings) -> Result<Vec<Running>, StartError> {
    let topology = Topology::read(settings, &app.module_names())?;
    let (mut hosts, mut addresses) = (Vec::new(), BTreeMap::new());
    for process in &topology.processes {
        let host = Host::prepare(app, settings.clone(), &topology, &process.name).await?;
        addresses.extend(host.internal_address().map(|address| (process.name.clone(), address)));
        hosts.push(host);
    }
    let mut running = Vec::new();
    for host in hosts {
        running.push(host.start(&addresses, Listen::No).await?);
    }
    Ok(running)
}
