//! `events list`, `show`, `edit`, `replay` and `drop`: what is held back.

use std::path::Path;

use clap::ValueEnum as _;
use drystone_events::Data;
use drystone_events::operate::{Format, Held, HeldFilter, HeldId, HeldKey, Replay};
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::super::table::Table;
use super::site::{Site, Sites};
use super::{List, Replayed, when};
use crate::StartError;
use crate::module_events::Edit;

/// A held key with the module that holds it.
#[derive(Serialize)]
struct Line<'s> {
    module: &'s str,
    #[serde(flatten)]
    key: HeldKey,
}

/// Prints the held keys.
pub(super) async fn list(sites: &Sites, what: List) -> Result<(), StartError> {
    const COMMAND: &str = "events list";
    if let Some(consumer) = &what.consumer {
        sites.of_consumer(COMMAND, consumer)?;
    }
    let state =
        what.state.and_then(|state| state.to_possible_value()).map(|state| state.get_name().to_owned());
    let filter = HeldFilter { consumer: what.consumer, tenant: what.tenant, state, limit: what.limit };
    let mut lines = Vec::new();
    for site in &sites.all {
        let held = site.or_failed(COMMAND, site.held(&filter).await)?;
        lines.extend(held.into_iter().map(|key| Line { module: &site.module, key }));
    }
    lines.sort_by_key(|line| line.key.since);
    if what.json {
        return super::status::print_json(COMMAND, &lines);
    }
    if lines.is_empty() {
        println!("nothing is held back");
        return Ok(());
    }
    let mut table = Table::new(&[
        "message", "consumer", "tenant", "source", "key", "state", "attempts", "next", "held", "behind",
    ]);
    let mut reasons = String::new();
    for Line { key, .. } in &lines {
        table.row([
            key.id.to_string(),
            key.consumer.clone(),
            key.tenant.clone(),
            key.source.clone(),
            key.key.clone(),
            key.state.clone(),
            key.attempts.to_string(),
            key.due.map_or_else(|| "-".to_owned(), |due| when::until(due, sites.now)),
            when::age(key.since, sites.now),
            key.behind.to_string(),
        ]);
        if let Some(reason) = &key.reason {
            reasons.push_str(&format!("{}: {} failed: {reason}\n", key.id, key.event_type));
        }
    }
    print!("{table}\n{reasons}");
    if lines.len() >= what.limit as usize {
        println!("there may be more: --limit COUNT shows so many of each module");
    }
    Ok(())
}

/// A held message as it is shown.
#[derive(Serialize)]
struct Shown<'s> {
    module: &'s str,
    #[serde(flatten)]
    facts: Value,
    /// The event in its text form, where it is what its type says.
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<Value>,
    /// Its bytes in hex, where it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    hex: Option<String>,
    /// Why it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    unreadable: Option<String>,
}

/// Prints a message, of each consumer that holds it.
pub(super) async fn show(sites: &Sites, id: Uuid, json: bool) -> Result<(), StartError> {
    let command = format!("events show {id}");
    let found = find(sites, &command, id, None).await?;
    let shown: Vec<Shown<'_>> = found.iter().map(|(site, held)| shown(site, held)).collect();
    if json {
        return super::status::print_json(&command, &shown);
    }
    let texts: Vec<String> =
        found.iter().zip(&shown).map(|((_, held), shown)| text(held, shown, sites.now)).collect();
    print!("{}", texts.join("\n"));
    Ok(())
}

fn shown<'s>(site: &'s Site, held: &Held) -> Shown<'s> {
    let mut facts = serde_json::to_value(held).unwrap_or_default();
    // The bytes are shown as what they say.
    facts.as_object_mut().and_then(|facts| facts.remove("data"));
    let known = site
        .consumers
        .get(&held.consumer)
        .and_then(|handlers| handlers.to_json(&held.event_type, &data(held)));
    let (event, unreadable) = match known {
        Some(Ok(event)) => (Some(event), None),
        Some(Err(error)) => (None, Some(error.message().to_owned())),
        None => {
            (None, Some(format!("consumer {} does not handle {} any more", held.consumer, held.event_type)))
        }
    };
    let hex = event.is_none().then(|| held.data.iter().map(|byte| format!("{byte:02x}")).collect());
    Shown { module: &site.module, facts, event, hex, unreadable }
}

fn data(held: &Held) -> Data {
    let bytes = held.data.clone().into();
    if held.format == Format::Json.as_str() { Data::Json(bytes) } else { Data::Protobuf(bytes) }
}

fn text(held: &Held, shown: &Shown<'_>, now: i64) -> String {
    let next = held.due.map(|due| format!(", tried again {}", when::until(due, now))).unwrap_or_default();
    let mut facts = vec![
        ("message", held.id.to_string()),
        ("type", held.event_type.clone()),
        ("consumer", format!("{} of module {}", held.consumer, shown.module)),
        ("tenant", held.tenant.clone()),
        ("source", format!("{}, number {}", held.source, held.seq)),
        ("key", held.key.clone()),
        ("published", when::moment(held.created)),
        (
            "state",
            format!(
                "{}, {} attempts, held since {}{next}",
                held.state,
                held.attempts,
                when::moment(held.since)
            ),
        ),
        ("before it", format!("{} messages of its key", held.before)),
    ];
    facts.extend(held.trace.clone().map(|trace| ("trace", trace)));
    facts.extend(held.reason.clone().map(|reason| ("reason", reason)));
    facts.extend(shown.unreadable.clone().map(|why| ("unreadable", why)));
    facts.extend(
        shown.hex.clone().map(|hex| (if held.format == "json" { "hex of JSON" } else { "hex" }, hex)),
    );
    let mut text: String = facts.iter().map(|(name, value)| format!("{name:<11}  {value}\n")).collect();
    if let Some(event) = &shown.event {
        text.push_str(&format!("event\n{event:#}\n"));
    }
    text
}

/// The message in the modules that hold it, of one consumer if that is named.
async fn find<'s>(
    sites: &'s Sites,
    command: &str,
    id: Uuid,
    consumer: Option<&str>,
) -> Result<Vec<(&'s Site, Held)>, StartError> {
    let mut found = Vec::new();
    for site in &sites.all {
        let held = site.or_failed(command, site.message(id).await)?;
        found.extend(
            held.into_iter()
                .filter(|held| consumer.is_none_or(|name| held.consumer == name))
                .map(|held| (site, held)),
        );
    }
    if found.is_empty() {
        let of = consumer.map(|name| format!(" of consumer {name}")).unwrap_or_default();
        let problem =
            format!("no message {id}{of} is held back; `{} events list` shows those that are", sites.app);
        return Err(StartError::command(command, problem));
    }
    Ok(found)
}

/// As [`find`], where one is meant.
async fn find_one<'s>(
    sites: &'s Sites,
    command: &str,
    id: Uuid,
    consumer: Option<&str>,
) -> Result<(&'s Site, Held), StartError> {
    let mut found = find(sites, command, id, consumer).await?;
    if found.len() > 1 {
        let names: Vec<&str> = found.iter().map(|(_, held)| held.consumer.as_str()).collect();
        let problem = format!(
            "the message is held by several consumers ({}): say which with --consumer NAME",
            names.join(", ")
        );
        return Err(StartError::command(command, problem));
    }
    Ok(found.remove(0))
}

fn id_of(held: &Held) -> HeldId {
    HeldId { tenant: held.tenant.clone(), consumer: held.consumer.clone(), id: held.id }
}

/// Gives a held message the content of a file.
pub(super) async fn edit(
    sites: &Sites,
    id: Uuid,
    file: &Path,
    consumer: Option<&str>,
) -> Result<(), StartError> {
    let command = format!("events edit {id}");
    let (site, held) = find_one(sites, &command, id, consumer).await?;
    let text = std::fs::read(file)
        .map_err(|error| StartError::command(&command, format!("{}: {error}", file.display())))?;
    let known =
        site.consumers.get(&held.consumer).and_then(|handlers| handlers.of_json(&held.event_type, &text));
    let Some(read) = known else {
        let problem = format!(
            "consumer {} does not handle {}, so nobody knows what its JSON says",
            held.consumer, held.event_type
        );
        return Err(StartError::command(command, problem));
    };
    let (key, data) = read
        .map_err(|error| StartError::command(&command, format!("{}: {}", file.display(), error.message())))?;
    if held.format == Format::Protobuf.as_str() && key != held.key {
        let problem = format!(
            "{} has the key {key:?} and the message {:?}: a message keeps its key, for its place is among those of it",
            file.display(),
            held.key
        );
        return Err(StartError::command(command, problem));
    }
    let what = Edit { message: id_of(&held), format: Format::Protobuf, data };
    site.or_failed(&command, site.edit(what).await)?;
    println!(
        "message {id} has other content; `{} events replay --consumer {} --key {:?}` tries its key again",
        sites.app, held.consumer, held.key
    );
    Ok(())
}

/// Has held keys tried again.
pub(super) async fn replay(sites: &Sites, what: Replayed) -> Result<(), StartError> {
    const COMMAND: &str = "events replay";
    let site = sites.of_consumer(COMMAND, &what.consumer)?;
    let Replayed { consumer, key, tenant, source, .. } = what;
    let replay = Replay { consumer, key, tenant, source };
    let done = site.or_failed(COMMAND, site.replay(&replay).await)?;
    if done.count == 0 && done.skipped.is_empty() {
        let problem = format!(
            "consumer {} holds nothing like that; `{} events list` shows what it holds",
            replay.consumer, sites.app
        );
        return Err(StartError::command(COMMAND, problem));
    }
    let when = if site.hosts.is_empty() { " once a process runs that hosts the module" } else { "" };
    println!("keys of {} that are tried again{when}: {}", replay.consumer, done.count);
    if !done.skipped.is_empty() {
        println!("left alone, for they are suspended: {}", done.skipped.join(", "));
    }
    Ok(())
}

/// Gives up a message whose id was said twice.
pub(super) async fn drop_one(
    sites: &Sites,
    id: Uuid,
    yes: Option<Uuid>,
    consumer: Option<&str>,
) -> Result<(), StartError> {
    let command = format!("events drop {id}");
    let (site, held) = find_one(sites, &command, id, consumer).await?;
    if yes != Some(id) {
        let problem = format!(
            "consumer {} will never apply this {} of tenant {}, key {:?}; confirm with --yes {id}",
            held.consumer, held.event_type, held.tenant, held.key
        );
        return Err(StartError::command(command, problem));
    }
    site.or_failed(&command, site.drop_message(&id_of(&held)).await)?;
    println!("message {id} is dropped; what stands behind it goes on");
    Ok(())
}
