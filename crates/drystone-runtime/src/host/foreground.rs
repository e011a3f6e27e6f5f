//! A process in the foreground: started, told to a person, reloaded by a signal, and stopped by one.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use drystone_telemetry::LogFormat;

use super::{Host, Listen};
use crate::running::Running;
use crate::settings::Settings;
use crate::signals::{Hangups, stdin_end, stop_signal};
use crate::surroundings::AppSettings;
use crate::topology::Topology;
use crate::{App, StartError, process_file, rehearsal};

/// Runs one process until it is told to stop.
pub(crate) async fn run(
    app: &App,
    settings: Settings,
    topology: &Topology,
    process: &str,
    until_stdin_ends: bool,
) -> Result<(), StartError> {
    drystone_telemetry::init(LogFormat::Text).map_err(|problem| StartError::part("the log", problem))?;
    let (stop, hangups) = (stop_signal()?, Hangups::new()?);
    let data = settings.section::<AppSettings>("app")?.data;
    let addresses: BTreeMap<String, SocketAddr> =
        topology.processes.iter().filter_map(|p| Some((p.name.clone(), p.listen?))).collect();
    let host = Host::prepare(app, settings, topology, process).await?;
    let internal = host.internal_address();
    let running = host.start(&addresses, Listen::AsSet).await?;
    process_file::write(&data, process, running.gateway_address(), internal)?;
    announce(app, &data, process, &running, internal);
    let parent = async { if until_stdin_ends { stdin_end().await } else { std::future::pending().await } };
    tokio::select! {
        () = stop => {}
        () = parent => {}
        () = running.reload_at(hangups) => {}
    }
    println!("{process} stops");
    let faults = running.faults().cloned();
    running.stop().await;
    if let Some(faults) = faults {
        println!("rehearsal: {}", faults.report());
    }
    process_file::remove(&data, process);
    Ok(())
}

/// Tells a person where things are.
fn announce(app: &App, data: &Path, process: &str, running: &Running, internal: Option<SocketAddr>) {
    println!("{} {} runs: process {process}, data in {}", app.name, app.version, data.display());
    if let Some(address) = internal {
        println!("  other processes  {address} (gRPC, mutual TLS)");
    }
    if let Some(faults) = running.faults() {
        println!("{}", rehearsal::announcement(faults));
    }
    let Some(address) = running.gateway_address() else { return };
    println!("  REST and gRPC    http://{address}");
    println!("  OpenAPI          http://{address}/openapi.json");
    println!("  health           http://{address}/readyz");
    println!("  development mode: the tenant is whatever the header drystone-tenant says; loopback only");
    for hint in &app.hints {
        println!("{}", hint.replace("{gateway}", &format!("http://{address}")));
    }
}
