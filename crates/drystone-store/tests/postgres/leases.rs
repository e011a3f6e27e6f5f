//! The lease of a process: there while it works, gone with it, and renewed before anything is written.

use std::time::Duration;

use drystone_call::Code;
use drystone_store::Location;

use crate::Site;
use crate::world::World;

const LEASES: &str = "select count(*) from stock_shared.drystone_leases";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_stands_while_a_process_works() {
    let site = Site::open().await;
    let pid = i64::from(std::process::id());
    let own = format!("{LEASES} where process like '%pid {pid}' and version = 2 and shared_version = 1");
    assert_eq!(site.count(&own).await, 1);
    let other = site.another_process().await;
    assert_eq!(site.count(&own).await, 2);
    site.owner
        .execute("update stock_shared.drystone_leases set renewed = now() - interval '5 s'", &[])
        .await
        .unwrap();
    site.until(&format!("{LEASES} where renewed > now() - interval '4 s'"), 2).await;
    other.store.close().await.unwrap();
    assert_eq!(site.count(LEASES).await, 1);
    site.world.store.close().await.unwrap();
    assert_eq!(site.count(LEASES).await, 0);
}

/// On one thread, so that a thread that stands still is a process that stands still.
#[tokio::test]
async fn a_process_that_stood_still_renews_before_it_writes() {
    let site = Site::open().await;
    let life = Duration::from_millis(500);
    let config = |config: &mut drystone_store::StoreConfig| config.testing.lease_lives = Some(life);
    let world = World::open(Location::postgres(site.database.url.clone()), None, config).await;
    site.world.store.close().await.unwrap();
    world.add(&mut world.cx(), "before", 1).await.unwrap();
    // What a contract step does with leases that have run out.
    site.owner.batch_execute("delete from stock_shared.drystone_leases").await.unwrap();
    std::thread::sleep(life * 2);
    world.add(&mut world.cx(), "after", 1).await.unwrap();
    assert_eq!(site.count(LEASES).await, 1, "a new lease stands");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_lacks_a_contract_step_stops() {
    let site = Site::open().await;
    let world = &site.world;
    world.add(&mut world.cx(), "before", 1).await.unwrap();
    site.owner
        .batch_execute(
            "delete from stock_shared.drystone_leases;
             insert into stock.drystone_migrations (version, name, checksum, applied) values (3, 'V0003__contract_gone', '', 0)",
        )
        .await
        .unwrap();
    let mut last = None;
    for _ in 0..1_000 {
        last = world
            .add(&mut world.cx(), "after", 1)
            .await
            .err()
            .filter(|error| error.code() == Code::FailedPrecondition);
        if last.is_some() {
            break;
        }
        site.owner.execute("delete from stock.items where sku = 'after'", &[]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let error = last.expect("the store refuses");
    assert!(error.message().contains("V0003__contract_gone"), "{error}");
    assert!(world.store.health().await.is_err());
    let error = world.store.read(&mut world.cx()).await.unwrap_err();
    assert_eq!(error.code(), Code::FailedPrecondition);
}
