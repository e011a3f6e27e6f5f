//! `Module` and `Wire`: what a module is made of, declared before anything runs.

use std::any::Any;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::Future;
use std::sync::Arc;

use axum::Router;
use drystone_call::{
    AnyChannel, Channel, ContractClient, DEFAULT_TIMEOUT, Event, Home, Principal, Result, Served,
    ServiceDef as _, TenantId,
};
use drystone_events::{Handler, HandlerWith, Handlers};
use drystone_store::{Migrations, Store};
use futures_util::future::BoxFuture;
use secrecy::SecretString;
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use crate::settings::Settings;
use crate::{StartError, secrets};

/// One bounded context: contract, code, store, migrations.
///
/// A module is declared, not started: its wiring runs in every process of the application, also in those that do not host it,
/// so that the whole graph is known before anything runs. Wiring therefore does no I/O.
#[derive(Clone)]
pub struct Module {
    name: Arc<str>,
    migrations: Migrations,
    wire: Arc<dyn Fn(&mut Wire<'_>) + Send + Sync>,
}

impl Module {
    /// A module of this name, which is also the name of its database: 1 to 40 characters of `a-z`, `0-9` and `_`, beginning
    /// with a letter.
    ///
    /// # Panics
    /// If the name is not one.
    #[must_use]
    #[track_caller]
    pub fn new(name: &str) -> Self {
        let known = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        assert!(
            known && name.len() <= 40 && name.starts_with(|c: char| c.is_ascii_lowercase()),
            "{name:?} is not a module's name: use 1 to 40 characters of a-z, 0-9 and _, beginning with a letter"
        );
        Self { name: name.into(), migrations: Migrations::NONE, wire: Arc::new(|_| {}) }
    }

    /// The migrations of the module's store.
    #[must_use]
    pub fn migrations(mut self, migrations: Migrations) -> Self {
        self.migrations = migrations;
        self
    }

    /// Declares what the module serves and what it needs.
    #[must_use]
    pub fn wire(mut self, wire: impl Fn(&mut Wire<'_>) + Send + Sync + 'static) -> Self {
        self.wire = Arc::new(wire);
        self
    }

    /// The module's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs the wiring.
    pub(crate) fn plan(&self, settings: &Settings) -> Result<ModulePlan, StartError> {
        let mut wire = Wire {
            settings,
            problems: RefCell::default(),
            channels: RefCell::default(),
            name: Arc::clone(&self.name),
            plan: RefCell::new(ModulePlan {
                name: Arc::clone(&self.name),
                migrations: self.migrations,
                store: Store::unopened(&self.name),
                uses_store: false,
                served: Vec::new(),
                clients: Vec::new(),
                routes: Router::new(),
                at_start: Vec::new(),
                background: Vec::new(),
                publishes: BTreeSet::new(),
                consumers: BTreeMap::new(),
                outside: BTreeSet::new(),
            }),
        };
        (self.wire)(&mut wire);
        match wire.problems.into_inner().into_iter().next() {
            Some(problem) => Err(problem),
            None => Ok(wire.plan.into_inner()),
        }
    }
}

impl fmt::Debug for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Module").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A task of a module before its process is ready; it can be run again.
pub(crate) struct StartTask {
    pub(crate) name: &'static str,
    pub(crate) run: Box<dyn Fn(Background) -> BoxFuture<'static, Result<()>> + Send + Sync>,
}

/// A task of a module outside any call.
pub(crate) struct Task {
    pub(crate) name: &'static str,
    pub(crate) run: Box<dyn FnOnce(Background) -> BoxFuture<'static, Result<()>> + Send + Sync>,
}

/// A module after its wiring ran.
pub(crate) struct ModulePlan {
    pub(crate) name: Arc<str>,
    pub(crate) migrations: Migrations,
    pub(crate) store: Store,
    pub(crate) uses_store: bool,
    pub(crate) served: Vec<Served>,
    pub(crate) clients: Vec<Arc<dyn AnyChannel>>,
    pub(crate) routes: Router,
    pub(crate) at_start: Vec<StartTask>,
    pub(crate) background: Vec<Task>,
    /// The types of event that the module publishes.
    pub(crate) publishes: BTreeSet<&'static str>,
    /// Its consumers by name.
    pub(crate) consumers: BTreeMap<String, Handlers>,
    /// What they take from producers outside: consumer and type.
    pub(crate) outside: BTreeSet<(String, &'static str)>,
}

impl ModulePlan {
    /// The types that a consumer takes from producers outside.
    pub(crate) fn outside_types<'p>(&'p self, consumer: &'p str) -> impl Iterator<Item = &'static str> + 'p {
        self.outside.iter().filter(move |(name, _)| name == consumer).map(|(_, event)| *event)
    }
}

/// Declares what one module serves and needs.
///
/// Its methods take `&self`, so that one declaration can stand in the argument of another.
pub struct Wire<'a> {
    settings: &'a Settings,
    name: Arc<str>,
    problems: RefCell<Vec<StartError>>,
    channels: RefCell<BTreeMap<&'static str, Box<dyn Any>>>,
    plan: RefCell<ModulePlan>,
}

impl Wire<'_> {
    /// A client of another module's contract; declares the edge from this module to it.
    pub fn client<C: ContractClient>(&self) -> C {
        let contract = C::Service::contract().name;
        // One channel an edge, however many clients the module asks for.
        let known = self
            .channels
            .borrow()
            .get(contract)
            .and_then(|any| any.downcast_ref::<Channel<C::Service>>())
            .cloned();
        let channel = known.unwrap_or_else(|| {
            let channel = Channel::<C::Service>::unbound(Some(&self.name), &self.name);
            self.plan.borrow_mut().clients.push(Arc::new(channel.clone()));
            self.channels.borrow_mut().insert(contract, Box::new(channel.clone()));
            channel
        });
        C::from_channel(channel)
    }

    /// Serves a contract.
    pub fn serve(&self, served: Served) {
        self.plan.borrow_mut().served.push(served);
    }

    /// The module's store, in which every transaction is one tenant's.
    pub fn store(&self) -> Store {
        let mut plan = self.plan.borrow_mut();
        plan.uses_store = true;
        plan.store.clone()
    }

    /// The module's data of no tenant.
    pub fn shared_store(&self) -> Store {
        let mut plan = self.plan.borrow_mut();
        plan.uses_store = true;
        plan.store.shared()
    }

    /// Says that the module publishes events of type `E`: [`drystone_events::Publish`] takes no others.
    pub fn publishes<E: Event>(&self) {
        let mut plan = self.plan.borrow_mut();
        plan.uses_store = true;
        plan.publishes.insert(E::TYPE);
    }

    /// Handles events of type `E`, whichever module publishes them: `handler` is an `async fn(&mut Tx<'_>, E) -> Result<()>`.
    ///
    /// It runs once for each event in effect, in a transaction of the module's store that it shares with the inbox. All handlers of a module see the events of one
    /// key in the order of publishing; one that fails is tried again, and holds back its key alone.
    pub fn handle<E: Event>(&self, handler: impl Handler<E>) {
        self.add_handler(&self.name.clone(), E::TYPE, |handlers| handlers.add::<E>(handler));
    }

    /// As [`Wire::handle`], for a handler with state: an `async fn(&S, &mut Tx<'_>, E) -> Result<()>`.
    pub fn handle_with<E: Event, S: Send + Sync + 'static>(&self, state: S, handler: impl HandlerWith<S, E>) {
        self.add_handler(&self.name.clone(), E::TYPE, |handlers| handlers.add_with::<E, S>(state, handler));
    }

    /// As [`Wire::handle`], for events that no module publishes: producers outside the application send them to its broker, as CloudEvents whose `type` is
    /// that of `E`. Needs `events.broker`.
    pub fn handle_outside<E: Event>(&self, handler: impl Handler<E>) {
        let name = self.name.to_string();
        self.add_handler(&name, E::TYPE, |handlers| handlers.add::<E>(handler));
        self.plan.borrow_mut().outside.insert((name, E::TYPE));
    }

    /// Another consumer of the module beside the one that [`Wire::handle`] adds to: with a position, a retry schedule and held messages of its own, so
    /// that one does not wait for the other. Its name is `<module>.<name>`.
    pub fn consumer(&self, name: &str) -> WireConsumer<'_, '_> {
        WireConsumer { wire: self, name: format!("{}.{name}", self.name) }
    }

    fn add_handler(&self, consumer: &str, event: &str, add: impl FnOnce(&mut Handlers) -> bool) {
        let mut plan = self.plan.borrow_mut();
        plan.uses_store = true;
        let is_first = add(plan.consumers.entry(consumer.to_owned()).or_default());
        if !is_first {
            let problem = format!(
                "`{consumer}` handles {event} twice: let one handler do both, or give the other a consumer of its own with `w.consumer(\"..\")`"
            );
            self.problems.borrow_mut().push(StartError::Wiring { module: self.name.to_string(), problem });
        }
    }

    /// The module's settings: the section `[modules.<name>]`.
    ///
    /// Settings that do not fit keep the application from starting; wiring goes on with the defaults until then.
    pub fn config<T: DeserializeOwned + Default>(&self) -> T {
        self.settings.section(&format!("modules.{}", self.name)).unwrap_or_else(|problem| {
            self.problems.borrow_mut().push(problem);
            T::default()
        })
    }

    /// A secret, from the variable `DRYSTONE_SECRET__<MODULE>__<NAME>` or from the file that
    /// `DRYSTONE_SECRET__<MODULE>__<NAME>_FILE` names. A missing secret keeps the application from starting.
    pub fn secret(&self, name: &str) -> SecretString {
        let found = secrets::find(&self.name, name).and_then(|found| {
            let variable = secrets::variable(&self.name, name);
            found.ok_or_else(|| format!("set {variable}, or {variable}_FILE to a file that holds it"))
        });
        found.unwrap_or_else(|problem| {
            let problem = format!("the secret `{name}` is missing: {problem}");
            self.problems.borrow_mut().push(StartError::Wiring { module: self.name.to_string(), problem });
            SecretString::default()
        })
    }

    /// Work to be done before the module's process is ready, such as sowing first data. Runs at every start.
    ///
    /// Runs again, a few times at most, when it ends `ABORTED`: two processes that sow the same data at once meet in the database.
    pub fn at_start<F, Fut>(&self, name: &'static str, run: F)
    where
        F: FnOnce(Background) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<()>> + Send + 'static,
    {
        let run = Box::new(move |background| Box::pin(run.clone()(background)) as BoxFuture<'static, _>);
        self.plan.borrow_mut().at_start.push(StartTask { name, run });
    }

    /// Work that goes on beside the calls until the process stops.
    pub fn background<F, Fut>(&self, name: &'static str, run: F)
    where
        F: FnOnce(Background) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<()>> + Send + 'static,
    {
        self.plan
            .borrow_mut()
            .background
            .push(Task { name, run: Box::new(move |background| Box::pin(run(background))) });
    }

    /// HTTP routes beside the contracts, mounted in the gateway when it runs in the module's process.
    pub fn routes(&self, routes: Router) {
        let mut plan = self.plan.borrow_mut();
        plan.routes = std::mem::take(&mut plan.routes).merge(routes);
    }
}

/// Declares what another consumer of a module handles.
pub struct WireConsumer<'w, 's> {
    wire: &'w Wire<'s>,
    name: String,
}

impl WireConsumer<'_, '_> {
    /// As [`Wire::handle`].
    pub fn handle<E: Event>(&self, handler: impl Handler<E>) -> &Self {
        self.wire.add_handler(&self.name, E::TYPE, |handlers| handlers.add::<E>(handler));
        self
    }

    /// As [`Wire::handle_with`].
    pub fn handle_with<E: Event, S: Send + Sync + 'static>(
        &self,
        state: S,
        handler: impl HandlerWith<S, E>,
    ) -> &Self {
        self.wire.add_handler(&self.name, E::TYPE, |handlers| handlers.add_with::<E, S>(state, handler));
        self
    }
}

/// The surroundings of a task outside any call.
#[derive(Clone, Debug)]
pub struct Background {
    home: Arc<Home>,
    stopping: watch::Receiver<bool>,
}

impl Background {
    pub(crate) fn new(home: Arc<Home>, stopping: watch::Receiver<bool>) -> Self {
        Self { home, stopping }
    }

    /// A context for work on one tenant's data, acting as the module itself.
    ///
    /// # Errors
    /// `TENANT_MALFORMED` if the name is not one.
    pub fn context(&self, tenant: &str) -> Result<drystone_call::Context> {
        let principal = Principal::new(&format!("module:{}", self.home.module()))?;
        let minted = drystone_call::Context::mint(Arc::clone(&self.home), TenantId::new(tenant)?, principal);
        // As inside a call: the keys of calls made with it are derived, so that they are safe to repeat.
        Ok(minted.detach(DEFAULT_TIMEOUT))
    }

    /// Completes when the process begins to stop.
    pub async fn stopping(&mut self) {
        // An error means that the process is gone already.
        let _ = self.stopping.wait_for(|stopping| *stopping).await;
    }
}
