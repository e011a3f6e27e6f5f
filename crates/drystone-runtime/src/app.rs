//! `App`: the modules of an application, and the binary that is its own tool.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use crate::cli;
use crate::commands::migrate::Migrate;
use crate::entrance::GatewaySettings;
use crate::eventing::EventSettings;
use crate::graph::{Graph, GraphSettings};
use crate::module::{Module, ModulePlan};
use crate::policies::{Known, Policies};
use crate::rehearsal::RehearsalSettings;
use crate::rehearse::AnyRehearsal;
use crate::settings::Settings;
use crate::stores::Stores;
use crate::surroundings::CallSettings;
use crate::{Running, StartError};

/// The first-level sections that the platform reads.
const SECTIONS: [&str; 12] = [
    "app",
    "calls",
    "determinism",
    "events",
    "gateway",
    "graph",
    "modules",
    "processes",
    "rehearsal",
    "serving",
    "store",
    "tenants",
];

/// Settings that every application begins with.
const DEFAULTS: &str = include_str!("defaults.toml");

/// An application: a name and its modules.
///
/// ```no_run
/// use drystone_runtime::{App, Module};
///
/// fn main() -> std::process::ExitCode {
///     App::new("shop").module(Module::new("orders")).run()
/// }
/// ```
#[derive(Clone, Debug)]
pub struct App {
    pub(crate) name: Arc<str>,
    pub(crate) version: String,
    pub(crate) modules: Vec<Module>,
    pub(crate) settings: Vec<(Option<String>, String)>,
    pub(crate) hints: Vec<String>,
    /// Settings of the command line, by the name of the argument; they override all others.
    pub(crate) arguments: Vec<(&'static str, String)>,
    pub(crate) rehearsal: Option<Arc<dyn AnyRehearsal>>,
    /// What a rehearsal does without, to see that it is noticed.
    #[cfg(feature = "defects")]
    pub(crate) defect: &'static str,
}

impl App {
    /// An application of this name, without modules.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            modules: Vec::new(),
            settings: Vec::new(),
            hints: Vec::new(),
            arguments: Vec::new(),
            rehearsal: None,
            #[cfg(feature = "defects")]
            defect: "",
        }
    }

    /// The version that the OpenAPI document shows.
    #[must_use]
    pub fn version(mut self, version: &str) -> Self {
        version.clone_into(&mut self.version);
        self
    }

    /// Adds a module.
    #[must_use]
    pub fn module(mut self, module: Module) -> Self {
        self.modules.push(module);
        self
    }

    /// Settings built into the application, as TOML; files and the environment override them.
    #[must_use]
    pub fn settings(mut self, toml: &str) -> Self {
        self.settings.push((None, toml.to_owned()));
        self
    }

    /// A line printed once the application is ready; `{gateway}` in it becomes the gateway's address.
    #[must_use]
    pub fn hint(mut self, line: &str) -> Self {
        self.hints.push(line.to_owned());
        self
    }

    /// Runs the command line: `run` (the default), `up`, `migrate`, `tenants`, `events`, `db`, `policy`, `rehearse`, `graph`, `routes`, `config`.
    ///
    /// Returns when the application has stopped; a failure to start is printed to standard error.
    #[must_use]
    pub fn run(self) -> ExitCode {
        cli::run(self)
    }

    /// Starts the whole application in this process without opening a port, to be mounted in a server that exists already:
    /// [`Running::router`] is an axum router, [`Running::service`] a tower service. The caller stops it with [`Running::stop`].
    ///
    /// # Errors
    /// Whatever keeps the application from starting.
    pub async fn start(self) -> Result<Running, StartError> {
        let settings = self.load(&[])?;
        crate::host::start_embedded(&self, settings).await
    }

    /// Starts every process of the topology inside this one, each with its own stores, port and certificate, `main` first; for
    /// tests that want the whole application taken apart without leaving the test.
    ///
    /// The gateway opens no port: [`Running::router`] of `main` is the way in. Stop the processes in the order given.
    ///
    /// # Errors
    /// Whatever keeps a process from starting.
    pub async fn start_topology(self) -> Result<Vec<Running>, StartError> {
        let settings = self.load(&[])?;
        crate::host::start_topology(&self, &settings).await
    }

    /// Brings the stores of all modules to this version; on PostgreSQL as the owner, with `store.owner_url`.
    ///
    /// The settings are those of [`App::start`]: built in and environment.
    ///
    /// # Errors
    /// If a migration is refused or fails, or if a store cannot be reached.
    pub async fn migrate(&self) -> Result<(), StartError> {
        let settings = self.load(&[])?;
        crate::commands::migrate::run(self, &settings, Migrate::default()).await.map(drop)
    }

    /// The effective settings: built in, files, environment.
    pub(crate) fn load(&self, files: &[PathBuf]) -> Result<Settings, StartError> {
        let mut settings = self.load_built_in()?;
        for file in files {
            settings.layer_file(file)?;
        }
        settings.layer_environment(std::env::vars());
        for (name, text) in &self.arguments {
            settings.layer(text, Some(name))?;
        }
        settings.check_sections(&SECTIONS)?;
        check_kept(&settings)?;
        check_values(&self.name, &settings)?;
        for name in settings.names_below("modules") {
            if !self.modules.iter().any(|module| module.name() == name) {
                return Err(StartError::Settings {
                    place: "settings".to_owned(),
                    problem: format!("[modules.{name}] is for a module that the application does not have"),
                });
            }
        }
        Ok(settings)
    }

    /// The settings of a rehearsal, which neither files nor the environment change.
    pub(crate) fn load_rehearsed(&self) -> Result<Settings, StartError> {
        let settings = self.load_built_in()?;
        settings.check_sections(&SECTIONS)?;
        check_values(&self.name, &settings)?;
        Ok(settings)
    }

    /// The settings without files and environment.
    pub(crate) fn load_built_in(&self) -> Result<Settings, StartError> {
        let mut settings = Settings::default();
        settings.layer(DEFAULTS, None)?;
        for (name, text) in &self.settings {
            settings.layer(text, name.as_deref())?;
        }
        Ok(settings)
    }

    /// Runs every module's wiring and checks the graph.
    pub(crate) fn plan(&self, settings: &Settings) -> Result<(Vec<ModulePlan>, Graph), StartError> {
        let plans = self.modules.iter().map(|module| module.plan(settings)).collect::<Result<Vec<_>, _>>()?;
        let partial = EventSettings::read(settings)?.partial;
        let graph = Graph::of(&plans, &settings.section::<GraphSettings>("graph")?, partial)?;
        Policies::read(settings, &Known::of(&plans, &graph))?;
        Ok((plans, graph))
    }

    /// The names of the modules.
    #[must_use]
    pub fn module_names(&self) -> Vec<String> {
        self.modules.iter().map(|module| module.name().to_owned()).collect()
    }
}

/// Refuses the one setting under which what is acknowledged may be lost: only a rehearsal, whose files go with it, may set it.
fn check_kept(settings: &Settings) -> Result<(), StartError> {
    const COMMITS: &str = "commits";
    if settings.names_below("store").iter().any(|name| name == COMMITS) {
        return Err(StartError::Settings {
            place: settings.places("store.commits"),
            problem:
                "`store.commits` is for rehearsals alone, since nothing would survive a crash; leave it out"
                    .to_owned(),
        });
    }
    Ok(())
}

/// Reads every section of the platform, so that a value that does not fit is known before anything is opened.
fn check_values(app: &Arc<str>, settings: &Settings) -> Result<(), StartError> {
    settings.section::<CallSettings>("calls")?;
    RehearsalSettings::read(settings)?;
    settings.section::<GraphSettings>("graph")?;
    EventSettings::read(settings)?;
    GatewaySettings::read(settings)?;
    Stores::read(app, settings).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_rehearsal_may_commit_without_a_sync() {
        let app = App::new("test").settings("[store]\ncommits = \"in place\"\n");
        let refused = app.load(&[]).unwrap_err().to_string();
        assert!(refused.contains("`store.commits` is for rehearsals alone"), "{refused}");
        app.load_rehearsed().unwrap();
        App::new("test").load(&[]).unwrap();
    }
}
