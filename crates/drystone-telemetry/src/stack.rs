//! What the layers of the call stack say of themselves, in the Prometheus text format: attempts, breakers, bulkheads, admission.
//!
//! A method that was never called has no lines: an application has many edges, and most of their methods are quiet.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use drystone_call::{AnyChannel, Dispatch, MethodLive, MethodMetrics, ServeLive};

/// Labels, and what they are of.
type Row<T> = (String, T);

/// Renders how the layers of all edges stand.
#[must_use]
pub fn prometheus_of_edges(edges: &[Arc<dyn AnyChannel>]) -> String {
    let live: Vec<_> = edges.iter().map(|edge| edge.live()).collect();
    let mut rows = Vec::new();
    for (edge, live) in edges.iter().zip(&live) {
        let metrics = edge.edge_metrics();
        for ((method, counted), live) in metrics.contract.methods.iter().zip(&metrics.methods).zip(live) {
            if counted.calls() + counted.dropped.load(Relaxed) > 0 || live.in_flight > 0 {
                let labels = format!("from=\"{}\",method=\"{}\"", metrics.from, &method.path[1..]);
                rows.push((labels, (counted, live)));
            }
        }
    }
    counted(&rows) + &standing(&rows)
}

fn counted(rows: &[Row<(&MethodMetrics, &MethodLive)>]) -> String {
    type Counter = (&'static str, &'static str, fn(&MethodMetrics) -> &AtomicU64);
    const COUNTERS: [Counter; 5] = [
        ("drystone_call_attempts_total", "Attempts over a wire, first ones too.", |m| &m.attempts),
        ("drystone_call_retries_total", "Attempts after the first.", |m| &m.retries),
        ("drystone_call_retries_refused_total", "Attempts that the retry budget did not grant.", |m| {
            &m.retries_refused
        }),
        ("drystone_call_refused_total", "Calls that bulkhead, rate or breaker of the edge refused.", |m| {
            &m.refused_here
        }),
        ("drystone_call_coalesced_total", "Reads that shared the call of another.", |m| &m.coalesced),
    ];
    let mut text = String::new();
    for (name, help, counter) in COUNTERS {
        let values = rows.iter().map(|(labels, (counted, _))| (labels, counter(counted).load(Relaxed)));
        family(&mut text, name, "counter", help, values.filter(|(_, count)| *count > 0));
    }
    text
}

fn standing(rows: &[Row<(&MethodMetrics, &MethodLive)>]) -> String {
    let mut text = String::new();
    let live = || rows.iter().map(|(labels, (_, live))| (labels, *live));
    let in_flight = live().map(|(labels, live)| (labels, u64::from(live.in_flight)));
    family(&mut text, "drystone_call_in_flight", "gauge", "Calls under way.", in_flight);
    let states = live().filter_map(|(labels, live)| {
        let state = match live.breaker?.name() {
            "closed" => 0,
            "half-open" => 1,
            _ => 2,
        };
        Some((labels, state))
    });
    let help = "State of the breaker: 0 closed, 1 half-open, 2 open.";
    family(&mut text, "drystone_breaker_state", "gauge", help, states);
    let opened = live().filter(|(_, live)| live.breaker.is_some());
    let opened = opened.map(|(labels, live)| (labels, live.breaker_opened));
    family(&mut text, "drystone_breaker_opened_total", "counter", "How often the breaker opened.", opened);
    text
}

/// Renders how the admission of the contracts stands that a process serves.
#[must_use]
pub fn prometheus_of_admission(served: &[Arc<dyn Dispatch>]) -> String {
    let live: Vec<_> = served.iter().map(|served| served.live()).collect();
    let mut rows = Vec::new();
    for (served, live) in served.iter().zip(&live) {
        for (method, live) in served.contract().methods.iter().zip(live) {
            let labels = format!("module=\"{}\",method=\"{}\"", served.module(), &method.path[1..]);
            rows.push((labels, live));
        }
    }
    admission(&rows)
}

fn admission(rows: &[Row<&ServeLive>]) -> String {
    let stats = || {
        let stats = rows.iter().filter_map(|(labels, live)| Some((labels, live.admission?)));
        stats.filter(|(_, stats)| stats.admitted + stats.shed > 0 || stats.waiting > 0)
    };
    let mut text = String::new();
    let mut gauge = |name: &str, help: &str, values: &mut dyn Iterator<Item = (&String, u64)>| {
        family(&mut text, name, "gauge", help, values);
    };
    gauge(
        "drystone_admission_in_flight",
        "Calls that run.",
        &mut stats().map(|(labels, stats)| (labels, stats.in_flight.into())),
    );
    gauge(
        "drystone_admission_limit",
        "Calls that may run at once, now.",
        &mut stats().map(|(labels, stats)| (labels, stats.limit.into())),
    );
    gauge(
        "drystone_admission_waiting",
        "Calls that wait to be let in.",
        &mut stats().map(|(labels, stats)| (labels, stats.waiting.into())),
    );
    let oldest = stats().map(|(labels, stats)| (labels, stats.oldest.as_secs_f64()));
    family(&mut text, "drystone_admission_oldest_seconds", "gauge", "How long the longest waits.", oldest);
    let admitted = stats().map(|(labels, stats)| (labels, stats.admitted));
    family(&mut text, "drystone_admission_admitted_total", "counter", "Calls that were let in.", admitted);
    let shed = stats().map(|(labels, stats)| (labels, stats.shed));
    family(&mut text, "drystone_admission_shed_total", "counter", "Calls that were sent away.", shed);
    text
}

fn family<'l, V: std::fmt::Display>(
    text: &mut String,
    name: &str,
    kind: &str,
    help: &str,
    values: impl Iterator<Item = (&'l String, V)>,
) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    for (labels, value) in values {
        let _ = writeln!(text, "{name}{{{labels}}} {value}");
    }
}
