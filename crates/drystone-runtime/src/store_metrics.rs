//! The counters of the stores in the Prometheus text format.

use std::fmt::Write as _;
use std::sync::Arc;

use drystone_store::{Store, StoreMetrics};

/// Name, kind, meaning and how to read it.
type Family = (&'static str, &'static str, &'static str, fn(&StoreMetrics) -> u64);

const FAMILIES: [Family; 11] = [
    ("commits_total", "counter", "Transactions that committed.", |m| m.commits),
    ("rollbacks_total", "counter", "Transactions rolled back.", |m| m.rollbacks),
    (
        "commit_groups_total",
        "counter",
        "Commits of the database, each with at least one fsync on SQLite.",
        |m| m.groups,
    ),
    ("commit_groups_lost_total", "counter", "Groups that the database rolled back as a whole.", |m| {
        m.groups_lost
    }),
    ("replays_total", "counter", "Calls answered from their record.", |m| m.replays),
    (
        "conflicts_total",
        "counter",
        "Transactions that the database refused because of a concurrent one.",
        |m| m.conflicts,
    ),
    ("held_too_long_total", "counter", "Transactions taken away at the hold limit.", |m| m.held_too_long),
    ("writers_waiting", "gauge", "Writers waiting now.", |m| m.writers_waiting),
    ("open_transactions", "gauge", "Transactions open now.", |m| m.open_transactions),
    ("keys_claimed", "gauge", "Idempotency keys claimed now.", |m| m.claims),
    ("open_files", "gauge", "Tenants' files open now.", |m| m.open_files),
];

/// Renders the counters of all stores.
pub(crate) fn prometheus(stores: &[(Arc<str>, Store)]) -> String {
    let read: Vec<(&str, StoreMetrics)> =
        stores.iter().map(|(module, store)| (&**module, store.metrics())).collect();
    let mut text = String::new();
    for (name, kind, help, value) in FAMILIES {
        let _ = writeln!(text, "# HELP drystone_store_{name} {help}\n# TYPE drystone_store_{name} {kind}");
        for (module, metrics) in &read {
            let _ = writeln!(text, "drystone_store_{name}{{module=\"{module}\"}} {}", value(metrics));
        }
    }
    text
}
