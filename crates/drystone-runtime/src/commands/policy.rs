//! `policy`: how every method is called on every edge and how its calls are admitted, where each value comes from, and how that stands in the processes that run.

mod tables;

use clap::Args;
use drystone_call::Error;

use crate::admin::{Peer, peers};
use crate::policies::{Known, Policies, PolicyReport};
use crate::settings::Settings;
use crate::stores::whole;
use crate::surroundings::AppSettings;
use crate::{App, StartError};

/// `policy`.
#[derive(Debug, Args)]
pub(crate) struct Policy {
    /// Of this calling module, of this contract, or of one edge: "module -> contract"
    #[arg(long, value_name = "NAME")]
    edge: Option<String>,
    /// As the processes that run have it, with what they count
    #[arg(long)]
    live: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
    /// Let the processes that run read their settings again; what does not fit changes nothing
    #[arg(long, conflicts_with_all = ["edge", "live", "json"])]
    reload: bool,
}

/// Runs `policy`.
pub(crate) async fn policy(app: &App, settings: &Settings, what: Policy) -> Result<(), StartError> {
    if what.reload {
        return reload(settings).await;
    }
    let mut reports = if what.live {
        ask(settings, "policy --live").await?
    } else {
        let (plans, graph) = app.plan(settings)?;
        let policies = Policies::read(settings, &Known::of(&plans, &graph))?;
        vec![PolicyReport::of_settings(&policies)]
    };
    if let Some(name) = &what.edge {
        only(&mut reports, name)?;
    }
    if what.json {
        let text = serde_json::to_string_pretty(&reports);
        println!("{}", text.map_err(|error| StartError::command("policy", error))?);
    } else {
        print!("{}", reports.iter().map(tables::of).collect::<Vec<_>>().join("\n"));
    }
    Ok(())
}

/// What the processes that run have.
async fn ask(settings: &Settings, command: &str) -> Result<Vec<PolicyReport>, StartError> {
    let mut reports = Vec::new();
    for peer in running(settings, command).await? {
        reports.push(peer.policy().await.map_err(|error| failed(command, &peer, &error))?);
    }
    Ok(reports)
}

/// Lets every process that runs read its settings again, the others also when one refuses.
pub(crate) async fn reload(settings: &Settings) -> Result<(), StartError> {
    let command = "policy --reload";
    let mut first = None;
    for peer in running(settings, command).await? {
        match peer.reload_policy().await {
            Ok(reloaded) => println!("{}: {reloaded}", peer.about().process),
            Err(error) => {
                let error = failed(command, &peer, &error);
                match &first {
                    None => first = Some(error),
                    Some(_) => eprintln!("{error}"),
                }
            }
        }
    }
    first.map_or(Ok(()), Err)
}

async fn running(settings: &Settings, command: &str) -> Result<Vec<Peer>, StartError> {
    let data = settings.section::<AppSettings>("app")?.data;
    let found = peers(&data).await.map_err(|error| StartError::command(command, whole(&error)))?;
    if found.is_empty() {
        return Err(StartError::command(
            command,
            format!("no process runs on {}; start one, or set app.data to where it runs", data.display()),
        ));
    }
    Ok(found)
}

fn failed(command: &str, peer: &Peer, error: &Error) -> StartError {
    StartError::command(command, format!("process `{}`: {}", peer.about().process, whole(error)))
}

/// Leaves what a name means: a calling module, a contract, or an edge.
fn only(reports: &mut Vec<PolicyReport>, name: &str) -> Result<(), StartError> {
    let tidy = |text: &str| text.split_whitespace().collect::<String>();
    let mut known: Vec<String> =
        reports.iter().flat_map(|report| &report.edges).map(|edge| edge.from.clone()).collect();
    for report in reports.iter_mut() {
        report.edges.retain(|edge| {
            edge.from == name
                || edge.contract == name
                || tidy(&format!("{}->{}", edge.from, edge.contract)) == tidy(name)
        });
        report.served.retain(|served| served.contract == name);
    }
    reports.retain(|report| !report.edges.is_empty() || !report.served.is_empty());
    if reports.is_empty() {
        known.sort();
        known.dedup();
        let problem = format!(
            "{name} is neither a caller nor a contract nor an edge; the callers are {}; `graph` shows the edges",
            known.join(", ")
        );
        return Err(StartError::command("policy --edge", problem));
    }
    Ok(())
}
