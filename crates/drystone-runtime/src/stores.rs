//! The stores of modules: where each is, who logs in to it, and which tenants it has from the start.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use drystone_call::{Error, TenantId};
use drystone_store::{Location, Store, StoreConfig};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

use crate::module::ModulePlan;
use crate::settings::{Settings, masked};
use crate::surroundings::{AppSettings, Surroundings};
use crate::{StartError, secrets};

/// `[store]`.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoreSettings {
    url: String,
    owner_url: Option<String>,
    #[serde(default)]
    commits: Commits,
}

/// Where SQLite's commits happen.
#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
enum Commits {
    /// On a thread of the module's own, with an fsync.
    #[default]
    #[serde(rename = "on a thread")]
    OnThread,
    /// Where they come up, without one: for rehearsals alone, which keep nothing.
    #[serde(rename = "in place")]
    InPlace,
}

/// `[tenants]`.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct TenantSettings {
    create: Vec<String>,
    on_first_use: bool,
}

/// Where an application's stores are, and with which tenants they open.
#[derive(Clone)]
pub(crate) struct Stores {
    app: Arc<str>,
    place: Place,
    owner: Option<SecretString>,
    tenants: Vec<TenantId>,
    on_first_use: bool,
    commits: Commits,
    surroundings: Surroundings,
}

/// What `store.url` means.
#[derive(Clone)]
pub(crate) enum Place {
    /// Files below this directory.
    Sqlite(PathBuf),
    /// A database of this connection string.
    Postgres(SecretString),
}

impl Place {
    /// Reads a URL: `sqlite:` is `usual`, `sqlite:DIR` that directory.
    pub(crate) fn read(url: &str, usual: PathBuf) -> Result<Self, String> {
        if let Some(dir) = url.strip_prefix("sqlite:") {
            return Ok(Self::Sqlite(if dir.is_empty() { usual } else { dir.into() }));
        }
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            return Ok(Self::Postgres(url.into()));
        }
        Err("begins neither with `sqlite:` nor with `postgres://`".to_owned())
    }

    /// The place for people and for comparing, without any password.
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::Sqlite(dir) => {
                let whole = std::fs::canonicalize(dir).or_else(|_| std::path::absolute(dir));
                format!("sqlite:{}", whole.as_ref().unwrap_or(dir).display())
            }
            Self::Postgres(url) => masked(url.expose_secret()),
        }
    }

    /// Where a module's store is, with the password of the module's role if it has one of its own.
    fn location(&self, module: &str) -> Result<Location, String> {
        Ok(match self {
            Self::Sqlite(dir) => Location::Sqlite { dir: dir.clone() },
            Self::Postgres(url) => {
                Location::Postgres { url: url.clone(), password: secrets::find(module, secrets::STORE)? }
            }
        })
    }
}

impl Stores {
    /// Reads and checks `[store]` and `[tenants]`; opens nothing.
    pub(crate) fn read(app: &Arc<str>, settings: &Settings) -> Result<Self, StartError> {
        let StoreSettings { url, owner_url, commits } = settings.section("store")?;
        let TenantSettings { create, on_first_use } = settings.section("tenants")?;
        let data = settings.section::<AppSettings>("app")?.data;
        let wrong = |problem| StartError::Settings { place: settings.places("store."), problem };
        let place = Place::read(&url, data.join("modules"))
            .map_err(|problem| wrong(format!("store.url {problem}")))?;
        let tenants = create.iter().map(|name| TenantId::new(name)).collect::<Result<_, _>>();
        let tenants = tenants.map_err(|error| StartError::Settings {
            place: settings.places("tenants."),
            problem: format!("tenants.create: {}", error.message()),
        })?;
        Ok(Self {
            app: Arc::clone(app),
            place,
            owner: owner_url.map(SecretString::from),
            tenants,
            on_first_use,
            commits,
            surroundings: Surroundings::read(settings)?,
        })
    }

    /// The application.
    pub(crate) fn app(&self) -> Arc<str> {
        Arc::clone(&self.app)
    }

    /// What `store.url` means.
    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// The connection string of the owner, which migrates.
    pub(crate) fn owner(&self) -> Option<&SecretString> {
        self.owner.as_ref()
    }

    /// What a module's store needs to open.
    pub(crate) fn config(&self, plan: &ModulePlan) -> Result<StoreConfig, StartError> {
        self.config_at(&self.place, plan)
    }

    /// What a module's store needs to open at another place.
    fn config_at(&self, place: &Place, plan: &ModulePlan) -> Result<StoreConfig, StartError> {
        let location =
            place.location(&plan.name).map_err(|problem| StartError::part(part(&plan.name), problem))?;
        let mut config = StoreConfig::new(location, plan.migrations, self.surroundings.home(&plan.name));
        config.create_tenants = self.on_first_use;
        config.in_place = self.commits == Commits::InPlace;
        config.publishes = Some(Arc::new(plan.publishes.clone()));
        Ok(config)
    }

    /// Opens the store of a module.
    pub(crate) async fn open(&self, plan: &ModulePlan) -> Result<Store, StartError> {
        let opened = plan.store.open(self.config(plan)?).await;
        opened.map_err(|error| self.refused(&plan.name, &error))?;
        Ok(plan.store.clone())
    }

    /// Opens the store of a module at another place; the plan's own stays as it is.
    pub(crate) async fn open_at(&self, place: &Place, plan: &ModulePlan) -> Result<Store, StartError> {
        let store = Store::unopened(&plan.name);
        let opened = store.open(self.config_at(place, plan)?).await;
        opened.map_err(|error| self.refused(&plan.name, &error))?;
        Ok(store)
    }

    /// Creates the tenants of the settings in a module's store, where they are not there.
    pub(crate) async fn create_tenants(&self, store: &Store) -> Result<(), StartError> {
        for tenant in &self.tenants {
            let created = store.tenants().create(tenant).await;
            created.map_err(|error| {
                StartError::part(format!("tenant {tenant} in {}", part(store.module())), whole(&error))
            })?;
        }
        Ok(())
    }

    /// What the clock of the application says.
    pub(crate) fn now(&self) -> SystemTime {
        self.surroundings.home("commands").now()
    }

    fn refused(&self, module: &str, error: &Error) -> StartError {
        let problem = whole(error);
        if is_not_migrated(error) {
            return StartError::NotMigrated { module: module.to_owned(), problem, app: self.app.to_string() };
        }
        StartError::part(part(module), problem)
    }
}

fn part(module: &str) -> String {
    format!("the store of module `{module}`")
}

/// Whether a store refuses to open because the owner has to migrate first: the schema is behind, or not even the module's role is there.
fn is_not_migrated(error: &Error) -> bool {
    let said = whole(error);
    error.message().starts_with("DRY-M017") || (said.contains("role \"") && said.contains("does not exist"))
}

/// An error with its causes: an operator reads it, not a caller.
pub(crate) fn whole(error: &Error) -> String {
    let mut text = error.message().to_owned();
    let mut cause = error.cause().map(|cause| cause as &dyn std::error::Error);
    while let Some(inner) = cause {
        let said = inner.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = inner.source();
    }
    text
}
