//! The counters of every edge in the Prometheus text format, version 0.0.4.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use drystone_call::{Code, Dispatch, EdgeMetrics, LATENCY_BUCKETS, MethodMetrics};

/// Renders the counters of all edges.
#[must_use]
pub fn prometheus(edges: &[Arc<EdgeMetrics>]) -> String {
    let mut text = String::new();
    family(&mut text, edges, "drystone_calls_total", "counter", "Calls by outcome.", calls);
    family(
        &mut text,
        edges,
        "drystone_calls_dropped_total",
        "counter",
        "Calls whose caller went away.",
        |t, l, m| {
            let _ = writeln!(t, "drystone_calls_dropped_total{{{l}}} {}", m.dropped.load(Relaxed));
        },
    );
    family(&mut text, edges, "drystone_call_seconds", "histogram", "Time to the answer.", latency);
    bytes(
        &mut text,
        edges,
        "drystone_encoded_bytes_total",
        "Bytes that the encoded runner encoded.",
        |edge| &edge.encoded_bytes,
    );
    bytes(
        &mut text,
        edges,
        "drystone_remote_bytes_total",
        "Bytes of messages that crossed a process.",
        |edge| &edge.remote_bytes,
    );
    text
}

/// Renders the counters of the contracts that a process serves.
#[must_use]
pub fn prometheus_of_served(served: &[Arc<dyn Dispatch>]) -> String {
    let mut text =
        "# HELP drystone_reruns_total Runs of a handler after the first, because its transaction met another.\n\
         # TYPE drystone_reruns_total counter\n"
            .to_owned();
    for served in served {
        for method in served.contract().methods {
            let count = served.reruns(method.index);
            if count > 0 {
                let (module, path) = (served.module(), &method.path[1..]);
                let _ =
                    writeln!(text, "drystone_reruns_total{{module=\"{module}\",method=\"{path}\"}} {count}");
            }
        }
    }
    text
}

fn family(
    text: &mut String,
    edges: &[Arc<EdgeMetrics>],
    name: &str,
    kind: &str,
    help: &str,
    render: fn(&mut String, &str, &MethodMetrics),
) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    for edge in edges {
        for (method, metrics) in edge.contract.methods.iter().zip(&edge.methods) {
            if metrics.calls() + metrics.dropped.load(Relaxed) > 0 {
                let labels = format!("from=\"{}\",method=\"{}\"", edge.from, &method.path[1..]);
                render(text, &labels, metrics);
            }
        }
    }
}

fn calls(text: &mut String, labels: &str, metrics: &MethodMetrics) {
    let mut line = |code: &str, count: u64| {
        if count > 0 {
            let _ = writeln!(text, "drystone_calls_total{{{labels},code=\"{code}\"}} {count}");
        }
    };
    line("OK", metrics.ok());
    for (number, count) in (0..).zip(&metrics.failed) {
        line(Code::from_number(number).name(), count.load(Relaxed));
    }
}

fn latency(text: &mut String, labels: &str, metrics: &MethodMetrics) {
    let mut total = 0;
    for (bound, count) in LATENCY_BUCKETS.iter().zip(&metrics.latency) {
        total += count.load(Relaxed);
        let seconds = std::time::Duration::from_nanos(*bound).as_secs_f64();
        let _ = writeln!(text, "drystone_call_seconds_bucket{{{labels},le=\"{seconds}\"}} {total}");
    }
    total += metrics.latency[LATENCY_BUCKETS.len()].load(Relaxed);
    let sum = std::time::Duration::from_nanos(metrics.latency_sum.load(Relaxed)).as_secs_f64();
    let _ = writeln!(text, "drystone_call_seconds_bucket{{{labels},le=\"+Inf\"}} {total}");
    let _ = writeln!(text, "drystone_call_seconds_sum{{{labels}}} {sum}");
    let _ = writeln!(text, "drystone_call_seconds_count{{{labels}}} {total}");
}

fn bytes(
    text: &mut String,
    edges: &[Arc<EdgeMetrics>],
    name: &str,
    help: &str,
    count: fn(&EdgeMetrics) -> &AtomicU64,
) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} counter");
    for edge in edges {
        let count = count(edge).load(Relaxed);
        if count > 0 {
            let labels = format!("from=\"{}\",contract=\"{}\"", edge.from, edge.contract.name);
            let _ = writeln!(text, "{name}{{{labels}}} {count}");
        }
    }
}
