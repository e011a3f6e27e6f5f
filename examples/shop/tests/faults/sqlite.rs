//! SQLite on a disk that is full, or fails its syncs.

use std::time::Duration;

use drystone_testkit::Disk;

use crate::books::{all_are_told, audit, replays};
use crate::load::Load;
use crate::pool::gauges;
use crate::world::{Shop, until};

/// How long after the disk is whole orders may take to be placed by every writer again.
const RESUMED: Duration = Duration::from_secs(10);

/// Asserts that nothing is lost, doubled or left behind, also after a kill.
async fn ends_well(shop: Shop, load: Load) {
    let users = shop.users().await;
    let placed = load.stop().await;
    until("the gauges are at zero", async || gauges(&shop.http).await.values().all(|value| *value == 0))
        .await;
    audit(&shop.http, &placed).await.unwrap_or_else(|error| panic!("{error}"));
    let shop = shop.killed_and_started().await;
    audit(&shop.http, &placed).await.unwrap_or_else(|error| panic!("after a kill: {error}"));
    replays(&shop.http, &placed, &users).await;
    all_are_told(&shop.http, &placed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_has_no_space() {
    let disk = Disk::new().expect("a C compiler");
    let shop = Shop::on_disk(&disk).await;
    let mut load = Load::start(&shop).await;
    load.goes_on(2).await;
    for round in 1..=3 {
        disk.fill(&shop.data().display().to_string()).expect("a plan");
        let said = load.meets(503, "UNAVAILABLE").await;
        assert!(said.contains("disk is full; free space on it"), "{said}");
        let (reads, orders) = (load.reads(), load.orders());
        until("reads go on", async || load.reads() > reads + 50).await;
        println!("{} orders while there was no space", load.orders() - orders);
        disk.heal().expect("no plan");
        let took = load.goes_on(2).await;
        println!("space again, {round}: placed and read again by all after {took:?}");
        assert!(took < RESUMED, "{took:?}");
    }
    ends_well(shop, load).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_has_no_space_when_the_shop_starts() {
    let disk = Disk::new().expect("a C compiler");
    let shop = Shop::on_disk(&disk).await;
    let mut load = Load::start(&shop).await;
    load.goes_on(2).await;
    let (users, placed) = (shop.users().await, load.stop().await);
    let place = shop.data().display().to_string();
    disk.fill(&place).expect("a plan");
    let (said, stopped) = shop.killed_and_refused().await;
    println!("{said}");
    assert!(
        said.contains("error[DRY-R008]") && said.contains(&place) && said.contains("free space"),
        "{said}"
    );
    disk.heal().expect("no plan");
    let shop = stopped.started().await;
    audit(&shop.http, &placed).await.unwrap_or_else(|error| panic!("{error}"));
    replays(&shop.http, &placed, &users).await;
    all_are_told(&shop.http, &placed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_cannot_sync() {
    let disk = Disk::new().expect("a C compiler");
    let shop = Shop::on_disk(&disk).await;
    let mut load = Load::start(&shop).await;
    load.goes_on(2).await;
    for round in 1..=3 {
        disk.fail_syncs("-wal").expect("a plan");
        // Whether it is on the disk nobody can say, so nobody says that it is, nor that it is not.
        let said = load.meets(500, "UNKNOWN").await;
        assert!(said.contains("ask again with the same key"), "{said}");
        load.fails_for_all().await;
        let (reads, orders) = (load.reads(), load.orders());
        until("reads go on", async || load.reads() > reads + 50).await;
        assert_eq!(load.orders(), orders, "acknowledged without a sync");
        disk.heal().expect("no plan");
        let took = load.goes_on(2).await;
        println!("syncs again, {round}: placed and read again by all after {took:?}");
        assert!(took < RESUMED, "{took:?}");
    }
    ends_well(shop, load).await;
}
