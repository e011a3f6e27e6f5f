//! The modules of an application, each with where its events are reached and how its consumers read them.

use std::collections::BTreeMap;
use std::sync::Arc;

use drystone_call::Result;
use drystone_events::Handlers;
use drystone_events::operate::{Done, Held, HeldFilter, HeldId, HeldKey, Redrive, Redriven, Replay, Wanted};
use uuid::Uuid;

use super::super::everywhere::{Everywhere, failed, running};
use super::super::reach::Reach;
use crate::admin::Peer;
use crate::eventing::EventSettings;
use crate::events_metrics::micros;
use crate::module_events::{Edit, EventsStatus, ModuleEvents};
use crate::settings::Settings;
use crate::stores::Stores;
use crate::surroundings::Surroundings;
use crate::{App, StartError};

/// One module.
pub(super) struct Site {
    pub(super) module: Arc<str>,
    /// Its consumers, each with what it handles.
    pub(super) consumers: BTreeMap<String, Handlers>,
    /// The pumps that carry what it publishes.
    pub(super) wanted: Vec<Wanted>,
    reach: EventsReach,
    /// The processes on this machine that host it.
    pub(super) hosts: Vec<Peer>,
}

/// Where a module's events are reached; each method does the same wherever that is.
enum EventsReach {
    /// In the store that the command has opened.
    Own(ModuleEvents),
    /// In the process that owns its files.
    Process(Peer),
}

/// All modules of an application that have a store.
pub(super) struct Sites {
    pub(super) app: Arc<str>,
    /// Where the stores are, without any password.
    pub(super) place: String,
    pub(super) all: Vec<Site>,
    /// What the application's clock says, in microseconds since 1970.
    pub(super) now: i64,
}

impl Sites {
    pub(super) async fn open(app: &App, settings: &Settings) -> std::result::Result<Self, StartError> {
        let everywhere = Everywhere::open(app, settings).await?;
        let (plans, graph) = app.plan(settings)?;
        let running = running(settings, Stores::read(&app.name, settings)?.place()).await?;
        let (surroundings, events) = (Surroundings::read(settings)?, EventSettings::read(settings)?);
        let mut sites = Self {
            app: Arc::clone(&everywhere.app),
            place: everywhere.place.clone(),
            all: Vec::new(),
            now: micros(&surroundings.home("commands")),
        };
        for part in &everywhere.parts {
            let wanted = events.pumps_of(&graph, &part.module);
            let plan = plans.iter().find(|plan| plan.name == part.module);
            let consumers = plan.map(|plan| plan.consumers.clone()).unwrap_or_default();
            let reach = match &part.reach {
                Reach::Process { peer, .. } => EventsReach::Process(peer.clone()),
                Reach::Own(store) => {
                    let (home, kept) = (surroundings.home(&part.module), events.retention());
                    EventsReach::Own(ModuleEvents::of_store(store.clone(), home, wanted.clone(), kept))
                }
            };
            let is_host = |peer: &&Peer| peer.about().modules.iter().any(|module| **module == *part.module);
            let hosts = running.iter().filter(is_host).cloned().collect();
            sites.all.push(Site { module: Arc::clone(&part.module), consumers, wanted, reach, hosts });
        }
        Ok(sites)
    }

    /// The site of a consumer.
    ///
    /// # Errors
    /// Names the consumers that there are.
    pub(super) fn of_consumer(
        &self,
        command: &str,
        consumer: &str,
    ) -> std::result::Result<&Site, StartError> {
        self.all.iter().find(|site| site.consumers.contains_key(consumer)).ok_or_else(|| {
            let known: Vec<&str> =
                self.all.iter().flat_map(|site| site.consumers.keys().map(String::as_str)).collect();
            let known = if known.is_empty() {
                "no module handles events".to_owned()
            } else {
                format!("there are {}", known.join(", "))
            };
            StartError::command(command, format!("there is no consumer `{consumer}`; {known}"))
        })
    }

    /// Lets go of what the command opened.
    pub(super) async fn close(&self) {
        for site in &self.all {
            if let EventsReach::Own(events) = &site.reach
                && let Err(error) = events.close().await
            {
                eprintln!("the store of module {} did not close well: {error}", site.module);
            }
        }
    }
}

impl Site {
    /// The outcome for a person.
    pub(super) fn or_failed<T>(
        &self,
        command: &str,
        outcome: Result<T>,
    ) -> std::result::Result<T, StartError> {
        outcome.map_err(|error| failed(command, &self.module, &error))
    }

    /// What is known, with what the processes that host the module have counted.
    pub(super) async fn status(&self, now: i64) -> Result<EventsStatus> {
        let mut status = match &self.reach {
            EventsReach::Own(events) => events.status(now).await?,
            EventsReach::Process(peer) => return peer.events(&self.module).await,
        };
        for host in &self.hosts {
            status.count(host.events(&self.module).await?);
        }
        Ok(status)
    }

    pub(super) async fn held(&self, filter: &HeldFilter) -> Result<Vec<HeldKey>> {
        match &self.reach {
            EventsReach::Own(events) => events.held(filter).await,
            EventsReach::Process(peer) => peer.held(&self.module, filter).await,
        }
    }

    pub(super) async fn message(&self, id: Uuid) -> Result<Vec<Held>> {
        match &self.reach {
            EventsReach::Own(events) => events.message(id).await,
            EventsReach::Process(peer) => peer.message(&self.module, id).await,
        }
    }

    pub(super) async fn edit(&self, what: Edit) -> Result<()> {
        match &self.reach {
            EventsReach::Own(events) => events.edit(what).await,
            EventsReach::Process(peer) => peer.edit(&self.module, &what).await,
        }
    }

    pub(super) async fn replay(&self, what: &Replay) -> Result<Done> {
        match &self.reach {
            EventsReach::Own(events) => events.replay(what).await,
            EventsReach::Process(peer) => peer.replay(&self.module, what).await,
        }
    }

    pub(super) async fn drop_message(&self, what: &HeldId) -> Result<()> {
        match &self.reach {
            EventsReach::Own(events) => events.drop_message(what).await,
            EventsReach::Process(peer) => peer.drop_message(&self.module, what).await,
        }
    }

    pub(super) async fn redrive(&self, what: &Redrive) -> Result<Vec<Redriven>> {
        match &self.reach {
            EventsReach::Own(events) => events.redrive(what).await,
            EventsReach::Process(peer) => peer.redrive(&self.module, what).await,
        }
    }
}
