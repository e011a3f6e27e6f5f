//! The engine's world on the real stores.

mod consumer;
mod fence;
mod inbox;
mod lane;
mod mover;
mod rows;

pub(crate) use consumer::{DueKey, due_keys, next_due};
pub(crate) use fence::{Fenced, blocker, look};
pub use inbox::StoredInbox;
pub(crate) use lane::{PostgresLane, SqliteLane};
pub(crate) use mover::{move_due, next_scheduled};
