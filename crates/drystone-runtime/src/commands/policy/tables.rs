//! Policies as tables: what is the same for all methods of a contract stands once.

use crate::commands::table::Table;
use crate::policies::{AdmissionLive, EdgeLive, MethodReport, PolicyReport, Shown};

/// What stands for all methods of a contract.
const EVERY: &str = "*";

/// What stands for the methods of a contract that are named nowhere else, where they are many.
const OTHERS: &str = "others";

/// So many methods are named, and more are the others.
const NAMED: usize = 3;

/// A report as text.
pub(super) fn of(report: &PolicyReport) -> String {
    let head = report.process.iter().map(|process| format!("process {process}\n"));
    let edges = report.edges.iter().map(|edge| {
        let live = live_edge(&edge.methods);
        format!("{} -> {}\n{}{live}", edge.from, edge.contract, policies(&edge.methods))
    });
    let served = report.served.iter().map(|served| {
        let live = live_admission(&served.methods);
        format!("{} serves {}\n{}{live}", served.module, served.contract, policies(&served.methods))
    });
    head.chain(edges).chain(served).collect::<Vec<_>>().join("\n")
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
        let last = rows.len() - 1;
        for (place, ((value, from), of)) in rows.into_iter().enumerate() {
            let of = match of.as_slice() {
                _ if last == 0 => EVERY.to_owned(),
                many if place == last && many.len() > NAMED => OTHERS.to_owned(),
                named => named.join(", "),
            };
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
    let mut table = Table::new(&[
        "method",
        "in flight",
        "breaker",
        "opened",
        "attempts",
        "retries",
        "left",
        "not granted",
        "refused",
        "coalesced",
    ]);
    let mut any = false;
    for (method, live) in methods.iter().filter_map(|method| Some((&method.method, method.live.as_ref()?))) {
        any = true;
        table.row([
            method.clone(),
            live.in_flight.to_string(),
            live.breaker.clone().unwrap_or_else(|| "-".to_owned()),
            live.breaker_opened.to_string(),
            live.attempts.to_string(),
            live.retries.to_string(),
            live.retries_left.map_or_else(|| "-".to_owned(), |left| left.to_string()),
            live.retries_refused.to_string(),
            live.refused.to_string(),
            live.coalesced.to_string(),
        ]);
    }
    if any { format!("\n{table}") } else { String::new() }
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
    if any { format!("\n{table}") } else { String::new() }
}
