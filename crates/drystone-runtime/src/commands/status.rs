//! `db status`: what every module's store says of itself.

use std::fmt::Write as _;

use drystone_store::StoreStatus;
use serde::Serialize;

use super::everywhere::{plans_in_order, running};
use super::reach::Reach;
use super::table::{Table, size};
use crate::admin::Peer;
use crate::module::ModulePlan;
use crate::settings::Settings;
use crate::stores::{Stores, whole};
use crate::{App, StartError};

/// A process that hosts a module.
#[derive(Debug, Serialize)]
struct Host {
    name: String,
    pid: u32,
}

/// One module's store.
#[derive(Debug, Serialize)]
struct Line {
    module: String,
    /// The processes that host the module now.
    processes: Vec<Host>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<StoreStatus>,
    /// Why there is no status.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

/// Prints the status of every module's store, those that cannot be reached too.
pub(super) async fn run(app: &App, settings: &Settings, json: bool) -> Result<(), StartError> {
    let stores = Stores::read(&app.name, settings)?;
    let peers = running(settings, stores.place()).await?;
    let mut lines = Vec::new();
    for plan in plans_in_order(app, settings)? {
        lines.push(line(&stores, &plan, &peers).await);
    }
    if json {
        let text = serde_json::to_string_pretty(&lines);
        println!("{}", text.map_err(|error| StartError::command("db status", error))?);
    } else {
        print!("{} at {}\n\n{}", app.name, stores.place().shown(), text(&lines));
    }
    Ok(())
}

async fn line(stores: &Stores, plan: &ModulePlan, peers: &[Peer]) -> Line {
    let hosts = |peer: &&Peer| peer.about().modules.iter().any(|module| **module == *plan.name);
    let hosts: Vec<&Peer> = peers.iter().filter(hosts).collect();
    let (status, problem) = match status(stores, plan, &hosts).await {
        Ok(status) => (Some(status), None),
        Err(problem) => (None, Some(problem)),
    };
    let processes =
        hosts.iter().map(|peer| Host { name: peer.about().process.clone(), pid: peer.about().pid });
    Line { module: plan.name.to_string(), processes: processes.collect(), status, problem }
}

/// From the processes that host the module, and from the database where none does.
async fn status(stores: &Stores, plan: &ModulePlan, hosts: &[&Peer]) -> Result<StoreStatus, String> {
    let process = |peer: &&Peer| Reach::Process { peer: (*peer).clone(), module: plan.name.to_string() };
    let mut reached: Vec<Reach> = hosts.iter().map(process).collect();
    if reached.is_empty() {
        let store = stores.open_at(stores.place(), plan).await.map_err(|error| error.to_string())?;
        reached.push(Reach::Own(store));
    }
    let mut all = Vec::new();
    for reach in reached {
        let status = reach.status().await;
        reach.close().await;
        all.push(status.map_err(|error| whole(&error))?);
    }
    let mut status = all.pop().unwrap_or_default();
    for other in all {
        // What each process knows of itself alone.
        status.writers_waiting += other.writers_waiting;
        status.open_files += other.open_files;
        status.claims += other.claims;
        status.oldest_transaction = status.oldest_transaction.max(other.oldest_transaction);
    }
    Ok(status)
}

fn text(lines: &[Line]) -> String {
    let mut table = Table::new(&[
        "module",
        "process",
        "size",
        "active",
        "suspended",
        "others",
        "migrated",
        "oldest tx",
        "waiting",
        "open",
    ]);
    let mut notes = String::new();
    for line in lines {
        let names: Vec<&str> = line.processes.iter().map(|host| host.name.as_str()).collect();
        let process = if names.is_empty() { "-".to_owned() } else { names.join(", ") };
        let mut row = std::array::from_fn(|_| "-".to_owned());
        row[0].clone_from(&line.module);
        row[1] = process;
        if let Some(status) = &line.status {
            numbers(&mut row, status);
            note(&mut notes, &line.module, status);
        }
        if let Some(problem) = &line.problem {
            let _ = writeln!(notes, "{}: {problem}", line.module);
        }
        table.row(row);
    }
    if notes.is_empty() { table.to_string() } else { format!("{table}\n{notes}") }
}

fn numbers(row: &mut [String; 10], status: &StoreStatus) {
    let tenants = &status.tenants;
    let pending = status.schemas.iter().any(|schema| !schema.pending.is_empty());
    let contract = status.schemas.iter().any(|schema| !schema.contract_pending.is_empty());
    row[2] = size(status.bytes);
    row[3] = tenants.active.to_string();
    row[4] = tenants.suspended.to_string();
    row[5] = (tenants.importing + tenants.deleting).to_string();
    row[6] = match (pending, contract) {
        (true, _) => "behind",
        (false, true) => "contract",
        (false, false) => "yes",
    }
    .to_owned();
    if let Some(age) = status.oldest_transaction {
        row[7] = format!("{:.1} s", age.as_secs_f64());
    }
    row[8] = status.writers_waiting.to_string();
    row[9] = (status.connections + status.open_files).to_string();
}

/// What a column has no room for.
fn note(notes: &mut String, module: &str, status: &StoreStatus) {
    let tenants = &status.tenants;
    if tenants.importing + tenants.deleting > 0 {
        let _ = writeln!(
            notes,
            "{module}: {} importing, {} deleting: interrupted, if no command runs now; delete them",
            tenants.importing, tenants.deleting
        );
    }
    for schema in &status.schemas {
        for (what, names) in [("pending", &schema.pending), ("contract pending", &schema.contract_pending)] {
            if !names.is_empty() {
                let _ = writeln!(notes, "{module} ({}): {what}: {}", schema.of, names.join(", "));
            }
        }
        if schema.files_behind > 0 {
            let _ =
                writeln!(notes, "{module}: {} files of tenants migrate when they open", schema.files_behind);
        }
    }
}
