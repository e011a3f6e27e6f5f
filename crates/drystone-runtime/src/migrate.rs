//! `migrate`: brings the stores of all modules to the binary's version.

use drystone_store::{Migrator, Steps};

use crate::module::ModulePlan;
use crate::settings::Settings;
use crate::stores::{Place, Stores, whole};
use crate::{App, StartError};

/// Migrates every module that has a store.
pub(crate) async fn run(app: &App, settings: &Settings) -> Result<(), StartError> {
    let stores = Stores::read(&app.name, settings)?;
    let (plans, _) = app.plan(settings)?;
    let plans = plans.iter().filter(|plan| plan.uses_store);
    match stores.place() {
        Place::Sqlite(_) => Ok(()),
        Place::Postgres(_) => postgres(&stores, plans).await,
    }
}

async fn postgres<'p>(
    stores: &Stores,
    plans: impl Iterator<Item = &'p ModulePlan>,
) -> Result<(), StartError> {
    let owner = stores.owner().ok_or_else(|| {
        StartError::command(
            "migrate",
            "store.owner_url is not set: it is the connection string of the database's owner",
        )
    })?;
    let failed = |error| StartError::command("migrate", whole(&error));
    let migrator = Migrator::connect(owner).await.map_err(failed)?;
    for plan in plans {
        migrator.migrate(&stores.config(plan)?, Steps::All).await.map_err(failed)?;
    }
    Ok(())
}
