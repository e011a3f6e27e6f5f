//! Policies as tables: what is the same for all methods of a contract stands once.

use std::fmt::Write as _;

use crate::commands::table::Table;
use crate::policies::{AdmissionLive, EdgeLive, MethodReport, PolicyReport, Shown};

/// What stands for all methods of a contract.
const EVERY: &str = "*";

/// A report as text.
pub(super) fn of(report: &PolicyReport) -> String {
    let mut text = String::new();
    if let Some(process) = &report.process {
        let _ = writeln!(text, "process {process}\n");
    }
    for edge in &report.edges {
        let _ = writeln!(text, "{} -> {}\n{}", edge.from, edge.contract, policies(&edge.methods));
        text.push_str(&live_edge(&edge.methods));
    }
    for served in &report.served {
        let _ = writeln!(text, "{} serves {}\n{}", served.module, served.contract, policies(&served.methods));
        text.push_str(&live_admission(&served.methods));
    }
    text
}

/// The parts of the policies of a contract's methods.
fn policies<L>(methods: &[MethodReport<L>]) -> String {
    let mut table = Table::new(&["method", "setting", "value", "from"]);
    let mut parts: Vec<&str> = Vec::new();
    for value in methods.iter().flat_map(|method| &method.policy) {
        if !parts.contains(&part(value)) {
            parts.push(part(value));
        }
    }
    for name in parts {
        // The cells of a part, and the methods of which they are.
        let mut rows: Vec<((String, String), Vec<&str>)> = Vec::new();
        for method in methods {
            let values: Vec<&Shown> = method.policy.iter().filter(|value| part(value) == name).collect();
            let cells = (value_cell(name, &values), from_cell(name, &values));
            match rows.iter_mut().find(|(known, _)| *known == cells) {
                Some((_, of)) => of.push(&method.method),
                None => rows.push((cells, vec![&method.method])),
            }
        }
        // The special before the usual.
        rows.sort_by_key(|(_, of)| of.len());
        let one = rows.len() == 1;
        for ((value, from), of) in rows {
            let of = if one { EVERY.to_owned() } else { of.join(", ") };
            table.row([of, name.to_owned(), value, from]);
        }
    }
    table.to_string()
}

/// The part of a policy that a value belongs to.
fn part(value: &Shown) -> &str {
    value.key.split('.').next().unwrap_or(&value.key)
}

/// The name of a value within its part, which is empty for the part itself.
fn name<'v>(part: &str, value: &'v Shown) -> &'v str {
    value.key.strip_prefix(part).and_then(|rest| rest.strip_prefix('.')).unwrap_or_default()
}

fn value_cell(part: &str, values: &[&Shown]) -> String {
    let shown = |value: &&&Shown| match (name(part, value), value.value.as_str()) {
        // That a part is on is seen by its values.
        ("", "true") if values.len() > 1 => None,
        ("", "true") => Some("on".to_owned()),
        ("", "false") => Some("off".to_owned()),
        ("", value) => Some(value.to_owned()),
        (name, value) => Some(format!("{name} {value}")),
    };
    values.iter().filter_map(|value| shown(&value)).collect::<Vec<_>>().join(", ")
}

/// Where the values of a part come from: once if that is one place, and otherwise of those that were set.
fn from_cell(part: &str, values: &[&Shown]) -> String {
    let Some((first, others)) = values.split_first() else { return String::new() };
    if others.iter().all(|other| other.from == first.from) {
        return first.from.clone();
    }
    let mut places: Vec<(&str, Vec<&str>)> = Vec::new();
    for value in values.iter().filter(|value| value.from != crate::policies::BUILT_IN) {
        let name = match name(part, value) {
            "" => part,
            name => name,
        };
        match places.iter_mut().find(|(place, _)| *place == value.from) {
            Some((_, names)) => names.push(name),
            None => places.push((&value.from, vec![name])),
        }
    }
    let places: Vec<String> =
        places.iter().map(|(place, names)| format!("{}: {place}", names.join(", "))).collect();
    places.join("; ")
}

/// How the methods of an edge stand; nothing where no process was asked.
fn live_edge(methods: &[MethodReport<EdgeLive>]) -> String {
    let mut table = Table::new(&["method", "in flight", "breaker", "opened"]);
    let mut any = false;
    for (method, live) in methods.iter().filter_map(|method| Some((&method.method, method.live.as_ref()?))) {
        any = true;
        table.row([
            method.clone(),
            live.in_flight.to_string(),
            live.breaker.clone().unwrap_or_else(|| "-".to_owned()),
            live.breaker_opened.to_string(),
        ]);
    }
    if any { format!("{table}\n") } else { String::new() }
}

/// How the admission of served methods stands; nothing where no process was asked.
fn live_admission(methods: &[MethodReport<AdmissionLive>]) -> String {
    let mut table = Table::new(&["method", "in flight", "limit", "waiting", "oldest ms", "admitted", "shed"]);
    let mut any = false;
    for (method, live) in methods.iter().filter_map(|method| Some((&method.method, method.live.as_ref()?))) {
        any = true;
        table.row([
            method.clone(),
            live.in_flight.to_string(),
            live.limit.to_string(),
            live.waiting.to_string(),
            live.oldest_ms.to_string(),
            live.admitted.to_string(),
            live.shed.to_string(),
        ]);
    }
    if any { format!("{table}\n") } else { String::new() }
}
