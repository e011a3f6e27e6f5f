//! The engine's world on the real stores.

mod consumer;
mod fence;
mod forget;
mod inbox;
mod known;
mod lane;
mod mover;
mod rows;
mod stream;

pub(crate) use consumer::{due_keys, next_due, parked_keys};
pub(crate) use fence::{blocker, look};
pub(crate) use forget::{forget_handled, forget_sent};
pub use inbox::StoredInbox;
pub(crate) use known::Known;
pub(crate) use lane::{CLAIM_LIVES, PostgresLane, STALLED, SqliteLane, release, stalled_name};
pub(crate) use mover::{move_due, next_scheduled};
pub(crate) use rows::{context, json, nobody};
pub(crate) use stream::StreamLane;
