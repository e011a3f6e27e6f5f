//! `migrate`: brings the stores of all modules to the binary's version.

use std::fmt::Write as _;

use clap::Args;
use drystone_call::Error;
use drystone_store::{Migrated, Migrator, Steps, Store, TenantState};

use super::everywhere::running;
use crate::admin::Peer;
use crate::module::ModulePlan;
use crate::settings::Settings;
use crate::stores::{Place, Stores, whole};
use crate::{App, StartError};

const COMMAND: &str = "migrate";

/// `migrate`.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Migrate {
    /// Stop before the first contract step: what runs before a new version is rolled out
    #[arg(long)]
    expand_only: bool,
    /// This module alone
    #[arg(long, value_name = "NAME")]
    module: Option<String>,
}

/// Migrates every module that has a store, and says what became of each.
///
/// # Errors
/// If one was refused; the others are migrated all the same.
pub(crate) async fn run(app: &App, settings: &Settings, what: Migrate) -> Result<String, StartError> {
    let stores = Stores::read(&app.name, settings)?;
    let (mut plans, _) = app.plan(settings)?;
    if let Some(module) = &what.module {
        plans.retain(|plan| *plan.name == **module);
        if plans.is_empty() {
            let known = app.module_names().join(", ");
            return Err(StartError::command(
                COMMAND,
                format!("there is no module `{module}`; there are {known}"),
            ));
        }
    }
    plans.retain(|plan| plan.uses_store);
    let steps = if what.expand_only { Steps::ExpandOnly } else { Steps::All };
    let mut report = Report { app: &app.name, text: String::new(), refused: Vec::new() };
    match stores.place() {
        Place::Sqlite(_) => {
            let running = running(settings, stores.place()).await?;
            for plan in &plans {
                report.add(&plan.name, sqlite(&stores, plan, &running).await);
            }
        }
        Place::Postgres(_) => {
            let migrator = owner(&stores).await?;
            for plan in &plans {
                report.add(&plan.name, postgres(&migrator, &stores, plan, steps, &app.name).await);
            }
        }
    }
    report.finish()
}

struct Report<'a> {
    app: &'a str,
    text: String,
    refused: Vec<String>,
}

impl Report<'_> {
    fn add(&mut self, module: &str, outcome: Result<Vec<String>, StartError>) {
        match outcome {
            Ok(lines) => {
                for line in lines {
                    let _ = writeln!(self.text, "{module:<16} {line}");
                }
            }
            Err(error) => {
                let problem = match error {
                    StartError::Command { problem, .. } => problem,
                    other => other.to_string(),
                };
                self.refused.push(format!("module `{module}`: {problem}"));
            }
        }
    }

    fn finish(self) -> Result<String, StartError> {
        if self.refused.is_empty() {
            return Ok(self.text);
        }
        print!("{}", self.text);
        Err(StartError::command(format!("{} {COMMAND}", self.app), self.refused.join("\n  ")))
    }
}

async fn owner(stores: &Stores) -> Result<Migrator, StartError> {
    let owner = stores.owner().ok_or_else(|| {
        StartError::command(
            COMMAND,
            "store.owner_url is not set; set DRYSTONE__STORE__OWNER_URL to the connection string of the database's owner, for this command alone",
        )
    })?;
    Migrator::connect(owner).await.map_err(refused)
}

async fn postgres(
    migrator: &Migrator,
    stores: &Stores,
    plan: &ModulePlan,
    steps: Steps,
    app: &str,
) -> Result<Vec<String>, StartError> {
    let migrated = migrator.migrate(&stores.config(plan)?, steps).await.map_err(refused)?;
    Ok(told(&migrated, app))
}

/// What was done, a line a schema.
fn told(migrated: &Migrated, app: &str) -> Vec<String> {
    let line = |schema: &drystone_store::MigratedSchema| {
        let ran = if schema.ran.is_empty() {
            "up to date".to_owned()
        } else {
            format!("ran {}", schema.ran.join(", "))
        };
        if schema.held_back.is_empty() {
            return format!("schema {}: {ran}", schema.schema);
        }
        format!(
            "schema {}: {ran}; held back: {} (run `{app} migrate` without --expand-only when no older version runs)",
            schema.schema,
            schema.held_back.join(", ")
        )
    };
    migrated.schemas.iter().map(line).collect()
}

/// Opening a file migrates it; one that a process owns is migrated by that process.
async fn sqlite(stores: &Stores, plan: &ModulePlan, running: &[Peer]) -> Result<Vec<String>, StartError> {
    let owner = running.iter().find(|peer| peer.about().modules.iter().any(|module| **module == *plan.name));
    if let Some(peer) = owner {
        return Ok(vec![format!(
            "process {} (pid {}) owns the files, and migrates each when it opens it",
            peer.about().process,
            peer.about().pid
        )]);
    }
    let store = stores.open_at(stores.place(), plan).await?;
    let opened = every_file(&store).await;
    store.close().await.map_err(refused)?;
    let (opened, left) = opened.map_err(refused)?;
    let mut line = format!("the shared file and {opened} files of tenants are at this version");
    if left > 0 {
        let _ = write!(line, "; {left} of interrupted imports or deletions were left alone");
    }
    Ok(vec![line])
}

/// Opens the file of each tenant; how many were opened, and how many were not.
async fn every_file(store: &Store) -> Result<(usize, usize), Error> {
    let (tenants, mut opened, mut left) = (store.tenants(), 0, 0);
    for tenant in tenants.all().await? {
        match tenant.state {
            TenantState::Active => opened += 1,
            TenantState::Suspended => {
                // No call may look into it: an archive may, and nobody keeps it.
                tenants.export(&tenant.name, &mut tokio::io::sink()).await?;
                opened += 1;
            }
            TenantState::Importing | TenantState::Deleting => left += 1,
        }
    }
    tenants.each(async |mut cx| store.read(&mut cx).await.map(drop)).await?;
    Ok((opened, left))
}

fn refused(error: Error) -> StartError {
    StartError::command(COMMAND, whole(&error))
}
