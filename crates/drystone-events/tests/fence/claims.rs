//! Two processes that host one module: which of them carries, and what the other one may still do.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use drystone_call::{Result, TenantId};
use drystone_events::{Consumer, Deliver, Envelope, Relay};
use futures_util::future::BoxFuture;
use tokio::sync::Semaphore;

use crate::site::{Running, Site, check_order, count, until, until_it};

/// Long for a machine that is busy and short for a test.
const LIVES: Duration = Duration::from_secs(2);

const POSITION: &str =
    "select coalesce(max(position), 0) from ledger_shared.drystone_pumps where name = 'mirror'";

/// A way to a consumer that can be stopped in the middle, as a process that is paused.
struct Paused {
    to: Consumer,
    reached: AtomicBool,
    go_on: Semaphore,
}

impl Deliver for Paused {
    fn deliver<'a>(&'a self, tenant: &'a TenantId, messages: &'a [Envelope]) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            self.reached.store(true, Ordering::SeqCst);
            let _pass = self.go_on.acquire().await.unwrap();
            self.to.accept(tenant, messages).await
        })
    }
}

fn start(site: &Site, owner: &str, to: &Arc<dyn Deliver>) -> Running {
    Running::of(Relay::with_claims_that_live(site.relay_config(owner, to), LIVES))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_comes_back_moves_no_position_and_applies_nothing_again() {
    const EPOCH: &str = "select epoch from ledger_shared.drystone_pumps where name = 'mirror'";
    let site = Site::new().await;
    let owner = site.owner().await;
    let consumer = site.consumer();
    let paused = Arc::new(Paused { to: consumer.clone(), reached: false.into(), go_on: Semaphore::new(0) });
    let to: Arc<dyn Deliver> = Arc::clone(&paused) as Arc<_>;
    let stale = start(&site, "one", &to);
    for _ in 0..3 {
        site.post("acme", "a").await;
    }
    until_it("the first relay has something in its hands", || paused.reached.load(Ordering::SeqCst)).await;
    let epoch = count(&owner, EPOCH).await;

    let to: Arc<dyn Deliver> = Arc::new(consumer.clone());
    let fresh = start(&site, "two", &to);
    for _ in 0..20 {
        site.post("acme", "a").await;
    }
    check_order(&site.applied_at_least("acme", 23).await);
    until(&owner, POSITION, 23).await;
    assert!(count(&owner, EPOCH).await > epoch, "a claim is greater than all before it");

    // The first one wakes up, hands over what it had, and wants to store how far it has come.
    paused.go_on.add_permits(1000);
    let lost = || stale.relay.pumps()[0].1.claims_lost.get();
    until_it("the first relay finds that its claim is not the newest", || lost() > 0).await;
    assert_eq!(count(&owner, POSITION).await, 23, "its position would be less");
    assert!(consumer.metrics().repeated.get() > 0, "what it handed over had arrived before");
    for _ in 0..5 {
        site.post("acme", "a").await;
    }
    let applied = site.applied_at_least("acme", 28).await;
    assert_eq!(applied.len(), 28);
    check_order(&applied);
    // Counted a moment after the commit.
    let counted = || consumer.metrics().applied.get();
    until_it("all are counted", || counted() >= 28).await;
    assert_eq!(counted(), 28);
    stale.stop().await;
    fresh.stop().await;
}

/// A pump that always has something to carry stores its position in between, which renews its claim.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_relay_keeps_its_claim() {
    const UNTIL: &str = "select until from ledger_shared.drystone_pumps where name = 'mirror'";
    let site = Site::new().await;
    let owner = site.owner().await;
    let running = start(&site, "one", &(Arc::new(site.consumer()) as Arc<dyn Deliver>));
    site.post("acme", "a").await;
    until(&owner, POSITION, 1).await;
    let first = count(&owner, UNTIL).await;
    let mut posted = 1;
    // Each message comes before the pump is idle for long enough to store anything.
    while count(&owner, UNTIL).await == first {
        posted += 1;
        assert!(posted < 1000, "so many are stored anyway");
        site.post("acme", "a").await;
        site.applied_at_least("acme", posted).await;
    }
    check_order(&site.applied_at_least("acme", posted).await);
    running.stop().await;
}
