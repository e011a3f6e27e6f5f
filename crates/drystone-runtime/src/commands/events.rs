//! `events ...`: what an operator sees of events, and does about those that are held back.

mod check;
mod held;
mod redrive;
mod site;
mod status;
mod when;

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use uuid::Uuid;

use crate::settings::Settings;
use crate::{App, StartError};
use site::Sites;

/// `events ...`.
#[derive(Debug, Subcommand)]
pub(crate) enum Events {
    /// Show how far events have come, what waits, and who is in the way
    Status {
        /// As JSON; times are microseconds since 1970
        #[arg(long)]
        json: bool,
        /// Fail if something stands still or waits for an operator
        #[arg(long)]
        check: bool,
    },
    /// Show the keys of which messages are held back, the longest held first
    List(List),
    /// Show a held message with everything that is known of it
    Show {
        id: Uuid,
        /// As JSON; times are microseconds since 1970
        #[arg(long)]
        json: bool,
    },
    /// Give a held message other content
    Edit {
        id: Uuid,
        /// The event as JSON, as `events show` prints it
        #[arg(long, value_name = "FILE")]
        json: PathBuf,
        /// The consumer, where several hold the message
        #[arg(long, value_name = "NAME")]
        consumer: Option<String>,
    },
    /// Try held keys again now
    Replay(Replayed),
    /// Give up a held message: it is never applied, and those behind it go on
    Drop {
        id: Uuid,
        /// The message's id once more, as confirmation
        #[arg(long, value_name = "ID")]
        yes: Option<Uuid>,
        /// The consumer, where several hold the message
        #[arg(long, value_name = "NAME")]
        consumer: Option<String>,
    },
    /// Send messages again from a moment on; who has them already leaves them out
    Redrive(Redriven),
}

/// `events list`.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// Of this consumer
    #[arg(long, value_name = "NAME")]
    pub(crate) consumer: Option<String>,
    /// Of this tenant
    #[arg(long, value_name = "NAME")]
    pub(crate) tenant: Option<String>,
    /// With a message in this state
    #[arg(long)]
    pub(crate) state: Option<State>,
    /// So many of each module at most
    #[arg(long, value_name = "COUNT", default_value_t = 200)]
    pub(crate) limit: u32,
    /// As JSON; times are microseconds since 1970
    #[arg(long)]
    pub(crate) json: bool,
}

/// Why a message is held back.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum State {
    /// It failed for good, and waits for an operator
    Parked,
    /// It failed, and will be tried again
    Retrying,
    /// It stands behind another of its key
    Waiting,
}

/// `events replay`.
#[derive(Debug, Args)]
pub(crate) struct Replayed {
    /// The consumer
    #[arg(long, value_name = "NAME")]
    pub(crate) consumer: String,
    /// One key of it
    #[arg(long, value_name = "KEY", required_unless_present = "all", conflicts_with = "all")]
    pub(crate) key: Option<String>,
    /// All keys
    #[arg(long)]
    pub(crate) all: bool,
    /// Of this tenant only
    #[arg(long, value_name = "NAME")]
    pub(crate) tenant: Option<String>,
    /// Of this publishing module only
    #[arg(long, value_name = "MODULE")]
    pub(crate) source: Option<String>,
}

/// `events redrive`.
#[derive(Debug, Args)]
pub(crate) struct Redriven {
    /// From when on: a moment (2026-01-31T12:00:00Z) or how long ago (90s, 30m, 12h, 3d)
    #[arg(long, value_name = "WHEN")]
    pub(crate) since: String,
    /// What this module published
    #[arg(long, value_name = "NAME")]
    pub(crate) module: Option<String>,
    /// To this consumer
    #[arg(long, value_name = "NAME")]
    pub(crate) consumer: Option<String>,
    /// Of this tenant
    #[arg(long, value_name = "NAME")]
    pub(crate) tenant: Option<String>,
}

/// Runs `events ...`.
pub(crate) async fn events(app: &App, settings: &Settings, what: Events) -> Result<(), StartError> {
    let sites = Sites::open(app, settings).await?;
    let done = Box::pin(run(&sites, what)).await;
    sites.close().await;
    done
}

async fn run(sites: &Sites, what: Events) -> Result<(), StartError> {
    match what {
        Events::Status { json, check } => status::run(sites, json, check).await,
        Events::List(what) => held::list(sites, what).await,
        Events::Show { id, json } => held::show(sites, id, json).await,
        Events::Edit { id, json, consumer } => held::edit(sites, id, &json, consumer.as_deref()).await,
        Events::Replay(what) => held::replay(sites, what).await,
        Events::Drop { id, yes, consumer } => held::drop_one(sites, id, yes, consumer.as_deref()).await,
        Events::Redrive(what) => redrive::run(sites, what).await,
    }
}
