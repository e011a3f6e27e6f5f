//! The engine's world on the real stores.

mod consumer;
mod fence;
mod forget;
mod inbox;
mod lane;
mod mover;
mod rows;

pub(crate) use consumer::{due_keys, next_due};
pub(crate) use fence::{blocker, look};
pub(crate) use forget::{forget_handled, forget_sent};
pub use inbox::StoredInbox;
pub(crate) use lane::{PostgresLane, SqliteLane};
pub(crate) use mover::{move_due, next_scheduled};
