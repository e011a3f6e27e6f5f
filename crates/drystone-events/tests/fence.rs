//! The fence on a real PostgreSQL: nothing that is published is lost, reordered within its key, or applied twice, whatever transactions do meanwhile.

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected stops there")]

#[path = "fence/backlog.rs"]
mod backlog;
#[path = "fence/claims.rs"]
mod claims;
#[path = "fence/copies.rs"]
mod copies;
#[path = "fence/interleavings.rs"]
mod interleavings;
#[path = "fence/number_first.rs"]
mod number_first;
#[path = "fence/readers.rs"]
mod readers;
#[path = "fence/retention.rs"]
mod retention;
#[path = "fence/site.rs"]
mod site;
#[path = "fence/stress.rs"]
mod stress;
#[path = "fence/waiting.rs"]
mod waiting;
