//! What holds on SQLite by its own means: the queue of writers, group commit, the hold limit, the files.

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected stops there")]

#[path = "sqlite/cancel.rs"]
mod cancel;
#[path = "sqlite/files.rs"]
mod files;
#[path = "sqlite/groups.rs"]
mod groups;
#[path = "sqlite/in_place.rs"]
mod in_place;
#[path = "support/keyed.rs"]
mod keyed;
#[path = "sqlite/random.rs"]
mod random;
#[path = "support/world.rs"]
mod world;
