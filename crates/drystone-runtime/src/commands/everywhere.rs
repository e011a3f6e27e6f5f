//! All modules of an application that have a store, and where each is reached.

use std::sync::Arc;
use std::time::SystemTime;

use drystone_call::{Error, TenantId};
use drystone_store::TenantState;

use super::reach::Reach;
use crate::admin::{Peer, TenantLine, peers};
use crate::module::ModulePlan;
use crate::settings::Settings;
use crate::stores::{Place, Stores, whole};
use crate::surroundings::AppSettings;
use crate::{App, StartError};

/// One module.
pub(super) struct Part {
    pub(super) module: Arc<str>,
    pub(super) reach: Reach,
}

/// All modules of an application that have a store, callers before those they call.
pub(super) struct Everywhere {
    pub(super) app: Arc<str>,
    /// Where the stores are, without any password.
    pub(super) place: String,
    pub(super) parts: Vec<Part>,
    stores: Stores,
    plans: Arc<Vec<ModulePlan>>,
}

impl Everywhere {
    /// Reaches the stores where the settings say that they are.
    ///
    /// # Errors
    /// If a store is neither in a process that answers nor can be opened.
    pub(super) async fn open(app: &App, settings: &Settings) -> Result<Self, StartError> {
        let stores = Stores::read(&app.name, settings)?;
        let plans = Arc::new(plans_in_order(app, settings)?);
        let place = stores.place().clone();
        let running = running(settings, &place).await?;
        // A database is there for many: nobody has to be asked.
        let owners = if matches!(place, Place::Sqlite(_)) { running } else { Vec::new() };
        Self::reach(stores, plans, &place, &owners).await
    }

    /// Opens the stores at another place.
    ///
    /// # Errors
    /// If one cannot be opened, for example because it was not migrated.
    pub(super) async fn elsewhere(&self, url: &str) -> Result<Self, StartError> {
        let place = Place::read(url, std::path::PathBuf::new())
            .map_err(|problem| StartError::command("--to", format!("the URL {problem}")))?;
        if place.shown() == self.place {
            return Err(StartError::command("--to", "that is where the data is already"));
        }
        Self::reach(self.stores.clone(), Arc::clone(&self.plans), &place, &[]).await
    }

    async fn reach(
        stores: Stores,
        plans: Arc<Vec<ModulePlan>>,
        place: &Place,
        owners: &[Peer],
    ) -> Result<Self, StartError> {
        let mut all = Self { app: stores.app(), place: place.shown(), parts: Vec::new(), stores, plans };
        for plan in all.plans.iter() {
            let owner = owners.iter().find(|peer| peer.about().modules.iter().any(|m| **m == *plan.name));
            let reach = match owner {
                Some(peer) => Reach::Process { peer: peer.clone(), module: plan.name.to_string() },
                None => match all.stores.open_at(place, plan).await {
                    Ok(store) => Reach::Own(store),
                    Err(error) => {
                        all.close().await;
                        return Err(error);
                    }
                },
            };
            all.parts.push(Part { module: Arc::clone(&plan.name), reach });
        }
        Ok(all)
    }

    /// The tenants of every module, in the order of the modules.
    pub(super) async fn tenants(&self) -> Result<Vec<Vec<TenantLine>>, StartError> {
        let mut all = Vec::new();
        for part in &self.parts {
            all.push(part.reach.tenants().await.map_err(|error| failed("tenants", &part.module, &error))?);
        }
        Ok(all)
    }

    /// The state of one tenant in every module; `None` where it is not there.
    pub(super) async fn states(
        &self,
        tenant: &TenantId,
    ) -> Result<Vec<(&Part, Option<TenantState>)>, StartError> {
        let tenants = self.tenants().await?;
        let state = |lines: Vec<TenantLine>| {
            lines.iter().find(|line| line.name == tenant.as_str()).map(|line| line.state)
        };
        Ok(self.parts.iter().zip(tenants.into_iter().map(state)).collect())
    }

    /// As [`Everywhere::states`], of a tenant that is there in some module.
    ///
    /// # Errors
    /// If it is in none.
    pub(super) async fn known(
        &self,
        command: &str,
        tenant: &TenantId,
    ) -> Result<Vec<(&Part, Option<TenantState>)>, StartError> {
        let states = self.states(tenant).await?;
        if states.iter().all(|(_, state)| state.is_none()) {
            let problem = format!(
                "there is no tenant {tenant}; `{0} tenants list` shows them, `{0} tenants create {tenant}` creates it",
                self.app
            );
            return Err(StartError::command(format!("tenants {command} {tenant}"), problem));
        }
        Ok(states)
    }

    /// The processes that own the files of some module.
    pub(super) fn processes(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for part in &self.parts {
            if let Reach::Process { peer, .. } = &part.reach {
                let name = format!("{} (pid {})", peer.about().process, peer.about().pid);
                if !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        names
    }

    /// What the clock of the application says.
    pub(super) fn now(&self) -> SystemTime {
        self.stores.now()
    }

    /// The names of the modules, parted by commas.
    pub(super) fn modules(&self) -> String {
        self.parts.iter().map(|part| &*part.module).collect::<Vec<_>>().join(", ")
    }

    /// Lets go of what the command opened.
    pub(super) async fn close(&self) {
        for part in &self.parts {
            part.reach.close().await;
        }
    }
}

/// The modules that have a store, callers before those they call.
pub(super) fn plans_in_order(app: &App, settings: &Settings) -> Result<Vec<ModulePlan>, StartError> {
    let (mut plans, graph) = app.plan(settings)?;
    plans.retain(|plan| plan.uses_store);
    let order = graph.callers_first();
    plans.sort_by_key(|plan| order.iter().position(|name| *name == plan.name));
    Ok(plans)
}

/// The processes that run on these stores.
pub(super) async fn running(settings: &Settings, place: &Place) -> Result<Vec<Peer>, StartError> {
    let data = settings.section::<AppSettings>("app")?.data;
    let mut found = peers(&data)
        .await
        .map_err(|error| StartError::command("asking the processes that run", whole(&error)))?;
    let place = place.shown();
    found.retain(|peer| peer.about().place == place);
    Ok(found)
}

/// The error of a command in one module.
pub(super) fn failed(command: &str, module: &str, error: &Error) -> StartError {
    StartError::command(command, format!("module `{module}`: {}", whole(error)))
}
