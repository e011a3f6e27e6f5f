//! A key means one call: two hundred equal requests at once, kills between commit and answer, replies that are lost.
//!
//! Each case runs against real processes, by REST and by gRPC, on both databases.

#[path = "idempotency/cut.rs"]
mod cut;
#[path = "idempotency/door.rs"]
mod door;
#[path = "idempotency/kills.rs"]
mod kills;
#[path = "idempotency/replies.rs"]
mod replies;
#[path = "idempotency/site.rs"]
mod site;
#[path = "support/shop.rs"]
mod support;
#[path = "idempotency/trial.rs"]
mod trial;
#[path = "idempotency/volleys.rs"]
mod volleys;
