//! `events status`: how far events have come, what waits, and who is in the way.

use std::fmt::Write as _;

use serde::Serialize;

use super::super::table::Table;
use super::check::findings;
use super::site::{Site, Sites};
use super::when::{age, until};
use crate::StartError;
use crate::module_events::{ConsumerLine, EventsStatus, PumpLine};

const COMMAND: &str = "events status";

/// One module, as JSON has it.
#[derive(Serialize)]
struct Line {
    #[serde(flatten)]
    status: EventsStatus,
    /// The processes on this machine that host the module.
    processes: Vec<String>,
    /// What is not as it should be.
    findings: Vec<String>,
}

/// Prints what is known; fails with `check` if something is not as it should be.
pub(super) async fn run(sites: &Sites, json: bool, check: bool) -> Result<(), StartError> {
    let mut lines = Vec::new();
    for site in &sites.all {
        let mut status = site.or_failed(COMMAND, site.status(sites.now).await)?;
        declare(&mut status, site);
        if status.pumps.is_empty() && status.consumers.is_empty() && status.scheduled == 0 {
            continue;
        }
        let findings = findings(&sites.app, &status, !site.hosts.is_empty());
        let processes = site.hosts.iter().map(|host| host.about().process.clone()).collect();
        lines.push(Line { status, processes, findings });
    }
    if json {
        print_json(COMMAND, &lines)?;
    } else {
        print!("{} at {}\n\n{}", sites.app, sites.place, text(&lines));
    }
    let wrong: Vec<&str> = lines.iter().flat_map(|line| &line.findings).map(String::as_str).collect();
    if check && !wrong.is_empty() {
        return Err(StartError::command("events status --check", wrong.join("\n  ")));
    }
    Ok(())
}

/// Prints a value as JSON.
pub(super) fn print_json(command: &str, value: &impl Serialize) -> Result<(), StartError> {
    let text = serde_json::to_string_pretty(value);
    println!("{}", text.map_err(|error| StartError::command(command, error))?);
    Ok(())
}

/// Adds the consumers that hold nothing and that no process has counted for.
fn declare(status: &mut EventsStatus, site: &Site) {
    for name in site.consumers.keys() {
        if !status.consumers.iter().any(|line| line.status.consumer == *name) {
            let mut line = ConsumerLine::default();
            line.status.consumer.clone_from(name);
            status.consumers.push(line);
        }
    }
    status.consumers.sort_by(|one, other| one.status.consumer.cmp(&other.status.consumer));
}

fn text(lines: &[Line]) -> String {
    if lines.is_empty() {
        return "no module publishes or handles events\n".to_owned();
    }
    let mut pumps =
        Table::new(&["from", "to", "lag", "oldest", "position", "carried", "failed", "claim", "tenants"]);
    let mut consumers =
        Table::new(&["consumer", "applied", "repeated", "held keys", "held", "parked", "next retry"]);
    let mut notes = String::new();
    for line in lines {
        let status = &line.status;
        for pump in &status.pumps {
            pumps.row(pump_row(line, status.module.clone(), pump.status.pump.clone(), pump));
        }
        for stream in &status.streams {
            let name = stream.status.pump.clone();
            let (from, to) = name.split_once('>').unwrap_or(("", &name));
            pumps.row(pump_row(line, format!("stream {from}"), to.to_owned(), stream));
        }
        status.consumers.iter().for_each(|consumer| consumers.row(consumer_row(consumer, status.now)));
        note(&mut notes, status);
    }
    let findings: String =
        lines.iter().flat_map(|line| &line.findings).map(|finding| format!("! {finding}\n")).collect();
    let parts = [pumps.to_string(), consumers.to_string(), notes, findings];
    let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join("\n")
}

fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

fn pump_row(line: &Line, from: String, to: String, pump: &PumpLine) -> [String; 9] {
    let (status, now) = (&pump.status, line.status.now);
    // On SQLite whoever has the files has the claim.
    let claim = match (&status.owner, line.processes.first()) {
        (Some(owner), _) => owner.split('/').next().unwrap_or(owner).to_owned(),
        (None, Some(process)) if status.position.is_none() => process.clone(),
        (None, _) => "-".to_owned(),
    };
    let mut tenants: Vec<String> =
        status.tenants.iter().take(3).map(|tenant| format!("{} {}", tenant.tenant, tenant.lag)).collect();
    if status.tenants.len() > 3 {
        tenants.push(format!("{} more", status.tenants.len() - 3));
    }
    [
        from,
        to,
        status.lag.to_string(),
        or_dash(status.oldest.map(|oldest| age(oldest, now))),
        or_dash(status.position),
        or_dash(pump.counted.map(|counted| counted.carried)),
        or_dash(pump.counted.map(|counted| counted.failures)),
        claim,
        if tenants.is_empty() { "-".to_owned() } else { tenants.join(", ") },
    ]
}

fn consumer_row(line: &ConsumerLine, now: i64) -> [String; 7] {
    let status = &line.status;
    [
        status.consumer.clone(),
        or_dash(line.counted.map(|counted| counted.applied)),
        or_dash(line.counted.map(|counted| counted.repeated)),
        status.held_keys.to_string(),
        status.held_messages.to_string(),
        status.parked_keys.to_string(),
        or_dash(status.next_retry.map(|due| until(due, now))),
    ]
}

/// What a column has no room for.
fn note(notes: &mut String, status: &EventsStatus) {
    if status.scheduled > 0 {
        let next = or_dash(status.next_scheduled.map(|due| until(due, status.now)));
        let _ = writeln!(
            notes,
            "{}: {} messages are published later, the next {next}",
            status.module, status.scheduled
        );
    }
    let Some(fence) = &status.fence else { return };
    let settled = or_dash(fence.settled);
    let _ = write!(notes, "{}: fence: settled up to {settled} of {}", status.module, fence.taken);
    if let Some(since) = fence.waiting_since {
        let _ = write!(notes, ", waiting for {}", age(since, status.now));
    }
    if let Some(blocker) = &fence.blocker {
        let _ = write!(notes, ", for {blocker}");
    }
    notes.push('\n');
}
