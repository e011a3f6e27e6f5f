//! The counters of the ways to other processes in the Prometheus text format.

use std::fmt::Write as _;
use std::sync::atomic::Ordering::Relaxed;

use drystone_transport::Replicas;

use crate::remotes::Remote;

/// Name, meaning and how to read it.
type Family = (&'static str, &'static str, fn(&Replicas) -> u64);

const COUNTERS: [Family; 7] = [
    ("remote_calls_total", "Calls to a module in another process.", |r| r.metrics().calls.load(Relaxed)),
    ("remote_connections_total", "Connections made to replicas.", |r| r.metrics().connections.load(Relaxed)),
    (
        "remote_calls_moved_total",
        "Calls sent to another replica because the first had not taken them.",
        |r| r.moves().moved.load(Relaxed),
    ),
    ("remote_calls_unreachable_total", "Calls that no replica took.", |r| {
        r.moves().unreachable.load(Relaxed)
    }),
    ("discovery_looks_total", "Looks at where replicas are.", |r| {
        r.discovery().metrics().looks.load(Relaxed)
    }),
    ("discovery_failures_total", "Looks that failed or found nothing.", |r| {
        r.discovery().metrics().failures.load(Relaxed)
    }),
    ("discovery_changes_total", "Looks after which the addresses were others than before.", |r| {
        r.discovery().metrics().changes.load(Relaxed)
    }),
];

/// Renders the counters of all ways.
pub(crate) fn prometheus(remotes: &[Remote]) -> String {
    let mut text = String::new();
    if remotes.is_empty() {
        return text;
    }
    for (name, help, value) in COUNTERS {
        let _ = writeln!(text, "# HELP drystone_{name} {help}\n# TYPE drystone_{name} counter");
        for (remote, _) in remotes {
            let _ = writeln!(text, "drystone_{name}{{module=\"{}\"}} {}", remote.module(), value(remote));
        }
    }
    text.push_str("# HELP drystone_replicas Replicas of a module in another process, by how they are.\n");
    text.push_str("# TYPE drystone_replicas gauge\n");
    for (remote, _) in remotes {
        for (state, count) in states(remote) {
            let module = remote.module();
            let _ = writeln!(text, "drystone_replicas{{module=\"{module}\",state=\"{state}\"}} {count}");
        }
    }
    text
}

/// How many replicas are well, how many failed more than the others and are left out, and how many do not answer that they serve.
fn states(remote: &Replicas) -> [(&'static str, usize); 3] {
    let members = remote.members();
    let away = members.iter().filter(|member| !member.healthy).count();
    let out = members.iter().filter(|member| member.healthy && member.ejected_for.is_some()).count();
    [("well", members.len() - away - out), ("left_out", out), ("away", away)]
}
