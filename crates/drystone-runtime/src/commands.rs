//! The commands that work on the data of an application: `migrate`, `tenants`, `events`, `db`.
//!
//! A command works on all modules, whichever process hosts them. [`Everywhere`] knows for each where its store is [reached](reach::Reach): in
//! the process that owns its files, through the admin socket, or opened by the command itself. The commands are written against that alone.

mod archive;
mod deletion;
mod events;
mod everywhere;
mod file;
mod lifecycle;
mod listing;
pub(crate) mod migrate;
mod moving;
pub(crate) mod policy;
mod reach;
mod section;
mod status;
mod table;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use drystone_call::TenantId;

use crate::settings::Settings;
use crate::{App, StartError};
pub(crate) use events::{Events, events};
use everywhere::Everywhere;

/// `tenants ...`.
#[derive(Debug, Subcommand)]
pub(crate) enum Tenants {
    /// Create a tenant in every module
    Create { name: String },
    /// Refuse the calls of a tenant; its data stays as it is
    Suspend { name: String },
    /// Let the calls of a suspended tenant in again
    Resume { name: String },
    /// Show the tenants and their states
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Delete a suspended tenant with all its data
    Delete {
        name: String,
        /// The tenant's name once more, as confirmation
        #[arg(long, value_name = "NAME")]
        yes: Option<String>,
    },
    /// Write all data of a suspended tenant into one archive
    Export {
        name: String,
        /// The archive's file; it must not be there yet
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
        /// Also of a tenant that works: its modules are read at different moments
        #[arg(long)]
        live: bool,
    },
    /// Create a tenant from an archive
    Import {
        file: PathBuf,
        /// Its name, where it is not the archive's
        #[arg(long = "as", value_name = "NAME")]
        name: Option<String>,
    },
    /// Copy a tenant's data to another database, and compare
    Move(Move),
}

/// `tenants move`.
#[derive(Debug, Args)]
pub(crate) struct Move {
    /// The tenant
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    name: Option<String>,
    /// All tenants, and the data of no tenant
    #[arg(long)]
    all: bool,
    /// Where to, as in store.url
    #[arg(long, value_name = "URL")]
    to: String,
}

/// `db ...`.
#[derive(Debug, Subcommand)]
pub(crate) enum Db {
    /// Show size, tenants, migrations and work of every module's store
    Status {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

/// Runs `tenants ...`.
pub(crate) async fn tenants(app: &App, settings: &Settings, what: Tenants) -> Result<(), StartError> {
    let everywhere = Everywhere::open(app, settings).await?;
    let done = Box::pin(tenants_of(&everywhere, what)).await;
    everywhere.close().await;
    done
}

async fn tenants_of(all: &Everywhere, what: Tenants) -> Result<(), StartError> {
    let name = |text: &str| {
        TenantId::new(text).map_err(|error| StartError::command(format!("tenant {text:?}"), error.message()))
    };
    match what {
        Tenants::Create { name: text } => lifecycle::create(all, &name(&text)?).await,
        Tenants::Suspend { name: text } => lifecycle::suspend(all, &name(&text)?).await,
        Tenants::Resume { name: text } => lifecycle::resume(all, &name(&text)?).await,
        Tenants::List { json } => listing::run(all, json).await,
        Tenants::Delete { name: text, yes } => deletion::run(all, &name(&text)?, yes.as_deref()).await,
        Tenants::Export { name: text, to, live } => {
            Box::pin(archive::export(all, &name(&text)?, &to, live)).await
        }
        Tenants::Import { file, name: text } => {
            let name = text.as_deref().map(name).transpose()?;
            Box::pin(archive::import(all, &file, name)).await
        }
        Tenants::Move(Move { name: text, to, .. }) => {
            let name = text.as_deref().map(name).transpose()?;
            Box::pin(moving::run(all, name, &to)).await
        }
    }
}

/// Runs `db ...`.
pub(crate) async fn db(app: &App, settings: &Settings, what: Db) -> Result<(), StartError> {
    let Db::Status { json } = what;
    status::run(app, settings, json).await
}
