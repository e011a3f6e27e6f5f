//! A rolling restart under load: real processes on PostgreSQL, `main` and two replicas of `inventory`, each restarted in turn. No call fails that may be
//! repeated, and every order happens once.

#[path = "rolling/load.rs"]
mod load;
#[path = "rolling/site.rs"]
mod site;
#[path = "support/shop.rs"]
mod support;
#[path = "support/told.rs"]
mod told;

use load::Load;
use site::{Site, Slot};

/// Orders between two restarts.
const ORDERS: usize = 10;

/// Nothing is tried again: what a replica that stops has not taken goes to the other, and what it has taken it finishes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_are_restarted_in_turn_and_no_call_fails() {
    let mut site = Site::start(&[("DRYSTONE__CALLS__RETRY", "false")]).await;
    let load = Load::start(&site.http);
    for round in 0..3 {
        for slot in [Slot::First, Slot::Second] {
            load.goes_on(ORDERS).await;
            // The second replica comes back at another address each time, and is found by the file.
            site.restart(slot, 15).await;
            println!("round {round}, {slot:?}: {} orders, {} reads", load.orders(), load.reads());
        }
    }
    load.goes_on(ORDERS).await;
    let placed = load.stop().await;
    site.holds(&placed).await;
    let connections = site.metric("drystone_remote_connections_total{module=\"inventory\"}").await;
    assert!(connections >= 8, "two replicas and six restarts, and {connections} connections");
}

/// What is lost on it is sent again by the stack of calls: every order has its key, and reads have no effect.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_is_killed_and_no_call_fails_that_may_be_repeated() {
    let mut site = Site::start(&[]).await;
    let load = Load::start(&site.http);
    for slot in [Slot::First, Slot::Second, Slot::First] {
        load.goes_on(ORDERS).await;
        site.restart(slot, 9).await;
    }
    load.goes_on(ORDERS).await;
    let placed = load.stop().await;
    site.holds(&placed).await;
}
